// Blocks that run together and reach each other's shared memory (compute capability 9.0; elsewhere
// a cluster is one block).
#pragma once

#include "src/cuda/common.cuh"

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

// ---- the barrier

// Its two halves: arrival releases, the wait acquires, in shared memory of the whole cluster. Every
// thread of every block calls both, the lanes of a warp together. A lone block elsewhere has none.
__device__ __forceinline__ void cluster_arrive_together() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_wait_together() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
}
// The same of lanes that may have parted; both halves make a barrier of the block too, everywhere.
__device__ __forceinline__ void cluster_arrive() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
#endif
  cluster_arrive_together();
}
__device__ __forceinline__ void cluster_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  cluster_wait_together();
#else
  __syncthreads();
#endif
}
__device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

// ---- another block's shared memory

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
// The same of an address in shared memory, for store_remote.
__device__ __forceinline__ uint32_t remote_address(uint32_t mine, uint32_t rank) {
  uint32_t address = mine;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(mine), "r"(rank));
#endif
  return address;
}
__device__ __forceinline__ void store_remote(uint32_t address, float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
#endif
}
__device__ __forceinline__ void store_remote(uint32_t address, float4 value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1,%2,%3,%4};" ::"r"(address), "f"(value.x),
               "f"(value.y), "f"(value.z), "f"(value.w)
               : "memory");
#endif
}

}  // namespace slora::kernels::cuda
