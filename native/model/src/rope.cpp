// Rotary position embedding: options and tables. Formulas: transformers, modeling_rope_utils.py.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "rope_config.hpp"
#include "slora/core/status.hpp"

namespace slora::model {
namespace {

constexpr double kMaxFactor = 1e6;
constexpr double kDefaultTheta = 10000.0;
constexpr int64_t kMaxContext = int64_t{1} << 28;

constexpr std::string_view kKnownKeys[] = {"rope_type",
                                           "type",
                                           "rope_theta",
                                           "factor",
                                           "low_freq_factor",
                                           "high_freq_factor",
                                           "original_max_position_embeddings",
                                           "partial_rotary_factor",
                                           "attention_factor",
                                           "beta_fast",
                                           "beta_slow",
                                           "mscale",
                                           "mscale_all_dim",
                                           "truncate",
                                           "short_factor",
                                           "long_factor"};

// Keys that only one type reads; elsewhere they would be served as if they had no effect.
struct KeyOfType {
  std::string_view key;
  RopeType type;
};

constexpr KeyOfType kKeysOfOneType[] = {
    {"beta_fast", RopeType::kYarn},
    {"beta_slow", RopeType::kYarn},
    {"mscale", RopeType::kYarn},
    {"mscale_all_dim", RopeType::kYarn},
    {"truncate", RopeType::kYarn},
    {"short_factor", RopeType::kLongrope},
    {"long_factor", RopeType::kLongrope},
    {"low_freq_factor", RopeType::kLlama3},
    {"high_freq_factor", RopeType::kLlama3},
};

void refuse_foreign_keys(const ConfigReader& rope, RopeType type, const ModelConfig& config) {
  for (const auto& [key, value] : rope.json().items()) {
    bool is_known = value.is_null();
    for (const std::string_view known : kKnownKeys) is_known = is_known || key == known;
    for (const KeyOfType& owned : kKeysOfOneType) {
      if (key == owned.key && type != owned.type) is_known = value.is_null();
    }
    if (key == "attention_factor" && type != RopeType::kYarn && type != RopeType::kLongrope) {
      is_known = value.is_null();
    }
    if (!is_known) rope.fail_unsupported(key, "is not implemented");
  }
  if (!config.architecture->has_partial_rotary &&
      rope.number("partial_rotary_factor", 0, kMaxFactor, 1) != 1) {
    rope.fail_unsupported("partial_rotary_factor", "is not implemented for this architecture");
  }
}

RopeType read_type(const ConfigReader& rope) {
  const std::string_view key = rope.find("rope_type") ? "rope_type" : "type";
  const std::string type = rope.string(key, "default");
  if (type == "default") return RopeType::kDefault;
  if (type == "linear") return RopeType::kLinear;
  if (type == "llama3") return RopeType::kLlama3;
  if (type == "dynamic") return RopeType::kDynamic;
  if (type == "yarn") return RopeType::kYarn;
  // The name of longrope in the first revisions of Phi-3 (configuration_phi3.py).
  if (type == "longrope" || type == "su") return RopeType::kLongrope;
  rope.fail_unsupported(
      key, "is not implemented; implemented: default, linear, llama3, dynamic, yarn, longrope");
}

void read_llama3(const ConfigReader& rope, RopeConfig& config) {
  config.low_freq_factor = rope.number("low_freq_factor", 1e-6, kMaxFactor);
  config.high_freq_factor = rope.number("high_freq_factor", 1e-6, kMaxFactor);
  config.original_max_position = rope.integer("original_max_position_embeddings", 1, kMaxContext);
  if (config.high_freq_factor <= config.low_freq_factor) {
    rope.fail_format("high_freq_factor",
                     core::str_cat("is not above low_freq_factor ", config.low_freq_factor));
  }
}

// modeling_rope_utils.py: get_mscale.
double yarn_scale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void read_yarn(const ConfigReader& rope, const ModelConfig& model, RopeConfig& config) {
  config.original_max_position =
      rope.integer("original_max_position_embeddings", 1, kMaxContext, model.max_position);
  const double stretched =
      static_cast<double>(model.max_position) / static_cast<double>(config.original_max_position);
  config.factor = rope.number("factor", 1e-6, kMaxFactor, stretched);
  const double mscale = rope.number("mscale", 0, kMaxFactor, 0);
  const double mscale_all = rope.number("mscale_all_dim", 0, kMaxFactor, 0);
  const double scale = mscale != 0 && mscale_all != 0 ? yarn_scale(config.factor, mscale) /
                                                            yarn_scale(config.factor, mscale_all)
                                                      : yarn_scale(config.factor, 1);
  config.attention_factor = rope.number("attention_factor", 1e-6, kMaxFactor, scale);
  config.beta_fast = rope.number("beta_fast", 1e-6, kMaxFactor, 32);
  config.beta_slow = rope.number("beta_slow", 1e-6, kMaxFactor, 1);
  config.truncate = rope.boolean("truncate", true);
  if (config.beta_fast < config.beta_slow) {
    rope.fail_format("beta_fast", core::str_cat("is below beta_slow ", config.beta_slow));
  }
}

std::vector<double> read_factors(const ConfigReader& rope, std::string_view key, int32_t count) {
  const Json* list = rope.find(key);
  if (!list || !list->is_array()) rope.fail_format(key, "is not a list of numbers");
  if (list->size() != static_cast<size_t>(count)) {
    rope.fail_format(key, core::str_cat("has ", list->size(), " numbers, expected ", count));
  }
  std::vector<double> factors;
  for (const Json& factor : *list) {
    const double value = factor.is_number() ? factor.get<double>() : 0;
    if (!(value >= 1e-6 && value <= kMaxFactor)) {
      rope.fail_format(
          key, core::str_cat("holds a value that is not a number in [1e-06, ", kMaxFactor, "]"));
    }
    factors.push_back(value);
  }
  return factors;
}

// Phi-3 has the original length beside the rope options, and the ratio of lengths for the factor.
void read_longrope(const ConfigReader& rope, const ConfigReader& top, const ModelConfig& model,
                   RopeConfig& config) {
  config.short_factor = read_factors(rope, "short_factor", model.rotary_size / 2);
  config.long_factor = read_factors(rope, "long_factor", model.rotary_size / 2);
  const int64_t inner =
      rope.integer("original_max_position_embeddings", 1, kMaxContext, model.max_position);
  config.original_max_position =
      top.integer("original_max_position_embeddings", 1, kMaxContext, inner);
  const double stretched =
      static_cast<double>(model.max_position) / static_cast<double>(config.original_max_position);
  config.factor = config.original_max_position != model.max_position
                      ? stretched
                      : rope.number("factor", 1e-6, kMaxFactor, 1);
  const double scale =
      config.factor <= 1
          ? 1.0
          : std::sqrt(1 + std::log(config.factor) /
                              std::log(static_cast<double>(config.original_max_position)));
  config.attention_factor = rope.number("attention_factor", 1e-6, kMaxFactor, scale);
}

RopeConfig read_options(const ConfigReader& rope, const ConfigReader& top, double theta,
                        const ModelConfig& model) {
  RopeConfig config;
  config.type = read_type(rope);
  refuse_foreign_keys(rope, config.type, model);
  config.theta = rope.number("rope_theta", 1e-3, 1e15, theta);
  if (config.type == RopeType::kDefault) return config;
  if (config.type == RopeType::kLongrope) {
    read_longrope(rope, top, model, config);
  } else if (config.type == RopeType::kYarn) {
    read_yarn(rope, model, config);
  } else {
    config.factor = rope.number("factor", 1e-6, kMaxFactor);
  }
  if (config.type == RopeType::kLlama3) read_llama3(rope, config);
  if (config.type == RopeType::kDynamic) {
    if (config.factor < 1) rope.fail_format("factor", "is below 1");
    if (model.rotary_size < 4)
      rope.fail_format("rope_type", "needs at least four rotated elements");
    config.original_max_position =
        rope.integer("original_max_position_embeddings", 1, kMaxContext, model.max_position);
  }
  return config;
}

// `key`: "rope_scaling" (transformers 4, theta beside it) or "rope_parameters" (transformers 5,
// theta inside).
RopeConfig read_options_at(const ConfigReader& reader, std::string_view key,
                           const std::string& where, double theta, const ModelConfig& model) {
  const Json* options = reader.find(key);
  if (!options->is_object()) reader.fail_format(key, "is not an object");
  for (const auto& [name, value] : options->items()) {
    if (value.is_object())
      reader.fail_unsupported(key, "is not implemented (rope options for each kind of layer)");
  }
  return read_options(ConfigReader(*options, where, std::string(key) + "."), reader, theta, model);
}

// The base of the frequencies. Dynamic NTK stretches it until the slowest pair of a context of
// max_context turns as far as that of the trained length does.
double stretched_theta(const ModelConfig& config, int64_t max_context) {
  const RopeConfig& rope = config.rope;
  if (rope.type != RopeType::kDynamic || max_context <= rope.original_max_position)
    return rope.theta;
  const double ratio =
      static_cast<double>(max_context) / static_cast<double>(rope.original_max_position);
  const double rotary = config.rotary_size;
  return rope.theta * std::pow(rope.factor * ratio - (rope.factor - 1), rotary / (rotary - 2));
}

// Inverse frequencies of the pairs. Every operation is one fp32 operation, as torch does them on
// fp32 tensors.
std::vector<float> inverse_frequencies(const ModelConfig& config, int64_t max_context) {
  const auto rotary = static_cast<float>(config.rotary_size);
  const auto theta = static_cast<float>(stretched_theta(config, max_context));
  std::vector<float> frequencies;
  for (int32_t i = 0; i < config.rotary_size; i += 2) {
    frequencies.push_back(1.0f / std::pow(theta, static_cast<float>(i) / rotary));
  }
  return frequencies;
}

// The pair that turns `rotations` times over the trained length (YaRN, find_correction_dim).
double pair_of_rotations(double rotations, const ModelConfig& config) {
  constexpr double kTwoPi = 6.283185307179586476925286766559;
  const auto context = static_cast<double>(config.rope.original_max_position);
  return config.rotary_size * std::log(context / (rotations * kTwoPi)) /
         (2 * std::log(config.rope.theta));
}

// YaRN: fast pairs kept, slow ones divided by the factor, a linear ramp between.
void scale_yarn(const ModelConfig& config, std::vector<float>& frequencies) {
  double low = pair_of_rotations(config.rope.beta_fast, config);
  double high = pair_of_rotations(config.rope.beta_slow, config);
  if (config.rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, config.rotary_size - 1.0);
  if (low == high) high += 0.001;  // prevents the singularity, as transformers does
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const auto ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float kept = 1.0f - ramp;
    const float divided = frequencies[i] / static_cast<float>(config.rope.factor);
    frequencies[i] = divided * (1.0f - kept) + frequencies[i] * kept;
  }
}

void scale_longrope(const ModelConfig& config, int64_t max_context,
                    std::vector<float>& frequencies) {
  const RopeConfig& rope = config.rope;
  const std::vector<double>& factors =
      max_context > rope.original_max_position ? rope.long_factor : rope.short_factor;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = frequencies[i] / static_cast<float>(factors[i]);
  }
}

// Llama 3.1: low frequencies divided by the factor, high ones kept, those between blended.
float scale_llama3(float frequency, const RopeConfig& rope) {
  constexpr double kTwoPi = 6.283185307179586476925286766559;
  const auto context = static_cast<float>(rope.original_max_position);
  const auto factor = static_cast<float>(rope.factor);
  const auto low_wavelength =
      static_cast<float>(static_cast<double>(rope.original_max_position) / rope.low_freq_factor);
  const auto high_wavelength =
      static_cast<float>(static_cast<double>(rope.original_max_position) / rope.high_freq_factor);
  const float wavelength = static_cast<float>(kTwoPi) / frequency;
  if (wavelength > low_wavelength) return frequency / factor;
  if (wavelength < high_wavelength) return frequency;
  const float smooth = (context / wavelength - static_cast<float>(rope.low_freq_factor)) /
                       static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

void scale_frequencies(const ModelConfig& config, int64_t max_context,
                       std::vector<float>& frequencies) {
  switch (config.rope.type) {
    case RopeType::kDefault:
    case RopeType::kDynamic:
      return;
    case RopeType::kLinear:
      for (float& frequency : frequencies) frequency /= static_cast<float>(config.rope.factor);
      return;
    case RopeType::kLlama3:
      for (float& frequency : frequencies) frequency = scale_llama3(frequency, config.rope);
      return;
    case RopeType::kYarn:
      return scale_yarn(config, frequencies);
    case RopeType::kLongrope:
      return scale_longrope(config, max_context, frequencies);
  }
}

}  // namespace

double read_partial_rotary(const ConfigReader& reader) {
  double factor = reader.number("partial_rotary_factor", 1e-6, 1, 1);
  if (const Json* newer = reader.find("rope_parameters"); newer && newer->is_object()) {
    const auto inner = newer->find("partial_rotary_factor");
    if (inner != newer->end() && inner->is_number()) factor = inner->get<double>();
  }
  if (!(factor > 0 && factor <= 1)) {
    reader.fail_format("partial_rotary_factor", "is not in (0, 1]");
  }
  return factor;
}

RopeConfig read_rope(const ConfigReader& reader, const std::string& where,
                     const ModelConfig& config) {
  const double theta = reader.number("rope_theta", 1e-3, 1e15, kDefaultTheta);
  const bool has_old = reader.find("rope_scaling") != nullptr;
  const bool has_new = reader.find("rope_parameters") != nullptr;
  RopeConfig rope;
  rope.theta = theta;
  if (has_old) rope = read_options_at(reader, "rope_scaling", where, theta, config);
  if (!has_new) return rope;
  const RopeConfig newer = read_options_at(reader, "rope_parameters", where, theta, config);
  if (has_old && !(newer == rope))
    reader.fail_format("rope_parameters", "disagrees with rope_scaling");
  return newer;
}

std::vector<float> rope_table(const ModelConfig& config, int64_t max_context) {
  std::vector<float> frequencies = inverse_frequencies(config, max_context);
  scale_frequencies(config, max_context, frequencies);
  const auto scale = static_cast<float>(config.rope.attention_factor);
  const size_t pairs = frequencies.size();
  std::vector<float> table(static_cast<size_t>(max_context) * 2 * pairs);
  for (int64_t position = 0; position < max_context; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * 2 * pairs;
    for (size_t i = 0; i < pairs; ++i) {
      // The angle is an fp32 product in transformers; its cosine is then taken as exactly as fp32
      // holds it.
      const double angle = static_cast<float>(position) * frequencies[i];
      row[i] = static_cast<float>(std::cos(angle)) * scale;
      row[pairs + i] = static_cast<float>(std::sin(angle)) * scale;
    }
  }
  return table;
}

}  // namespace slora::model
