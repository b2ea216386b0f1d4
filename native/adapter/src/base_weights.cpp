// Reads the base weights that an adapter needs (DoRA, biases) from the checkpoint when first asked.
#include "base_weights.hpp"

#include <cmath>

#include "row_convert.hpp"
#include "slora/core/check.hpp"
#include "slora/core/status.hpp"
#include "slora/model/quote.hpp"

namespace slora::adapter {

using core::fail;
using core::Status;
using model::TensorRef;

void BaseWeights::require(const std::string& what) {
  if (base_.config && !base_.checkpoint_folder.empty()) return;
  fail(Status::kUnsupported, what, " is not implemented without the base model's checkpoint");
}

const model::WeightPlan& BaseWeights::plan() {
  if (!plan_) {
    plan_ =
        model::plan_weights(*base_.config, model::TensorSet::open_model(base_.checkpoint_folder));
  }
  return *plan_;
}

const model::MatrixPlan& BaseWeights::matrix_plan(model::MatrixId id) {
  for (const model::MatrixPlan& matrix : plan().matrices) {
    if (matrix.id == id) return matrix;
  }
  fail(Status::kInternal, "the base has no matrix of kind ", static_cast<int>(id.kind));
}

TensorRef BaseWeights::matrix(int32_t layer_idx, const model::LinearModule& module) {
  for (const model::WeightSource& source : matrix_plan({module.group, layer_idx}).sources) {
    if (source.row_offset == module.column_offset) return source.tensor;
  }
  fail(Status::kInternal, "the base has no matrix ", module.name);
}

std::vector<float> BaseWeights::bias(int32_t layer_idx, const model::LinearModule& module) {
  for (const model::VectorPlan& vector : plan().vectors) {
    if (!(vector.id == model::VectorId{model::bias_kind(module.group), layer_idx})) continue;
    const std::vector<float> all = model::vector_values(vector);
    const auto begin = all.begin() + module.column_offset;
    return {begin, begin + module.out_dim};
  }
  return {};
}

TensorRef BaseWeights::embedding() {
  return matrix_plan({model::MatrixKind::kEmbedding, -1}).sources.front().tensor;
}

TensorRef BaseWeights::head() {
  if (plan().is_tied) return embedding();
  return matrix_plan({model::MatrixKind::kHead, -1}).sources.front().tensor;
}

std::vector<float> dora_factor(const TensorRef& base, const ModuleWeights& weights,
                               const TensorRef& magnitude) {
  const int64_t in_dim = weights.a.shape[1];
  const int64_t out_dim = weights.b.shape[0];
  const std::vector<float> a = model::to_floats(weights.a);
  const std::vector<float> b = model::to_floats(weights.b);
  const std::vector<float> m = model::to_floats(magnitude);
  std::vector<float> stored(static_cast<size_t>(in_dim));
  std::vector<double> row(static_cast<size_t>(in_dim));
  std::vector<float> factors;
  for (int64_t o = 0; o < out_dim; ++o) {
    convert_row(base, o * in_dim, 1, in_dim, core::DType::kF32,
                reinterpret_cast<uint8_t*>(stored.data()));
    row.assign(stored.begin(), stored.end());
    for (int32_t r = 0; r < weights.lora_rank; ++r) {
      const double factor =
          static_cast<double>(weights.scale) * b[static_cast<size_t>(o * weights.lora_rank + r)];
      const float* a_row = a.data() + r * in_dim;
      for (int64_t k = 0; k < in_dim; ++k) row[static_cast<size_t>(k)] += factor * a_row[k];
    }
    double squares = 0;
    for (const double value : row) squares += value * value;
    const double factor = m[static_cast<size_t>(o)] / std::sqrt(squares);
    if (!std::isfinite(factor) || !std::isfinite(static_cast<float>(factor))) {
      fail(Status::kFormat, model::path_text(magnitude.file), ": tensor ",
           model::quote(magnitude.name), " has no finite factor for output ", o,
           ", whose weights have norm ", std::sqrt(squares));
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

}  // namespace slora::adapter
