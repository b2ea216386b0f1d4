// Options of adapter_config.json that would change the result and are refused by name.
#include "peft_refusals.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "slora/core/status.hpp"

namespace slora::adapter {
namespace {

using model::ConfigReader;
using model::Json;

// Read by peft_config.cpp, or without effect once an adapter is trained. peft_config's own checks
// come after these.
constexpr std::string_view kHarmlessKeys[] = {
    // read
    "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "bias", "task_type",
    "init_lora_weights", "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices",
    "ensure_weight_tying",
    // PEFT sets it back to false, with a warning, for the linear modules of all architectures here
    "fan_in_fan_out",
    // names and versions
    "auto_mapping", "base_model_name_or_path", "revision", "peft_version",
    // training only
    "inference_mode", "lora_dropout", "runtime_config", "eva_config", "corda_config",
    "loftq_config", "lora_ga_config",
    // has effect only beside an option that is refused: megatron_config, use_qalora
    "megatron_core", "qalora_group_size"};

// Initialisations that leave the base weights alone. The others (PiSSA, OLoRA, CorDA, LoftQ,
// LoRA-GA) take the adapter's first value out of the base matrix, so the adapter fits a base that
// is not the one on disk. PEFT converts such an adapter to a plain one when it is saved with
// path_initial_model_for_weight_conversion.
constexpr std::string_view kHarmlessInitialisations[] = {"gaussian", "eva", "orthogonal"};

void refuse_initialisation(const ConfigReader& reader) {
  const Json* value = reader.find("init_lora_weights");
  if (!value || value->is_boolean()) return;
  const bool is_harmless =
      value->is_string() &&
      std::count(std::begin(kHarmlessInitialisations), std::end(kHarmlessInitialisations),
                 value->get_ref<const std::string&>()) > 0;
  if (is_harmless) return;
  reader.fail_unsupported(
      "init_lora_weights",
      "is not implemented (it changes the base weights); save the adapter again with "
      "path_initial_model_for_weight_conversion");
}

}  // namespace

void refuse_unimplemented(const ConfigReader& reader) {
  if (reader.string("peft_type", "") != "LORA") {
    reader.fail_unsupported("peft_type", "is not implemented; implemented: LORA");
  }
  const std::string task = reader.string("task_type", "CAUSAL_LM");
  if (task != "CAUSAL_LM")
    reader.fail_unsupported("task_type", "is not implemented; implemented: CAUSAL_LM");
  refuse_initialisation(reader);
  for (const auto& [key, value] : reader.json().items()) {
    const bool is_harmless =
        std::count(std::begin(kHarmlessKeys), std::end(kHarmlessKeys), key) > 0;
    if (!is_harmless && model::is_truthy(value)) reader.fail_unsupported(key, "is not implemented");
  }
}

}  // namespace slora::adapter
