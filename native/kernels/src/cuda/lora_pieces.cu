// Shrink and expand of segments of few rows in batches of many (MBGMV of a large decode batch).
//
// Hundreds of adapters, each for a row or a few: what counts is how many bytes are asked for at any
// time, so a unit of work is small, names all it needs (LoraPiece), and hundreds of them are on the
// chip at once. The products are the tensor cores': not for their rate, most of a tile is empty,
// but because they take a byte as it comes from memory, so that eight rows cost what one does.
#include "src/cuda/lora_expand.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

// A block takes pieces in turn. As many blocks as the chip holds twice.
unsigned pieces_at_once(void* stream, int32_t pieces, int64_t blocks) {
  const int64_t most = 16 * int64_t{device_of(stream).sm_count} / blocks;
  return static_cast<unsigned>(most < 1 ? 1 : most < pieces ? most : pieces);
}

__device__ __forceinline__ LoraPiece load_piece(const LoraPiece* from) {
  static_assert(sizeof(LoraPiece) % 16 == 0);
  LoraPiece piece;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(LoraPiece) / 16); ++i)
    reinterpret_cast<uint4*>(&piece)[i] = __ldg(reinterpret_cast<const uint4*>(from) + i);
  return piece;
}

__device__ __forceinline__ uint4 load_elems(const void* from, bool is_aligned) {
  return is_aligned ? load_once(from) : load_unaligned(from);
}

// ---- shrink

static_assert(kPieceRanks == 16 && kPieceTokens == 8, "one tile of the tensor cores");

// Semantics  t[part, e, j, i, r] = sum of x . A over the part's elements, for a piece's rows and
//            ranks
// Cost       A once, x once a block (from cache)
// Grid       (parts * fused modules, pieces or a share of them); the warps share out the elements
template <typename T>
__global__ void __launch_bounds__(kThreads, 6)
    lora_shrink_pieces_kernel(const __grid_constant__ LoraShrinkParams p, int32_t part_elems,
                              bool is_beside) {
  constexpr int kSteps = 4;  // whose loads go out together
  constexpr int kStepElems = 32 * kWarps;
  __shared__ float sums[2][kWarps][kPieceTokens][kPieceRanks + 4];
  allow_next();
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t group = lane / 4;
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t fused = static_cast<int32_t>(blockIdx.x) % p.num_fused;
  const int32_t part = static_cast<int32_t>(blockIdx.x) / p.num_fused;
  const int32_t k_end = min((part + 1) * part_elems, static_cast<int32_t>(p.in_dim));
  const int32_t lane_k = part * part_elems + warp * 32 + lane % 4 * 8;
  const int32_t count = __ldg(p.batch.num_pieces);
  int32_t buffer = 0;
  for (int32_t i = static_cast<int32_t>(blockIdx.y); i < count;
       i += static_cast<int32_t>(gridDim.y)) {
    const LoraPiece piece = load_piece(p.batch.shrink_pieces + i);
    const core::LoraModule* module =
        piece.modules + (p.layer_idx * p.batch.num_modules + p.module_idx[fused]);
    const ModuleHead head = load_head(module, &module->a);
    const int32_t ranks = head.lora_rank - piece.rank_begin;
    if (ranks <= 0) continue;
    const LoraRun run = make_run(p.slice, p.page_bytes, sizeof(T),
                                 p.batch.pages + piece.page_offset, head.begin, p.in_dim);
    const bool is_aligned = run.is_aligned();
    const T* rows[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int32_t r = n * 8 + group;
      rows[n] = r < ranks ? run.row<T>(static_cast<uint32_t>(piece.rank_begin + r)) : nullptr;
    }
    const T* const x = group < piece.num_rows
                           ? static_cast<const T*>(p.x) + (piece.first_token + group) * p.x_stride
                           : nullptr;
    float acc[4] = {};
#pragma unroll 1
    for (int32_t k = lane_k; k - lane_k < part_elems; k += kSteps * kStepElems) {
      uint4 a[kSteps][2];
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int32_t at = k + s * kStepElems;
          a[s][n] = make_uint4(0, 0, 0, 0);
          if (rows[n] && at < k_end) a[s][n] = load_elems(rows[n] + at, is_aligned);
        }
      }
      // The sum does not mind its order, so a lane's eight neighbours in memory stand for the
      // elements 2c, 2c + 1, 2c + 8, 2c + 9 of two steps of 16, in x and A alike.
      if (!is_beside) wait_for_inputs();
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const int32_t at = k + s * kStepElems;
        uint4 values = make_uint4(0, 0, 0, 0);
        if (x && at < k_end) values = load_shared_input(x + at);
        mma<T>(acc, a[s][0].x, a[s][1].x, a[s][0].y, a[s][1].y, values.x, values.y);
        mma<T>(acc, a[s][0].z, a[s][1].z, a[s][0].w, a[s][1].w, values.z, values.w);
      }
    }
    // The warps' sums in their order. Two buffers: the piece after the next finds its own read.
    buffer ^= 1;
#pragma unroll
    for (int n = 0; n < 4; ++n)
      sums[buffer][warp][lane % 4 * 2 + n % 2][group + n / 2 * 8] = acc[n];
    __syncthreads();
    const int32_t row = static_cast<int32_t>(threadIdx.x) / kPieceRanks;
    const int32_t r = static_cast<int32_t>(threadIdx.x) % kPieceRanks;
    if (row < piece.num_rows && r < ranks) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += sums[buffer][w][row][r];
      p.t[part * p.t_stride + piece.t_offset +
          (static_cast<int64_t>(fused) * piece.num_rows + row) * piece.t_stride + piece.rank_begin +
          r] = sum;
    }
  }
  wait_for_inputs();  // also for the kernel beside: whoever waits for this one waits for both
}

// ---- expand

constexpr int kGroupColumns = 64;  // of a warp at a time
constexpr int kBlockColumns = kWarps * kGroupColumns;
constexpr int kChunkRanks = 64;  // ranks whose addresses and t are in shared memory at a time
constexpr int kStepRanks = 16;

// t of a piece's rows as the tensor cores take it: rows 0..7 of a tile its values rounded to T,
// rows 8..15 what rounding lost, so that both halves' products are in one lane.
struct alignas(16) TOperands {
  uint4 of_lane[kChunkRanks / kStepRanks][32];
};

// Sums the parts of t in order and multiplies by `factor`; zeros where there are no rows or ranks.
template <typename T>
__device__ __forceinline__ void stage_t(TOperands& operands, const float* t, int64_t part_stride,
                                        int32_t parts, int32_t t_stride, int32_t rows,
                                        int32_t ranks, float factor) {
  static_assert(kThreads == kPieceTokens * kChunkRanks / 4);
  const int32_t row = static_cast<int32_t>(threadIdx.x) / (kChunkRanks / 4);
  const int32_t r = static_cast<int32_t>(threadIdx.x) % (kChunkRanks / 4) * 4;
  float sum[4] = {};
  if (row < rows && r < ranks) {
    const bool is_aligned =
        reinterpret_cast<uintptr_t>(t) % 16 == 0 && t_stride % 4 == 0 && part_stride % 4 == 0;
    sum_parts(sum, t + row * t_stride + r, part_stride, parts, ranks - r, is_aligned);
  }
  float rest[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[i] *= factor;
    rest[i] = sum[i] - to_float(from_float<T>(sum[i]));
  }
  // Ranks 2c, 2c + 1 of a step are the first half of lane c's operand, 2c + 8, 2c + 9 the second.
  const int32_t in_step = r % kStepRanks;
  uint4* const lanes = &operands.of_lane[r / kStepRanks][row * 4 + in_step % 8 / 2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    reinterpret_cast<uint2*>(lanes + i)[in_step / 8] =
        make_uint2(pack2<T>(sum[2 * i], sum[2 * i + 1]), pack2<T>(rest[2 * i], rest[2 * i + 1]));
  }
}

// Where a lane's pieces of y are, of the first of the warp's groups of 64 columns; null: no row.
template <typename T>
struct OwnY {
  T* at;
  int32_t column;
  int32_t out_dim;

  __device__ __forceinline__ void load(uint4 (&now)[2], int32_t group) const {
#pragma unroll
    for (int along = 0; along < 2; ++along) {
      const int32_t offset = group * kBlockColumns + along * 32;
      if (at && column + offset < out_dim)
        now[along] = *reinterpret_cast<const uint4*>(at + offset);
    }
  }
  // The sums of both halves of t, on top of what `now` holds.
  __device__ __forceinline__ void add(const uint4 (&now)[2], int32_t group,
                                      const float (&acc)[8][4]) const {
#pragma unroll
    for (int along = 0; along < 2; ++along) {
      const int32_t offset = group * kBlockColumns + along * 32;
      if (!at || column + offset >= out_dim) continue;
      const auto sum = [&](int n) {
        const uint32_t both = word(now[along], n);
        return pack2<T>(low_of<T>(both) + (acc[2 * n][along] + acc[2 * n][along + 2]),
                        high_of<T>(both) + (acc[2 * n + 1][along] + acc[2 * n + 1][along + 2]));
      };
      *reinterpret_cast<uint4*>(at + offset) = make_uint4(sum(0), sum(1), sum(2), sum(3));
    }
  }
};

// A lane's four pieces of B of 16 ranks, the step's, and the 64 columns around `column`; zeros
// where there are none.
template <typename T>
__device__ __forceinline__ void load_b(uint4 (&b)[4], const T* const (&rows)[kChunkRanks],
                                       int32_t step, int32_t column, bool is_inside,
                                       bool is_aligned) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    b[j] = make_uint4(0, 0, 0, 0);
    if (!is_inside) continue;
    const T* const row = rows[step * kStepRanks + lane % 4 * 2 + j % 2 + j / 2 * 8];
    if (row) b[j] = load_elems(row + column, is_aligned);
  }
}

template <typename T>
__device__ __forceinline__ void multiply(float (&acc)[8][4], uint4 (&b)[4], const uint4& t) {
  pair_rows(b[0], b[1]);
  pair_rows(b[2], b[3]);
#pragma unroll
  for (int n = 0; n < 8; ++n)
    mma<T>(acc[n], t.x, t.y, t.z, t.w, word(b[n % 2], n / 2), word(b[2 + n % 2], n / 2));
}

__device__ __forceinline__ void clear(float (&acc)[8][4]) {
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) acc[n][c] = 0;
  }
}

// Semantics  y[row, column] += sum over entries of weight * scale * sum_r t[r] * Bt[r, column], for
//            a piece's rows and `groups` times 256 columns
// Cost       B once, y read and written once, t once a block (from cache)
// Grid       (columns of all fused modules one after another, pieces or a share of them)
// Work goes by 16 ranks and 64 columns, kAtOnce of them asked for together.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4)
    lora_expand_pieces_kernel(const __grid_constant__ LoraExpandParams p, int32_t parts,
                              int32_t groups, bool is_beside) {
  constexpr int kAtOnce = 2;
  __shared__ const T* rows_of_b[kChunkRanks];
  __shared__ TOperands t_operands;
  allow_next();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32;
  int32_t fused = 0;
  int32_t column = static_cast<int32_t>(blockIdx.x) * groups * kBlockColumns;
  for (; fused + 1 < p.num_fused; ++fused) {
    const int32_t width = (static_cast<int32_t>(p.out_dim[fused]) + groups * kBlockColumns - 1) /
                          (groups * kBlockColumns) * (groups * kBlockColumns);
    if (column < width) break;
    column -= width;
  }
  column += thread / 32 * kGroupColumns;
  const int32_t b_column = column + piece_of_lane(lane) * 8;
  const int32_t out_dim = static_cast<int32_t>(p.out_dim[fused]);
  const auto find_rows = [&](const LoraRun& run, int32_t r0, int32_t ranks) {
    if (thread < kChunkRanks)
      rows_of_b[thread] = thread < ranks ? run.row<T>(static_cast<uint32_t>(r0 + thread)) : nullptr;
  };
  const auto run_of = [&](const ModuleHead& head, int32_t page_offset) {
    return make_run(p.slice, p.page_bytes, sizeof(T), p.batch.pages + page_offset, head.begin,
                    out_dim);
  };
  const int32_t count = __ldg(p.batch.num_pieces + 1);
  for (int32_t i = static_cast<int32_t>(blockIdx.y); i < count;
       i += static_cast<int32_t>(gridDim.y)) {
    const LoraPiece piece = load_piece(p.batch.expand_pieces + i);
    const core::LoraModule* const module =
        piece.modules + (p.layer_idx * p.batch.num_modules + p.module_idx[fused]);
    const ModuleHead head = load_head(module, &module->b);
    const int32_t row = lane / 4;
    OwnY<T> y{nullptr, column + lane % 4 * 8, out_dim};
    if (row < piece.num_rows)
      y.at = static_cast<T*>(p.y) + (piece.first_token + row) * p.y_stride +
             p.column_offset[fused] + y.column;
    float acc[8][4];

    // One entry of few ranks, as nearly always.
    if (piece.entry_end - piece.entry_begin == 1 && head.lora_rank <= kChunkRanks) {
      if (head.lora_rank == 0) continue;
      const int32_t steps = (head.lora_rank + kStepRanks - 1) / kStepRanks;
      bool is_aligned;
      {
        const LoraRun run = run_of(head, piece.page_offset);
        is_aligned = run.is_aligned();
        __syncthreads();  // the addresses and t of the piece before have been used
        find_rows(run, 0, head.lora_rank);
      }
      __syncthreads();  // the addresses are there for all
      int32_t group = 0, step = 0;
#pragma unroll 1
      while (group < groups) {
        uint4 b[kAtOnce][4], now[kAtOnce][2];
        const bool is_first = group + step == 0;
        const auto each = [&](auto&& work) {
          int32_t g = group, s = step;
#pragma unroll
          for (int n = 0; n < kAtOnce; ++n) {
            work(n, g, s);
            if (++s == steps) {
              s = 0;
              ++g;
            }
          }
        };
        each([&](int n, int32_t g, int32_t s) {
          load_b(b[n], rows_of_b, s, b_column + g * kBlockColumns,
                 g < groups && b_column + g * kBlockColumns < out_dim, is_aligned);
        });
        if (is_first) {
          if (!is_beside) wait_for_inputs();
          stage_t<T>(
              t_operands,
              p.t + piece.t_offset + static_cast<int64_t>(fused) * piece.num_rows * piece.t_stride,
              p.t_stride, parts, piece.t_stride, piece.num_rows, head.lora_rank,
              piece.weight * head.scale);
        }
        each([&](int n, int32_t g, int32_t s) {
          if (g < groups && s == steps - 1) y.load(now[n], g);
        });
        if (is_first) __syncthreads();  // t is there for all
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
          if (group == groups) break;
          if (step == 0) clear(acc);
          multiply<T>(acc, b[n], t_operands.of_lane[step][lane]);
          if (++step == steps) {
            y.add(now[n], group, acc);
            step = 0;
            ++group;
          }
        }
      }
      continue;
    }

    if (!is_beside) wait_for_inputs();
#pragma unroll 1
    for (int32_t group = 0; group < groups; ++group) {
      const int32_t at = b_column + group * kBlockColumns;
      bool is_touched = false;
      clear(acc);
#pragma unroll 1
      for (int32_t e = piece.entry_begin; e < piece.entry_end; ++e) {
        const LoraEntry entry = p.batch.entries[e];
        const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
        const core::LoraModule* const own =
            module_of(p.batch, adapter, p.layer_idx, p.module_idx[fused]);
        const ModuleHead own_head = load_head(own, &own->b);
        const LoraRun run = run_of(own_head, adapter.page_offset);
#pragma unroll 1
        for (int32_t r0 = 0; r0 < own_head.lora_rank; r0 += kChunkRanks) {
          const int32_t ranks = min(kChunkRanks, own_head.lora_rank - r0);
          is_touched = true;
          __syncthreads();  // the addresses and t of the chunk before have been used
          find_rows(run, r0, ranks);
          stage_t<T>(t_operands,
                     p.t + entry.t_offset +
                         static_cast<int64_t>(fused) * piece.num_rows * entry.t_stride + r0,
                     p.t_stride, parts, entry.t_stride, piece.num_rows, ranks,
                     entry.weight * own_head.scale);
          __syncthreads();  // both are there for all
#pragma unroll 1
          for (int32_t step = 0; step * kStepRanks < ranks; ++step) {
            uint4 b[4];
            load_b(b, rows_of_b, step, at, at < out_dim, run.is_aligned());
            multiply<T>(acc, b, t_operands.of_lane[step][lane]);
          }
        }
      }
      if (!is_touched) break;
      uint4 now[2];
      y.load(now, group);
      y.add(now, group, acc);
    }
  }
  wait_for_inputs();
}

}  // namespace

int32_t parts_of_pieces(const LoraBatch& batch, int64_t in_dim, int32_t num_fused) {
  const int32_t most = batch.num_tokens <= 64                      ? 4
                       : batch.num_tokens <= 128 || num_fused == 1 ? 2
                                                                   : 1;
  constexpr int64_t kLeastElems = 1024;
  const auto fitting = static_cast<int32_t>(ceil_div(in_dim, kLeastElems));
  return most < fitting ? most : fitting;
}

int32_t shrink_pieces(void* stream, const LoraShrinkParams& params, bool is_beside) {
  const int32_t parts = parts_of_pieces(params.batch, params.in_dim, params.num_fused);
  constexpr int64_t kGrain = 32 * kWarps;
  const auto part_elems =
      static_cast<int32_t>(ceil_div(ceil_div(params.in_dim, parts), kGrain) * kGrain);
  const int64_t columns = int64_t{parts} * params.num_fused;
  const dim3 grid(static_cast<unsigned>(columns),
                  pieces_at_once(stream, params.batch.max_shrink_pieces, columns));
  const auto run = [&](auto element) {
    return launch(stream, lora_shrink_pieces_kernel<decltype(element)>, grid, dim3(kThreads), 0,
                  params, part_elems, is_beside);
  };
  return params.page_dtype == DType::kBF16 ? run(bf16{}) : run(__half{});
}

int32_t expand_pieces(void* stream, const LoraExpandParams& params, bool is_beside) {
  const auto columns_of = [&](int32_t groups) {
    int64_t columns = 0;
    for (int32_t j = 0; j < params.num_fused; ++j)
      columns += ceil_div(params.out_dim[j], groups * kBlockColumns);
    return columns;
  };
  // Fewer columns a block where there are too few blocks otherwise (12 an SM: measured).
  int32_t groups = 4;
  while (groups > 1 && columns_of(groups) * params.batch.max_expand_pieces <
                           int64_t{12} * device_of(stream).sm_count)
    groups /= 2;
  const int64_t columns = columns_of(groups);
  const dim3 grid(static_cast<unsigned>(columns),
                  pieces_at_once(stream, params.batch.max_expand_pieces, columns));
  const int32_t parts = parts_of_pieces(params.batch, params.in_dim, params.num_fused);
  const auto run = [&](auto element) {
    return launch(stream, lora_expand_pieces_kernel<decltype(element)>, grid, dim3(kThreads), 0,
                  params, parts, groups, is_beside);
  };
  return params.page_dtype == DType::kBF16 ? run(bf16{}) : run(__half{});
}

}  // namespace slora::kernels::cuda
