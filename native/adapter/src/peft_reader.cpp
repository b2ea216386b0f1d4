// Every tensor of the file is taken by one module, and the modules taken are those that the
// configuration means: a file and a configuration that tell different stories are refused,
// whichever is right.
#include "slora/adapter/peft_reader.hpp"

#include <map>
#include <set>

#include "slora/core/status.hpp"
#include "slora/model/mapped_file.hpp"
#include "slora/model/quote.hpp"

namespace slora::adapter {
namespace {

using core::fail;
using core::Status;
using model::path_text;
using model::quote;
using model::TensorRef;
using model::TensorSet;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kSuffixA = ".lora_A.weight";
constexpr std::string_view kSuffixB = ".lora_B.weight";

// Tensors of dialects that are not implemented, should their configuration not have said so.
struct ForeignTensor {
  std::string_view part;
  const char* what;
};

constexpr ForeignTensor kForeignTensors[] = {
    {".lora_magnitude_vector", "DoRA"},         {".lora_B.bias", "LoRA bias"},
    {".lora_embedding_", "LoRA on embeddings"}, {".embed_tokens.", "changed embeddings"},
    {".lm_head.", "a changed or adapted head"}, {".token_adapter.", "trainable tokens"},
    {".modules_to_save.", "whole modules"},
};

class Reader {
 public:
  Reader(const PeftConfig& config, const model::ModuleTable& table, const TensorSet& tensors)
      : config_(config), table_(table), tensors_(tensors) {}

  std::vector<ModuleWeights> read() {
    std::vector<ModuleWeights> modules;
    for (int32_t layer_idx = 0; layer_idx < table_.num_layers; ++layer_idx) {
      for (int32_t module_idx = 0; module_idx < table_.num_modules(); ++module_idx) {
        if (has_weights(layer_idx, module_idx))
          modules.push_back(read_module(layer_idx, module_idx));
      }
    }
    refuse_leftovers();
    if (modules.empty()) fail(Status::kFormat, path_text(tensors_.source()), ": no LoRA tensors");
    return modules;
  }

 private:
  std::string tensor_name(int32_t layer_idx, int32_t module_idx, std::string_view suffix) const {
    return core::str_cat(kPrefix, table_.full_name(layer_idx, module_idx), suffix);
  }

  // Whether both halves are there; one alone is an error, and so is a module on which file and
  // configuration disagree.
  bool has_weights(int32_t layer_idx, int32_t module_idx) const {
    const std::string a = tensor_name(layer_idx, module_idx, kSuffixA);
    const std::string b = tensor_name(layer_idx, module_idx, kSuffixB);
    const bool has_a = tensors_.contains(a);
    const bool has_b = tensors_.contains(b);
    if (has_a != has_b) {
      fail(Status::kFormat, path_text(tensors_.source()), ": tensor ", quote(has_a ? a : b),
           " is there without ", quote(has_a ? b : a));
    }
    const std::string name = table_.full_name(layer_idx, module_idx);
    const bool is_target = config_.is_target(name, layer_idx);
    if (has_a && !is_target) {
      fail(Status::kFormat, path_text(tensors_.source()), ": tensor ", quote(a),
           " is there, but adapter_config.json does not target ", quote(name));
    }
    if (is_target && !has_a) {
      fail(Status::kFormat, path_text(tensors_.source()), ": tensor ", quote(a),
           " is missing, but adapter_config.json targets ", quote(name));
    }
    return has_a;
  }

  ModuleWeights read_module(int32_t layer_idx, int32_t module_idx) {
    const std::string name = table_.full_name(layer_idx, module_idx);
    const model::LinearModule& module = table_.modules[static_cast<size_t>(module_idx)];
    const int32_t lora_rank = config_.rank_of(name);
    const int64_t shape_a[] = {lora_rank, module.in_dim};
    const int64_t shape_b[] = {module.out_dim, lora_rank};
    return {layer_idx,
            module_idx,
            lora_rank,
            config_.scale_of(name),
            take(tensor_name(layer_idx, module_idx, kSuffixA), shape_a),
            take(tensor_name(layer_idx, module_idx, kSuffixB), shape_b)};
  }

  TensorRef take(const std::string& name, std::span<const int64_t> shape) {
    taken_.insert(name);
    TensorRef tensor = tensors_.get(name, shape);
    model::check_finite(tensor);
    return tensor;
  }

  void refuse_leftovers() const {
    for (const std::string& name : tensors_.names()) {
      if (taken_.contains(name)) continue;
      for (const ForeignTensor& foreign : kForeignTensors) {
        if (name.find(foreign.part) == std::string::npos) continue;
        fail(Status::kUnsupported, path_text(tensors_.source()), ": tensor ", quote(name),
             " is not implemented (", foreign.what, ")");
      }
      fail(Status::kFormat, path_text(tensors_.source()), ": tensor ", quote(name),
           " matches no module of the model");
    }
  }

  const PeftConfig& config_;
  const model::ModuleTable& table_;
  const TensorSet& tensors_;
  std::set<std::string> taken_;
};

TensorSet open_weights(const std::string& folder) {
  const std::string path = model::join_path(folder, "adapter_model.safetensors");
  if (!model::path_exists(path) &&
      model::path_exists(model::join_path(folder, "adapter_model.bin"))) {
    fail(Status::kUnsupported, path_text(folder),
         ": adapter_model.bin is a pickle, which is not read; load the adapter with PEFT and save "
         "it again with "
         "safe_serialization=True");
  }
  return TensorSet::open_file(path);
}

}  // namespace

AdapterSource read_peft_adapter(const std::string& folder, const model::ModuleTable& table) {
  const PeftConfig config = read_peft_config(folder);
  const auto tensors = std::make_shared<const TensorSet>(open_weights(folder));
  return {Reader(config, table, *tensors).read(), tensors};
}

}  // namespace slora::adapter
