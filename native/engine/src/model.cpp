// Loading: configuration first, since it is cheap and refuses most mistakes; then the backend; then
// the weights.
#include "slora/engine/model.hpp"

#include "slora/core/status.hpp"

namespace slora::engine {

std::shared_ptr<Model> load_model(const ModelOptions& options, model::LoadProgress* progress) {
  auto loaded = std::make_shared<Model>();
  loaded->config = model::read_config(options.path);
  loaded->modules = model::module_table(loaded->config);
  if (!options.is_synthetic) loaded->checkpoint_folder = options.path;
  loaded->backend = open_backend(options.backend, options.device_idx, options.num_threads);
  loaded->device_info = loaded->backend.device->describe();
  if (!loaded->backend.kernels->supports_dtype(options.compute_dtype)) {
    core::fail(core::Status::kUnsupported, "the ", loaded->backend.is_cuda ? "CUDA" : "host",
               " backend does not compute in ", core::dtype_name(options.compute_dtype));
  }
  loaded->weights = std::make_unique<forward::ModelWeights>(loaded->backend, options.compute_dtype,
                                                            loaded->config.num_layers);
  model::TensorSet tensors;  // keeps the files mapped while the plan points into them
  if (!options.is_synthetic) tensors = model::TensorSet::open_model(options.path);
  const model::WeightPlan plan = options.is_synthetic
                                     ? model::plan_synthetic_weights(loaded->config)
                                     : model::plan_weights(loaded->config, tensors);
  loaded->is_tied = plan.is_tied;
  loaded->num_parameters = plan.num_parameters;
  if (options.is_synthetic) {
    model::fill_weights(plan, options.synthetic_seed, *loaded->weights, progress);
  } else {
    model::load_weights(plan, *loaded->weights, progress);
  }
  return loaded;
}

}  // namespace slora::engine
