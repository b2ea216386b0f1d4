// Parameters of attention and of what writes its K and V to pages; kernel_api.hpp has their rules
// and letters. C++17.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"

namespace slora::kernels {

using core::DType;

// Semantics  rotates q and k by their position and writes k and v into their KV page.
//   pair i < rotary_size / 2 of a head: (a, b) = (h[i], h[i + rotary_size / 2]) -> (a cos - b sin,
//   b cos + a sin)
// q is rotated in place; k and v are read from qkv and only written to pages (in page_dtype).
// A KV page of one layer: [2, tokens_per_page, num_kv_heads, head_size], K first.
struct RopeKvParams {
  void* qkv;  // [T, row_stride]: q at column 0, k at num_heads * D, v at (num_heads + num_kv_heads)
              // * D
  int64_t row_stride;
  DType activation_dtype;
  DType page_dtype;
  const float* rope_table;        // [max_context, rotary_size]: cos of pairs, then sin of pairs
  const int32_t* token_position;  // [T]
  const int32_t* token_page;      // [T] page id of the token's KV; < 0: padding, nothing is written
  int32_t num_tokens;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_size;
  int32_t rotary_size;
  int32_t tokens_per_page;  // slot in page = position % tokens_per_page
  uint8_t* slice;           // this layer's slice of the arena
  int64_t page_bytes;
};

// Semantics  out[t, n] = softmax_j(scale * q[t, n] . k[j, kv(n)]) v[j, kv(n)] over j in (position -
// window, position] Row s of the batch holds tokens [row_offsets[s], row_offsets[s + 1]); its pages
// are page_table[s * page_table_stride
// ...], and the token's own K and V are already in them. window <= 0: none. softcap <= 0: none,
// else scores = softcap * tanh(scores / softcap). A row without tokens is padding.
struct AttentionParams {
  const void* q;  // [T, q_stride]; head n at column n * D
  int64_t q_stride;
  void* out;  // [T, num_heads * D]
  DType activation_dtype;
  DType page_dtype;
  const int32_t* row_offsets;     // [S + 1]
  const int32_t* token_position;  // [T]
  const int32_t* page_table;      // [S, page_table_stride]
  int64_t page_table_stride;
  int32_t num_rows;
  int32_t num_tokens;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_size;
  int32_t tokens_per_page;
  const uint8_t* slice;
  int64_t page_bytes;
  float scale;
  float softcap;
  int32_t window;
  // Bounds that shape the launch; those of a graph cover every batch that it will run.
  int32_t max_row_tokens = 0;  // tokens of one row of this batch; 0: not known
  int32_t max_context = 0;     // positions of one sequence; 0: page_table_stride pages
  void* workspace = nullptr;   // attention_workspace_bytes(...)
  // Rows of more than one token and their tokens, which shape the launch; -1: not known.
  int32_t num_long_rows = -1;
  int32_t num_long_tokens = 0;
};

}  // namespace slora::kernels
