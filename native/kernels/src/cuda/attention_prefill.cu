// Attention of rows of several tokens: flash attention on tensor cores over pages. A block takes a
// tile of (token, head) pairs of one row and KV head - all query heads that share K and V lie side
// by side in the tile - and walks the positions that its tokens see. K and V travel by asynchronous
// copies, one tile of positions ahead.
#include "async_copy.cuh"
#include "attention.cuh"
#include "attention_tiles.cuh"
#include "attention_wgmma.cuh"
#include "warpgroups.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;

// kRowTiles: tiles of 16 pairs a warp. kPositions: of a tile of K and V.
template <int kD>
struct Shape {
  static constexpr int kRowTiles = kD <= 128 ? 2 : 1;
  static constexpr int kRows = kWarps * 16 * kRowTiles;
  static constexpr int kPositions = kD <= 128 ? 64 : 32;
  // 16 bytes more than a row: eight rows of a matrix lie in different banks.
  static constexpr int kStride = kD * 2 + 16;
  static constexpr int kTileBytes = kPositions * kStride;
  static constexpr int kQBytes = kRows * kStride;
  static constexpr int kOffsetsBytes = 2 * kPositions * 4;
  // A thread copies one 16-byte piece of every kRowsAPass-th row.
  static constexpr int kPieces = kD / 8;
  static constexpr int kRowsAPass = kD == 64 ? 16 : kD == 256 ? 4 : 8;
  static constexpr int kCopies = kPositions / kRowsAPass;
  static_assert(kRowsAPass * kPieces <= kThreads && kCopies % 4 == 0);
  static constexpr int kSharedBytes = kOffsetsBytes + kQBytes + 4 * kTileBytes;
};

// Semantics  AttentionParams, of rows of at least min_tokens tokens
// Cost       4 D flops a (query head, position in range), in tiles; K and V once a tile, from L2
template <typename T, int kD>
__global__ void __launch_bounds__(kThreads, 2)
    attention_prefill_kernel(const AttentionParams params, const Tiling tiling) {
  allow_next();
  using S = Shape<kD>;
  constexpr int kRowTiles = S::kRowTiles;
  constexpr int kColumnTiles = S::kPositions / 8;
  constexpr int kPieces = S::kPieces;
  extern __shared__ __align__(16) uint8_t shared[];
  auto* const shared_offsets = reinterpret_cast<uint32_t*>(shared);  // [2, kPositions]
  const uint32_t q_address = shared_address(shared + S::kOffsetsBytes);
  const uint32_t kv_address = q_address + S::kQBytes;  // [2 stages][K, V]

  const int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t g = lane / 4, c = lane % 4;
  const int32_t d = params.head_size;
  const int32_t group = params.num_heads / params.num_kv_heads;
  const int32_t parts = (group + tiling.heads_a_tile - 1) / tiling.heads_a_tile;
  const int32_t kv_head = blockIdx.x / parts;
  const int32_t group_begin = (blockIdx.x % parts) * tiling.heads_a_tile;
  const int32_t num_heads = min(tiling.heads_a_tile, group - group_begin);
  const int32_t first_head = kv_head * group + group_begin;
  // row / num_heads of the few rows of a tile: exact while both are below 256.
  const int32_t reciprocal = (65536 + num_heads - 1) / num_heads;
  const auto token_of = [&](int32_t row) { return row * reciprocal >> 16; };

  // ---- which tile: every warp finds it itself, from tables that copies wrote
  const Tile tile = find_tile(params, tiling, blockIdx.y);
  if (!tiling.is_beside) wait_for_inputs();
  // Whoever waits for this launch waits for the one beside it too.
  const auto leave = [&] {
    if (tiling.is_beside) leave_idle();
  };
  if (tile.row < 0) return leave();
  const int32_t num_pairs = tile.num_tokens * num_heads;
  const int32_t first_position = params.token_position[tile.first_token];
  const int32_t last_position = params.token_position[tile.first_token + tile.num_tokens - 1];
  const int32_t begin = window_begin(params, first_position);
  const int32_t end = last_position + 1;
  const int32_t aligned_begin = begin / S::kPositions * S::kPositions;
  const int32_t num_steps = (end - aligned_begin + S::kPositions - 1) / S::kPositions;

  const int64_t row_bytes = static_cast<int64_t>(params.num_kv_heads) * d * sizeof(T);
  const int64_t v_offset = params.tokens_per_page * row_bytes;
  const int32_t* const table = params.page_table + tile.row * params.page_table_stride;
  const uint8_t* slice = params.slice + static_cast<int64_t>(kv_head) * d * sizeof(T);

  // Where a step's positions lie in the slice, in 16 bytes, those of a copying thread side by side.
  // Positions that no token of the tile sees are masked, and their pages may be gone: the nearest
  // one that is seen stands in.
  const auto find_offsets = [&](int32_t step) {
    if (threadIdx.x >= S::kPositions) return;
    const int32_t row = threadIdx.x;
    const int32_t position = min(max(aligned_begin + step * S::kPositions + row, begin), end - 1);
    const int32_t page_idx =
        tiling.page_shift >= 0 ? position >> tiling.page_shift : position / params.tokens_per_page;
    const int32_t slot = position - page_idx * params.tokens_per_page;
    const int64_t offset = table[page_idx] * params.page_bytes + slot * row_bytes;
    shared_offsets[(step & 1) * S::kPositions + row % S::kRowsAPass * S::kCopies +
                   row / S::kRowsAPass] = static_cast<uint32_t>(offset / 16);
  };
  // Pieces past the head's end repeat its last: Q is 0 there, and what V gives is not stored.
  const int32_t copy_row = threadIdx.x / kPieces, copy_piece = threadIdx.x % kPieces;
  const uint8_t* const k_from = slice + min(copy_piece, d / 8 - 1) * 16;
  const uint8_t* const v_from = k_from + v_offset;
  const uint32_t copy_to = kv_address + copy_row * S::kStride + copy_piece * 16;
  const auto copy_kv = [&](int32_t step) {
    if (copy_row >= S::kRowsAPass) return;
    const uint32_t to = copy_to + (step & 1) * 2 * S::kTileBytes;
    const auto* offsets = reinterpret_cast<const uint4*>(
        shared_offsets + (step & 1) * S::kPositions + copy_row * S::kCopies);
#pragma unroll
    for (int i = 0; i < S::kCopies / 4; ++i) {
      const uint4 four = offsets[i];
      const uint32_t each[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t row_to = to + (4 * i + j) * S::kRowsAPass * S::kStride;
        copy_16(row_to, k_from + uint64_t{each[j]} * 16);
        copy_16(row_to + S::kTileBytes, v_from + uint64_t{each[j]} * 16);
      }
    }
  };

  // ---- the tile's queries and the first step
  for (int32_t idx = threadIdx.x; idx < S::kRows * kPieces; idx += kThreads) {
    const int32_t row = idx / kPieces, piece = idx % kPieces;
    const int32_t token = token_of(row);
    const bool is_valid = row < num_pairs && piece * 8 < d;
    const T* from = static_cast<const T*>(params.q);
    if (is_valid) {
      from += (tile.first_token + token) * params.q_stride +
              static_cast<int64_t>(first_head + row - token * num_heads) * d + piece * 8;
    }
    copy_16(q_address + row * S::kStride + piece * 16, from, is_valid);
  }
  find_offsets(0);
  __syncthreads();  // offsets of step 0
  copy_kv(0);
  commit_copies();
  find_offsets(1);

  // ---- the lane's pairs: rows g and g + 8 of each row tile
  int32_t row_position[kRowTiles][2];
  float largest[kRowTiles][2], sum[kRowTiles][2];
  float acc[kRowTiles][kD / 8][4];
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int32_t row = warp * 16 * kRowTiles + m * 16 + h * 8 + g;
      // Rows past the tile repeat its last token; they are not stored.
      row_position[m][h] =
          params.token_position[tile.first_token + min(token_of(row), tile.num_tokens - 1)];
      largest[m][h] = SLORA_NEGATIVE_INFINITY;
      sum[m][h] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < kD / 8; ++n)
      acc[m][n][0] = acc[m][n][1] = acc[m][n][2] = acc[m][n][3] = 0.0f;
  }
  const ScoreScale scale(params);
  // Without a cap the factor goes into the exponent's own multiply-add.
  const bool has_cap = scale.cap_log2e > 0.0f;
  const float factor = has_cap ? 1.0f : scale.factor;

  const uint32_t q_lane =
      q_address + (warp * 16 * kRowTiles + lane % 16) * S::kStride + lane / 16 * 16;
  const uint32_t k_lane = kv_address + (lane % 8 + lane / 16 * 8) * S::kStride + lane / 8 % 2 * 16;
  const uint32_t v_lane = kv_address + S::kTileBytes + lane % 16 * S::kStride + lane / 16 * 16;

  for (int32_t step = 0; step < num_steps; ++step) {
    wait_copies<0>();
    // This step's K and V of all threads have come, the next one's offsets too, and all are done
    // with the stage that the next copies overwrite.
    __syncthreads();
    const uint32_t stage = (step & 1) * 2 * S::kTileBytes;

    // ---- S = Q K^T
    float score[kRowTiles][kColumnTiles][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n)
        score[m][n][0] = score[m][n][1] = score[m][n][2] = score[m][n][3] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
        load_matrices(a[m], q_lane + m * 16 * S::kStride + k * 32);
#pragma unroll
      for (int n = 0; n < kColumnTiles; n += 2) {
        uint32_t b[4];
        load_matrices(b, k_lane + stage + n * 8 * S::kStride + k * 32);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma<T>(score[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          mma<T>(score[m][n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }

    if (step + 1 < num_steps) copy_kv(step + 1);
    commit_copies();

    // ---- cap and range
    const int32_t step_begin = aligned_begin + step * S::kPositions;
    if (has_cap) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) score[m][n][i] = scale(score[m][n][i]);
        }
      }
    }
    const bool is_inside = step_begin + S::kPositions - 1 <= first_position &&
                           (params.window <= 0 || step_begin > last_position - params.window);
    if (!is_inside) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int32_t position = step_begin + n * 8 + 2 * c + (i & 1);
            const int32_t own = row_position[m][i >> 1];
            if (position > own || (params.window > 0 && position <= own - params.window))
              score[m][n][i] = SLORA_NEGATIVE_INFINITY;
          }
        }
      }
    }

    // ---- softmax so far
    // The subtracted maximum need not be the newest: while no row's grew by more than 2^8,
    // exponents stay small numbers and nothing has to be scaled again.
    float most[kRowTiles][2];
    bool is_stale = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float x = largest[m][h];
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n)
          x = fmaxf(x, fmaxf(score[m][n][2 * h], score[m][n][2 * h + 1]));
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
        most[m][h] = x;
        is_stale |= !((x - largest[m][h]) * factor <= 8.0f);
      }
    }
    if (__any_sync(0xffffffffu, is_stale)) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float alpha = most[m][h] == SLORA_NEGATIVE_INFINITY
                                  ? 1.0f
                                  : exp2_fast((largest[m][h] - most[m][h]) * factor);
          largest[m][h] = most[m][h];
          sum[m][h] *= alpha;
#pragma unroll
          for (int n = 0; n < kD / 8; ++n) {
            acc[m][n][2 * h] *= alpha;
            acc[m][n][2 * h + 1] *= alpha;
          }
        }
      }
    }
    // Summed as they will be multiplied, rounded: then they come to one exactly.
    uint32_t weights[kRowTiles][kColumnTiles][2];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // A row whose window begins later has met no position yet.
        const float shift =
            largest[m][h] == SLORA_NEGATIVE_INFINITY ? 0.0f : largest[m][h] * factor;
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          const uint32_t pair = pack2<T>(exp2_fast(score[m][n][2 * h] * factor - shift),
                                         exp2_fast(score[m][n][2 * h + 1] * factor - shift));
          weights[m][n][h] = pair;
          sum[m][h] += low_of<T>(pair) + high_of<T>(pair);
        }
      }
    }

    // ---- O += P V: two column tiles of scores are one operand
#pragma unroll
    for (int k = 0; k < kColumnTiles / 2; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[m][i] = weights[m][2 * k + i / 2][i % 2];
      }
#pragma unroll
      for (int n = 0; n < kD / 8; n += 2) {
        uint32_t b[4];
        load_transposed(b, v_lane + stage + k * 16 * S::kStride + n * 16);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma<T>(acc[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          mma<T>(acc[m][n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
    // Into the half that copy_kv(step) read before the barrier above.
    if (step + 2 < num_steps) find_offsets(step + 2);
  }

  // ---- out
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = sum[m][h];
      total += __shfl_xor_sync(0xffffffffu, total, 1);
      total += __shfl_xor_sync(0xffffffffu, total, 2);
      const float inverse = 1.0f / total;
      const int32_t row = warp * 16 * kRowTiles + m * 16 + h * 8 + g;
      if (row >= num_pairs) continue;
      const int32_t token = token_of(row);
      T* out = static_cast<T*>(params.out) +
               (static_cast<int64_t>(tile.first_token + token) * params.num_heads + first_head +
                row - token * num_heads) *
                   d;
#pragma unroll
      for (int n = 0; n < kD / 8; ++n) {
        if (n * 8 >= d) continue;
        *reinterpret_cast<uint32_t*>(out + n * 8 + 2 * c) =
            pack2<T>(acc[m][n][2 * h] * inverse, acc[m][n][2 * h + 1] * inverse);
      }
    }
  }
  leave();
}

template <typename T, int kD>
int32_t launch_prefill(void* stream, const AttentionParams& params, int32_t min_tokens,
                       bool is_beside) {
  using S = Shape<kD>;
  if (S::kSharedBytes > device_of(stream).max_shared_bytes) {
    return launch_attention_plain(stream, params);
  }
  const Tiling tiling = make_tiling(params, S::kRows, min_tokens, is_beside);
  const auto kernel = attention_prefill_kernel<T, kD>;
  const int32_t status = allow_shared(kernel, S::kSharedBytes);
  if (status != kOk) return status;
  const int64_t tiles = most_tiles(params, tiling);
  if (tiles == 0) return kOk;
  const dim3 grid(static_cast<unsigned>(parts_of_heads(params, tiling)),
                  static_cast<unsigned>(tiles));
  if (tiles > 65535) return kUnsupported;
  return launch(stream, kernel, grid, dim3(kThreads), S::kSharedBytes, params, tiling);
}

template <typename T>
int32_t launch_prefill(void* stream, const AttentionParams& params, int32_t min_tokens,
                       bool is_beside) {
  if (params.head_size <= 64) return launch_prefill<T, 64>(stream, params, min_tokens, is_beside);
  if (params.head_size <= 96) return launch_prefill<T, 96>(stream, params, min_tokens, is_beside);
  if (params.head_size <= 128) return launch_prefill<T, 128>(stream, params, min_tokens, is_beside);
  return launch_prefill<T, 256>(stream, params, min_tokens, is_beside);
}

}  // namespace

int32_t launch_attention_prefill(void* stream, const AttentionParams& params, int32_t min_tokens,
                                 bool is_beside) {
#ifdef SLORA_HAS_SM90A
  if (may_use_warpgroups(device_of(stream)) && fits_wgmma(params))
    return launch_attention_wgmma(stream, params, min_tokens, is_beside);
#endif
  return params.page_dtype == DType::kBF16
             ? launch_prefill<bf16>(stream, params, min_tokens, is_beside)
             : launch_prefill<__half>(stream, params, min_tokens, is_beside);
}

}  // namespace slora::kernels::cuda
