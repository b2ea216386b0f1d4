// Rotary tables of every rope type against their formulas, and options that are refused.
#include <algorithm>
#include <cmath>

#include "model/test_files.hpp"
#include "slora/model/config.hpp"

namespace slora::model {
namespace {

ModelConfig rope_config(RopeConfig rope) {
  ModelConfig config;
  config.rotary_size = 64;
  config.rope = rope;
  return config;
}

// The published definition in double precision. fp32 frequencies are within a few ulp (1.2e-7) of
// it, and an error of the frequency is multiplied by the position, so the tolerance grows with it.
double reference_frequency(int pair, const RopeConfig& rope) {
  const double frequency = std::pow(rope.theta, -2.0 * pair / 64);
  if (rope.type == RopeType::kDefault) return frequency;
  if (rope.type == RopeType::kLinear) return frequency / rope.factor;
  const double wavelength = 2 * M_PI / frequency;
  const double context = static_cast<double>(rope.original_max_position);
  if (wavelength < context / rope.high_freq_factor) return frequency;
  if (wavelength > context / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (context / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

void expect_near_reference(const RopeConfig& rope) {
  const std::vector<float> table = rope_table(rope_config(rope), 300);
  ASSERT_EQ(table.size(), 300u * 64u);
  for (int position = 0; position < 300; ++position) {
    for (int pair = 0; pair < 32; ++pair) {
      const double angle = position * reference_frequency(pair, rope);
      const double tolerance = 1e-7 + position * 1e-6;
      const size_t row = static_cast<size_t>(position) * 64;
      ASSERT_NEAR(table[row + static_cast<size_t>(pair)], std::cos(angle), tolerance)
          << position << " " << pair;
      ASSERT_NEAR(table[row + 32 + static_cast<size_t>(pair)], std::sin(angle), tolerance)
          << position << " " << pair;
    }
  }
}

TEST(Rope, DefaultTableIsCosThenSin) { expect_near_reference({RopeType::kDefault, 10000.0}); }

TEST(Rope, LinearScalingDividesPositions) {
  expect_near_reference({RopeType::kLinear, 10000.0, 4.0});
}

TEST(Rope, Llama3ScalingMeetsAllThreeRanges) {
  const RopeConfig rope{RopeType::kLlama3, 500000.0, 8.0, 1.0, 4.0, 256};
  int kept = 0;
  int divided = 0;
  for (int pair = 0; pair < 32; ++pair) {
    const double plain = reference_frequency(pair, {RopeType::kDefault, rope.theta});
    const double ratio = reference_frequency(pair, rope) / plain;
    kept += ratio > 1 - 1e-9;
    divided += ratio < 1.0 / 8 + 1e-9;
  }
  ASSERT_GT(kept, 0);
  ASSERT_GT(divided, 0);
  ASSERT_LT(kept + divided, 32);
  expect_near_reference(rope);
}

// The published definitions of the other types in double precision (modeling_rope_utils.py:
// _compute_dynamic_ntk_parameters, _compute_yarn_parameters, _compute_longrope_parameters), with
// the longest position in place of the call's own.
std::vector<double> reference_frequencies(const ModelConfig& config, int64_t max_context) {
  const RopeConfig& rope = config.rope;
  const double dim = config.rotary_size;
  const auto original = static_cast<double>(rope.original_max_position);
  double base = rope.theta;
  if (rope.type == RopeType::kDynamic) {
    const double length = std::max(static_cast<double>(max_context), original);
    base *= std::pow(rope.factor * length / original - (rope.factor - 1), dim / (dim - 2));
  }
  const auto bound = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * M_PI)) / (2 * std::log(base));
  };
  const double low = std::max(std::floor(bound(rope.beta_fast)), 0.0);
  const double high = std::min(std::ceil(bound(rope.beta_slow)), dim - 1);
  std::vector<double> frequencies;
  for (int pair = 0; pair < config.rotary_size / 2; ++pair) {
    double frequency = std::pow(base, -2.0 * pair / dim);
    if (rope.type == RopeType::kYarn) {
      const double ramp = std::clamp((pair - low) / (high - low), 0.0, 1.0);
      frequency = frequency / rope.factor * ramp + frequency * (1 - ramp);
    }
    if (rope.type == RopeType::kLongrope) {
      frequency /= (static_cast<double>(max_context) > original
                        ? rope.long_factor
                        : rope.short_factor)[static_cast<size_t>(pair)];
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

void expect_table(const ModelConfig& config, int64_t max_context) {
  const std::vector<float> table = rope_table(config, max_context);
  const std::vector<double> frequencies = reference_frequencies(config, max_context);
  const size_t pairs = frequencies.size();
  ASSERT_EQ(table.size(), static_cast<size_t>(max_context) * 2 * pairs);
  for (int64_t position = 0; position < max_context; ++position) {
    for (size_t pair = 0; pair < pairs; ++pair) {
      const double angle = static_cast<double>(position) * frequencies[pair];
      const double tolerance = 4e-7 + static_cast<double>(position) * 1e-6;
      const size_t row = static_cast<size_t>(position) * 2 * pairs;
      ASSERT_NEAR(table[row + pair], config.rope.attention_factor * std::cos(angle), tolerance)
          << position << " " << pair;
      ASSERT_NEAR(table[row + pairs + pair], config.rope.attention_factor * std::sin(angle),
                  tolerance)
          << position << " " << pair;
    }
  }
}

nlohmann::json phi3_config(const nlohmann::json& changes) {
  nlohmann::json config = nlohmann::json::parse(
      test::read_bytes(std::string(SLORA_ASSETS) + "/tiny-models/phi3/config.json"));
  config.update(changes);
  return config;
}

TEST(Rope, DynamicNtkStretchesTheBaseOfLongerContexts) {
  const ModelConfig config =
      parse_config(phi3_config({{"rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}}}).dump(),
                   "config.json");
  EXPECT_EQ(config.max_position, 128);
  EXPECT_EQ(config.max_context, 512);
  expect_table(config, 128);
  expect_table(config, 512);
  EXPECT_NE(rope_table(config, 512)[17], rope_table(config, 128)[17]);  // position 1, pair 1
}

TEST(Rope, LongropeHasOneSetOfFactorsForShortAndOneForLongContexts) {
  std::vector<double> shorter;
  std::vector<double> longer;
  for (int i = 0; i < 6; ++i) {
    shorter.push_back(1.0 + 0.05 * i);
    longer.push_back(1.0 + 0.9 * i);
  }
  const auto config = parse_config(
      phi3_config({{"original_max_position_embeddings", 32},
                   {"partial_rotary_factor", 0.75},
                   {"rope_scaling",
                    {{"type", "longrope"}, {"short_factor", shorter}, {"long_factor", longer}}}})
          .dump(),
      "config.json");
  EXPECT_EQ(config.rotary_size, 12);
  EXPECT_NEAR(config.rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(32.0)), 1e-12);
  expect_table(config, 32);
  expect_table(config, 128);
}

TEST(Rope, YarnKeepsFastPairsAndDividesSlowOnes) {
  const ModelConfig config =
      parse_config(phi3_config({{"rope_scaling",
                                 {{"type", "yarn"},
                                  {"factor", 4.0},
                                  {"beta_fast", 8},
                                  {"original_max_position_embeddings", 32}}}})
                       .dump(),
                   "config.json");
  EXPECT_NEAR(config.rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-12);
  expect_table(config, 128);
}

TEST(Rope, OptionsOfAnotherTypeOrOutOfTheirLimitsAreRefused) {
  const auto refuse = [](core::Status status, const nlohmann::json& rope,
                         const std::vector<std::string>& parts) {
    test::expect_refused(status, parts, [&] {
      parse_config(phi3_config({{"rope_scaling", rope}}).dump(), "config.json");
    });
  };
  using core::Status;
  refuse(Status::kUnsupported, {{"type", "linear"}, {"factor", 2}, {"beta_fast", 3}},
         {"rope_scaling.beta_fast = 3"});
  refuse(Status::kFormat, {{"type", "dynamic"}, {"factor", 0.5}}, {"rope_scaling.factor"});
  refuse(Status::kFormat, {{"type", "yarn"}, {"beta_fast", 1}, {"beta_slow", 2}},
         {"rope_scaling.beta_fast", "below beta_slow"});
  refuse(Status::kFormat, {{"type", "longrope"}, {"short_factor", {1, 2}}},
         {"rope_scaling.short_factor", "has 2 numbers, expected 8"});
  refuse(Status::kFormat, {{"type", "longrope"}, {"short_factor", {1, 1, 1, 1, 1, 1, 1, "x"}}},
         {"rope_scaling.short_factor", "not a number"});
  refuse(Status::kFormat, {{"type", "longrope"}, {"short_factor", 1}},
         {"rope_scaling.short_factor", "is not a list"});
}

}  // namespace
}  // namespace slora::model
