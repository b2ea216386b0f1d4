// Weights on their way from a file to the device, and random ones. Row-major [N, K].
#include <algorithm>
#include <cstring>

#include "slora/kernels/random.hpp"
#include "src/cuda/common.cuh"
#include "src/cuda/cuda_kernels.hpp"

namespace slora::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <typename Dst, typename Src>
__global__ void convert_kernel(Dst* dst, const Src* src, int64_t count) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += stride)
    dst[i] = from_float<Dst>(to_float(src[i]));
}

template <typename T>
__global__ void fill_kernel(T* dst, int64_t count, int64_t k, int64_t first, int64_t source_k,
                            uint64_t seed, float stddev) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += stride) {
    const int64_t place = first + i / k * source_k + i % k;
    dst[i] = from_float<T>(fill_normal(seed, static_cast<uint64_t>(place), stddev));
  }
}

unsigned grid_of(const device::cuda::CudaDevice& device, int64_t count) {
  return static_cast<unsigned>(
      std::clamp<int64_t>(ceil_div(count, kThreads), 1, int64_t{device.sm_count} * 16));
}

}  // namespace

// The source is host memory, of any kind: rows go through the device's two pinned halves in turn,
// so that reading the file, the copy and the conversion of three pieces run at once. All of the
// source has been read when this returns.
int32_t weight_pack(void* stream, const WeightPackParams* params) {
  device::cuda::CudaDevice& device = device_of(stream);
  const int64_t src_bytes = core::dtype_bytes(params->src_dtype);
  const int64_t row_bytes = params->k * src_bytes;
  // A row longer than a half goes in parts; otherwise whole rows do.
  const int64_t half = static_cast<int64_t>(device::cuda::kStagingBytes);
  const int64_t elems_a_piece = row_bytes > half ? half / src_bytes : half / row_bytes * params->k;
  const int64_t total = params->num_rows * params->k;
  if (total == 0) return kOk;
  const std::lock_guard<std::mutex> lock(device.staging_mutex);
  if (const cudaError_t error = cudaSetDevice(device.device_idx); error != cudaSuccess)
    return device::cuda::status_of(error);
  int which = 0;
  for (int64_t done = 0; done < total; which ^= 1) {
    const int64_t count = std::min(elems_a_piece, total - done);
    if (const cudaError_t error = cudaEventSynchronize(device.staging_free[which]);
        error != cudaSuccess)
      return device::cuda::status_of(error);
    auto* pinned = static_cast<uint8_t*>(device.pinned_staging[which]);
    const auto* source = static_cast<const uint8_t*>(params->src);
    for (int64_t at = done; at < done + count;) {
      const int64_t row = at / params->k, column = at % params->k;
      const int64_t run = std::min(params->k - column, done + count - at);
      std::memcpy(pinned + (at - done) * src_bytes,
                  source + (row * params->src_row_stride + column) * src_bytes,
                  static_cast<size_t>(run * src_bytes));
      at += run;
    }
    void* staged = device.device_staging[which];
    if (const cudaError_t error =
            cudaMemcpyAsync(staged, pinned, static_cast<size_t>(count * src_bytes),
                            cudaMemcpyHostToDevice, raw(stream));
        error != cudaSuccess)
      return device::cuda::status_of(error);
    const int64_t first = params->row_offset * params->k + done;
    const int32_t status = with_dtype(params->dst_dtype, [&](auto dst) {
      using Dst = decltype(dst);
      return with_dtype(params->src_dtype, [&](auto src) {
        using Src = decltype(src);
        convert_kernel<<<grid_of(device, count), kThreads, 0, raw(stream)>>>(
            static_cast<Dst*>(params->dst) + first, static_cast<const Src*>(staged), count);
        return launch_status();
      });
    });
    if (status) return status;
    if (const cudaError_t error = cudaEventRecord(device.staging_free[which], raw(stream));
        error != cudaSuccess)
      return device::cuda::status_of(error);
    done += count;
  }
  return kOk;
}

int32_t weight_fill(void* stream, const WeightFillParams* params) {
  device::cuda::CudaDevice& device = device_of(stream);
  if (const cudaError_t error = cudaSetDevice(device.device_idx); error != cudaSuccess)
    return device::cuda::status_of(error);
  const bool is_whole = params->num_rows == 0;
  const int64_t count = (is_whole ? params->n_total : params->num_rows) * params->k;
  const int64_t source_k = is_whole ? params->k : params->source_k;
  return with_dtype(params->dtype, [&](auto element) {
    using T = decltype(element);
    fill_kernel<<<grid_of(device, count), kThreads, 0, raw(stream)>>>(
        static_cast<T*>(params->dst) + params->row_offset * params->k, count, params->k,
        params->source_row * source_k + params->source_column, source_k, params->seed,
        params->stddev);
    return launch_status();
  });
}

}  // namespace slora::kernels::cuda
