// Parameters of the base model's operations but attention; kernel_api.hpp has their rules and
// letters. C++17.
#pragma once

#include <cstdint>

#include "slora/core/dtype.hpp"

namespace slora::kernels {

using core::DType;

struct LoraExpandParams;

// Semantics  out[t, :] = scale * W[token(t) - vocab_begin, :], token(t) = history[token_slot[t] *
// history_stride + token_position[t]]; zeros if is_shard and W has no such row. Otherwise a token
// id outside [0, V) cannot occur: ids are checked where they enter.
struct EmbedParams {
  const void* weight;  // packed [V, H]
  DType weight_dtype;
  int64_t vocab_size;
  int64_t hidden_size;
  const int32_t* history;
  int64_t history_stride;
  const int32_t* token_slot;      // [T]
  const int32_t* token_position;  // [T]
  int32_t num_tokens;
  float scale;
  float* out;               // [T, H]
  int64_t vocab_begin = 0;  // token id of W's first row
  bool is_shard = false;    // W holds a part of the vocabulary
};

// Semantics  if delta: residual[t] += delta[t].  y[i] = residual[row(i)] *
// rsqrt(mean(residual[row(i)]^2) + eps) *
//            (weight_offset + weight), row(i) = row_indices ? row_indices[i] : i
// With row_indices, delta must be null. Without it y may be the residual itself, of one dtype.
// The residual is the sum of all that layers add, and kept in fp32 whatever the activations are: a
// sum rounded to bf16 at each layer is what most of a bf16 model's error comes from.
struct NormParams {
  void* residual;              // [T, H]
  const void* delta;           // [T, H] or null
  const float* weight;         // [H]
  void* y;                     // [num_rows, H]
  const int32_t* row_indices;  // [num_rows] or null
  DType activation_dtype;
  int32_t num_rows;
  int64_t hidden_size;
  float eps;
  float weight_offset;                 // 0, or 1 where the stored weight is the difference from one
  DType residual_dtype = DType::kF32;  // fp32, or activation_dtype
};

// Semantics  y[m, n] = sum_k x[m, k] * W[n, k] (+ bias[n])      accumulated in fp32
// With a bf16 W the host rounds x to bf16 first. Row m of y depends on row m of x only.
struct GemmParams {
  const void* x;  // [M, K], row stride x_stride elements
  int64_t x_stride;
  const void* w;  // packed [N, K]
  DType weight_dtype;
  DType activation_dtype;  // of x
  int64_t m;
  int64_t n;
  int64_t k;
  const float* bias;  // [N] or null
  void* y;            // [M, N], row stride y_stride elements
  int64_t y_stride;
  void* workspace;              // gemm_workspace_bytes(weight_dtype, M, K)
  DType y_dtype = DType::kF32;  // fp32 (logits), or activation_dtype
  // The adapters' part of the sum, its y this one: of few rows it goes in before the sum is
  // rounded, else by an expand after. Where takes_updates says so. Null: none.
  const LoraExpandParams* update = nullptr;
};

// A shape of gemm and matrices of that shape, read in turn: with enough of them none is cached.
struct GemmTuneParams {
  GemmParams gemm;  // without w; y is overwritten
  const void* const* weights;
  int32_t num_weights;
};

// Semantics  each head h of q and k: h[d] *= rsqrt(mean(h^2) + eps) * (weight_offset + weight[d]),
// in place, before the rotation
struct HeadNormParams {
  void* qkv;  // [T, row_stride]: q at column 0, k at num_heads * D
  int64_t row_stride;
  DType activation_dtype;
  int32_t num_tokens;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_size;
  const float* q_weight;  // [D]
  const float* k_weight;  // [D]
  float eps;
  float weight_offset;
};

// Semantics  y[i] = cap * tanh(y[i] / cap)
struct SoftcapParams {
  float* y;
  int64_t count;
  float cap;  // > 0
};

enum class Activation : int32_t { kSilu = 0, kGeluTanh = 1 };

// Semantics  out[t, f] = act(x[t, f]) * x[t, F + f]
struct GatedActivationParams {
  const void* x;  // [T, 2F]
  void* out;      // [T, F]
  DType activation_dtype;
  Activation activation;
  int32_t num_tokens;
  int64_t intermediate_size;
};

}  // namespace slora::kernels
