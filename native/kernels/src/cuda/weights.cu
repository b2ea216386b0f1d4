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

namespace {

// Elements [first, first + count) of dst from as many that lie on the device.
int32_t convert(void* stream, const WeightPackParams& params, int64_t first, const void* staged,
                int64_t count) {
  return with_dtype(params.dst_dtype, [&](auto dst) {
    using Dst = decltype(dst);
    return with_dtype(params.src_dtype, [&](auto src) {
      using Src = decltype(src);
      convert_kernel<<<grid_of(device_of(stream), count), kThreads, 0, raw(stream)>>>(
          static_cast<Dst*>(params.dst) + first, static_cast<const Src*>(staged), count);
      return launch_status();
    });
  });
}

int32_t upload(void* stream, void* to, const void* from, int64_t bytes) {
  return device::cuda::status_of(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, raw(stream)));
}

// `rows` [num_rows, k] of any stride, elements [begin, begin + count) of the whole, end to end.
void gather(const WeightPackParams& params, int64_t begin, int64_t count, uint8_t* out) {
  const int64_t src_bytes = core::dtype_bytes(params.src_dtype);
  const auto* source = static_cast<const uint8_t*>(params.src);
  for (int64_t at = begin; at < begin + count;) {
    const int64_t row = at / params.k, column = at % params.k;
    const int64_t run = std::min(params.k - column, begin + count - at);
    std::memcpy(out + (at - begin) * src_bytes,
                source + (row * params.src_row_stride + column) * src_bytes,
                static_cast<size_t>(run * src_bytes));
    at += run;
  }
}

}  // namespace

// A staged source of the same dtype is one copy. Any other goes through the device's two halves in
// turn, so that a copy and the conversion of the piece before it run at once; host memory that is
// not staged goes through their pinned twins before, and all of it has been read when this returns.
int32_t weight_pack(void* stream, const WeightPackParams* params) {
  device::cuda::CudaDevice& device = device_of(stream);
  const int64_t src_bytes = core::dtype_bytes(params->src_dtype);
  const int64_t total = params->num_rows * params->k;
  if (total == 0) return kOk;
  if (const cudaError_t error = cudaSetDevice(device.device_idx); error != cudaSuccess)
    return device::cuda::status_of(error);
  const int64_t dst_begin = params->row_offset * params->k;
  if (params->src_is_staged && params->src_dtype == params->dst_dtype) {
    return upload(stream, static_cast<uint8_t*>(params->dst) + dst_begin * src_bytes, params->src,
                  total * src_bytes);
  }
  const int64_t elems_a_piece = static_cast<int64_t>(device::cuda::kStagingBytes) / src_bytes;
  const std::lock_guard<std::mutex> lock(device.staging_mutex);
  int which = 0;
  for (int64_t done = 0; done < total; which ^= 1) {
    const int64_t count = std::min(elems_a_piece, total - done);
    const cudaEvent_t is_free = device.staging_free[which];
    if (const cudaError_t error = params->src_is_staged
                                      ? cudaStreamWaitEvent(raw(stream), is_free, 0)
                                      : cudaEventSynchronize(is_free);
        error != cudaSuccess)
      return device::cuda::status_of(error);
    const void* from = static_cast<const uint8_t*>(params->src) + done * src_bytes;
    if (!params->src_is_staged) {
      gather(*params, done, count, static_cast<uint8_t*>(device.pinned_staging[which]));
      from = device.pinned_staging[which];
    }
    void* staged = device.device_staging[which];
    if (const int32_t status = upload(stream, staged, from, count * src_bytes)) return status;
    if (const int32_t status = convert(stream, *params, dst_begin + done, staged, count))
      return status;
    if (const cudaError_t error = cudaEventRecord(is_free, raw(stream)); error != cudaSuccess)
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
