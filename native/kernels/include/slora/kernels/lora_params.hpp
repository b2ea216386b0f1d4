// Parameters of the LoRA operations; kernel_api.hpp has their rules and letters. C++17.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"
#include "slora/kernels/lora_batch.hpp"

namespace slora::kernels {

using core::DType;

// Most modules that share one input and so one shrink launch (q, k, v).
inline constexpr int32_t kMaxFusedModules = 3;

// Semantics  a_heads[l, j, t], b_heads[l, j, t] = what LoraRowHead says of row t, layer l, module j
// Only where no row of A or B is longer than a page. Kernels enqueued after it may read the heads
// at once.
struct LoraFindParams {
  LoraBatch batch;
  DType page_dtype;
  int32_t num_layers;
  const int64_t* in_dim;   // host memory, [num_modules], read during the call
  const int64_t* out_dim;  // likewise
  const uint8_t* slice;    // of layer 0
  int64_t slice_bytes;     // to that of the next layer
  int64_t page_bytes;
  LoraRowHead* a_heads;
  LoraRowHead* b_heads;
};

// MBGMV / MBGMM, first half.
// Semantics  t[e, j, i, r] = sum_h x[segment_begin + i, h] * A_j[r, h]        fp32, of each entry
// and fused module
struct LoraShrinkParams {
  LoraBatch batch;
  const void* x;  // [T, x_stride]
  int64_t x_stride;
  DType activation_dtype;
  DType page_dtype;
  int64_t in_dim;
  int32_t layer_idx;
  int32_t num_fused;  // <= kMaxFusedModules
  int32_t module_idx[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
  float* t;
  // With lora_partials(num_tokens) > 1 a backend may write that many partial sums, `t_stride`
  // floats apart, which its own expand adds up in order.
  int64_t t_stride = 0;
};

// MBGMV / MBGMM, second half.
// Semantics  y[row, column_offset_j + o] += weight * scale_j * sum_r t[e, j, i, r] * Bt_j[r, o]
// entries in order
struct LoraExpandParams {
  LoraBatch batch;
  const float* t;
  void* y;  // [T, y_stride]
  int64_t y_stride;
  DType activation_dtype;
  DType page_dtype;
  int32_t layer_idx;
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  int64_t out_dim[kMaxFusedModules];
  int64_t column_offset[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
  int64_t t_stride = 0;  // as the shrink's
  int64_t in_dim = 0;    // the shrink's: both halves cut the sum alike
};

// Semantics  y[row, column_offset_j + o] = y[...] * factor_j[o] + weight * offset_j[o]; entries in
// order, parts that a module lacks are 1 and 0. After expand: a factor scales base and update alike
// (DoRA), an offset is not scaled (biases).
struct LoraEpilogueParams {
  LoraBatch batch;
  void* y;  // [T, y_stride]
  int64_t y_stride;
  DType activation_dtype;
  DType page_dtype;
  int32_t layer_idx;
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  int64_t out_dim[kMaxFusedModules];
  int64_t column_offset[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
};

// Semantics  merged[n, k] = original[n, k] + scale_j * sum_r Bt_j[r, n - column_offset_j] * A_j[r,
// k] for the columns n of fused module j, rounded once to weight_dtype; A and B are those of
// batch.adapters[0]. Every n belongs to one fused module.
struct LoraMergeParams {
  LoraBatch batch;
  const void* original;  // packed [N, K]
  void* merged;          // packed [N, K], another one
  DType weight_dtype;
  DType page_dtype;
  int64_t n;
  int64_t k;
  int32_t layer_idx;
  int32_t num_fused;
  int32_t module_idx[kMaxFusedModules];
  int64_t out_dim[kMaxFusedModules];
  int64_t column_offset[kMaxFusedModules];
  const uint8_t* slice;
  int64_t page_bytes;
};

// Semantics  for each token of a segment, entries in order, with the entry's WideModule m =
// wide[0]:
//   if m has a row for the token: out[t] = scale * row
//   out[t] += scale * weight * m.scale * sum_r m.a[token, r] * m.b[r, :]
// A part of the vocabulary counts its tokens from vocab_begin and passes over those of others.
struct LoraEmbedParams {
  LoraBatch batch;
  DType page_dtype;  // of the rows
  const int32_t* history;
  int64_t history_stride;
  const int32_t* token_slot;      // [T]
  const int32_t* token_position;  // [T]
  int64_t hidden_size;
  float scale;  // EmbedParams::scale
  float* out;   // [T, H]
  int64_t vocab_begin = 0;
  int64_t vocab_size = INT64_MAX;  // of the part
};

// Semantics  for each row of a segment, entries in order, with the entry's WideModule m = wide[1]:
//   y[i, id(k)] = x[i] . m.rows[k]
//   y[i, v] += weight * m.scale * sum_r (x[i] . m.a[r]) * m.b[r, v]
// The batch's segments are ranges of output rows here, not of tokens.
struct LoraHeadParams {
  LoraBatch batch;
  const void* x;  // [num outputs, x_stride]
  int64_t x_stride;
  DType activation_dtype;
  DType page_dtype;
  int64_t hidden_size;
  int64_t vocab_size;
  float* y;  // [num outputs, V]
};

}  // namespace slora::kernels
