// adapter_config.json of a LoRA adapter: its rules for rank, alpha and targets, by PEFT's own
// matching.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "slora/adapter/pattern.hpp"

namespace slora::adapter {

// Which modules a configuration means: names (whole, or suffixes after a dot), one expression, or
// all linear modules.
struct ModuleRule {
  enum class Kind : uint8_t { kNone, kNames, kExpression, kAllLinear };
  Kind kind = Kind::kNone;
  std::vector<std::string> names;
  std::vector<Pattern> expression;  // one, of kExpression

  bool matches(std::string_view module_name) const;
};

// Which biases of the base the adapter has its own of.
enum class BiasMode : uint8_t { kNone, kAll, kLoraOnly };

struct PeftConfig {
  std::string path;  // for messages
  int32_t lora_rank = 0;
  double lora_alpha = 0;
  bool use_rslora = false;
  bool use_dora = false;
  bool lora_bias = false;  // lora_B has a bias
  BiasMode bias = BiasMode::kNone;
  std::vector<std::string> modules_to_save;
  std::vector<int64_t> trainable_tokens;  // of the embedding; the order of the tensor's rows
  // In file order: the first key whose "(.*\.)?(KEY)$" matches the module's name holds
  // (peft.utils.other.get_pattern_key).
  std::vector<std::pair<Pattern, int32_t>> rank_pattern;
  std::vector<std::pair<Pattern, double>> alpha_pattern;
  ModuleRule targets;
  ModuleRule excluded;
  std::vector<int64_t> layers_to_transform;  // empty: all; holds for targets named by suffix only

  // `module_name` as ModuleTable::full_name gives it. is_target:
  // peft.tuners.tuners_utils.check_target_module_exists.
  // layer_idx -1: a module outside the layers.
  bool is_target(std::string_view module_name, int32_t layer_idx) const;
  int32_t rank_of(std::string_view module_name) const;
  double alpha_of(std::string_view module_name) const;
  float scale_of(std::string_view module_name) const;
};

// Reads `folder`/adapter_config.json. kUnsupported, by key and value, for everything that would
// change the result and is not implemented, and for keys never heard of that are set.
PeftConfig read_peft_config(const std::string& folder);

}  // namespace slora::adapter
