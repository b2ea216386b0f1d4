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

}  // namespace
}  // namespace slora::model
