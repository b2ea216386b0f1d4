// A loaded model: its backend, configuration and packed weights. Shared by the engines on it.
#pragma once

#include <memory>
#include <string>

#include "slora/engine/backend_loader.hpp"
#include "slora/forward/forward_pass.hpp"

namespace slora::engine {

struct ModelOptions {
  std::string path;
  BackendKind backend = BackendKind::kAuto;
  core::DType compute_dtype = core::DType::kBF16;
  int32_t device_idx = 0;
  int32_t num_threads = 0;
  bool is_synthetic = false;
  uint64_t synthetic_seed = 0;
};

struct Model {
  forward::Backend backend;
  device::DeviceInfo device_info;
  model::ModelConfig config;
  model::ModuleTable modules;
  std::unique_ptr<forward::ModelWeights> weights;
  std::string checkpoint_folder;  // empty: synthetic weights
  bool is_tied = false;
  uint64_t num_parameters = 0;

  forward::ModelView view() const { return {&config, &modules, weights.get(), is_tied}; }
};

// kIo, kFormat, kUnsupported, kBackend, kOutOfMemory or kCancelled, as slora_model_load.
std::shared_ptr<Model> load_model(const ModelOptions& options, model::LoadProgress* progress);

}  // namespace slora::engine
