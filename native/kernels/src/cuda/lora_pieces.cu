// Shrink and expand of segments of few rows in batches of many (MBGMV of a large decode batch).
//
// Hundreds of adapters, each for a row or a few: what counts is how many bytes are asked for at any
// time, so a unit of work is small, names all it needs (LoraPiece), and hundreds of them are on the
// chip at once. One or a few rows cannot fill a tensor core's tile, and need not: the products of a
// byte that memory delivers cost the ordinary lanes less than its transfer.
#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kVec = 8;  // elements of 16 bytes
// Measured on an H200: twice the loads a lane in four blocks are slower than these in five.
constexpr int kBlocksAnSm = 5;

// How many parts the sum over in_dim is cut into, from what both halves know and a graph fixes.
int32_t parts_of(const LoraBatch& batch, int64_t in_dim, int32_t num_fused) {
  const int32_t most = batch.num_tokens <= 64                      ? 4
                       : batch.num_tokens <= 128 || num_fused == 1 ? 2
                                                                   : 1;
  constexpr int64_t kLeastElems = 1024;
  const auto fitting = static_cast<int32_t>(ceil_div(in_dim, kLeastElems));
  return most < fitting ? most : fitting;
}

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

template <typename T>
__device__ __forceinline__ void unpack(float (&to)[kVec], const uint4& from) {
  const uint32_t words[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = low_of<T>(words[i]);
    to[2 * i + 1] = high_of<T>(words[i]);
  }
}

__device__ __forceinline__ uint4 load_elems(const void* from, bool is_aligned) {
  return is_aligned ? load_once(from) : load_unaligned(from);
}

// ---- shrink

constexpr int kWarpRanks = kPieceRanks / kWarps;

// Semantics  t[part, e, j, i, r] = sum of x . A over the part's elements, for a piece's rows and
//            ranks
// Cost       A once, x once a warp (from cache)
// Grid       (parts * fused modules, pieces or a share of them); a warp has every fourth rank
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksAnSm)
    lora_shrink_pieces_kernel(const __grid_constant__ LoraShrinkParams p, int32_t part_elems,
                              bool is_beside) {
  constexpr int kAtOnce = 2;  // steps of 256 elements whose loads go out together
  allow_next();
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t fused = static_cast<int32_t>(blockIdx.x) % p.num_fused;
  const int32_t part = static_cast<int32_t>(blockIdx.x) / p.num_fused;
  const int32_t k_begin = part * part_elems;
  const int32_t k_end = min(k_begin + part_elems, static_cast<int32_t>(p.in_dim));
  const int32_t count = __ldg(p.batch.num_pieces);
  for (int32_t i = static_cast<int32_t>(blockIdx.y); i < count;
       i += static_cast<int32_t>(gridDim.y)) {
    const LoraPiece piece = load_piece(p.batch.shrink_pieces + i);
    const core::LoraModule* module =
        piece.modules + (p.layer_idx * p.batch.num_modules + p.module_idx[fused]);
    const ModuleHead head = load_head(module, &module->a);
    const int32_t ranks = head.lora_rank - piece.rank_begin;
    if (ranks <= warp) continue;
    const LoraRun run = make_run(p.slice, p.page_bytes, sizeof(T),
                                 p.batch.pages + piece.page_offset, head.begin, p.in_dim);
    const bool is_aligned = run.is_aligned();
    const T* rows[kWarpRanks];
#pragma unroll
    for (int n = 0; n < kWarpRanks; ++n) {
      const int32_t r = n * kWarps + warp;
      rows[n] = r < ranks ? run.row<T>(static_cast<uint32_t>(piece.rank_begin + r)) : nullptr;
    }
    uint4 a[kAtOnce][kWarpRanks];
    const auto load_steps = [&](int32_t k) {
#pragma unroll
      for (int s = 0; s < kAtOnce; ++s) {
#pragma unroll
        for (int n = 0; n < kWarpRanks; ++n) {
          const int32_t at = k + s * 32 * kVec;
          a[s][n] = make_uint4(0, 0, 0, 0);
          if (rows[n] && at < k_end) a[s][n] = load_elems(rows[n] + at, is_aligned);
        }
      }
    };
    float sums[kPieceTokens][kWarpRanks] = {};
    const T* const x =
        static_cast<const T*>(p.x) + static_cast<int64_t>(piece.first_token) * p.x_stride;
    int32_t k = k_begin + lane * kVec;
    load_steps(k);
    if (!is_beside) wait_for_inputs();
#pragma unroll 1
    for (int32_t step = k_begin; step < k_end; step += kAtOnce * 32 * kVec) {
#pragma unroll
      for (int s = 0; s < kAtOnce; ++s) {
        const int32_t at = k + s * 32 * kVec;
#pragma unroll
        for (int row = 0; row < kPieceTokens; ++row) {
          if (row >= piece.num_rows) break;
          uint4 packed = make_uint4(0, 0, 0, 0);
          if (at < k_end) packed = load_shared_input(x + row * p.x_stride + at);
          float values[kVec];
          unpack<T>(values, packed);
#pragma unroll
          for (int n = 0; n < kWarpRanks; ++n) {
            float weights[kVec];  // unpacked again for each row: most pieces have one
            unpack<T>(weights, a[s][n]);
#pragma unroll
            for (int e = 0; e < kVec; ++e) sums[row][n] += values[e] * weights[e];
          }
        }
      }
      k += kAtOnce * 32 * kVec;
      load_steps(k);
    }
    float* const t = p.t + part * p.t_stride + piece.t_offset +
                     static_cast<int64_t>(fused) * piece.num_rows * piece.t_stride +
                     piece.rank_begin;
#pragma unroll
    for (int row = 0; row < kPieceTokens; ++row) {
      if (row >= piece.num_rows) break;
#pragma unroll
      for (int n = 0; n < kWarpRanks; ++n) {
        const float sum = warp_sum(sums[row][n]);
        const int32_t r = n * kWarps + warp;
        if (lane == 0 && r < ranks) t[row * piece.t_stride + r] = sum;
      }
    }
  }
  wait_for_inputs();  // also for the kernel beside: whoever waits for this one waits for both
}

// ---- expand

constexpr int kColumns = kThreads * kVec;
constexpr int kChunkRanks = 64;  // ranks whose addresses and t are in shared memory at a time
constexpr int kAtOnceRanks = 8;  // rows of B whose loads go out together

// Semantics  y[row, column] += sum over entries of weight * scale * sum_r t[r] * Bt[r, column], for
//            a piece's rows and 1,024 columns
// Cost       B once, y read and written once, t once a block (from cache)
// Grid       (columns of all fused modules one after another, pieces or a share of them)
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksAnSm)
    lora_expand_pieces_kernel(const __grid_constant__ LoraExpandParams p, int32_t parts,
                              bool is_beside) {
  __shared__ const T* rows_of_b[kChunkRanks];
  __shared__ float t_rows[kPieceTokens][kChunkRanks];
  allow_next();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  int32_t fused = 0;
  int32_t column = static_cast<int32_t>(blockIdx.x) * kColumns;
  for (; fused + 1 < p.num_fused; ++fused) {
    const int32_t width =
        (static_cast<int32_t>(p.out_dim[fused]) + kColumns - 1) / kColumns * kColumns;
    if (column < width) break;
    column -= width;
  }
  column += thread * kVec;
  const int32_t out_dim = static_cast<int32_t>(p.out_dim[fused]);
  const bool is_inside = column < out_dim;
  const int32_t count = __ldg(p.batch.num_pieces + 1);
  for (int32_t i = static_cast<int32_t>(blockIdx.y); i < count;
       i += static_cast<int32_t>(gridDim.y)) {
    LoraPiece piece = load_piece(p.batch.expand_pieces + i);
    float sums[kPieceTokens][kVec] = {};
    bool is_touched = false;
    T* const y = static_cast<T*>(p.y) + static_cast<int64_t>(piece.first_token) * p.y_stride +
                 p.column_offset[fused] + column;
    uint4 first_y = make_uint4(0, 0, 0, 0);  // asked for before the products
    for (int32_t e = piece.entry_begin; e < piece.entry_end; ++e) {
      if (e > piece.entry_begin) {
        const LoraEntry entry = p.batch.entries[e];
        const LoraAdapterRef& adapter = p.batch.adapters[entry.adapter_idx];
        piece.modules = adapter.modules;
        piece.page_offset = adapter.page_offset;
        piece.t_offset = entry.t_offset;
        piece.t_stride = entry.t_stride;
        piece.weight = entry.weight;
      }
      const core::LoraModule* module =
          piece.modules + (p.layer_idx * p.batch.num_modules + p.module_idx[fused]);
      const ModuleHead head = load_head(module, &module->b);
      const float factor = piece.weight * head.scale;
      const LoraRun run = make_run(p.slice, p.page_bytes, sizeof(T),
                                   p.batch.pages + piece.page_offset, head.begin, out_dim);
      const bool is_aligned = run.is_aligned();
      const float* const t =
          p.t + piece.t_offset + static_cast<int64_t>(fused) * piece.num_rows * piece.t_stride;
      for (int32_t r0 = 0; r0 < head.lora_rank; r0 += kChunkRanks) {
        const int32_t ranks = min(kChunkRanks, head.lora_rank - r0);
        __syncthreads();  // the addresses and t of the chunk before have been used
        if (thread < ranks) rows_of_b[thread] = run.row<T>(static_cast<uint32_t>(r0 + thread));
        __syncthreads();  // the addresses are there for all
        uint4 b[kAtOnceRanks];
        const auto load_rows = [&](int32_t r) {
#pragma unroll
          for (int n = 0; n < kAtOnceRanks; ++n) {
            b[n] = make_uint4(0, 0, 0, 0);
            if (is_inside && r + n < ranks)
              b[n] = load_elems(rows_of_b[r + n] + column, is_aligned);
          }
        };
        load_rows(0);
        if (!is_beside) wait_for_inputs();
        if (is_inside && !is_touched) first_y = *reinterpret_cast<const uint4*>(y);
        is_touched = true;
        for (int32_t at = thread; at < piece.num_rows * ranks; at += kThreads) {
          const int32_t row = at / ranks, r = at % ranks;
          float sum = 0;
          for (int32_t part = 0; part < parts; ++part)
            sum += t[part * p.t_stride + row * piece.t_stride + r0 + r];
          t_rows[row][r] = sum * factor;
        }
        __syncthreads();  // t is there for all
#pragma unroll 1
        for (int32_t r = 0; r < ranks; r += kAtOnceRanks) {
#pragma unroll
          for (int n = 0; n < kAtOnceRanks; ++n) {
            if (r + n >= ranks) break;
            float weights[kVec];
            unpack<T>(weights, b[n]);
#pragma unroll
            for (int row = 0; row < kPieceTokens; ++row) {
              if (row >= piece.num_rows) break;
              const float factor_of_row = t_rows[row][r + n];
#pragma unroll
              for (int c = 0; c < kVec; ++c) sums[row][c] += factor_of_row * weights[c];
            }
          }
          load_rows(r + kAtOnceRanks);
        }
      }
    }
    if (!is_touched || !is_inside) continue;
#pragma unroll
    for (int row = 0; row < kPieceTokens; ++row) {
      if (row >= piece.num_rows) break;
      uint4* const to = reinterpret_cast<uint4*>(y + row * p.y_stride);
      float old[kVec];
      unpack<T>(old, row == 0 ? first_y : *to);
      *to = make_uint4(pack2<T>(old[0] + sums[row][0], old[1] + sums[row][1]),
                       pack2<T>(old[2] + sums[row][2], old[3] + sums[row][3]),
                       pack2<T>(old[4] + sums[row][4], old[5] + sums[row][5]),
                       pack2<T>(old[6] + sums[row][6], old[7] + sums[row][7]));
    }
  }
  wait_for_inputs();
}

}  // namespace

int32_t shrink_pieces(void* stream, const LoraShrinkParams& params, bool is_beside) {
  const int32_t parts = parts_of(params.batch, params.in_dim, params.num_fused);
  constexpr int64_t kGrain = 32 * kVec;
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
  int64_t columns = 0;
  for (int32_t j = 0; j < params.num_fused; ++j) columns += ceil_div(params.out_dim[j], kColumns);
  const dim3 grid(static_cast<unsigned>(columns),
                  pieces_at_once(stream, params.batch.max_expand_pieces, columns));
  const int32_t parts = parts_of(params.batch, params.in_dim, params.num_fused);
  const auto run = [&](auto element) {
    return launch(stream, lora_expand_pieces_kernel<decltype(element)>, grid, dim3(kThreads), 0,
                  params, parts, is_beside);
  };
  return params.page_dtype == DType::kBF16 ? run(bf16{}) : run(__half{});
}

}  // namespace slora::kernels::cuda
