// Reads a PEFT LoRA folder and matches it with a model: adapter_config.json and
// adapter_model.safetensors. What is not implemented is refused by name, and so is every tensor
// that no module takes: an adapter never does less than it says.
#pragma once

#include <string>

#include "slora/adapter/adapter_source.hpp"
#include "slora/adapter/peft_config.hpp"

namespace slora::adapter {

// The model that an adapter is for. Without `config`, and without a checkpoint, adapters whose
// numbers depend on the base's own (DoRA, biases, changed embeddings and heads) are refused.
struct BaseModel {
  const model::ModuleTable* table;
  const model::ModelConfig* config = nullptr;
  std::string checkpoint_folder = {};  // read again where a base weight is needed
};

// kIo, kFormat or kUnsupported with file, key or tensor, value and limit.
AdapterSource read_peft_adapter(const std::string& folder, const BaseModel& base);
inline AdapterSource read_peft_adapter(const std::string& folder, const model::ModuleTable& table) {
  return read_peft_adapter(folder, BaseModel{&table});
}

}  // namespace slora::adapter
