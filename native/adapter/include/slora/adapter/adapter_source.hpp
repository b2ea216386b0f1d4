// An adapter's weights before packing: which modules of which layers it changes, by how much, and
// where A and B lie.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "slora/model/module_table.hpp"
#include "slora/model/safetensors.hpp"

namespace slora::adapter {

// delta(x) = scale * B (A x)
struct ModuleWeights {
  int32_t layer_idx;
  int32_t module_idx;  // into the model's ModuleTable
  int32_t lora_rank;
  float scale;         // lora_alpha / lora_rank, or lora_alpha / sqrt(lora_rank) with rsLoRA
  model::TensorRef a;  // [lora_rank, in_dim]
  model::TensorRef b;  // [out_dim, lora_rank]
};

struct AdapterSource {
  std::vector<ModuleWeights> modules;  // by layer, then module; each pair at most once; never empty
  std::shared_ptr<const void> storage;  // keeps what the tensors point into
};

// Random weights: A uniform within 1 / sqrt(in_dim) as PEFT begins, B uniform within 1 /
// sqrt(out_dim), scale 1. The same seed gives the same weights on every machine. `module_mask` bit
// i: module i; 0: all. kInvalidArgument if lora_rank < 1 or the mask names a module the table
// lacks.
AdapterSource synthetic_adapter(const model::ModuleTable& table, uint64_t seed, int32_t lora_rank,
                                uint32_t module_mask);

}  // namespace slora::adapter
