// Rotary position embedding: options and tables. Formulas: transformers, modeling_rope_utils.py.
#include <cmath>
#include <cstddef>

#include "rope_config.hpp"
#include "slora/core/status.hpp"

namespace slora::model {
namespace {

constexpr double kMaxFactor = 1e6;
constexpr double kDefaultTheta = 10000.0;

constexpr std::string_view kKnownKeys[] = {"rope_type",
                                           "type",
                                           "rope_theta",
                                           "factor",
                                           "low_freq_factor",
                                           "high_freq_factor",
                                           "original_max_position_embeddings",
                                           "partial_rotary_factor"};

void refuse_unknown_keys(const ConfigReader& rope) {
  for (const auto& [key, value] : rope.json().items()) {
    bool is_known = value.is_null();
    for (const std::string_view known : kKnownKeys) is_known = is_known || key == known;
    if (!is_known) rope.fail_unsupported(key, "is not implemented");
  }
  if (rope.number("partial_rotary_factor", 0, kMaxFactor, 1) != 1) {
    rope.fail_unsupported("partial_rotary_factor", "is not implemented");
  }
}

RopeType read_type(const ConfigReader& rope) {
  const std::string_view key = rope.find("rope_type") ? "rope_type" : "type";
  const std::string type = rope.string(key, "default");
  if (type == "default") return RopeType::kDefault;
  if (type == "linear") return RopeType::kLinear;
  if (type == "llama3") return RopeType::kLlama3;
  rope.fail_unsupported(key, "is not implemented; implemented: default, linear, llama3");
}

RopeConfig read_options(const ConfigReader& rope, double theta) {
  RopeConfig config;
  config.type = read_type(rope);
  refuse_unknown_keys(rope);
  config.theta = rope.number("rope_theta", 1e-3, 1e15, theta);
  if (config.type == RopeType::kDefault) return config;
  config.factor = rope.number("factor", 1e-6, kMaxFactor);
  if (config.type == RopeType::kLinear) return config;
  config.low_freq_factor = rope.number("low_freq_factor", 1e-6, kMaxFactor);
  config.high_freq_factor = rope.number("high_freq_factor", 1e-6, kMaxFactor);
  config.original_max_position =
      rope.integer("original_max_position_embeddings", 1, int64_t{1} << 28);
  if (config.high_freq_factor <= config.low_freq_factor) {
    rope.fail_format("high_freq_factor",
                     core::str_cat("is not above low_freq_factor ", config.low_freq_factor));
  }
  return config;
}

// `key`: "rope_scaling" (transformers 4, theta beside it) or "rope_parameters" (transformers 5,
// theta inside).
RopeConfig read_options_at(const ConfigReader& reader, std::string_view key,
                           const std::string& where, double theta) {
  const Json* options = reader.find(key);
  if (!options->is_object()) reader.fail_format(key, "is not an object");
  for (const auto& [name, value] : options->items()) {
    if (value.is_object())
      reader.fail_unsupported(key, "is not implemented (rope options for each kind of layer)");
  }
  return read_options(ConfigReader(*options, where, std::string(key) + "."), theta);
}

// Inverse frequencies of the pairs. Every operation is one fp32 operation, as torch does them on
// fp32 tensors.
std::vector<float> inverse_frequencies(const ModelConfig& config) {
  const auto rotary = static_cast<float>(config.rotary_size);
  const auto theta = static_cast<float>(config.rope.theta);
  std::vector<float> frequencies;
  for (int32_t i = 0; i < config.rotary_size; i += 2) {
    frequencies.push_back(1.0f / std::pow(theta, static_cast<float>(i) / rotary));
  }
  return frequencies;
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

float scale_frequency(float frequency, const RopeConfig& rope) {
  switch (rope.type) {
    case RopeType::kDefault:
      return frequency;
    case RopeType::kLinear:
      return frequency / static_cast<float>(rope.factor);
    case RopeType::kLlama3:
      return scale_llama3(frequency, rope);
  }
  return frequency;
}

}  // namespace

RopeConfig read_rope(const ConfigReader& reader, const std::string& where) {
  const double theta = reader.number("rope_theta", 1e-3, 1e15, kDefaultTheta);
  const bool has_old = reader.find("rope_scaling") != nullptr;
  const bool has_new = reader.find("rope_parameters") != nullptr;
  RopeConfig rope;
  rope.theta = theta;
  if (has_old) rope = read_options_at(reader, "rope_scaling", where, theta);
  if (!has_new) return rope;
  const RopeConfig newer = read_options_at(reader, "rope_parameters", where, theta);
  if (has_old && !(newer == rope))
    reader.fail_format("rope_parameters", "disagrees with rope_scaling");
  return newer;
}

std::vector<float> rope_table(const ModelConfig& config, int64_t max_context) {
  std::vector<float> frequencies = inverse_frequencies(config);
  for (float& frequency : frequencies) frequency = scale_frequency(frequency, config.rope);
  const size_t pairs = frequencies.size();
  std::vector<float> table(static_cast<size_t>(max_context) * 2 * pairs);
  for (int64_t position = 0; position < max_context; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * 2 * pairs;
    for (size_t i = 0; i < pairs; ++i) {
      // The angle is an fp32 product in transformers; its cosine is then taken as exactly as fp32
      // holds it.
      const double angle = static_cast<float>(position) * frequencies[i];
      row[i] = static_cast<float>(std::cos(angle));
      row[pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

}  // namespace slora::model
