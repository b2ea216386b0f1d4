// Which matmuls a step of some rows has, for the backend to measure how each is computed fastest.
#include <span>
#include <vector>

#include "slora/forward/forward_pass.hpp"

namespace slora::forward {

using model::MatrixKind;

void ForwardPass::tune_matmuls(device::Stream& stream, int32_t rows) {
  if (!backend_.kernels->gemm_tune) return;
  const auto tune = [&](const kernels::GemmParams& params, std::span<const void* const> weights) {
    const kernels::GemmTuneParams all = {params, weights.data(),
                                         static_cast<int32_t>(weights.size())};
    expect_launched(backend_.kernels->gemm_tune(stream.handle(), &all), "gemm_tune");
  };
  const int64_t query = int64_t{model_.config->num_heads} * model_.config->head_size;
  const struct {
    MatrixKind kind;
    const device::Buffer& x;
    int64_t x_stride;
    const device::Buffer& y;
  } of_a_layer[] = {{MatrixKind::kQkv, normed_, model_.config->hidden_size, qkv_},
                    {MatrixKind::kO, attended_, query, delta_},
                    {MatrixKind::kGateUp, normed_, model_.config->hidden_size, gate_up_},
                    {MatrixKind::kDown, activated_, model_.config->intermediate_size, delta_}};
  std::vector<const void*> weights(static_cast<size_t>(model_.config->num_layers));
  for (const auto& [kind, x, x_stride, y] : of_a_layer) {
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i] = model_.weights->matrix(kind, static_cast<int32_t>(i)).packed.data();
    tune(product(model_.weights->matrix(kind, 0), rows, x.data(), x_stride, y.data(),
                 activation_dtype_),
         weights);
  }
  if (rows > room_.outputs) return;
  const Matrix& head = head_matrix();
  const void* const weight = head.packed.data();
  tune(product(head, rows, normed_.data(), head.k,
               parallel_.group ? logit_parts_.data() : logits_.data(), core::DType::kF32),
       {&weight, 1});
}

}  // namespace slora::forward
