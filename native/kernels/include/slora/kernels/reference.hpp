// The plain form of every operation: straightforward loops in double, one thread, no vectors. What
// tests compare a backend's kernels with. Activations are float; weights are row-major and
// unpacked. Pages and tables are as the operation's parameters describe them.
#pragma once

#include <vector>

#include "slora/kernels/kernel_api.hpp"

namespace slora::kernels::reference {

// y[m, n] = sum_k x[m, k] w[n, k] (+ bias[n]); x is rounded to bf16 first if `round_x`. All
// row-major.
std::vector<double> gemm(const float* x, int64_t x_stride, const float* w, const float* bias,
                         int64_t m, int64_t n, int64_t k, bool round_x);
// Updates params.residual in place where there is a delta; returns y [num_rows, H].
std::vector<double> norm(const NormParams& params);
// Returns the rotated q, k and the v of all tokens: [T, (num_heads + 2 num_kv_heads) * D].
std::vector<double> rope(const RopeKvParams& params);
std::vector<double> attention(const AttentionParams& params);               // [T, num_heads * D]
std::vector<double> gated_activation(const GatedActivationParams& params);  // [T, F]

// t in the intermediate's layout, `t_floats` long; untouched elements are 0.
std::vector<double> lora_shrink(const LoraShrinkParams& params, int64_t t_floats);
// The addend to y: [T, y_stride], before it is added.
std::vector<double> lora_expand(const LoraExpandParams& params, int64_t num_tokens);

// y after the epilogue, from params.y: [T, y_stride].
std::vector<double> lora_epilogue(const LoraEpilogueParams& params, int64_t num_tokens);
std::vector<double> lora_embed(const LoraEmbedParams& params, int64_t num_tokens);  // [T, H]
std::vector<double> lora_head(const LoraHeadParams& params, int64_t num_outputs);   // [.., V]
// q and k after the norm, the rest as it was: [T, row_stride].
std::vector<double> head_norm(const HeadNormParams& params);

std::vector<float> gather_columns(const GatherColumnsParams& params);  // [num_rows, V]

// Element r of a row of t (which begins at t_row), where it lies in the packed form, which rank
// holds it, and as which of its own ranks.
struct LoraExchangeElement {
  int32_t part;
  int64_t r_in_part;
  int64_t t_row;
  int64_t r;
  int64_t packed;
};
std::vector<LoraExchangeElement> lora_exchange(const LoraExchangeParams& params);

// The distribution after all processors.
std::vector<double> sample_distribution(const SampleParams& params, int32_t row_idx);

}  // namespace slora::kernels::reference
