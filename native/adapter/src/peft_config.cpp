// PEFT's matching rules, from peft/tuners/tuners_utils.py (check_target_module_exists) and
// peft/utils/other.py (get_pattern_key).
#include "slora/adapter/peft_config.hpp"

#include <algorithm>
#include <cmath>

#include "peft_refusals.hpp"
#include "slora/core/status.hpp"
#include "slora/model/config_reader.hpp"
#include "slora/model/json.hpp"
#include "slora/model/mapped_file.hpp"
#include "slora/model/quote.hpp"

namespace slora::adapter {
namespace {

using core::fail;
using core::Status;
using model::ConfigReader;
using model::Json;
using model::OrderedJson;

constexpr int64_t kMaxLoraRank = 65536;
constexpr double kMaxLoraAlpha = 1e9;
// All patterns of a file together, so that matching every module of a large model stays within
// seconds.
constexpr size_t kMaxPatternInstructions = 200000;

bool is_suffix_of(std::string_view name, std::string_view module_name) {
  return module_name.size() > name.size() && module_name.ends_with(name) &&
         module_name[module_name.size() - name.size() - 1] == '.';
}

ModuleRule read_rule(const ConfigReader& reader, std::string_view key) {
  ModuleRule rule;
  const Json* value = reader.find(key);
  if (!value) return rule;
  if (value->is_string()) {
    const auto& expression = value->get_ref<const std::string&>();
    rule.kind =
        expression == "all-linear" ? ModuleRule::Kind::kAllLinear : ModuleRule::Kind::kExpression;
    if (rule.kind == ModuleRule::Kind::kExpression) rule.expression.emplace_back(expression);
    return rule;
  }
  if (!value->is_array()) reader.fail_format(key, "is neither a list of names nor an expression");
  rule.kind = ModuleRule::Kind::kNames;
  for (const Json& name : *value) {
    if (!name.is_string()) reader.fail_format(key, "is not a list of names");
    rule.names.push_back(name.get<std::string>());
  }
  return rule;
}

// "(.*\.)?(KEY)$" by re.match, which for a KEY that is an expression of its own is this full match.
Pattern pattern_of(const std::string& key, size_t* num_instructions) {
  Pattern{key};
  Pattern pattern("(.*\\.)?(" + key + ")$");
  *num_instructions += pattern.num_instructions();
  return pattern;
}

// Calls add(pattern, value's key in a one-entry object) in the order of the file, which decides
// between patterns.
template <typename Add>
void read_patterns(const OrderedJson& json, std::string_view key, const std::string& where,
                   const Add& add) {
  const auto patterns = json.find(std::string(key));
  if (patterns == json.end() || patterns->is_null()) return;
  if (!patterns->is_object()) fail(Status::kFormat, where, ": ", key, " is not an object");
  size_t num_instructions = 0;
  for (const auto& [pattern, value] : patterns->items()) {
    const Json entry = {{pattern, value.is_number_float()     ? Json(value.template get<double>())
                                  : value.is_number_integer() ? Json(value.template get<int64_t>())
                                                              : Json(value.dump())}};
    add(pattern_of(pattern, &num_instructions), ConfigReader(entry, where, std::string(key) + "."),
        pattern);
    if (num_instructions > kMaxPatternInstructions) {
      fail(Status::kFormat, where, ": the patterns of ", key, " together are too large");
    }
  }
}

double read_alpha(const ConfigReader& reader, std::string_view key,
                  std::optional<double> fallback) {
  const double alpha = reader.number(key, -kMaxLoraAlpha, kMaxLoraAlpha, fallback);
  // It would be served, and do nothing.
  if (alpha == 0) reader.fail_format(key, "makes the adapter do nothing");
  return alpha;
}

std::vector<int64_t> read_layers(const ConfigReader& reader) {
  const Json* value = reader.find("layers_to_transform");
  if (!value) return {};
  std::vector<int64_t> layers = reader.token_ids("layers_to_transform");
  for (const int64_t layer : layers) {
    if (layer < 0) reader.fail_format("layers_to_transform", "holds a negative layer");
  }
  return layers;
}

void read_targets(const ConfigReader& reader, PeftConfig& config) {
  config.targets = read_rule(reader, "target_modules");
  if (config.targets.kind == ModuleRule::Kind::kNone)
    reader.fail_format("target_modules", "is missing");
  config.excluded = read_rule(reader, "exclude_modules");
  if (config.excluded.kind == ModuleRule::Kind::kAllLinear) {
    reader.fail_format("exclude_modules", "is no expression");
  }
  config.layers_to_transform = read_layers(reader);
  if (!config.layers_to_transform.empty() && config.targets.kind == ModuleRule::Kind::kExpression) {
    reader.fail_format("layers_to_transform", "needs target_modules to be a list");
  }
}

BiasMode read_bias(const ConfigReader& reader) {
  const std::string bias = reader.string("bias", "none");
  if (bias == "none") return BiasMode::kNone;
  if (bias == "all") return BiasMode::kAll;
  if (bias == "lora_only") return BiasMode::kLoraOnly;
  reader.fail_unsupported("bias", "is not implemented; implemented: none, all, lora_only");
}

std::vector<std::string> read_saved_modules(const ConfigReader& reader) {
  std::vector<std::string> names = read_rule(reader, "modules_to_save").names;
  const Json* value = reader.find("modules_to_save");
  if (value && !value->is_array()) reader.fail_format("modules_to_save", "is not a list of names");
  for (const std::string& name : names) {
    const bool is_known = name == "lm_head" || name == "embed_tokens" ||
                          is_suffix_of("embed_tokens", name) || is_suffix_of("lm_head", name);
    if (!is_known) {
      reader.fail_unsupported("modules_to_save", "is not implemented for " + model::quote(name) +
                                                     "; implemented: lm_head, embed_tokens");
    }
  }
  return names;
}

// A list of ids, or an object with the embedding's name and such a list.
std::vector<int64_t> read_trainable_tokens(const ConfigReader& reader) {
  constexpr std::string_view kKey = "trainable_token_indices";
  const Json* value = reader.find(kKey);
  if (!value || value->empty()) return {};
  const Json* list = value;
  if (value->is_object()) {
    if (value->size() != 1 || value->begin().key() != "embed_tokens")
      reader.fail_unsupported(kKey, "is not implemented for modules other than embed_tokens");
    list = &value->begin().value();
  }
  if (!list->is_array()) reader.fail_format(kKey, "is not a list of token ids");
  std::vector<int64_t> ids;
  for (const Json& id : *list) {
    if (!id.is_number_integer()) reader.fail_format(kKey, "is not a list of token ids");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// Options that PEFT itself does not have together, or whose meaning together is not implemented.
void refuse_combinations(const ConfigReader& reader, const PeftConfig& config) {
  if (config.use_dora && config.lora_bias)
    reader.fail_unsupported("lora_bias", "is not implemented together with use_dora");
  const bool has_wide = !config.modules_to_save.empty() || !config.trainable_tokens.empty() ||
                        config.is_target("lm_head", -1) ||
                        config.is_target("model.embed_tokens", -1);
  if (has_wide && reader.boolean("ensure_weight_tying", false))
    reader.fail_unsupported("ensure_weight_tying", "is not implemented");
}

}  // namespace

bool ModuleRule::matches(std::string_view module_name) const {
  switch (kind) {
    case Kind::kNone:
      return false;
    case Kind::kAllLinear:
      return true;
    case Kind::kExpression:
      return expression.front().matches(module_name);
    case Kind::kNames:
      return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return name == module_name || is_suffix_of(name, module_name);
      });
  }
  return false;
}

bool PeftConfig::is_target(std::string_view module_name, int32_t layer_idx) const {
  if (excluded.matches(module_name) || !targets.matches(module_name)) return false;
  // all-linear leaves the output embedding alone, and the input embedding is not linear.
  if (layer_idx < 0 && targets.kind == ModuleRule::Kind::kAllLinear) return false;
  const bool is_named_whole =
      std::find(targets.names.begin(), targets.names.end(), module_name) != targets.names.end();
  if (layers_to_transform.empty() || is_named_whole) return true;
  return std::find(layers_to_transform.begin(), layers_to_transform.end(), layer_idx) !=
         layers_to_transform.end();
}

int32_t PeftConfig::rank_of(std::string_view module_name) const {
  for (const auto& [pattern, rank] : rank_pattern) {
    if (pattern.matches(module_name)) return rank;
  }
  return lora_rank;
}

double PeftConfig::alpha_of(std::string_view module_name) const {
  for (const auto& [pattern, alpha] : alpha_pattern) {
    if (pattern.matches(module_name)) return alpha;
  }
  return lora_alpha;
}

float PeftConfig::scale_of(std::string_view module_name) const {
  const double rank = rank_of(module_name);
  return static_cast<float>(alpha_of(module_name) / (use_rslora ? std::sqrt(rank) : rank));
}

PeftConfig read_peft_config(const std::string& folder) {
  const auto file = model::MappedFile::open(model::join_path(folder, "adapter_config.json"),
                                            model::kMaxConfigBytes);
  const std::string where = model::path_text(file.path());
  const OrderedJson ordered = model::parse_ordered_json_object(file.text(), where);
  const Json json = model::parse_json_object(file.text(), where);
  const ConfigReader reader(json, where);
  refuse_unimplemented(reader);
  PeftConfig config;
  config.path = file.path();
  config.lora_rank = static_cast<int32_t>(reader.integer("r", 1, kMaxLoraRank));
  config.lora_alpha = read_alpha(reader, "lora_alpha", 8);  // PEFT's default
  config.use_rslora = reader.boolean("use_rslora", false);
  config.use_dora = reader.boolean("use_dora", false);
  config.lora_bias = reader.boolean("lora_bias", false);
  config.bias = read_bias(reader);
  config.modules_to_save = read_saved_modules(reader);
  config.trainable_tokens = read_trainable_tokens(reader);
  read_targets(reader, config);
  refuse_combinations(reader, config);
  read_patterns(ordered, "rank_pattern", where,
                [&](Pattern pattern, const ConfigReader& entry, const std::string& key) {
                  config.rank_pattern.emplace_back(
                      std::move(pattern),
                      static_cast<int32_t>(entry.integer(key, 1, kMaxLoraRank)));
                });
  read_patterns(ordered, "alpha_pattern", where,
                [&](Pattern pattern, const ConfigReader& entry, const std::string& key) {
                  config.alpha_pattern.emplace_back(std::move(pattern), read_alpha(entry, key, {}));
                });
  return config;
}

}  // namespace slora::adapter
