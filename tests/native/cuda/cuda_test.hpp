// What the tests of CUDA kernels share: the plugin, moving data, random data, comparison with the
// plain reference. Without a device every test is skipped with the plugin's own line.
//
// Expected values are the reference's (double precision) on inputs that were rounded to the dtype
// under test first. Outputs are poisoned before each run.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "slora/core/dtype.hpp"
#include "slora/core/status.hpp"
#include "slora/engine/backend_loader.hpp"
#include "slora/kernels/reference.hpp"

namespace slora::kernels {

// The one backend of the test program; null with a reason where there is none.
struct CudaBackend {
  forward::Backend backend;
  std::string reason;
  static const CudaBackend& get() {
    static const CudaBackend instance = [] {
      CudaBackend made;
      try {
        made.backend = engine::open_backend(engine::BackendKind::kCuda, 0, 0);
      } catch (const core::Error& error) {
        made.reason = error.what();
      }
      return made;
    }();
    return instance;
  }
};

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    const CudaBackend& cuda = CudaBackend::get();
    if (!cuda.backend.device) GTEST_SKIP() << cuda.reason;
    backend_ = cuda.backend;
    stream_ = std::make_unique<device::Stream>(backend_.device, device::StreamKind::kCompute);
    // Fresh numbers every run; the seed is in the log, SLORA_TEST_SEED repeats it.
    const char* seed = std::getenv("SLORA_TEST_SEED");
    seed_ = seed ? static_cast<uint32_t>(std::strtoul(seed, nullptr, 10)) : std::random_device{}();
    RecordProperty("seed", std::to_string(seed_));
    random_.seed(seed_);
  }

  const KernelApi& kernels() const { return *backend_.kernels; }
  void* stream() const { return stream_->handle(); }

  device::Buffer device_bytes(uint64_t bytes) {
    return device::Buffer(backend_.device, device::MemoryKind::kDevice, bytes);
  }
  device::Buffer upload_bytes(const void* data, uint64_t bytes) {
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned, bytes);
    std::memcpy(staging.data(), data, bytes);
    device::Buffer out = device_bytes(bytes);
    stream_->copy(out.data(), staging.data(), bytes);
    stream_->synchronize();
    return out;
  }
  template <typename T>
  device::Buffer upload(const std::vector<T>& values) {
    return upload_bytes(values.data(), values.size() * sizeof(T));
  }
  // Rounded to `dtype` on the way.
  device::Buffer upload_as(const std::vector<float>& values, DType dtype) {
    const std::vector<uint8_t> bytes = stored(values, dtype);
    return upload_bytes(bytes.data(), bytes.size());
  }
  std::vector<uint8_t> download_bytes(const device::Buffer& from) {
    device::Buffer staging(backend_.device, device::MemoryKind::kPinned, from.bytes());
    stream_->copy(staging.data(), from.data(), from.bytes());
    stream_->synchronize();
    return {staging.data(), staging.data() + from.bytes()};
  }
  std::vector<float> download(const device::Buffer& from, DType dtype) {
    const std::vector<uint8_t> bytes = download_bytes(from);
    std::vector<float> out(bytes.size() / static_cast<size_t>(core::dtype_bytes(dtype)));
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = core::load_as_float(bytes.data(), dtype, static_cast<int64_t>(i));
    return out;
  }
  // Quiet NaN in every dtype: what a kernel fails to write is found.
  device::Buffer poisoned(int64_t count, DType dtype) {
    const std::vector<uint8_t> bytes(static_cast<size_t>(count * core::dtype_bytes(dtype)), 0xff);
    return upload_bytes(bytes.data(), bytes.size());
  }

  std::vector<float> normals(int64_t count, float stddev = 1.0f) {
    std::normal_distribution<float> normal(0.0f, stddev);
    std::vector<float> out(static_cast<size_t>(count));
    for (float& x : out) x = normal(random_);
    return out;
  }
  std::vector<float> normals(int64_t count, float stddev, DType dtype) {
    std::vector<float> out = normals(count, stddev);
    round_to(out, dtype);
    return out;
  }
  int32_t between(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }

  static uint16_t f16_bits(float x) {
    const _Float16 half = static_cast<_Float16>(x);
    uint16_t bits;
    std::memcpy(&bits, &half, sizeof bits);
    return bits;
  }
  static std::vector<uint8_t> stored(const std::vector<float>& values, DType dtype) {
    std::vector<uint8_t> out(values.size() * static_cast<size_t>(core::dtype_bytes(dtype)));
    for (size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::kF32) {
        std::memcpy(&out[i * 4], &values[i], 4);
      } else {
        const uint16_t bits =
            dtype == DType::kBF16 ? core::float_to_bf16(values[i]) : f16_bits(values[i]);
        std::memcpy(&out[i * 2], &bits, 2);
      }
    }
    return out;
  }
  static void round_to(std::vector<float>& values, DType dtype) {
    const std::vector<uint8_t> bytes = stored(values, dtype);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = core::load_as_float(bytes.data(), dtype, static_cast<int64_t>(i));
  }

  // |out - expected| / |expected| over all elements; NaN if any is NaN.
  static double relative_error(const std::vector<float>& out, const std::vector<double>& expected) {
    if (out.size() != expected.size()) return NAN;
    double error = 0, norm = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      error += (out[i] - expected[i]) * (out[i] - expected[i]);
      norm += expected[i] * expected[i];
    }
    return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
  }
  // What rounding the result (and operands of tensor cores) to `dtype` allows: fp32 sums err near
  // 1e-6, bf16 results by 2^-9 / sqrt(3), fp16 ones by an eighth of that.
  static double tolerance(DType dtype) {
    return dtype == DType::kF32 ? 2e-5 : dtype == DType::kBF16 ? 4e-3 : 5e-4;
  }
  static const char* name(DType dtype) { return core::dtype_name(dtype); }

  forward::Backend backend_;
  std::unique_ptr<device::Stream> stream_;
  uint32_t seed_ = 0;
  std::mt19937 random_;
};

inline constexpr DType kAllDTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

}  // namespace slora::kernels
