// Blocks that run together and read each other's shared memory (compute capability 9.0; elsewhere a
// cluster is one block).
#pragma once

#include "common.cuh"

namespace slora::kernels::cuda {

__device__ __forceinline__ int32_t cluster_rank() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int32_t>(rank);
#else
  return 0;
#endif
}
// The two halves of a barrier of the cluster: arrival releases, the wait acquires, in shared memory
// of the whole cluster. Every thread of every block calls both.
__device__ __forceinline__ void cluster_arrive() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}
// Also a barrier of the block.
__device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}
// Where block `rank` of the cluster has what this block has at `mine`, in shared memory.
template <typename T>
__device__ __forceinline__ T* remote(T* mine, int32_t rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  uint64_t address;
  asm volatile("mapa.u64 %0, %1, %2;"
               : "=l"(address)
               : "l"(reinterpret_cast<uint64_t>(mine)), "r"(rank));
  return reinterpret_cast<T*>(address);
#else
  return mine;
#endif
}

}  // namespace slora::kernels::cuda
