// How the context of a row of one token is cut into splits, so that few rows fill the card: the
// launch's plan, which knows bounds only, and each row's own share of it.
#pragma once

#include "attention.cuh"

namespace slora::kernels::cuda {

inline constexpr int kChunk = 16;  // positions of a warp's step
inline constexpr int kMaxCluster = 8;

struct DecodeSplits {
  int32_t count;    // of each row's context, a bound: short rows use fewer
  bool is_cluster;  // the splits of a head are one cluster and add up among themselves
  int32_t heads_a_block;
  int32_t min_chunks;  // of a split: one a warp
  bool is_by_token;    // partial results are indexed by token, else by row: whichever are fewer
  bool opens_prefill;  // the launch after is the prefill's, which runs beside this one
  float2* stats;       // (max, sum) of [row, head, split]
  float* partial;      // [row, head, split, D]

  // Of the first split of a head.
  __device__ int64_t slot(const AttentionParams& params, int32_t s, int64_t token,
                          int32_t head) const {
    return ((is_by_token ? token : s) * params.num_heads + head) * count;
  }
};

// The chunks of a row and which of them a split takes. Lengths are the row's own: a launch's shape
// depends on bounds only.
struct SplitContext {
  int32_t position;     // -1: nothing to do
  int32_t begin;        // first position
  int32_t first_chunk;  // of the row
  int32_t chunks_a_split;
  int32_t num_splits;  // with at least one chunk

  __device__ SplitContext(const AttentionParams& params, int32_t s, int32_t max_splits,
                          int32_t min_chunks) {
    const int32_t first_token = params.row_offsets[s];
    const bool is_decode = params.row_offsets[s + 1] - first_token == 1;
    position = is_decode ? params.token_position[first_token] : -1;
    begin = window_begin(params, position);
    first_chunk = begin / kChunk;
    const int32_t chunks = position / kChunk + 1 - first_chunk;
    // Fewer than one chunk a warp is not worth a block.
    chunks_a_split = max((chunks + max_splits - 1) / max_splits, min_chunks);
    num_splits = (chunks + chunks_a_split - 1) / chunks_a_split;
  }
};

// Splits so that the card is full once, from bounds only. Up to a cluster's size they need no
// second kernel; more are only worth it where a context is long.
DecodeSplits plan_splits(void* stream, const AttentionParams& params, int32_t heads_a_block,
                         int64_t blocks, int32_t warps, int32_t blocks_an_sm, bool opens_prefill);

// Adds up the partial results of several splits that are no cluster.
int32_t launch_attention_combine(void* stream, const AttentionParams& params,
                                 const DecodeSplits& splits);

}  // namespace slora::kernels::cuda
