// A loaded model: its backend, configuration and packed weights. Shared by the engines on it.
//
// A tensor-parallel model is one of these a rank, each with its part of the weights. The one that a
// caller holds is rank 0's; it owns those of the ranks that are threads of this process.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

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
  int32_t tp_size = 1;
  model::LoraSharding lora_sharding = model::LoraSharding::kAligned;
  std::vector<int32_t> devices = {};  // [tp_size]; empty: device_idx, device_idx + 1, ...
  // Not empty: ranks 1.. are processes (run_worker), which rank 0 awaits at this host:port.
  std::string listen = {};
  std::string secret = {};  // that they must know
  int32_t join_limit_ms = 60'000;
  int32_t time_limit_ms = 30'000;  // for a rank that does not answer
};

class Workers;

struct Model {
  forward::Backend backend;
  device::DeviceInfo device_info;
  model::ModelConfig config;   // of the whole model
  model::ModuleTable modules;  // likewise
  model::ShardSpec shard;
  model::ModelConfig own_config;   // of the rank's part
  model::ModuleTable own_modules;  // likewise
  std::unique_ptr<forward::ModelWeights> weights;
  std::string checkpoint_folder;  // empty: synthetic weights
  bool is_tied = false;
  uint64_t num_parameters = 0;                    // of the whole model
  std::vector<std::shared_ptr<Model>> followers;  // rank 0: those of ranks 1.. as threads
  std::shared_ptr<Workers> workers;               // rank 0: ranks 1.. as processes
  // Rank 0: two engines' collectives could each hold the threads that the other waits for.
  std::atomic<bool> has_engine{false};

  forward::ModelView view() const {
    return {&own_config, &own_modules, weights.get(), is_tied, &config};
  }
  // What one step reads, on all ranks of this process.
  uint64_t step_bytes() const;
};

// One rank's part alone, on a device and with threads of its own.
std::shared_ptr<Model> load_rank(const ModelOptions& options, const model::ShardSpec& shard,
                                 model::LoadProgress* progress);

// kIo, kFormat, kUnsupported, kBackend, kOutOfMemory, kCancelled or kInvalidArgument, as
// slora_model_load. With tp_size > 1 all ranks' parts are loaded at once, each on a device of its
// own: on the host a thread team of an equal share of num_threads. Where ranks are processes
// (`listen`), device_idx and num_threads are rank 0's.
std::shared_ptr<Model> load_model(const ModelOptions& options, model::LoadProgress* progress);

}  // namespace slora::engine
