// How the rows of a batch that have several tokens are cut into tiles, one a block: (token, head)
// pairs of one row and KV head, all query heads that share K and V side by side.
#pragma once

#include <algorithm>

#include "attention.cuh"

namespace slora::kernels::cuda {

struct Tiling {
  int32_t heads_a_tile;
  int32_t tokens_a_tile;
  int32_t min_tokens;  // of a row that this launch serves
  int32_t page_shift;  // log2 of tokens_per_page; -1: no power of two
  bool is_beside;      // the launch before is the decode's, which has seen all inputs come
};

struct Tile {
  int32_t row;  // of the batch; -1: none
  int32_t first_token;
  int32_t num_tokens;
};

// Tile number `idx` of all rows' tiles, counted from the last: the last tokens of a row see the
// most positions and should begin first. By one warp.
__device__ __forceinline__ Tile find_tile(const AttentionParams& params, const Tiling& tiling,
                                          int32_t idx) {
  const int32_t lane = threadIdx.x % 32;
  int32_t seen = 0;
  for (int32_t last = params.num_rows; last > 0; last -= 32) {
    const int32_t s = last - 1 - lane;
    int32_t first = 0, count = 0, tiles = 0;
    if (s >= 0) {
      first = params.row_offsets[s];
      count = params.row_offsets[s + 1] - first;
      if (count >= tiling.min_tokens)
        tiles = (count + tiling.tokens_a_tile - 1) / tiling.tokens_a_tile;
    }
    int32_t sum = tiles;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int32_t before = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += before;
    }
    const uint32_t reached = __ballot_sync(0xffffffffu, seen + sum > idx);
    if (reached) {
      const int owner = __ffs(reached) - 1;
      const int32_t before = __shfl_sync(0xffffffffu, seen + sum - tiles, owner);
      const int32_t owner_tiles = __shfl_sync(0xffffffffu, tiles, owner);
      first = __shfl_sync(0xffffffffu, first, owner);
      count = __shfl_sync(0xffffffffu, count, owner);
      const int32_t begin = (owner_tiles - 1 - (idx - before)) * tiling.tokens_a_tile;
      return {last - 1 - owner, first + begin, min(tiling.tokens_a_tile, count - begin)};
    }
    seen += __shfl_sync(0xffffffffu, sum, 31);
  }
  return {-1, 0, 0};
}

// `pairs`: of a tile.
inline Tiling make_tiling(const AttentionParams& params, int32_t pairs, int32_t min_tokens,
                          bool is_beside) {
  Tiling tiling;
  tiling.heads_a_tile = std::min(params.num_heads / params.num_kv_heads, pairs);
  tiling.tokens_a_tile = pairs / tiling.heads_a_tile;
  tiling.min_tokens = min_tokens;
  tiling.page_shift = -1;
  tiling.is_beside = is_beside;
  for (int32_t shift = 0; shift < 31; ++shift) {
    if (params.tokens_per_page == 1 << shift) tiling.page_shift = shift;
  }
  return tiling;
}

// Tiles that share their tokens.
inline int64_t parts_of_heads(const AttentionParams& params, const Tiling& tiling) {
  return params.num_kv_heads *
         ceil_div(params.num_heads / params.num_kv_heads, tiling.heads_a_tile);
}

// Most tiles of any batch within the bounds: each row may end in a tile that is not full. Blocks of
// this size begin slowly: those of rows that belong to decode would cost more than it.
inline int64_t most_tiles(const AttentionParams& params, const Tiling& tiling) {
  const bool is_known = params.num_long_rows >= 0 && tiling.min_tokens > 1;
  const int64_t tokens = is_known ? params.num_long_tokens : params.num_tokens;
  const int64_t rows =
      is_known ? params.num_long_rows
               : std::min<int64_t>(params.num_rows, params.num_tokens / tiling.min_tokens);
  return tokens / tiling.tokens_a_tile + rows;
}

}  // namespace slora::kernels::cuda
