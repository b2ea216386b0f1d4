// What every .cu file here shares: number types, vector loads, reductions, launches.
//
// Dependent launch (compute capability 9.0): `launch` lets a kernel begin while the one before it
// on the stream still runs. So every kernel here calls wait_for_inputs() in every thread (or has a
// thread wait for one that did) before it reads or writes anything that a kernel of the stream may
// have written or may still read; before that call it may only touch constants: weights, adapter
// pages, the batch's tables (each is written by copies, which later kernels wait for in full) and
// rows' heads (lora_find.cu lets no kernel begin before it has ended).
// allow_next() comes first of all: the kernel after this one may then take what room is left on the
// chip, fetch its constants and wait.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "slora/core/dtype.hpp"
#include "slora/core/status.hpp"
#include "slora/kernels/kernel_api.hpp"
#include "src/cuda/cuda_context.hpp"

namespace slora::kernels::cuda {

using core::DType;
using device::cuda::device_of;
using device::cuda::launch_status;
using device::cuda::raw;

inline constexpr int32_t kOk = static_cast<int32_t>(core::Status::kOk);
inline constexpr int32_t kUnsupported = static_cast<int32_t>(core::Status::kUnsupported);

using bf16 = __nv_bfloat16;

// ---- numbers

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

// 16 bytes of T.
template <typename T>
struct alignas(16) Vec {
  static constexpr int kCount = 16 / static_cast<int>(sizeof(T));
  T v[kCount];
};

template <typename T>
__device__ __forceinline__ Vec<T> load_vec(const T* from) {
  return *reinterpret_cast<const Vec<T>*>(from);
}
template <typename T>
__device__ __forceinline__ void store_vec(T* to, const Vec<T>& value) {
  *reinterpret_cast<Vec<T>*>(to) = value;
}

// ---- two 16-bit numbers in one word, the first in the low half

template <typename T>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
  if constexpr (std::is_same_v<T, bf16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

template <typename T>
__device__ __forceinline__ float low_of(uint32_t pair) {
  if constexpr (std::is_same_v<T, bf16>) return __uint_as_float(pair << 16);
  return __low2float(*reinterpret_cast<const __half2*>(&pair));
}
template <typename T>
__device__ __forceinline__ float high_of(uint32_t pair) {
  if constexpr (std::is_same_v<T, bf16>) return __uint_as_float(pair & 0xffff0000u);
  return __high2float(*reinterpret_cast<const __half2*>(&pair));
}

// ---- the second-level cache

// For what a step reads once: it goes before what others wrote or will read again. A step reads far
// more than the cache holds, and without this each lookup in between waits for memory behind it.
__device__ __forceinline__ uint64_t given_up_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// ---- sums in a fixed order

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// ---- dependent launch

__device__ __forceinline__ void wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void allow_next() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// What a block without work does instead of wait_for_inputs(). A launch may not end before the one
// before it, or the next would not wait for that; one waiting block sees to it, and the others make
// room at once.
__device__ __forceinline__ void leave_idle() {
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0) wait_for_inputs();
}

// Launches `kernel` so that it may begin before the kernel before it has ended (see above).
// cluster > 1: that many blocks along x form a cluster (compute capability 9.0 only).
template <typename... KernelArgs, typename... Args>
int32_t launch(void* stream, void (*kernel)(KernelArgs...), dim3 grid, dim3 block,
               size_t shared_bytes, int cluster, Args... args) {
  const bool is_hopper = device_of(stream).sm_version >= 90;
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = raw(stream);
  config.attrs = attributes;
  if (is_hopper) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    if (cluster > 1) {
      attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
      attributes[config.numAttrs].val.clusterDim.x = static_cast<unsigned>(cluster);
      attributes[config.numAttrs].val.clusterDim.y = 1;
      attributes[config.numAttrs++].val.clusterDim.z = 1;
    }
  }
  return device::cuda::status_of(
      cudaLaunchKernelEx(&config, kernel, static_cast<KernelArgs>(args)...));
}

template <typename... KernelArgs, typename... Args>
int32_t launch(void* stream, void (*kernel)(KernelArgs...), dim3 grid, dim3 block,
               size_t shared_bytes, Args... args) {
  return launch(stream, kernel, grid, block, shared_bytes, 1, args...);
}

// Asks for a block's dynamic shared memory, at each launch: it holds for the current device alone,
// and the ranks of one process have several. The 48 KiB that need no asking hold static memory too.
template <typename Kernel>
int32_t allow_shared(Kernel* kernel, size_t bytes) {
  if (bytes <= 24 * 1024) return kOk;
  return device::cuda::status_of(cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

// Calls f with a value of the C++ type of `dtype`.
template <typename F>
int32_t with_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(bf16{});
    case DType::kF16:
      return f(__half{});
  }
  return kUnsupported;
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace slora::kernels::cuda
