// y += scale * t . B of every segment (MBGMV and MBGMM, second half), on tensor cores.
//
// B goes from memory to registers, asked for before the kernel waits for t, and never through
// shared memory (lora_expand.cuh).
//
// t is fp32 and tensor cores take halves of that: it goes as two numbers, the rounded value and
// what rounding lost. The factor weight * scale is in t, so entries add up like further ranks.
#include "src/cuda/lora_common.cuh"
#include "src/cuda/lora_expand.cuh"

namespace slora::kernels::cuda {
namespace {

// A warp's columns: kBlocks groups of 64. A lane's four 16-byte pieces of B a group and 16 ranks;
// then, in the same registers, its operands of eight tiles.
template <typename T, int kBlocks, int kChunks>
struct Operands {
  uint4 piece[kBlocks][kChunks][4];
};

// Addresses of rows [r0, r0 + kRanks) of B, null from lora_rank on. A barrier makes them known.
template <typename T, int kRanks>
__device__ __forceinline__ void find_rows(const T* (&rows)[kRanks], const LoraRun& run, int32_t r0,
                                          int32_t lora_rank) {
  const int32_t r = static_cast<int32_t>(threadIdx.x);
  if (r < kRanks)
    rows[r] = r0 + r < lora_rank ? run.row<T>(static_cast<uint32_t>(r0 + r)) : nullptr;
}

// Asks for those rows; rows that are null and columns past out_dim are zero.
template <typename T, int kBlocks, int kChunks, int kRanks>
__device__ __forceinline__ void load_b(Operands<T, kBlocks, kChunks>& b, const T* (&rows)[kRanks],
                                       bool is_aligned, int32_t column, int32_t out_dim) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto load_all = [&](auto load) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const T* row = rows[c * 16 + lane % 4 * 2 + i % 2 + i / 2 * 8];
#pragma unroll
        for (int block = 0; block < kBlocks; ++block) {
          const int32_t at = column + block * 64 + piece_of_lane(lane) * 8;
          uint4 piece = make_uint4(0, 0, 0, 0);
          if (row && at < out_dim) piece = load(row + at);
          b.piece[block][c][i] = piece;
        }
      }
    }
  };
  if (is_aligned) {
    load_all([](const T* from) { return load_once(from); });
  } else {
    load_all([](const T* from) { return load_unaligned(from); });
  }
}

template <typename T, int kBlocks, int kChunks>
__device__ __forceinline__ void pair_all(Operands<T, kBlocks, kChunks>& b) {
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      pair_rows(b.piece[block][c][0], b.piece[block][c][1]);
      pair_rows(b.piece[block][c][2], b.piece[block][c][3]);
    }
  }
}

// t of some rows and ranks in shared memory, in two halves. The pad keeps eight rows apart in
// banks. Tiles of many rows go without the second half: there its products would cost more than
// memory does, and rounding t to T errs no more than rounding y does.
template <typename T, int kRows, int kRanks>
struct alignas(16) TTile {
  static constexpr int kStride = kRanks + 8;
  static constexpr bool kHasLow = kRows == kTileTokens;
  T high[kRows][kStride];
  T low[kHasLow ? kRows : 1][kStride];
};

// Sums the parts of rows [0, count) and ranks [r0, r0 + kRanks) in order; rows up to the next
// multiple of 16 are zeros. A thread takes four ranks of a row, in one load a part where t's place
// allows.
template <int kThreads, typename T, int kRows, int kRanks>
__device__ __forceinline__ void stage_t(TTile<T, kRows, kRanks>& tile, const float* t,
                                        int64_t part_stride, int32_t parts, int32_t t_stride,
                                        int32_t count, int32_t ranks, float factor) {
  constexpr int kRowsAtOnce = kThreads / (kRanks / 4);
  const int32_t padded = (count + 15) / 16 * 16;
  const int32_t r = static_cast<int32_t>(threadIdx.x) % (kRanks / 4) * 4;
  const bool is_aligned =
      reinterpret_cast<uintptr_t>(t) % 16 == 0 && t_stride % 4 == 0 && part_stride % 4 == 0;
#pragma unroll(kRows == kTileTokens ? 1 : 2)
  for (int32_t row = static_cast<int32_t>(threadIdx.x) / (kRanks / 4); row < padded;
       row += kRowsAtOnce) {
    float sum[4] = {};
    if (row < count && r < ranks) {
      sum_parts(sum, t + static_cast<int64_t>(row) * t_stride + r, part_stride, parts, ranks - r,
                is_aligned);
    }
    float rest[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum[i] *= factor;
      rest[i] = sum[i] - to_float(from_float<T>(sum[i]));
    }
    *reinterpret_cast<uint2*>(&tile.high[row][r]) =
        make_uint2(pack2<T>(sum[0], sum[1]), pack2<T>(sum[2], sum[3]));
    if constexpr (TTile<T, kRows, kRanks>::kHasLow) {
      *reinterpret_cast<uint2*>(&tile.low[row][r]) =
          make_uint2(pack2<T>(rest[0], rest[1]), pack2<T>(rest[2], rest[3]));
    }
  }
}

// acc += t . B for one tile of 16 rows, from `row0` of the shared tile, and 64 columns.
template <typename T, int kChunks, int kRows, int kRanks>
__device__ __forceinline__ void multiply(float (&acc)[8][4], const uint4 (&b)[kChunks][4],
                                         const TTile<T, kRows, kRanks>& tile, int32_t row0,
                                         int32_t ranks) {
  constexpr bool kHasLow = TTile<T, kRows, kRanks>::kHasLow;
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t row = row0 + lane / 4;
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    if (c > 0 && c * 16 >= ranks) break;
    const int32_t r = c * 16 + lane % 4 * 2;
    const auto pair = [&](const T* from, int down, int along) {
      return *reinterpret_cast<const uint32_t*>(
          from + (row + down) * TTile<T, kRows, kRanks>::kStride + r + along);
    };
    const T* const t_high = &tile.high[0][0];
    const uint32_t high[4] = {pair(t_high, 0, 0), pair(t_high, 8, 0), pair(t_high, 0, 8),
                              pair(t_high, 8, 8)};
    uint32_t low[4] = {};
    if constexpr (kHasLow) {
      const T* const t_low = &tile.low[0][0];
      low[0] = pair(t_low, 0, 0);
      low[1] = pair(t_low, 8, 0);
      low[2] = pair(t_low, 0, 8);
      low[3] = pair(t_low, 8, 8);
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      // After pair_rows, tile n's pair of rows is word n / 2 of the even or the odd piece.
      const uint32_t b0 = word(b[c][n % 2], n / 2);
      const uint32_t b1 = word(b[c][2 + n % 2], n / 2);
      mma<T>(acc[n], high[0], high[1], high[2], high[3], b0, b1);
      if constexpr (kHasLow) mma<T>(acc[n], low[0], low[1], low[2], low[3], b0, b1);
    }
  }
}

// A lane's pieces of y in 64 columns: rows lane / 4 and that + 8, pieces lane % 4 and that + 4.
struct Pieces {
  uint4 piece[2][2];
};

template <typename Each>
__device__ __forceinline__ void for_pieces(int32_t rows, int32_t column, int32_t out_dim,
                                           Each&& each) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
#pragma unroll
  for (int down = 0; down < 2; ++down) {
#pragma unroll
    for (int along = 0; along < 2; ++along) {
      const int32_t row = lane / 4 + down * 8;
      const int32_t at = column + lane % 4 * 8 + along * 32;
      if (row < rows && at < out_dim) each(down, along, row, at);
    }
  }
}

template <typename T>
__device__ __forceinline__ void load_y(Pieces& y, const T* from, int64_t y_stride, int32_t rows,
                                       int32_t column, int32_t out_dim) {
  for_pieces(rows, column, out_dim, [&](int down, int along, int32_t row, int32_t at) {
    y.piece[down][along] = *reinterpret_cast<const uint4*>(from + row * y_stride + at);
  });
}

template <typename T>
__device__ __forceinline__ void store_y(const Pieces& y, T* to, int64_t y_stride, int32_t rows,
                                        int32_t column, int32_t out_dim, const float (&acc)[8][4]) {
  for_pieces(rows, column, out_dim, [&](int down, int along, int32_t row, int32_t at) {
    const uint4 old = y.piece[down][along];
    const auto sum = [&](int i) {
      const uint32_t both = word(old, i);
      return pack2<T>(low_of<T>(both) + acc[2 * i][down * 2 + along],
                      high_of<T>(both) + acc[2 * i + 1][down * 2 + along]);
    };
    *reinterpret_cast<uint4*>(to + row * y_stride + at) =
        make_uint4(sum(0), sum(1), sum(2), sum(3));
  });
}

// Semantics  y[row, column] += sum over entries of weight * scale * sum_r t[r] * Bt[r, column], for
//            kTiles * 16 rows and kWarps * kBlocks * 64 columns
// Cost       B once a unit, y read and written once, t once a block (from cache)
// Grid       (columns of all fused modules one after another, units or a share of them)
// One entry of at most kChunks * 16 ranks keeps B in registers over the unit's tiles; others read
// it for each.
template <typename T, int kWarps, int kBlocks, int kChunks, int kTiles>
__global__ void __launch_bounds__(32 * kWarps, kWarps == 8              ? 2
                                               : kChunks * kBlocks == 4 ? 3
                                                                        : 4)
    lora_expand_kernel(const __grid_constant__ LoraExpandParams p, int32_t parts, int32_t units) {
  constexpr int kThreads = 32 * kWarps;
  constexpr int kRanks = kChunks * 16;
  constexpr int kColumns = kBlocks * 64 * kWarps;
  __shared__ TTile<T, kTiles * kTileTokens, kRanks> t_tile;
  __shared__ const T* rows_of_b[kRanks];
  begin_beside_pieces(p.batch);
  int32_t fused = 0;
  int32_t column = static_cast<int32_t>(blockIdx.x) * kColumns;
  for (; fused + 1 < p.num_fused; ++fused) {
    const int32_t width =
        (static_cast<int32_t>(p.out_dim[fused]) + kColumns - 1) / kColumns * kColumns;
    if (column < width) break;
    column -= width;
  }
  column += static_cast<int32_t>(threadIdx.x / 32) * kBlocks * 64;
  const int32_t out_dim = static_cast<int32_t>(p.out_dim[fused]);
  // Where there are many tokens a block takes neighbouring units, which mostly share B.
  const int32_t step = kTiles > 1 ? 1 : static_cast<int32_t>(gridDim.y);
  const int32_t share =
      (units + static_cast<int32_t>(gridDim.y) - 1) / static_cast<int32_t>(gridDim.y);
  const int32_t first_unit = static_cast<int32_t>(blockIdx.y) * (kTiles > 1 ? share : 1);
  const int32_t end_unit = kTiles > 1 ? min(units, first_unit + share) : units;
  Operands<T, kBlocks, kChunks> b;
  int32_t kept = -1;  // the entry whose B is in registers
  LoraEntry entry{};
  float factor = 0;
  int32_t lora_rank = 0;
  bool is_simple = false;
#pragma unroll 1
  for (int32_t unit_idx = first_unit; unit_idx < end_unit; unit_idx += step) {
    const LoraUnit unit = find_unit(p.batch, unit_idx, kTiles * kTileTokens);
    if (unit.count == 0 || unit.entry_begin == unit.entry_end) continue;
    T* const y =
        static_cast<T*>(p.y) + (unit.begin + unit.first) * p.y_stride + p.column_offset[fused];

    // Where there are many tokens B is little beside y, so y is asked for first.
    Pieces now;
    if (kTiles > 1) {
      wait_for_inputs();
      load_y(now, y, p.y_stride, unit.count, column, out_dim);
    }
    const auto head_and_run = [&](LoraRun& run) {
      const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
      const core::LoraModule* module =
          module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
      const int32_t* pages = p.batch.pages + adapter.page_offset;
      const ModuleHead head = load_head(module, &module->b);
      run = make_run(p.slice, p.page_bytes, sizeof(T), pages, head.begin, out_dim);
      return head;
    };
    // The intermediate of the unit's row `first`.
    const auto t_of = [&](int32_t first) {
      return p.t + entry.t_offset +
             (static_cast<int64_t>(fused) * unit.rows + unit.first + first) * entry.t_stride;
    };
    const bool is_kept = kTiles > 1 && unit.entry_begin == kept;
    if (!is_kept) {
      LoraRun run;
      entry = p.batch.entries[unit.entry_begin];
      const ModuleHead head = head_and_run(run);
      lora_rank = head.lora_rank;
      factor = entry.weight * head.scale;
      is_simple = unit.entry_end - unit.entry_begin == 1 && lora_rank <= kRanks;
      kept = is_simple ? unit.entry_begin : -1;
      if (is_simple && lora_rank > 0) {
        find_rows(rows_of_b, run, 0, lora_rank);
        __syncthreads();  // the rows' addresses are there for all
        load_b(b, rows_of_b, run.is_aligned(), column, out_dim);
      } else {
        b = Operands<T, kBlocks, kChunks>{};  // frees its registers
      }
    }

    if (is_simple) {
      if (lora_rank == 0) continue;
      wait_for_inputs();
      // Each piece of y is asked for while the one before it is worked on.
      if (kTiles == 1) load_y(now, y, p.y_stride, unit.count, column, out_dim);
      stage_t<kThreads>(t_tile, t_of(0), p.t_stride, parts, entry.t_stride, unit.count, lora_rank,
                        factor);
      if (!is_kept) pair_all(b);
      __syncthreads();  // t is there for all
#pragma unroll 1
      for (int32_t row = 0; row < unit.count; row += kTileTokens) {
        T* const y_row = y + row * p.y_stride;
        const int32_t rows = unit.count - row;
#pragma unroll
        for (int block = 0; block < kBlocks; ++block) {
          Pieces next;
          if (block + 1 < kBlocks) {
            load_y(next, y_row, p.y_stride, rows, column + (block + 1) * 64, out_dim);
          } else if (kTiles > 1) {
            load_y(next, y_row + kTileTokens * p.y_stride, p.y_stride, rows - kTileTokens, column,
                   out_dim);
          }
          float acc[8][4] = {};
          multiply(acc, b.piece[block], t_tile, row, lora_rank);
          store_y(now, y_row, p.y_stride, rows, column + block * 64, out_dim, acc);
          if (block + 1 < kBlocks || kTiles > 1) now = next;
        }
      }
      __syncthreads();  // t and the rows' addresses have been used
      continue;
    }

    wait_for_inputs();
#pragma unroll 1
    for (int32_t i = 0; i < kBlocks * kTiles; ++i) {
      const int32_t row = i / kBlocks * kTileTokens;
      const int32_t rows = min(kTileTokens, unit.count - row);
      if (rows <= 0) break;
      const int32_t at = column + i % kBlocks * 64;
      float acc[8][4] = {};
      bool is_touched = false;
      for (int32_t e = unit.entry_begin; e < unit.entry_end; ++e) {
        LoraRun run;
        entry = p.batch.entries[e];
        const ModuleHead head = head_and_run(run);
        factor = entry.weight * head.scale;
        for (int32_t r0 = 0; r0 < head.lora_rank; r0 += kRanks) {
          is_touched = true;
          const int32_t ranks = min(kRanks, head.lora_rank - r0);
          __syncthreads();  // the last ranks' t and addresses have been used
          find_rows(rows_of_b, run, r0, head.lora_rank);
          stage_t<kThreads>(t_tile, t_of(row) + r0, p.t_stride, parts, entry.t_stride, rows, ranks,
                            factor);
          __syncthreads();  // both are there for all
          Operands<T, 1, kChunks> some;
          load_b(some, rows_of_b, run.is_aligned(), at, out_dim);
          pair_all(some);
          multiply(acc, some.piece[0], t_tile, 0, ranks);
        }
      }
      if (!is_touched) break;
      load_y(now, y + row * p.y_stride, p.y_stride, rows, at, out_dim);
      store_y(now, y + row * p.y_stride, p.y_stride, rows, at, out_dim, acc);
    }
    b = Operands<T, kBlocks, kChunks>{};  // frees its registers
    __syncthreads();                      // t and the rows' addresses have been used
  }
  leave_idle();
}

template <typename T, int kWarps, int kBlocks, int kChunks, int kTiles>
int32_t launch_tiles(void* stream, const LoraExpandParams& params, const LoraSplit& split) {
  int64_t tiles = 0;
  for (int32_t j = 0; j < params.num_fused; ++j)
    tiles += ceil_div(params.out_dim[j], kWarps * kBlocks * 64);
  const int64_t units = num_units(params.batch, kTiles * kTileTokens);
  // As many blocks as the card holds, or twice that where they end at different times.
  const int32_t blocks_an_sm = kTiles == 1 ? 8 : kChunks == 4 ? 3 : 4;
  unsigned at_once = units_at_once(stream, units, tiles, blocks_an_sm);
  // Neighbours in one block take twice the time of one, and of few units many have nothing to do.
  if (kTiles > 1 && units <= int64_t{2} * at_once) at_once = static_cast<unsigned>(units);
  const dim3 grid(static_cast<unsigned>(tiles), at_once);
  return launch(stream, lora_expand_kernel<T, kWarps, kBlocks, kChunks, kTiles>, grid,
                dim3(32 * kWarps), 0, params, split.written(), static_cast<int32_t>(units));
}

template <typename T>
int32_t launch_expand(void* stream, const LoraExpandParams& params, const LoraSplit& split) {
  const int32_t rank = params.batch.max_lora_rank > 0 ? params.batch.max_lora_rank : 64;
  if (is_prefill(params.batch)) {
    constexpr int kTiles = kPrefillTokens / kTileTokens;
    if (rank <= 16) return launch_tiles<T, 4, 1, 1, kTiles>(stream, params, split);
    if (rank <= 32) return launch_tiles<T, 4, 1, 2, kTiles>(stream, params, split);
    return launch_tiles<T, 4, 1, 4, kTiles>(stream, params, split);
  }
  // A block asks for some 16 to 32 KB of B at once, less where there are few of them.
  const bool is_small = params.batch.num_tokens <= 4;
  if (rank <= 16 && is_small) return launch_tiles<T, 4, 1, 1, 1>(stream, params, split);
  if (rank <= 16 && (params.num_fused == 1 || params.batch.num_tokens <= kTileTokens))
    return launch_tiles<T, 8, 2, 1, 1>(stream, params, split);
  if (rank <= 16) return launch_tiles<T, 4, 4, 1, 1>(stream, params, split);
  if (rank <= 32 && is_small) return launch_tiles<T, 4, 1, 2, 1>(stream, params, split);
  if (rank <= 32) return launch_tiles<T, 8, 1, 2, 1>(stream, params, split);
  return launch_tiles<T, 4, 1, 4, 1>(stream, params, split);
}

}  // namespace

bool is_vectorisable(const LoraExpandParams& params) {
  bool is_fine = params.y_stride % 8 == 0 && params.page_bytes % 16 == 0 &&
                 reinterpret_cast<uintptr_t>(params.y) % 16 == 0 &&
                 reinterpret_cast<uintptr_t>(params.slice) % 16 == 0;
  for (int32_t j = 0; j < params.num_fused; ++j) {
    is_fine &= params.out_dim[j] % 8 == 0 && params.column_offset[j] % 8 == 0 &&
               params.out_dim[j] * core::dtype_bytes(params.page_dtype) <= params.page_bytes;
  }
  return is_fine;
}

int32_t lora_expand(void* stream, const LoraExpandParams* params) {
  const LoraBatch& batch = params->batch;
  if (batch.num_segments == 0) return kOk;
  if (!is_lora_runnable(batch, params->activation_dtype, params->page_dtype)) return kUnsupported;
  if (has_pieces(batch, params->page_dtype, params->num_fused)) {
    LoraExpandParams rest = *params;
    rest.batch = long_segments(batch);
    const bool has_long = rest.batch.num_segments > 0;
    if (has_long) {
      if (const int32_t status = lora_expand(stream, &rest); status != kOk) return status;
    }
    return expand_pieces(stream, *params, has_long);
  }
  const LoraSplit split =
      split_of(stream, batch, params->page_dtype, params->in_dim, params->t_stride);
  if (params->page_dtype == DType::kF32 || !is_vectorisable(*params))
    return plain_expand(stream, *params, split);
  if (params->page_dtype == DType::kBF16) return launch_expand<bf16>(stream, *params, split);
  return launch_expand<__half>(stream, *params, split);
}

}  // namespace slora::kernels::cuda
