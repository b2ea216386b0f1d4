// What the kernel tests share: random data, bitwise comparison, a run on each instruction set and
// team size.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "slora/core/dtype.hpp"
#include "slora/device/host_device.hpp"
#include "slora/kernels/host_kernels.hpp"
#include "slora/kernels/reference.hpp"

namespace slora::kernels {

// Each test runs once for every instruction set of this machine.
class KernelTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { ASSERT_TRUE(use_host_isa(GetParam())); }
  void TearDown() override { use_host_isa(host_isas().back()); }

  std::vector<float> normals(int64_t count, float stddev = 1.0f) {
    std::normal_distribution<float> normal(0.0f, stddev);
    std::vector<float> out(static_cast<size_t>(count));
    for (float& x : out) x = normal(random_);
    return out;
  }
  int32_t between(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }

  std::mt19937 random_{20240607};
  device::ThreadTeam team_{2};
};

#define SLORA_KERNEL_TEST_SUITE(suite)                              \
  INSTANTIATE_TEST_SUITE_P(                                         \
      Isa, suite, testing::ValuesIn(::slora::kernels::host_isas()), \
      [](const testing::TestParamInfo<const char*>& isa) { return std::string(isa.param); })

// The nearest number that a dtype holds.
inline float rounded(float x, DType dtype) {
  return dtype == DType::kBF16 ? core::bf16_to_float(core::float_to_bf16(x)) : x;
}

// Fills a team's scratch with NaN: a kernel that uses what it did not write is found out.
inline void poison_scratch(device::ThreadTeam& team) {
  for (int32_t i = 0; i < team.num_threads(); ++i) {
    std::memset(team.scratch(i), 0xff, device::ThreadTeam::kScratchBytes);
  }
}

// Elements of a dtype in plain memory.
inline void store_element(void* data, DType dtype, int64_t idx, float x) {
  if (dtype == DType::kBF16) {
    static_cast<uint16_t*>(data)[idx] = core::float_to_bf16(x);
  } else {
    static_cast<float*>(data)[idx] = x;
  }
}

inline bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && same_bits(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

// |value - expected| <= tolerance for all; the first failure is named.
inline testing::AssertionResult all_near(const std::vector<float>& value,
                                         const std::vector<double>& expected, double tolerance) {
  if (value.size() != expected.size()) return testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < value.size(); ++i) {
    if (!(std::fabs(value[i] - expected[i]) <= tolerance)) {
      return testing::AssertionFailure() << "element " << i << " is " << value[i] << ", expected "
                                         << expected[i] << " within " << tolerance;
    }
  }
  return testing::AssertionSuccess();
}

// A float sum of k products of unit normals: each addition errs by up to half an ulp of the running
// sum, which is about sqrt k, so k of them by eps / 2 * k^1.5 at worst and about eps / 2 * k in
// earnest. Four to eight times that; a missing or doubled term shows at 1e-2 and more.
inline double sum_tolerance(int64_t k) { return 4 * 1.2e-7 * static_cast<double>(k) + 5e-6; }

}  // namespace slora::kernels
