// The ceilings that a backend measures of itself: right in size, left out where not asked for,
// refused in one line.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "slora/slora.h"

namespace slora::test {
namespace {

slora_measure_options host_options() {
  slora_measure_options options = SLORA_MEASURE_OPTIONS_INIT;
  options.backend = SLORA_BACKEND_HOST;
  options.num_threads = 1;
  options.num_rounds = 5;
  return options;
}

slora_measurement measure(const slora_measure_options& options) {
  slora_measurement measured = SLORA_MEASUREMENT_INIT;
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_backend_measure(&options, &measured, &error), SLORA_OK) << error.message;
  return measured;
}

double memcpy_rate(size_t bytes) {
  std::vector<char> from(bytes, 1), to(bytes, 2);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    std::memcpy(to.data(), from.data(), bytes);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, double(bytes) / seconds);
  }
  return best;
}

TEST(Measure, CopiesAreAsFastAsMemcpyWithinAFactorOfEight) {
  constexpr size_t kBytes = 64u << 20;
  slora_measure_options options = host_options();
  options.copy_bytes = options.upload_bytes = kBytes;
  const slora_measurement measured = measure(options);
  const double plain = memcpy_rate(kBytes);
  EXPECT_EQ(measured.backend, SLORA_BACKEND_HOST);
  EXPECT_EQ(measured.matmul_seconds, 0);
  // Read and written: twice memcpy's. Neighbours on a shared machine make the margin.
  EXPECT_GT(measured.copy_bytes_per_second, 2 * plain / 8);
  EXPECT_LT(measured.copy_bytes_per_second, 2 * plain * 8);
  EXPECT_GT(measured.upload_bytes_per_second, plain / 8);
  EXPECT_LT(measured.upload_bytes_per_second, plain * 8);
}

// Neighbours on a shared machine may take either measurement's time, but hardly ten times in turn.
TEST(Measure, AProductOfSixteenTimesTheWorkTakesLonger) {
  for (const int32_t dtype : {SLORA_DTYPE_F32, SLORA_DTYPE_BF16}) {
    slora_measure_options options = host_options();
    options.compute_dtype = dtype;
    options.matmul_k = 256;
    double ratio = 0;
    for (int attempt = 0; attempt < 10 && !(ratio > 4 && ratio < 100); ++attempt) {
      options.matmul_m = 64;
      options.matmul_n = 192;
      const double small = measure(options).matmul_seconds;
      options.matmul_m = 256;
      options.matmul_n = 768;
      const slora_measurement large = measure(options);
      ASSERT_GT(small, 0);
      ratio = large.matmul_seconds / small;
      EXPECT_EQ(large.copy_bytes_per_second, 0);
      EXPECT_EQ(large.upload_bytes_per_second, 0);
    }
    EXPECT_GT(ratio, 4);
    EXPECT_LT(ratio, 100);
  }
}

struct Wrong {
  const char* message;
  int32_t status;
  void (*change)(slora_measure_options&);
};

class Refused : public testing::TestWithParam<Wrong> {};

TEST_P(Refused, InOneLine) {
  slora_measure_options options = host_options();
  GetParam().change(options);
  slora_measurement measured = SLORA_MEASUREMENT_INIT;
  slora_error error = SLORA_ERROR_INIT;
  EXPECT_EQ(slora_backend_measure(&options, &measured, &error), GetParam().status);
  EXPECT_STREQ(error.message, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Measure, Refused,
    testing::Values(Wrong{"backend is 3, the limit is 0..2", SLORA_ERROR_INVALID_ARGUMENT,
                          [](slora_measure_options& o) { o.backend = 3; }},
                    Wrong{"num_threads is 257, the limit is 0..256", SLORA_ERROR_INVALID_ARGUMENT,
                          [](slora_measure_options& o) { o.num_threads = 257; }},
                    Wrong{"num_rounds is 1001, the limit is 0..1000", SLORA_ERROR_INVALID_ARGUMENT,
                          [](slora_measure_options& o) { o.num_rounds = 1001; }},
                    Wrong{"matmul_n is 0, the limit is 1..1048576", SLORA_ERROR_INVALID_ARGUMENT,
                          [](slora_measure_options& o) { o.matmul_m = 4; }},
                    Wrong{"compute_dtype 2 is not supported by this backend",
                          SLORA_ERROR_UNSUPPORTED,
                          [](slora_measure_options& o) {
                            o.compute_dtype = SLORA_DTYPE_F16;
                            o.matmul_m = o.matmul_n = o.matmul_k = 8;
                          }}),
    [](const auto& wrong) { return "Case" + std::to_string(wrong.index); });

}  // namespace
}  // namespace slora::test
