// Each rate is the median of some rounds between two events, after rounds that are not counted.
#include "slora/engine/ceilings.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "slora/core/status.hpp"

namespace slora::engine {
namespace {

using device::Buffer;
using device::MemoryKind;

class Meter {
 public:
  Meter(const forward::Backend& backend, int32_t num_rounds)
      : backend_(backend),
        stream_(backend.device, device::StreamKind::kCompute),
        num_rounds_(num_rounds) {}

  double copy_rate(uint64_t bytes) {
    const Buffer from(backend_.device, MemoryKind::kDevice, bytes);
    const Buffer to(backend_.device, MemoryKind::kDevice, bytes);
    // Memory that was never written may be one page of zeros, which would be read from a cache.
    stream_.copy(from.data(), to.data(), bytes);
    return 2.0 * double(bytes) / seconds([&] { stream_.copy(to.data(), from.data(), bytes); });
  }

  double upload_rate(uint64_t bytes) {
    const Buffer from(backend_.device, MemoryKind::kPinned, bytes);
    const Buffer to(backend_.device, MemoryKind::kDevice, bytes);
    std::memset(from.data(), 1, bytes);
    return double(bytes) / seconds([&] { stream_.copy(to.data(), from.data(), bytes); });
  }

  double matmul_seconds(core::DType dtype, int64_t m, int64_t n, int64_t k) {
    const auto* kernels = backend_.kernels;
    const core::DType activation = kernels->activation_dtype(dtype);
    const auto activation_bytes = static_cast<int64_t>(core::dtype_bytes(activation));
    const Buffer w = filled(dtype, n, k, 0.02f);
    const Buffer x = filled(activation, m, k, 1.0f);
    const Buffer y(backend_.device, MemoryKind::kDevice,
                   static_cast<uint64_t>(m * n * activation_bytes));
    const Buffer workspace(backend_.device, MemoryKind::kDevice,
                           std::max<uint64_t>(64, kernels->gemm_workspace_bytes(dtype, m, k)));
    kernels::GemmParams params{};
    params.x = x.data();
    params.x_stride = params.k = k;
    params.w = w.data();
    params.weight_dtype = dtype;
    params.activation_dtype = params.y_dtype = activation;
    params.m = m;
    params.n = params.y_stride = n;
    params.y = y.data();
    params.workspace = workspace.data();
    return seconds(
        [&] { forward::expect_launched(kernels->gemm(stream_.handle(), &params), "gemm"); });
  }

 private:
  // A packed matrix is at least as large as a plain one, and random numbers are random in any
  // order, so the same filler serves x.
  Buffer filled(core::DType dtype, int64_t rows, int64_t columns, float stddev) {
    Buffer buffer(backend_.device, MemoryKind::kDevice,
                  backend_.kernels->weight_bytes(dtype, rows, columns));
    const kernels::WeightFillParams fill{buffer.data(), dtype, rows, columns, 7, stddev};
    forward::expect_launched(backend_.kernels->weight_fill(stream_.handle(), &fill), "weight_fill");
    return buffer;
  }

  // The first rounds touch memory and choose kernels: they do not count.
  double seconds(const std::function<void()>& enqueue) {
    constexpr int32_t kWarmRounds = 2;
    device::Event begin(backend_.device), end(backend_.device);
    std::vector<double> rounds;
    for (int32_t i = 0; i < num_rounds_ + kWarmRounds; ++i) {
      begin.record(stream_);
      enqueue();
      end.record(stream_);
      end.synchronize();
      if (i >= kWarmRounds) rounds.push_back(double(end.elapsed_ns_since(begin)) * 1e-9);
    }
    std::nth_element(rounds.begin(), rounds.begin() + num_rounds_ / 2, rounds.end());
    return std::max(rounds[static_cast<size_t>(num_rounds_ / 2)], 1e-9);
  }

  forward::Backend backend_;
  device::Stream stream_;
  int32_t num_rounds_;
};

}  // namespace

Ceilings measure_ceilings(const CeilingQuery& query) {
  const forward::Backend backend = open_backend(query.backend, query.device_idx, query.num_threads);
  if (query.m > 0 && !backend.kernels->supports_dtype(query.dtype)) {
    core::fail(core::Status::kUnsupported, "compute_dtype ", static_cast<int32_t>(query.dtype),
               " is not supported by this backend");
  }
  Meter meter(backend, query.num_rounds);
  Ceilings ceilings;
  ceilings.is_cuda = backend.is_cuda;
  if (query.copy_bytes > 0) ceilings.copy_bytes_per_second = meter.copy_rate(query.copy_bytes);
  if (query.upload_bytes > 0) {
    ceilings.upload_bytes_per_second = meter.upload_rate(query.upload_bytes);
  }
  if (query.m > 0) {
    ceilings.matmul_seconds = meter.matmul_seconds(query.dtype, query.m, query.n, query.k);
  }
  return ceilings;
}

}  // namespace slora::engine
