// Weights of the base model that an adapter's own numbers depend on, read from its checkpoint when
// first asked for.
#pragma once

#include <optional>
#include <vector>

#include "slora/adapter/peft_reader.hpp"
#include "slora/model/weights.hpp"

namespace slora::adapter {

class BaseWeights {
 public:
  explicit BaseWeights(const BaseModel& base) : base_(base) {}

  // kUnsupported, with `what` needs it, if there is no checkpoint.
  void require(const std::string& what);

  // [out_dim, in_dim] of a module, and its bias (empty if it has none).
  model::TensorRef matrix(int32_t layer_idx, const model::LinearModule& module);
  std::vector<float> bias(int32_t layer_idx, const model::LinearModule& module);

  // [V, H]
  model::TensorRef embedding();
  model::TensorRef head();

 private:
  const model::WeightPlan& plan();
  const model::MatrixPlan& matrix_plan(model::MatrixId id);

  const BaseModel& base_;
  std::optional<model::WeightPlan> plan_;
};

// m / |W + scale B A| of each output channel, in double: DoRA's factor
// (peft/tuners/lora/dora.py, get_weight_norm). kFormat naming `magnitude` where the norm is zero.
// Cost: out_dim * in_dim * lora_rank multiply-adds.
std::vector<float> dora_factor(const model::TensorRef& base, const ModuleWeights& weights,
                               const model::TensorRef& magnitude);

}  // namespace slora::adapter
