// x . A^T of every segment (MBGMV and MBGMM, first half), on tensor cores.
//
// Rows of A lie as their dot products want them, so both kernels give a rank to a column of the
// tile and a token to a row. Few tokens: A goes from memory to registers, asked for before the
// kernel waits for x, and a block holds 16 ranks. Long segments: x and A pass through shared
// memory, and a block holds all ranks of all fused modules, so x is read once.
#include <algorithm>

#include "src/cuda/async_copy.cuh"
#include "src/cuda/lora_common.cuh"
#include "src/cuda/lora_shrink.cuh"

namespace slora::kernels::cuda {
namespace {

// ---- few tokens

// A lane's 16 bytes of A for each step and rank tile: row lane / 4 of the tile, eight elements at
// (lane % 4) * 8. Elements past k_end and rows past the rank are zero.
template <typename T, int kStepElems, int kSteps, int kRankTiles>
__device__ __forceinline__ void load_a(uint4 (&a)[kSteps][kRankTiles],
                                       const T* const (&rows)[kRankTiles], bool is_aligned,
                                       int32_t k, int32_t k_end) {
  if (is_aligned) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int n = 0; n < kRankTiles; ++n) {
        a[s][n] = make_uint4(0, 0, 0, 0);
        const int32_t at = k + s * kStepElems;
        if (rows[n] && at < k_end) a[s][n] = load_once(rows[n] + at);
      }
    }
  } else {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int n = 0; n < kRankTiles; ++n) {
        a[s][n] = make_uint4(0, 0, 0, 0);
        const int32_t at = k + s * kStepElems;
        if (rows[n] && at < k_end) a[s][n] = load_unaligned(rows[n] + at);
      }
    }
  }
}

// Eight elements of x, zeros where there are none.
template <typename T>
__device__ __forceinline__ uint4 load_x(const T* row, int32_t at, int32_t k_end) {
  if (!row || at >= k_end) return make_uint4(0, 0, 0, 0);
  return *reinterpret_cast<const uint4*>(row + at);
}

// Semantics  t[part, e, j, i, r] = sum of x . A over the part's elements, for 16 rows i and
//            kRankTiles * 8 ranks r
// Cost       A once a 16-row tile of a segment, x once a fused module and rank group
// Grid       (parts, fused modules * rank groups, units of 16 tokens or a share of them)
// kIsFound: by the rows' heads; a row is a unit, and empty unless one begins with it.
template <typename T, int kWarps, int kRankTiles, int kSteps, bool kIsFound>
__global__ void __launch_bounds__(32 * kWarps, 4)
    lora_shrink_rows_kernel(const __grid_constant__ LoraShrinkParams p, int32_t part_elems,
                            int32_t rank_groups, int32_t units) {
  constexpr int kRanks = 8 * kRankTiles;
  constexpr int kStepElems = 32 * kWarps;  // of in_dim: one step of each warp
  __shared__ float sums[kWarps][kTileTokens][kRanks + 2];
  begin_beside_pieces(p.batch);
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t group = static_cast<int32_t>(threadIdx.x % 32 / 4);
  const int32_t lane_k = static_cast<int32_t>(threadIdx.x % 4) * 8;
  const int32_t fused = static_cast<int32_t>(blockIdx.y) % p.num_fused;
  const int32_t first_rank = static_cast<int32_t>(blockIdx.y) / p.num_fused * kRanks;
  const int32_t k_end =
      min(static_cast<int32_t>(blockIdx.x + 1) * part_elems, static_cast<int32_t>(p.in_dim));
  const int32_t k_begin = static_cast<int32_t>(blockIdx.x) * part_elems + warp * 32 + lane_k;
#pragma unroll 1
  for (int32_t unit_idx = static_cast<int32_t>(blockIdx.z); unit_idx < units;
       unit_idx += static_cast<int32_t>(gridDim.z)) {
    LoraRowHead found;
    LoraUnit unit;
    if constexpr (kIsFound) {
      found = load_row_head(p.batch.a_heads, p.batch, p.layer_idx, p.module_idx[fused], unit_idx);
      unit = unit_of_head(found, unit_idx, kTileTokens);
    } else {
      unit = find_unit(p.batch, unit_idx, kTileTokens);
    }
    if (unit.count == 0) continue;
    // This lane's two rows of x; null past the unit's end.
    const T* x = static_cast<const T*>(p.x) + (unit.begin + unit.first) * p.x_stride;
    const T* const x_low = group < unit.count ? x + group * p.x_stride : nullptr;
    const T* const x_high = group + 8 < unit.count ? x + (group + 8) * p.x_stride : nullptr;

    // A turn of some ranks of one entry; nearly always there is one. What a turn needs is looked up
    // in it, so that it does not live in registers.
    int32_t r0 = first_rank;
#pragma unroll 1
    for (int32_t e = unit.entry_begin; e < unit.entry_end;) {
      const T* rows[kRankTiles];
      float* t;
      int32_t t_stride, ranks;
      bool is_aligned;
      if (kIsFound && e == unit.entry_begin) {
        ranks = found.lora_rank - r0;
        if (ranks <= 0) {
          ++e;
          r0 = first_rank;
          continue;
        }
        const FoundRun<T> run = run_of_head<T>(found, p.batch, p.slice, p.page_bytes, p.in_dim);
        is_aligned = run.is_aligned();
#pragma unroll
        for (int n = 0; n < kRankTiles; ++n) {
          const int32_t r = n * 8 + group;
          rows[n] = r < ranks ? run.row(static_cast<uint32_t>(r0 + r)) : nullptr;
        }
        t_stride = found.t_stride;
        t = p.t + blockIdx.x * p.t_stride + found.t_offset +
            (static_cast<int64_t>(fused) * unit.rows + unit.first) * t_stride + r0;
      } else {
        const LoraEntry entry = p.batch.entries[e];
        const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
        const core::LoraModule* module =
            module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
        const ModuleHead head = load_head(module, &module->a);
        ranks = head.lora_rank - r0;
        if (ranks <= 0) {
          ++e;
          r0 = first_rank;
          continue;
        }
        const LoraRun run = make_run(p.slice, p.page_bytes, sizeof(T),
                                     p.batch.pages + adapter.page_offset, head.begin, p.in_dim);
        is_aligned = run.is_aligned();
#pragma unroll
        for (int n = 0; n < kRankTiles; ++n) {
          const int32_t r = n * 8 + group;
          rows[n] = r < ranks ? run.row<T>(static_cast<uint32_t>(r0 + r)) : nullptr;
        }
        t_stride = entry.t_stride;
        t = p.t + blockIdx.x * p.t_stride + entry.t_offset +
            (static_cast<int64_t>(fused) * unit.rows + unit.first) * t_stride + r0;
      }
      float acc[kRankTiles][4] = {};
      for (int32_t k = k_begin; k - warp * 32 - lane_k < k_end; k += kSteps * kStepElems) {
        uint4 a[kSteps][kRankTiles];
        load_a<T, kStepElems>(a, rows, is_aligned, k, k_end);
        wait_for_inputs();
        // The sum does not mind its order, so a lane's eight neighbours in memory stand for the
        // elements 2t, 2t + 1, 2t + 8, 2t + 9 of two steps of 16, in x and A alike.
        if (unit.count <= 8) {
          constexpr int kAtOnce = kSteps < 4 ? kSteps : 4;
#pragma unroll
          for (int s = 0; s < kSteps; s += kAtOnce) {
            uint4 low[kAtOnce];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i)
              low[i] = load_x(x_low, k + (s + i) * kStepElems, k_end);
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
              for (int n = 0; n < kRankTiles; ++n) {
                mma<T>(acc[n], low[i].x, 0, low[i].y, 0, a[s + i][n].x, a[s + i][n].y);
                mma<T>(acc[n], low[i].z, 0, low[i].w, 0, a[s + i][n].z, a[s + i][n].w);
              }
            }
          }
        } else {
#pragma unroll
          for (int s = 0; s < kSteps; ++s) {
            const uint4 low = load_x(x_low, k + s * kStepElems, k_end);
            const uint4 high = load_x(x_high, k + s * kStepElems, k_end);
#pragma unroll
            for (int n = 0; n < kRankTiles; ++n) {
              mma<T>(acc[n], low.x, high.x, low.y, high.y, a[s][n].x, a[s][n].y);
              mma<T>(acc[n], low.z, high.z, low.w, high.w, a[s][n].z, a[s][n].w);
            }
          }
        }
      }
      // The warps' sums in their order.
      const int32_t column = static_cast<int32_t>(threadIdx.x % 4) * 2;
#pragma unroll
      for (int n = 0; n < kRankTiles; ++n) {
        *reinterpret_cast<float2*>(&sums[warp][group][n * 8 + column]) =
            make_float2(acc[n][0], acc[n][1]);
        *reinterpret_cast<float2*>(&sums[warp][group + 8][n * 8 + column]) =
            make_float2(acc[n][2], acc[n][3]);
      }
      __syncthreads();
      for (int32_t i = static_cast<int32_t>(threadIdx.x); i < unit.count * kRanks;
           i += 32 * kWarps) {
        const int32_t row = i / kRanks;
        const int32_t r = i % kRanks;
        float sum = sums[0][row][r];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) sum += sums[w][row][r];
        if (r < ranks) t[static_cast<int64_t>(row) * t_stride + r] = sum;
      }
      r0 += rank_groups * kRanks;
      __syncthreads();  // the sums are read before the next turn writes its own
    }
  }
  leave_idle();
}

// ---- long segments

// Semantics  as above, for 64 rows and every rank of every entry and fused module
// Cost       x once a kColumns of them, A once a unit
// Grid       (parts, units of 64 tokens, blocks that share out the columns)
template <typename T, int kColumns, TileKind kKind>
__global__ void __launch_bounds__(kTileThreads, kColumns <= 64 ? 2 : 1)
    lora_shrink_tile_kernel(const __grid_constant__ LoraShrinkParams p, int32_t part_elems) {
  using Tile = ShrinkTile<kColumns, kKind>;
  constexpr int kStages = Tile::kStages;
  constexpr int kWarpTiles = kColumns / 16;  // tiles of 8 columns a warp: half the columns
  extern __shared__ __align__(128) uint8_t stages[];
  __shared__ ShrinkColumn columns[kColumns];
  begin_beside_pieces(p.batch);
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t warp_rows = thread / 32 % 4 * 16;
  const int32_t warp_columns = thread / 128 * (kColumns / 2);
  const int32_t lane = thread % 32;
  const LoraUnit unit = find_unit(p.batch, static_cast<int32_t>(blockIdx.y), kPrefillTokens);
  if (unit.count == 0) {
    leave_idle();
    return;
  }
  const int32_t k_begin = static_cast<int32_t>(blockIdx.x) * part_elems;
  const int32_t k_end = min(k_begin + part_elems, static_cast<int32_t>(p.in_dim));
  const int32_t steps = (k_end - k_begin + kTileK - 1) / kTileK;
  const T* const x = static_cast<const T*>(p.x) + (unit.begin + unit.first) * p.x_stride;
  const uint32_t base = shared_address(stages);

  const auto stage_x = [&](int32_t step) {
    const uint32_t to = base + static_cast<uint32_t>(step % kStages * Tile::kStageBytes);
#pragma unroll
    for (int i = 0; i < kPrefillTokens * 8 / kTileThreads; ++i) {
      const int32_t row = (thread + i * kTileThreads) / 8;
      const int32_t piece = thread % 8;
      const int32_t k = k_begin + step * kTileK + piece * 8;
      const bool is_there = row < unit.count && k < k_end;
      copy_16(to + swizzled(row, piece), is_there ? x + row * p.x_stride + k : x, is_there);
    }
  };
  const auto stage_a = [&](int32_t step) {
    const uint32_t offset =
        static_cast<uint32_t>(step % kStages * Tile::kStageBytes + kPrefillTokens * kTileK * 2);
#pragma unroll
    for (int i = 0; i < (kColumns * 8 + kTileThreads - 1) / kTileThreads; ++i) {
      const int32_t row = (thread + i * kTileThreads) / 8;
      const int32_t piece = thread % 8;
      const int32_t k = k_begin + step * kTileK + piece * 8;
      const ShrinkColumn& column = columns[row];
      const bool is_there = column.a != nullptr && k < k_end;
      const T* from = is_there ? static_cast<const T*>(column.a) + k : x;
      if (column.is_aligned) {
        copy_16(base + offset + swizzled(row, piece), from, is_there);
      } else {
        *reinterpret_cast<uint4*>(stages + offset + swizzled(row, piece)) =
            is_there ? load_unaligned(from) : make_uint4(0, 0, 0, 0);
      }
    }
  };

  const int32_t turn = kColumns * static_cast<int32_t>(gridDim.z);
  for (int32_t first = kColumns * static_cast<int32_t>(blockIdx.z);; first += turn) {
    for (int32_t n = thread; n < kColumns; n += kTileThreads)
      columns[n] = find_column<T>(p, unit, first + n);
    __syncthreads();  // columns are known to all
    if (columns[0].a == nullptr) break;
    const bool is_last = columns[kColumns - 1].a == nullptr;
    float acc[kWarpTiles][4] = {};
    // A is asked for before x may be: adapter pages are constants.
    for (int32_t s = 0; s < kStages - 1 && s < steps; ++s) stage_a(s);
    wait_for_inputs();
    for (int32_t s = 0; s < kStages - 1; ++s) {
      if (s < steps) stage_x(s);
      commit_copies();
    }
    for (int32_t step = 0; step < steps; ++step) {
      wait_copies<kStages - 2>();
      __syncthreads();  // this stage is there for all, and all are done with the one before it
      if (const int32_t next = step + kStages - 1; next < steps) {
        stage_a(next);
        stage_x(next);
      }
      commit_copies();
      const uint32_t x_tile = base + static_cast<uint32_t>(step % kStages * Tile::kStageBytes);
      const uint32_t a_tile = x_tile + kPrefillTokens * kTileK * 2;
#pragma unroll
      for (int kk = 0; kk < kTileK / 16; ++kk) {
        uint32_t rows[4];
        load_matrices(rows, x_tile + swizzled(warp_rows + lane % 16, kk * 2 + lane / 16));
#pragma unroll
        for (int n = 0; n < kWarpTiles; n += 2) {
          uint32_t ranks[4];
          load_matrices(ranks, a_tile + swizzled(warp_columns + n * 8 + lane / 16 * 8 + lane % 8,
                                                 kk * 2 + lane / 8 % 2));
          mma<T>(acc[n], rows[0], rows[1], rows[2], rows[3], ranks[0], ranks[1]);
          mma<T>(acc[n + 1], rows[0], rows[1], rows[2], rows[3], ranks[2], ranks[3]);
        }
      }
    }
    if constexpr (kKind != TileKind::kAny) {
      sum_in_cluster<kColumns>(acc, reinterpret_cast<float*>(stages), p.t, unit, columns);
    } else {
      float* const t = p.t + blockIdx.x * p.t_stride;
#pragma unroll
      for (int n = 0; n < kWarpTiles; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int32_t row = warp_rows + lane / 4 + c / 2 * 8;
          const ShrinkColumn& column = columns[warp_columns + n * 8 + lane % 4 * 2 + c % 2];
          if (row < unit.count && column.a)
            t[column.t + static_cast<int64_t>(unit.first + row) * column.t_stride] = acc[n][c];
        }
      }
    }
    if (is_last) break;
    wait_copies<0>();
    __syncthreads();  // columns and stages are free again
  }
  leave_idle();
}

template <typename T, int kColumns, TileKind kKind>
int32_t launch_tile(void* stream, const LoraShrinkParams& params, const LoraSplit& split,
                    int32_t sharers) {
  using Tile = ShrinkTile<kColumns, kKind>;
  const auto kernel = lora_shrink_tile_kernel<T, kColumns, kKind>;
  if (const int32_t status = allow_shared(kernel, Tile::kBytes); status != kOk) return status;
  const dim3 grid(static_cast<unsigned>(split.parts),
                  static_cast<unsigned>(num_units(params.batch, kPrefillTokens)),
                  static_cast<unsigned>(sharers));
  return launch(stream, kernel, grid, dim3(kTileThreads), Tile::kBytes,
                kKind == TileKind::kAny ? 1 : split.parts, params, split.part_elems);
}

template <typename T, int kColumns>
int32_t launch_tile(void* stream, const LoraShrinkParams& params, const LoraSplit& split,
                    int32_t sharers = 1) {
  if (!split.is_summed)
    return launch_tile<T, kColumns, TileKind::kAny>(stream, params, split, sharers);
  return params.batch.min_segment_tokens > 0
             ? launch_tile<T, kColumns, TileKind::kSummedBesidePieces>(stream, params, split,
                                                                       sharers)
             : launch_tile<T, kColumns, TileKind::kSummed>(stream, params, split, sharers);
}

template <typename T, int kWarps, int kRankTiles, int kSteps>
int32_t launch_rows(void* stream, const LoraShrinkParams& params, const LoraSplit& split,
                    int32_t rank) {
  const int32_t rank_groups = static_cast<int32_t>(ceil_div(rank, 8 * kRankTiles));
  const bool is_found = params.batch.a_heads != nullptr;
  const int64_t units = is_found ? params.batch.num_tokens : num_units(params.batch, kTileTokens);
  const dim3 grid(static_cast<unsigned>(split.parts),
                  static_cast<unsigned>(params.num_fused * rank_groups),
                  units_at_once(stream, units, split.parts * params.num_fused * rank_groups));
  const auto kernel = is_found ? lora_shrink_rows_kernel<T, kWarps, kRankTiles, kSteps, true>
                               : lora_shrink_rows_kernel<T, kWarps, kRankTiles, kSteps, false>;
  return launch(stream, kernel, grid, dim3(32 * kWarps), 0, params, split.part_elems, rank_groups,
                static_cast<int32_t>(units));
}

template <typename T>
int32_t launch_shrink(void* stream, const LoraShrinkParams& params, const LoraSplit& split) {
  const int32_t rank = params.batch.max_lora_rank > 0 ? params.batch.max_lora_rank : 64;
  if (is_prefill(params.batch)) {
    const int32_t columns = rank * params.num_fused;
    if (columns <= 32) return launch_tile<T, 32>(stream, params, split);
    if (columns <= 64) return launch_tile<T, 64>(stream, params, split);
    // Devices of 8.6, 8.9 and 12.0 have less shared memory a block.
    if (ShrinkTile<192, TileKind::kAny>::kAllBytes > device_of(stream).max_shared_bytes)
      return launch_tile<T, 64>(stream, params, split);
    // Few units leave most of the card idle unless several blocks share out their columns.
    if (split.parts == kMostParts &&
        split.parts * num_units(params.batch, kPrefillTokens) < 2 * device_of(stream).sm_count)
      return launch_tile<T, 64>(stream, params, split,
                                static_cast<int32_t>(std::min<int64_t>(ceil_div(columns, 64), 4)));
    return launch_tile<T, 192>(stream, params, split);
  }
  if (split.part_elems <= 512) {
    if (rank <= 8) return launch_rows<T, 4, 1, 4>(stream, params, split, rank);
    return launch_rows<T, 4, 2, 4>(stream, params, split, rank);
  }
  if (rank <= 8) return launch_rows<T, 4, 1, 8>(stream, params, split, rank);
  return launch_rows<T, 4, 2, 8>(stream, params, split, rank);
}

// 16-byte loads of x and A need this; A's own place in its page is seen in the kernel.
bool is_vectorisable(const LoraShrinkParams& params) {
  return params.in_dim % 8 == 0 && params.x_stride % 8 == 0 && params.page_bytes % 16 == 0 &&
         params.in_dim * core::dtype_bytes(params.page_dtype) <= params.page_bytes &&
         reinterpret_cast<uintptr_t>(params.x) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(params.slice) % 16 == 0;
}

}  // namespace

// Of any batch; split_of may take fewer. A large batch, too, may have few rows in long segments.
int32_t lora_partials(int64_t) { return kMostParts; }

int32_t lora_shrink(void* stream, const LoraShrinkParams* params) {
  const LoraBatch& batch = params->batch;
  if (batch.num_segments == 0) return kOk;
  if (!is_lora_runnable(batch, params->activation_dtype, params->page_dtype)) return kUnsupported;
  if (has_pieces(batch, params->page_dtype, params->num_fused)) {
    LoraShrinkParams rest = *params;
    rest.batch = long_segments(batch);
    const bool has_long = rest.batch.num_segments > 0;
    if (has_long) {
      if (const int32_t status = lora_shrink(stream, &rest); status != kOk) return status;
    }
    return shrink_pieces(stream, *params, has_long);
  }
  const LoraSplit split =
      split_of(stream, batch, params->page_dtype, params->in_dim, params->t_stride);
  if (params->page_dtype == DType::kF32 || !is_vectorisable(*params))
    return plain_shrink(stream, *params, split);
  if (params->page_dtype == DType::kBF16) return launch_shrink<bf16>(stream, *params, split);
  return launch_shrink<__half>(stream, *params, split);
}

}  // namespace slora::kernels::cuda
