// Every tensor of the file is taken by one module, and the modules taken are those that the
// configuration means: a file and a configuration that tell different stories are refused,
// whichever is right.
#include "slora/adapter/peft_reader.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "base_weights.hpp"
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
    {".lora_magnitude_vector", "DoRA, which adapter_config.json does not ask for"},
    {".lora_B.bias", "LoRA bias, which adapter_config.json does not ask for"},
    {".lora_embedding_", "LoRA on embeddings, which adapter_config.json does not ask for"},
    {".embed_tokens.", "changed embeddings"},
    {".lm_head.", "a changed or adapted head"},
    {".token_adapter.", "trainable tokens"},
    {".modules_to_save.", "whole modules"},
    {".bias", "a changed bias, which adapter_config.json does not ask for"},
};

// The name of a module outside the layers, out of its weight's.
std::string module_of(std::string_view weight) {
  constexpr std::string_view kWeight = ".weight";
  if (weight.ends_with(kWeight)) weight.remove_suffix(kWeight.size());
  return std::string(weight);
}

bool is_named(const std::vector<std::string>& names, const std::string& module_name) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return module_name == name || module_name.ends_with("." + name);
  });
}

class Reader {
 public:
  Reader(const PeftConfig& config, const BaseModel& base, const TensorSet& tensors)
      : config_(config), base_(base), table_(*base.table), tensors_(tensors), weights_(base) {}

  AdapterSource read() {
    for (int32_t layer_idx = 0; layer_idx < table_.num_layers; ++layer_idx) {
      for (int32_t module_idx = 0; module_idx < table_.num_modules(); ++module_idx)
        read_module(layer_idx, module_idx);
    }
    read_embedding();
    read_head();
    refuse_leftovers();
    if (source_.modules.empty() && source_.embedding.is_empty() && source_.head.is_empty())
      fail(Status::kFormat, path_text(tensors_.source()), ": no LoRA tensors");
    return std::move(source_);
  }

 private:
  static std::string tensor_name(const std::string& module_name, std::string_view suffix) {
    return core::str_cat(kPrefix, module_name, suffix);
  }

  // Whether both halves are there; one alone is an error, and so is a module on which file and
  // configuration disagree.
  bool has_update(const std::string& name, int32_t layer_idx, std::string_view suffix_a,
                  std::string_view suffix_b) const {
    const std::string a = tensor_name(name, suffix_a);
    const std::string b = tensor_name(name, suffix_b);
    const bool has_a = tensors_.contains(a);
    const bool has_b = tensors_.contains(b);
    if (has_a != has_b) {
      fail(Status::kFormat, path_text(tensors_.source()), ": tensor ", quote(has_a ? a : b),
           " is there without ", quote(has_a ? b : a));
    }
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

  void read_module(int32_t layer_idx, int32_t module_idx) {
    const std::string name = table_.full_name(layer_idx, module_idx);
    const model::LinearModule& module = table_.modules[static_cast<size_t>(module_idx)];
    ModuleWeights weights{layer_idx, module_idx, 0, 0, {}, {}, {}, {}};
    if (has_update(name, layer_idx, kSuffixA, kSuffixB)) {
      weights.lora_rank = config_.rank_of(name);
      weights.scale = config_.scale_of(name);
      const int64_t shape_a[] = {weights.lora_rank, module.in_dim};
      const int64_t shape_b[] = {module.out_dim, weights.lora_rank};
      weights.a = take(tensor_name(name, kSuffixA), shape_a);
      weights.b = take(tensor_name(name, kSuffixB), shape_b);
      if (config_.use_dora) weights.factor = read_factor(name, weights, module);
    }
    weights.offset = read_offset(name, weights, module);
    if (weights.lora_rank > 0 || !weights.offset.empty())
      source_.modules.push_back(std::move(weights));
  }

  std::vector<float> read_factor(const std::string& name, const ModuleWeights& weights,
                                 const model::LinearModule& module) {
    weights_.require("use_dora = true");
    make_exclusive("DoRA");
    std::string magnitude = tensor_name(name, ".lora_magnitude_vector");
    if (!tensors_.contains(magnitude)) magnitude += ".weight";  // as some versions of PEFT save it
    return dora_factor(weights_.matrix(weights.layer_idx, module), weights,
                       take(magnitude, std::span(&module.out_dim, 1)));
  }

  // The base's output has its bias in it. Of y' = factor * (y + delta) + offset, the offset takes
  // the factor back from that bias, brings the adapter's own in its place, and the scaled bias of
  // lora_B.
  std::vector<float> read_offset(const std::string& name, const ModuleWeights& weights,
                                 const model::LinearModule& module) {
    const bool is_target = weights.lora_rank > 0;
    const bool has_own_bias =
        config_.bias == BiasMode::kAll || (config_.bias == BiasMode::kLoraOnly && is_target);
    const bool has_lora_bias = config_.lora_bias && is_target;
    if (has_own_bias) weights_.require("bias");
    std::vector<float> base;
    if (has_own_bias || !weights.factor.empty()) base = weights_.bias(weights.layer_idx, module);
    if (base.empty() && !has_lora_bias) return {};
    const auto out_dim = static_cast<size_t>(module.out_dim);
    std::vector<double> offset(out_dim, 0.0);
    if (!base.empty()) {
      std::vector<float> own = base;
      if (has_own_bias) {
        make_exclusive("biases of its own");
        own = model::to_floats(take(tensor_name(name, is_target ? ".base_layer.bias" : ".bias"),
                                    std::span(&module.out_dim, 1)));
      }
      for (size_t o = 0; o < out_dim; ++o) {
        const double factor = weights.factor.empty() ? 1.0 : double{weights.factor[o]};
        offset[o] = own[o] - factor * base[o];
      }
    }
    if (has_lora_bias) {
      const std::vector<float> bias =
          model::to_floats(take(tensor_name(name, ".lora_B.bias"), std::span(&module.out_dim, 1)));
      for (size_t o = 0; o < out_dim; ++o)
        offset[o] += static_cast<double>(weights.scale) * bias[o];
    }
    return {offset.begin(), offset.end()};
  }

  void read_embedding() {
    const std::string name = base_.config ? module_of(base_.config->architecture->embedding)
                                          : std::string("model.embed_tokens");
    WideWeights& embedding = source_.embedding;
    if (has_update(name, -1, ".lora_embedding_A", ".lora_embedding_B")) {
      begin_update(name, embedding);
      const int64_t shape_a[] = {embedding.lora_rank, vocab()};
      const int64_t shape_b[] = {hidden(), embedding.lora_rank};
      embedding.a = take(tensor_name(name, ".lora_embedding_A"), shape_a);
      embedding.b = take(tensor_name(name, ".lora_embedding_B"), shape_b);
      take_base_layer(name, true, embedding);
    }
    if (is_named(config_.modules_to_save, name)) read_saved(name, embedding);
    if (!config_.trainable_tokens.empty()) read_trainable_tokens(name);
  }

  void read_head() {
    const std::string name =
        base_.config ? module_of(base_.config->architecture->head) : std::string("lm_head");
    WideWeights& head = source_.head;
    if (has_update(name, -1, kSuffixA, kSuffixB)) {
      begin_update(name, head);
      const int64_t shape_a[] = {head.lora_rank, hidden()};
      const int64_t shape_b[] = {vocab(), head.lora_rank};
      head.a = take(tensor_name(name, kSuffixA), shape_a);
      head.b = take(tensor_name(name, kSuffixB), shape_b);
      take_base_layer(name, false, head);
    }
    if (is_named(config_.modules_to_save, name)) read_saved(name, head);
  }

  void begin_update(const std::string& name, WideWeights& wide) {
    weights_.require("LoRA on " + name);
    if (config_.use_dora || config_.lora_bias) {
      fail(Status::kUnsupported, path_text(config_.path), ": ",
           config_.use_dora ? "use_dora" : "lora_bias", " is not implemented for ", quote(name));
    }
    wide.lora_rank = config_.rank_of(name);
    wide.scale = config_.scale_of(name);
  }

  // PEFT saves the matrix under an adapted embedding or head too. It is the base's own unless the
  // adapter was trained on a changed one, which then stands in the base's place.
  void take_base_layer(const std::string& name, bool is_embedding, WideWeights& wide) {
    const std::string tensor = tensor_name(name, ".base_layer.weight");
    if (!tensors_.contains(tensor)) return;
    const int64_t shape[] = {vocab(), hidden()};
    const TensorRef own = take(tensor, shape);
    const TensorRef base = is_embedding ? weights_.embedding() : weights_.head();
    if (model::to_floats(own) == model::to_floats(base)) return;
    make_exclusive("a matrix of its own for " + name);
    wide.rows = own;
  }

  void read_saved(const std::string& name, WideWeights& wide) {
    weights_.require("modules_to_save");
    if (!wide.is_empty()) {
      fail(Status::kUnsupported, path_text(config_.path),
           ": modules_to_save is not implemented for ", quote(name), ", which has LoRA too");
    }
    make_exclusive("modules_to_save");
    const int64_t shape[] = {vocab(), hidden()};
    wide.rows = take(tensor_name(name, ".weight"), shape);
  }

  // Rows of the embedding, and of the head where that is the same matrix
  // (peft/tuners/trainable_tokens/layer.py).
  void read_trainable_tokens(const std::string& name) {
    weights_.require("trainable_token_indices");
    WideWeights& embedding = source_.embedding;
    if (!embedding.is_empty()) {
      fail(Status::kUnsupported, path_text(config_.path),
           ": trainable_token_indices is not implemented for ", quote(name),
           ", which has other changes too");
    }
    make_exclusive("trainable tokens");
    const std::vector<int64_t>& ids = config_.trainable_tokens;
    const int64_t shape[] = {static_cast<int64_t>(ids.size()), hidden()};
    embedding.rows = take(tensor_name(name, ".token_adapter.trainable_tokens_delta"), shape);
    std::vector<int32_t> order(ids.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t x, int32_t y) {
      return ids[static_cast<size_t>(x)] < ids[static_cast<size_t>(y)];
    });
    for (const int32_t row : order) {
      const int64_t id = ids[static_cast<size_t>(row)];
      const bool is_repeated = !embedding.row_ids.empty() && embedding.row_ids.back() == id;
      if (id < 0 || id >= vocab() || is_repeated) {
        fail(Status::kFormat, path_text(config_.path), ": trainable_token_indices holds ", id,
             is_repeated ? " twice" : ", which is no token id below ",
             is_repeated ? std::string() : std::to_string(vocab()));
      }
      embedding.row_ids.push_back(static_cast<int32_t>(id));
    }
    embedding.row_order = std::move(order);
    if (base_.config->tie_word_embeddings) source_.head = embedding;
  }

  int64_t vocab() const { return base_.config->vocab_size; }
  int64_t hidden() const { return base_.config->hidden_size; }

  void make_exclusive(const std::string& why) {
    if (source_.exclusive.empty()) source_.exclusive = why;
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
  const BaseModel& base_;
  const model::ModuleTable& table_;
  const TensorSet& tensors_;
  BaseWeights weights_;
  AdapterSource source_;
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

AdapterSource read_peft_adapter(const std::string& folder, const BaseModel& base) {
  const PeftConfig config = read_peft_config(folder);
  const auto tensors = std::make_shared<const TensorSet>(open_weights(folder));
  AdapterSource source = Reader(config, base, *tensors).read();
  source.storage = tensors;
  return source;
}

}  // namespace slora::adapter
