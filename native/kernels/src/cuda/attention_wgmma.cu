// Attention of rows of several tokens by warpgroups (compute capability 9.0): the same tiles and
// the same sums as attention_prefill.cu, with products that read K and V from shared memory and run
// beside the softmax.
//
// One warpgroup copies K and V, page by page; two compute, 64 (token, head) pairs each. While the
// tensor cores multiply P of one step by V and Q by K of the next, the exponentials of the next are
// on their way: O += P(j) V(j) is waited for only after the softmax of j + 1. The two take turns
// to ask for products, so that one's softmax falls into the other's products.
#include "attention_tiles.cuh"
#include "attention_wgmma.cuh"
#include "wgmma.cuh"

namespace slora::kernels::cuda {
namespace {

constexpr int kD = 128;
constexpr int kGroups = 2;           // of four warps, that compute
constexpr int kRows = 64 * kGroups;  // pairs of a tile
constexpr int kPositions = 128;      // of a step
constexpr int kStages = 2;
constexpr int kThreads = 128 * (kGroups + 1);
constexpr int kColumnBytes = 128 * 128;  // 64 elements of 128 rows
constexpr int kTileBytes = 2 * kColumnBytes;
static_assert(kRows == 128 && kPositions == 128);
constexpr int kSharedBytes = (1 + 2 * kStages) * kTileBytes + 1024;

// Named barriers of the block: of a computing warpgroup, of the copying one, of whose turn it is.
constexpr int kQueries = 1, kCopies = 3, kTurn = 4;
constexpr int kBothGroups = 128 * kGroups;

struct Barriers {
  uint64_t k_full[kStages], v_full[kStages], k_empty[kStages], v_empty[kStages];
};

// Semantics  AttentionParams, of rows of at least min_tokens tokens
// Cost       4 D flops a (query head, position in range), in tiles; K and V once a tile, from L2
template <typename T>
__global__ void __launch_bounds__(kThreads, 1)
    attention_wgmma_kernel(const AttentionParams params, const Tiling tiling) {
  allow_next();
  extern __shared__ uint8_t shared[];
  __shared__ Barriers barriers;
  __shared__ __align__(16) uint32_t offsets_of[kStages][kPositions];
  const uint32_t q_tile = (shared_address(shared) + 1023) / 1024 * 1024;
  const uint32_t kv_tiles = q_tile + kTileBytes;  // [stages][K, V]
  const auto k_tile = [&](int32_t step) {
    return kv_tiles + static_cast<uint32_t>(step % kStages) * 2 * kTileBytes;
  };
  const auto parity = [](int32_t step) { return static_cast<uint32_t>(step / kStages) & 1; };

  const int32_t warpgroup = __shfl_sync(0xffffffffu, static_cast<int32_t>(threadIdx.x) / 128, 0);
  const int32_t thread = static_cast<int32_t>(threadIdx.x) % 128;
  const int32_t lane = thread % 32;
  const int32_t group = params.num_heads / params.num_kv_heads;
  const int32_t parts = (group + tiling.heads_a_tile - 1) / tiling.heads_a_tile;
  const int32_t kv_head = static_cast<int32_t>(blockIdx.x) / parts;
  const int32_t group_begin = (static_cast<int32_t>(blockIdx.x) % parts) * tiling.heads_a_tile;
  const int32_t num_heads = min(tiling.heads_a_tile, group - group_begin);
  const int32_t first_head = kv_head * group + group_begin;
  // row / num_heads of the few rows of a tile: exact while both are below 256.
  const int32_t reciprocal = (65536 + num_heads - 1) / num_heads;
  const auto token_of = [&](int32_t row) { return row * reciprocal >> 16; };

  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(shared_address(&barriers.k_full[i]), 128);
      barrier_init(shared_address(&barriers.v_full[i]), 128);
      barrier_init(shared_address(&barriers.k_empty[i]), 4 * kGroups);
      barrier_init(shared_address(&barriers.v_empty[i]), 4 * kGroups);
    }
  }
  __syncthreads();  // the barriers are there

  // ---- which tile: every warp finds it itself, from tables that copies wrote
  const Tile tile = find_tile(params, tiling, static_cast<int32_t>(blockIdx.y));
  if (!tiling.is_beside) wait_for_inputs();
  // Whoever waits for this launch waits for the one beside it too.
  const auto leave = [&] {
    if (tiling.is_beside) leave_idle();
  };
  if (tile.row < 0) return leave();
  const int32_t first_position = params.token_position[tile.first_token];
  const int32_t last_position = params.token_position[tile.first_token + tile.num_tokens - 1];
  const int32_t begin = window_begin(params, first_position);
  const int32_t end = last_position + 1;
  const int32_t aligned_begin = begin / kPositions * kPositions;
  const int32_t num_steps = (end - aligned_begin + kPositions - 1) / kPositions;

  if (warpgroup == kGroups) {
    // ---- K and V, step by step
    give_registers<40>();
    const int64_t row_bytes = static_cast<int64_t>(params.num_kv_heads) * kD * sizeof(T);
    const int32_t* const table = params.page_table + tile.row * params.page_table_stride;
    // Where a step's positions lie in the slice, in 16 bytes: each thread looks up one, and those
    // that a thread copies lie side by side.
    const auto find_offset = [&](int32_t step) {
      // Positions that no token of the tile sees are masked, and their pages may be gone: the
      // nearest one that is seen stands in.
      const int32_t position = min(max(aligned_begin + step * kPositions + thread, begin), end - 1);
      const int32_t page_idx = tiling.page_shift >= 0 ? position >> tiling.page_shift
                                                      : position / params.tokens_per_page;
      const int32_t slot = position - page_idx * params.tokens_per_page;
      return static_cast<uint32_t>((table[page_idx] * params.page_bytes + slot * row_bytes) / 16);
    };
    // A thread copies piece `piece` of every eighth row.
    const int32_t piece = thread % 16;
    const uint8_t* const k_from =
        params.slice + static_cast<int64_t>(kv_head) * kD * sizeof(T) + piece * 16;
    const int64_t v_offset = params.tokens_per_page * row_bytes;
    const uint32_t to =
        static_cast<uint32_t>(piece / 8 * kColumnBytes) +
        swizzled(static_cast<uint32_t>(thread / 16), static_cast<uint32_t>(piece % 8));
    const auto copy = [&](const uint32_t* offsets, uint32_t tile_address, const uint8_t* from) {
#pragma unroll
      for (int i = 0; i < kPositions / 8; i += 4) {
        const uint4 four = *reinterpret_cast<const uint4*>(offsets + i);
        const uint32_t each[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int j = 0; j < 4; ++j)
          copy_16(tile_address + to + static_cast<uint32_t>((i + j) * 8 * 128),
                  from + uint64_t{each[j]} * 16);
      }
    };
    uint32_t offset = find_offset(0);
    for (int32_t step = 0; step < num_steps; ++step) {
      const int32_t stage = step % kStages;
      offsets_of[stage][thread % 8 * (kPositions / 8) + thread / 8] = offset;
      // The copying threads: offsets of this step are there, and those of kStages before were read.
      sync_named<128>(kCopies);
      if (step + 1 < num_steps) offset = find_offset(step + 1);
      const uint32_t* const offsets = offsets_of[stage] + thread / 16 * (kPositions / 8);
      barrier_wait(shared_address(&barriers.k_empty[stage]), parity(step) ^ 1);
      copy(offsets, k_tile(step), k_from);
      arrive_after_copies(shared_address(&barriers.k_full[stage]));
      barrier_wait(shared_address(&barriers.v_empty[stage]), parity(step) ^ 1);
      copy(offsets, k_tile(step) + kTileBytes, k_from + v_offset);
      arrive_after_copies(shared_address(&barriers.v_full[stage]));
    }
    wait_copies<0>();
    return leave();
  }

  take_registers<232>();
  const int32_t num_pairs = tile.num_tokens * num_heads;
  const int32_t warp = thread / 32, g = lane / 4, c = lane % 4;

  // ---- the warpgroup's queries
  const uint32_t q_rows = q_tile + static_cast<uint32_t>(warpgroup * 64 * 128);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int32_t in_group = i * 8 + thread / 16, piece = thread % 16;
    const int32_t row = warpgroup * 64 + in_group;
    const int32_t token = token_of(row);
    const bool is_valid = row < num_pairs;
    const T* from = static_cast<const T*>(params.q);
    if (is_valid) {
      from += (tile.first_token + token) * params.q_stride +
              static_cast<int64_t>(first_head + row - token * num_heads) * kD + piece * 8;
    }
    copy_16(q_rows + static_cast<uint32_t>(piece / 8 * kColumnBytes) +
                swizzled(static_cast<uint32_t>(in_group), static_cast<uint32_t>(piece % 8)),
            from, is_valid);
  }
  commit_copies();
  wait_copies<0>();
  publish_to_products();
  sync_named<128>(kQueries + warpgroup);  // all of the warpgroup's have come

  // ---- the lane's pairs: rows g and g + 8 of the warp's 16
  int32_t row_position[2];
  float largest[2], sum[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int32_t row = warpgroup * 64 + warp * 16 + h * 8 + g;
    // Rows past the tile repeat its last token; they are not stored.
    row_position[h] =
        params.token_position[tile.first_token + min(token_of(row), tile.num_tokens - 1)];
    largest[h] = SLORA_NEGATIVE_INFINITY;
    sum[h] = 0.0f;
  }
  const ScoreScale scale(params);
  // Without a cap the factor goes into the exponent's own multiply-add.
  const bool has_cap = scale.cap_log2e > 0.0f;
  const float factor = has_cap ? 1.0f : scale.factor;

  float score[64], acc[64];
  uint32_t p[kPositions / 16][4];  // weights of the step that is multiplied by V
  float alpha[2];                  // what the sums so far are to be multiplied by

  const auto start_scores = [&](int32_t step) {
    barrier_wait(shared_address(&barriers.k_full[step % kStages]), parity(step));
    publish_to_products();
    open_products();
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) {
      const auto at = static_cast<uint32_t>(k / 4 * kColumnBytes + k % 4 * 32);
      multiply_tiles<T>(score, tile_descriptor(q_rows + at), tile_descriptor(k_tile(step) + at),
                        k > 0);
    }
    commit_products();
  };
  const auto start_values = [&](int32_t step) {
    barrier_wait(shared_address(&barriers.v_full[step % kStages]), parity(step));
    publish_to_products();
    open_products();
#pragma unroll
    for (int k = 0; k < kPositions / 16; ++k) {
      multiply_tile<T>(
          acc, p[k],
          tile_descriptor(k_tile(step) + static_cast<uint32_t>(kTileBytes + k * 16 * 128),
                          kColumnBytes),
          step > 0 || k > 0);
    }
    commit_products();
  };
  const auto release = [&](uint64_t* empty) {
    if (lane == 0) barrier_arrive(shared_address(empty));
  };

  // Scores of a step become weights, summed as they will be multiplied, rounded; alpha follows.
  const auto soften = [&](int32_t step) {
    const int32_t step_begin = aligned_begin + step * kPositions;
    if (has_cap) {
#pragma unroll
      for (int i = 0; i < 64; ++i) score[i] = scale(score[i]);
    }
    const bool is_inside = step_begin + kPositions - 1 <= first_position &&
                           (params.window <= 0 || step_begin > last_position - params.window);
    if (!is_inside) {
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int32_t position = step_begin + i / 4 * 8 + 2 * c + (i & 1);
        const int32_t own = row_position[i / 2 & 1];
        if (position > own || (params.window > 0 && position <= own - params.window))
          score[i] = SLORA_NEGATIVE_INFINITY;
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float most = largest[h];
#pragma unroll
      for (int n = 0; n < 16; ++n)
        most = fmaxf(most, fmaxf(score[4 * n + 2 * h], score[4 * n + 2 * h + 1]));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      // The subtracted maximum need not be the newest: while it grew by at most 2^8, exponents stay
      // small numbers and nothing has to be scaled again.
      const bool is_stale = !((most - largest[h]) * factor <= 8.0f);
      alpha[h] = 1.0f;
      if (is_stale && most != SLORA_NEGATIVE_INFINITY) {
        alpha[h] = exp2_fast((largest[h] - most) * factor);
        largest[h] = most;
      }
      sum[h] *= alpha[h];
      // A row whose window begins later has met no position yet.
      const float shift = largest[h] == SLORA_NEGATIVE_INFINITY ? 0.0f : largest[h] * factor;
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        const int i = 4 * n + 2 * h;
        const uint32_t pair = pack2<T>(exp2_fast(score[i] * factor - shift),
                                       exp2_fast(score[i + 1] * factor - shift));
        score[i] = low_of<T>(pair);
        score[i + 1] = high_of<T>(pair);
        sum[h] += score[i] + score[i + 1];
      }
    }
  };
  const auto rescale = [&] {
    if (!__any_sync(0xffffffffu, alpha[0] != 1.0f || alpha[1] != 1.0f)) return;
#pragma unroll
    for (int i = 0; i < 64; ++i) acc[i] *= alpha[i / 2 & 1];
  };
  // Only once no product reads p any more: where what a later product reads is made beside products
  // in flight, the compiler lets them run one by one.
  const auto pass_weights = [&] {
#pragma unroll
    for (int i = 0; i < kPositions / 4; ++i)
      p[i / 4][i % 4] = pack2<T>(score[2 * i], score[2 * i + 1]);
  };

  start_scores(0);
  wait_products<0>();
  release(&barriers.k_empty[0]);
  soften(0);
  pass_weights();
  if (warpgroup == 1 && num_steps > 1) arrive_named<kBothGroups>(kTurn);
  for (int32_t step = 0; step + 1 < num_steps; ++step) {
    sync_named<kBothGroups>(kTurn + warpgroup);
    start_scores(step + 1);
    start_values(step);
    // Whoever comes last leaves no turn behind.
    if (warpgroup == 0 || step + 2 < num_steps) arrive_named<kBothGroups>(kTurn + 1 - warpgroup);
    wait_products<1>();
    release(&barriers.k_empty[(step + 1) % kStages]);
    soften(step + 1);
    wait_products<0>();
    release(&barriers.v_empty[step % kStages]);
    rescale();
    pass_weights();
  }
  start_values(num_steps - 1);
  wait_products<0>();

  // ---- out
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float total = sum[h];
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    const float inverse = 1.0f / total;
    const int32_t row = warpgroup * 64 + warp * 16 + h * 8 + g;
    if (row >= num_pairs) continue;
    const int32_t token = token_of(row);
    T* out = static_cast<T*>(params.out) +
             (static_cast<int64_t>(tile.first_token + token) * params.num_heads + first_head + row -
              token * num_heads) *
                 kD;
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
      *reinterpret_cast<uint32_t*>(out + n * 8 + 2 * c) =
          pack2<T>(acc[4 * n + 2 * h] * inverse, acc[4 * n + 2 * h + 1] * inverse);
    }
  }
  leave();
}

template <typename T>
int32_t launch_wgmma(void* stream, const AttentionParams& params, int32_t min_tokens,
                     bool is_beside) {
  const Tiling tiling = make_tiling(params, kRows, min_tokens, is_beside);
  const auto kernel = attention_wgmma_kernel<T>;
  if (const int32_t status = allow_shared(kernel, kSharedBytes)) return status;
  const int64_t tiles = most_tiles(params, tiling);
  if (tiles == 0) return kOk;
  if (tiles > 65535) return kUnsupported;
  const dim3 grid(static_cast<unsigned>(parts_of_heads(params, tiling)),
                  static_cast<unsigned>(tiles));
  return launch(stream, kernel, grid, dim3(kThreads), kSharedBytes, params, tiling);
}

}  // namespace

int32_t launch_attention_wgmma(void* stream, const AttentionParams& params, int32_t min_tokens,
                               bool is_beside) {
  return params.page_dtype == DType::kBF16
             ? launch_wgmma<bf16>(stream, params, min_tokens, is_beside)
             : launch_wgmma<__half>(stream, params, min_tokens, is_beside);
}

}  // namespace slora::kernels::cuda
