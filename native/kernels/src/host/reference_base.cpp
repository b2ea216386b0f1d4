// References of the base model's row operations.
#include <cmath>

#include "slora/kernels/reference.hpp"

namespace slora::kernels::reference {

std::vector<double> gemm(const float* x, int64_t x_stride, const float* w, const float* bias,
                         int64_t m, int64_t n, int64_t k, bool round_x) {
  std::vector<double> y(static_cast<size_t>(m * n));
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      double sum = bias ? bias[column] : 0.0;
      for (int64_t i = 0; i < k; ++i) {
        float input = x[row * x_stride + i];
        if (round_x) input = core::bf16_to_float(core::float_to_bf16(input));
        sum += static_cast<double>(input) * w[column * k + i];
      }
      y[static_cast<size_t>(row * n + column)] = sum;
    }
  }
  return y;
}

std::vector<double> norm(const NormParams& params) {
  const int64_t hidden = params.hidden_size;
  std::vector<double> y(static_cast<size_t>(params.num_rows * hidden));
  for (int32_t i = 0; i < params.num_rows; ++i) {
    const int64_t row = params.row_indices ? params.row_indices[i] : i;
    float* residual = static_cast<float*>(params.residual) + row * hidden;
    double squares = 0.0;
    for (int64_t h = 0; h < hidden; ++h) {
      if (params.delta) residual[h] += static_cast<const float*>(params.delta)[row * hidden + h];
      squares += static_cast<double>(residual[h]) * residual[h];
    }
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(hidden) + params.eps);
    for (int64_t h = 0; h < hidden; ++h) {
      y[static_cast<size_t>(i * hidden + h)] =
          residual[h] * factor * (static_cast<double>(params.weight_offset) + params.weight[h]);
    }
  }
  return y;
}

std::vector<double> rope(const RopeKvParams& params) {
  const int64_t d = params.head_size;
  const int64_t width = (params.num_heads + 2 * params.num_kv_heads) * d;
  const int64_t half = params.rotary_size / 2;
  std::vector<double> out(static_cast<size_t>(params.num_tokens * width));
  for (int64_t t = 0; t < params.num_tokens; ++t) {
    const float* in = static_cast<const float*>(params.qkv) + t * params.row_stride;
    double* row = out.data() + t * width;
    for (int64_t i = 0; i < width; ++i) row[i] = in[i];
    const float* table =
        params.rope_table + static_cast<int64_t>(params.token_position[t]) * params.rotary_size;
    for (int64_t n = 0; n < params.num_heads + params.num_kv_heads; ++n) {
      for (int64_t i = 0; i < half; ++i) {
        const double a = in[n * d + i];
        const double b = in[n * d + i + half];
        row[n * d + i] = a * table[i] - b * table[half + i];
        row[n * d + i + half] = b * table[i] + a * table[half + i];
      }
    }
  }
  return out;
}

std::vector<double> gated_activation(const GatedActivationParams& params) {
  const int64_t width = params.intermediate_size;
  std::vector<double> out(static_cast<size_t>(params.num_tokens * width));
  for (int64_t t = 0; t < params.num_tokens; ++t) {
    const float* row = static_cast<const float*>(params.x) + t * 2 * width;
    for (int64_t f = 0; f < width; ++f) {
      const double x = row[f];
      const double u = std::sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
      const double act = params.activation == Activation::kSilu ? x / (1.0 + std::exp(-x))
                                                                : 0.5 * x * (1.0 + std::tanh(u));
      out[static_cast<size_t>(t * width + f)] = act * row[width + f];
    }
  }
  return out;
}

}  // namespace slora::kernels::reference
