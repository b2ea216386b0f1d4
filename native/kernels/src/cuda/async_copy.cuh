// Asynchronous copies from global to shared memory, in groups that a thread waits for. A thread
// sees its own copies after wait_copies, the block's after a barrier behind it.
#pragma once

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes, past the first-level cache.
__device__ __forceinline__ void copy_16(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// The same; zeros where not `is_inside`, and then nothing is read.
__device__ __forceinline__ void copy_16(uint32_t to, const void* from, bool is_inside) {
  const int bytes = is_inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
// The same, of a long run: the second-level cache fetches the 128 bytes around at once, and gives
// them up first.
__device__ __forceinline__ void copy_16_of_run(uint32_t to, const void* from, bool is_inside) {
  const int bytes = is_inside ? 16 : 0;
  asm volatile(
      "cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(to),
      "l"(from), "r"(bytes), "l"(given_up_first())
      : "memory");
}
__device__ __forceinline__ void copy_4(uint32_t to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}

// Ends a group of this thread's copies.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// All but the newest kPending groups have landed.
template <int kPending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace slora::kernels::cuda
