// Attention of rows of one token. Reading K and V is all the work, so a warp takes 16 positions at
// a time, asks for all of their K and V in 16-byte loads straight into the operands of the tensor
// cores, and multiplies transposed: positions and elements of a head fill the tall side of an
// instruction, the query heads that share K and V its narrow side of eight.
//
//   S^T [16 positions, 8 heads] = K [16, D] Q^T [D, 8]      O^T [D, 8] += V^T [D, 16] P^T [16, 8]
//
// A sum over D or over positions may run in any order as long as both operands agree. So a lane's
// 16 bytes of K are two steps' worth of elements (Q is loaded alike), and its 16 bytes of V are
// eight rows of V^T, paired with those of the next position by byte permutes.
#include <algorithm>

#include "attention_splits.cuh"
#include "cluster.cuh"

namespace slora::kernels::cuda {
namespace {

// Of a block; eight where there are too few blocks for the card.
__host__ __device__ constexpr int blocks_an_sm(int head_size, int head_tiles, int warps) {
  return head_size <= 128 && head_tiles == 1 ? 16 / warps : 2;
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Semantics  AttentionParams, of rows of one token; with several splits their partial results
// Cost       K and V of the row once a KV head (and 8 * kHeadTiles query heads)
// kIsWhole: a chunk lies in one page (tokens_per_page is a multiple of it).
// kIsSplit: short of rows, the time to the first byte counts, and a lane asks for all of a chunk
// before it uses any. Else blocks follow one another and asking for V while K is multiplied gives
// the memory a steadier load: 3 % faster.
template <typename T, int kD, int kHeadTiles, bool kIsWhole, int kWarps, bool kIsSplit>
__global__ void __launch_bounds__(kWarps * 32, blocks_an_sm(kD, kHeadTiles, kWarps))
    attention_decode_kernel(const AttentionParams params, const DecodeSplits splits) {
  constexpr int kKLoads = kD / 32;  // 16-byte pieces of a K row a lane
  constexpr int kVLoads = kD / 64;
  constexpr int kHeads = 8 * kHeadTiles;
  constexpr int kAccStride = kD + 4;
  // [kWarps, heads_a_block, kAccStride]; then what the cluster's blocks send this one for the heads
  // that it adds up: [cluster, heads_a_block, kAccStride]
  extern __shared__ __align__(16) float shared_acc[];
  __shared__ float shared_max[kWarps][kHeads];
  __shared__ float shared_sum[kWarps][kHeads];
  __shared__ float2 shared_stats[kMaxCluster][kHeads];
  if (!splits.opens_prefill) allow_next();
  const int32_t acc_heads = kIsSplit ? splits.heads_a_block : kHeads;

  const int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t g = lane / 4, c = lane % 4;
  const int32_t s = blockIdx.z;
  const int32_t d = params.head_size;
  const int32_t group = params.num_heads / params.num_kv_heads;
  const int32_t parts = (group + splits.heads_a_block - 1) / splits.heads_a_block;
  const int32_t kv_head = blockIdx.y / parts;
  const int32_t group_begin = (blockIdx.y % parts) * splits.heads_a_block;
  const int32_t num_heads = min(splits.heads_a_block, group - group_begin);
  const int32_t first_head = kv_head * group + group_begin;

  // ---- the row's tables: copies wrote them, so they may be read at once
  const SplitContext context(params, s, splits.count, kWarps);
  const int32_t split = blockIdx.x;
  const int32_t end_chunk = min(context.first_chunk + (split + 1) * context.chunks_a_split,
                                context.position / kChunk + 1);
  int32_t chunk = context.first_chunk + split * context.chunks_a_split + warp;
  const int32_t* table = params.page_table + s * params.page_table_stride;
  const bool is_active = context.position >= 0 && split < context.num_splits;
  // Of a chunk within its page; pages of one chunk are the usual case.
  const int32_t chunks_a_page = params.tokens_per_page / kChunk;
  const auto page_of = [&](int32_t of) {
    return table[chunks_a_page == 1 ? of : of / chunks_a_page];
  };
  const auto slot_of = [&](int32_t of) {
    return chunks_a_page == 1 ? 0 : of % chunks_a_page * kChunk;
  };
  int32_t next_page = 0;
  if (kIsWhole && is_active && chunk < end_chunk) next_page = page_of(chunk);

  const auto row_bytes = static_cast<int32_t>(params.num_kv_heads * d * sizeof(T));
  const int64_t v_offset = int64_t{params.tokens_per_page} * row_bytes;
  const uint8_t* slice = params.slice + static_cast<int64_t>(kv_head) * d * sizeof(T);
  // The kernel before writes one position of these; the L2 cache is where its stores meet our
  // loads, so asking for the first chunk there is always right.
  if (kIsWhole && is_active && chunk < end_chunk) {
    const int32_t first = chunk * kChunk;
    const uint8_t* base = slice + next_page * params.page_bytes + slot_of(chunk) * row_bytes;
    const int32_t last = min(kChunk, context.position + 1 - first);
    constexpr int kSectors = kD / 16;
#pragma unroll
    for (int i = 0; i < kChunk * kSectors / 32; ++i) {
      const int32_t row = (i * 32 + lane) / kSectors, sector = (i * 32 + lane) % kSectors;
      if (row >= last || sector * 16 >= d) continue;
      prefetch_l2(base + row * row_bytes + sector * 32);
      prefetch_l2(base + v_offset + row * row_bytes + sector * 32);
    }
  }
  const bool is_cluster =
      kIsSplit && splits.is_cluster && context.position >= 0 && context.num_splits > 1;
  if (is_cluster) cluster_arrive();
  wait_for_inputs();
  if (splits.opens_prefill) allow_next();
  if (!is_active) {
    // The cluster's barriers want all of its blocks.
    if (is_cluster) {
      cluster_wait();
      cluster_sync();
    }
    return;
  }

  // ---- queries: head g of each tile, pieces 4 j + c
  uint4 q[kHeadTiles][kKLoads];
  const int64_t token = params.row_offsets[s];
#pragma unroll
  for (int n = 0; n < kHeadTiles; ++n) {
    const int32_t head = n * 8 + g;
    const T* row = static_cast<const T*>(params.q) + token * params.q_stride +
                   static_cast<int64_t>(first_head + head) * d;
#pragma unroll
    for (int j = 0; j < kKLoads; ++j) {
      const int32_t piece = 4 * j + c;
      q[n][j] =
          head < num_heads && piece * 8 < d ? load_once(row + piece * 8) : make_uint4(0, 0, 0, 0);
    }
  }

  float acc[kHeadTiles][kVLoads][4][4] = {};
  float largest[kHeadTiles][2], sum[kHeadTiles][2];
#pragma unroll
  for (int n = 0; n < kHeadTiles; ++n) {
    largest[n][0] = largest[n][1] = SLORA_NEGATIVE_INFINITY;
    sum[n][0] = sum[n][1] = 0.0f;
  }
  const ScoreScale scale(params);

  // A lane's 16 bytes of a row. Past the head's end they repeat its last: Q is 0 there, and what V
  // gives is not stored.
  const int32_t last_piece = d / 8 - 1;
  int32_t k_piece[kKLoads], v_piece[kVLoads];
#pragma unroll
  for (int j = 0; j < kKLoads; ++j) k_piece[j] = min(4 * j + c, last_piece) * 16;
#pragma unroll
  for (int j = 0; j < kVLoads; ++j) v_piece[j] = min(8 * j + g, last_piece) * 16;

  for (; chunk < end_chunk; chunk += kWarps) {
    // ---- ask for 16 positions of K and V. Those out of range are masked; one in range or zeros
    // stand in.
    const int32_t first = chunk * kChunk;
    const int32_t least = max(context.begin - first, 0);
    const int32_t most_i = min(context.position - first, kChunk - 1);
    const uint8_t* chunk_base = nullptr;
    if (kIsWhole) {
      chunk_base = slice + next_page * params.page_bytes + slot_of(chunk) * row_bytes;
      if (chunk + kWarps < end_chunk) next_page = page_of(chunk + kWarps);
    }
    uint4 k[2][kKLoads], v[4][kVLoads];
    if constexpr (kIsSplit) {
      const auto row_of = [&](int32_t i) {
        const int32_t in_range = min(max(i, least), most_i);
        return kIsWhole ? chunk_base + in_range * row_bytes
                        : slice + position_offset(params, s, first + in_range, row_bytes);
      };
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const uint8_t* row = row_of(g + 8 * r);
#pragma unroll
        for (int j = 0; j < kKLoads; ++j) k[r][j] = load_once(row + k_piece[j]);
      }
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const uint8_t* row = row_of(2 * c + (r & 1) + 8 * (r >> 1)) + v_offset;
#pragma unroll
        for (int j = 0; j < kVLoads; ++j) v[r][j] = load_once(row + v_piece[j]);
      }
    } else {
      const auto row_of = [&](int32_t i) {
        return kIsWhole ? chunk_base + i * row_bytes
                        : slice + position_offset(params, s, first + i, row_bytes);
      };
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int32_t i = g + 8 * r;
        const bool valid = i >= least && i <= most_i;
        const uint8_t* row = valid ? row_of(i) : nullptr;
#pragma unroll
        for (int j = 0; j < kKLoads; ++j) {
          const int32_t piece = 4 * j + c;
          k[r][j] = valid && piece * 8 < d ? load_once(row + piece * 16) : make_uint4(0, 0, 0, 0);
        }
      }
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int32_t i = 2 * c + (r & 1) + 8 * (r >> 1);
        const bool valid = i >= least && i <= most_i;
        const uint8_t* row = valid ? row_of(i) + v_offset : nullptr;
#pragma unroll
        for (int j = 0; j < kVLoads; ++j) {
          const int32_t piece = 8 * j + g;
          v[r][j] = valid && piece * 8 < d ? load_once(row + piece * 16) : make_uint4(0, 0, 0, 0);
        }
      }
    }

    // ---- S^T = K Q^T
    float score[kHeadTiles][4] = {};
#pragma unroll
    for (int j = 0; j < kKLoads; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int n = 0; n < kHeadTiles; ++n) {
          mma<T>(score[n], word(k[0][j], 2 * half), word(k[1][j], 2 * half),
                 word(k[0][j], 2 * half + 1), word(k[1][j], 2 * half + 1), word(q[n][j], 2 * half),
                 word(q[n][j], 2 * half + 1));
        }
      }
    }

    // ---- softmax: a lane has positions g and g + 8 of heads 2c and 2c + 1
    uint32_t p[kHeadTiles][2];
    const bool is_valid0 = g >= least && g <= most_i;
    const bool is_valid1 = g + 8 >= least && g + 8 <= most_i;
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      float e[4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float x0 = is_valid0 ? scale(score[n][h]) : SLORA_NEGATIVE_INFINITY;
        const float x1 = is_valid1 ? scale(score[n][2 + h]) : SLORA_NEGATIVE_INFINITY;
        float most = fmaxf(x0, x1);
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 4));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 8));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 16));
        // A chunk has at least one position in range, so `most` is finite.
        most = fmaxf(most, largest[n][h]);
        const float alpha = exp2_fast(largest[n][h] - most);
        largest[n][h] = most;
        e[h] = exp2_fast(x0 - most);
        e[2 + h] = exp2_fast(x1 - most);
        sum[n][h] *= alpha;
#pragma unroll
        for (int j = 0; j < kVLoads; ++j) {
#pragma unroll
          for (int t = 0; t < 4; ++t) {
            acc[n][j][t][h] *= alpha;
            acc[n][j][t][2 + h] *= alpha;
          }
        }
      }
      // Summed as they will be multiplied, rounded: then they come to one exactly.
      const uint32_t low = pack2<T>(e[0], e[1]), high = pack2<T>(e[2], e[3]);
      sum[n][0] += low_of<T>(low) + low_of<T>(high);
      sum[n][1] += high_of<T>(low) + high_of<T>(high);
      p[n][0] = transpose8x8(low);
      p[n][1] = transpose8x8(high);
    }

    // ---- O^T += V^T P^T: rows g and g + 8 of tile (j, t) are elements 64 j + 8 g + 2 t and the
    // next
#pragma unroll
    for (int j = 0; j < kVLoads; ++j) {
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        const uint32_t a0 = __byte_perm(word(v[0][j], t), word(v[1][j], t), 0x5410);
        const uint32_t a1 = __byte_perm(word(v[0][j], t), word(v[1][j], t), 0x7632);
        const uint32_t a2 = __byte_perm(word(v[2][j], t), word(v[3][j], t), 0x5410);
        const uint32_t a3 = __byte_perm(word(v[2][j], t), word(v[3][j], t), 0x7632);
#pragma unroll
        for (int n = 0; n < kHeadTiles; ++n) mma<T>(acc[n][j][t], a0, a1, a2, a3, p[n][0], p[n][1]);
      }
    }
  }

  // ---- the warps' parts
#pragma unroll
  for (int n = 0; n < kHeadTiles; ++n) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = sum[n][h];
      total += __shfl_xor_sync(0xffffffffu, total, 4);
      total += __shfl_xor_sync(0xffffffffu, total, 8);
      total += __shfl_xor_sync(0xffffffffu, total, 16);
      const int32_t head = n * 8 + 2 * c + h;
      if (g == 0) {
        shared_max[warp][head] = largest[n][h];
        shared_sum[warp][head] = total;
      }
      if (head >= num_heads) continue;
      float* to = shared_acc + (warp * acc_heads + head) * kAccStride;
#pragma unroll
      for (int j = 0; j < kVLoads; ++j) {
#pragma unroll
        for (int t = 0; t < 4; t += 2) {
          *reinterpret_cast<float4*>(to + 64 * j + 8 * g + 2 * t) = make_float4(
              acc[n][j][t][h], acc[n][j][t][2 + h], acc[n][j][t + 1][h], acc[n][j][t + 1][2 + h]);
        }
      }
    }
  }
  __syncthreads();                 // every warp's part is in shared memory
  if (is_cluster) cluster_wait();  // all blocks of the cluster run: their shared memory is there
  float* const sent = shared_acc + kWarps * splits.heads_a_block * kAccStride;

  // ---- their sum, in the order of the warps, four elements a thread
  constexpr int32_t kPieces = kD / 4;
  for (int32_t i = threadIdx.x; i < num_heads * kPieces; i += kWarps * 32) {
    const int32_t head = i / kPieces, e = i % kPieces * 4;
    if (e >= d) continue;
    float most = shared_max[0][head];  // warp 0 has a chunk
#pragma unroll
    for (int w = 1; w < kWarps; ++w) most = fmaxf(most, shared_max[w][head]);
    float total = 0.0f;
    float4 value = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float factor = exp2_fast(shared_max[w][head] - most);
      const float4 part =
          *reinterpret_cast<const float4*>(shared_acc + (w * acc_heads + head) * kAccStride + e);
      total += factor * shared_sum[w][head];
      value.x += factor * part.x;
      value.y += factor * part.y;
      value.z += factor * part.z;
      value.w += factor * part.w;
    }
    const int64_t out_head = token * params.num_heads + first_head + head;
    if (!kIsSplit || context.num_splits == 1) {
      const float inverse = 1.0f / total;
      const uint2 out = make_uint2(pack2<T>(value.x * inverse, value.y * inverse),
                                   pack2<T>(value.z * inverse, value.w * inverse));
      *reinterpret_cast<uint2*>(static_cast<T*>(params.out) + out_head * d + e) = out;
    } else if (is_cluster) {
      // To the block that adds up this head.
      const int32_t owner = head % context.num_splits;
      if (e == 0) *remote(&shared_stats[split][head], owner) = make_float2(most, total);
      float* to = sent + (split * splits.heads_a_block + head) * kAccStride + e;
      *reinterpret_cast<float4*>(remote(to, owner)) = value;
    } else {
      const int64_t slot = splits.slot(params, s, token, first_head + head) + split;
      if (e == 0) splits.stats[slot] = make_float2(most, total);
      *reinterpret_cast<float4*>(splits.partial + slot * d + e) = value;
    }
  }
  if (!is_cluster) return;

  // ---- the cluster's sum, in the order of the splits; each block some of the heads
  cluster_sync();  // every block's parts have come
  const int32_t own_heads = (num_heads - split + context.num_splits - 1) / context.num_splits;
  for (int32_t i = threadIdx.x; i < own_heads * kPieces; i += kWarps * 32) {
    const int32_t head = split + i / kPieces * context.num_splits, e = i % kPieces * 4;
    if (e >= d) continue;
    float most = SLORA_NEGATIVE_INFINITY;
    for (int32_t r = 0; r < context.num_splits; ++r) most = fmaxf(most, shared_stats[r][head].x);
    float total = 0.0f;
    float4 value = make_float4(0, 0, 0, 0);
    for (int32_t r = 0; r < context.num_splits; ++r) {
      const float2 stats = shared_stats[r][head];
      const float4 part = *reinterpret_cast<const float4*>(
          sent + (r * splits.heads_a_block + head) * kAccStride + e);
      const float factor = exp2_fast(stats.x - most);
      total += factor * stats.y;
      value.x += factor * part.x;
      value.y += factor * part.y;
      value.z += factor * part.z;
      value.w += factor * part.w;
    }
    const float inverse = 1.0f / total;
    const uint2 out = make_uint2(pack2<T>(value.x * inverse, value.y * inverse),
                                 pack2<T>(value.z * inverse, value.w * inverse));
    *reinterpret_cast<uint2*>(static_cast<T*>(params.out) +
                              (token * params.num_heads + first_head + head) * d + e) = out;
  }
}

template <typename T, int kD, int kHeadTiles, int kWarps, bool kIsSplit>
int32_t launch_decode(void* stream, const AttentionParams& params, const DecodeSplits& splits,
                      int64_t heads_of_blocks) {
  const auto kernel = params.tokens_per_page % kChunk == 0
                          ? attention_decode_kernel<T, kD, kHeadTiles, true, kWarps, kIsSplit>
                          : attention_decode_kernel<T, kD, kHeadTiles, false, kWarps, kIsSplit>;
  const int64_t received = splits.is_cluster && splits.count > 1 ? splits.count : 0;
  const int64_t heads =
      kIsSplit ? (kWarps + received) * splits.heads_a_block : int64_t{kWarps} * 8 * kHeadTiles;
  const auto shared_bytes = static_cast<size_t>(heads * (kD + 4)) * sizeof(float);
  // What any launch may need, so that no order of launches matters.
  constexpr int64_t kMostHeads = (kWarps + (kIsSplit ? kMaxCluster : 0)) * 8 * kHeadTiles;
  const int64_t most = std::min<int64_t>(kMostHeads * (kD + 4) * int64_t{sizeof(float)},
                                         device_of(stream).max_shared_bytes - 4096);
  int32_t status = device::cuda::status_of(cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)));
  // What is on its way from memory takes room in the first-level cache, of which the matmul before
  // has left next to nothing: of steps of few rows, whose kernels follow one another without a
  // pause, this asks for three fifths of a multiprocessor's memory back. Less for blocks makes them
  // wait.
  if (kIsSplit && status == kOk)
    status = device::cuda::status_of(
        cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 40));
  if (status != kOk) return status;
  const dim3 grid(splits.count, static_cast<unsigned>(heads_of_blocks), params.num_rows);
  status = launch(stream, kernel, grid, dim3(kWarps * 32), shared_bytes,
                  splits.is_cluster ? splits.count : 1, params, splits);
  if (status != kOk || splits.count == 1 || splits.is_cluster) return status;
  return launch_attention_combine(stream, params, splits);
}

template <typename T, int kD, int kHeadTiles>
int32_t launch_decode(void* stream, const AttentionParams& params, bool opens_prefill) {
  const int64_t group = params.num_heads / params.num_kv_heads;
  const auto heads_a_block = static_cast<int32_t>(std::min<int64_t>(group, 8 * kHeadTiles));
  const int64_t heads_of_blocks = params.num_kv_heads * ceil_div(group, heads_a_block);
  const int64_t blocks = params.num_rows * heads_of_blocks;
  const auto plan = [&](int32_t warps) {
    return plan_splits(stream, params, heads_a_block, blocks, warps,
                       blocks_an_sm(kD, kHeadTiles, warps), opens_prefill);
  };
  if constexpr (kD <= 128 && kHeadTiles == 1) {
    if (blocks * kMaxCluster <= device_of(stream).sm_count)
      return launch_decode<T, kD, 1, 8, true>(stream, params, plan(8), heads_of_blocks);
  }
  const DecodeSplits splits = plan(4);
  return splits.count > 1
             ? launch_decode<T, kD, kHeadTiles, 4, true>(stream, params, splits, heads_of_blocks)
             : launch_decode<T, kD, kHeadTiles, 4, false>(stream, params, splits, heads_of_blocks);
}

template <typename T, int kD>
int32_t launch_decode(void* stream, const AttentionParams& params, bool opens_prefill) {
  // At 256 elements two tiles of heads do not fit the registers: larger groups read K and V again.
  if constexpr (kD <= 128) {
    if (params.num_heads / params.num_kv_heads > 8)
      return launch_decode<T, kD, 2>(stream, params, opens_prefill);
  }
  return launch_decode<T, kD, 1>(stream, params, opens_prefill);
}

template <typename T>
int32_t launch_decode(void* stream, const AttentionParams& params, bool opens_prefill) {
  if (params.head_size <= 64) return launch_decode<T, 64>(stream, params, opens_prefill);
  if (params.head_size <= 128) return launch_decode<T, 128>(stream, params, opens_prefill);
  return launch_decode<T, 256>(stream, params, opens_prefill);
}

}  // namespace

int32_t launch_attention_decode(void* stream, const AttentionParams& params, bool opens_prefill) {
  if (params.page_dtype == DType::kBF16) return launch_decode<bf16>(stream, params, opens_prefill);
  return launch_decode<__half>(stream, params, opens_prefill);
}

}  // namespace slora::kernels::cuda
