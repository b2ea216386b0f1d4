// Reference of paged attention: every score first, then softmax, then the weighted sum.
#include <algorithm>
#include <cmath>

#include "slora/kernels/reference.hpp"

namespace slora::kernels::reference {
namespace {

double page_element(const AttentionParams& params, int32_t s, int32_t position, bool is_value,
                    int64_t element) {
  const int32_t page =
      params.page_table[s * params.page_table_stride + position / params.tokens_per_page];
  const int64_t token = position % params.tokens_per_page + (is_value ? params.tokens_per_page : 0);
  return core::load_as_float(params.slice + page * params.page_bytes, params.page_dtype,
                             token * params.num_kv_heads * params.head_size + element);
}

void attend(const AttentionParams& params, int32_t s, int32_t t, int32_t head, double* out) {
  const int32_t d = params.head_size;
  const int64_t kv_column =
      static_cast<int64_t>(head / (params.num_heads / params.num_kv_heads)) * d;
  const float* q = static_cast<const float*>(params.q) + t * params.q_stride + head * d;
  const int32_t position = params.token_position[t];
  const int32_t begin = params.window > 0 ? std::max(0, position - params.window + 1) : 0;
  std::vector<double> scores;
  for (int32_t j = begin; j <= position; ++j) {
    double score = 0.0;
    for (int32_t i = 0; i < d; ++i)
      score += q[i] * page_element(params, s, j, false, kv_column + i);
    score *= params.scale;
    if (params.softcap > 0.0f) score = params.softcap * std::tanh(score / params.softcap);
    scores.push_back(score);
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (int32_t i = 0; i < d; ++i) {
    double value = 0.0;
    for (int32_t j = begin; j <= position; ++j) {
      value += scores[static_cast<size_t>(j - begin)] / sum *
               page_element(params, s, j, true, kv_column + i);
    }
    out[i] = value;
  }
}

}  // namespace

std::vector<double> attention(const AttentionParams& params) {
  const int64_t width = static_cast<int64_t>(params.num_heads) * params.head_size;
  std::vector<double> out(static_cast<size_t>(params.num_tokens * width));
  for (int32_t s = 0; s < params.num_rows; ++s) {
    for (int32_t t = params.row_offsets[s]; t < params.row_offsets[s + 1]; ++t) {
      for (int32_t n = 0; n < params.num_heads; ++n)
        attend(params, s, t, n, out.data() + t * width + n * params.head_size);
    }
  }
  return out;
}

}  // namespace slora::kernels::reference
