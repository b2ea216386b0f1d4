// Products by warpgroups (four warps) from shared memory, and the barriers that hand tiles over to
// them: compute capability 9.0 alone, files compiled for sm_90a.
//
// A tile of 16-bit elements in shared memory is runs of 64 elements (128 bytes), one below the
// other, whose eight 16-byte pieces are permuted by the row (`swizzled`); tiles begin at multiples
// of 1024 bytes. Wider rows are several such columns side by side.
#pragma once

#include "src/cuda/async_copy.cuh"

namespace slora::kernels::cuda {

// ---- tiles

// Bytes from a column's begin to piece `piece` of row `row`.
__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t piece) {
  return row * 128 + ((piece ^ (row & 7)) * 16);
}

// The descriptor of a tile at `address`: of rows along the sum (PTX's K-major), where column_bytes
// means nothing, or across it (MN-major), column_bytes being from one column to the next.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address, uint32_t column_bytes = 16) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{1024 / 16} << 32;
  return kSwizzle128 | kEightRows | uint64_t{column_bytes / 16} << 16 |
         (uint64_t{address & 0x3ffff} / 16);
}

// ---- products

// Before the first product of a group, and after registers that it takes were written.
__device__ __forceinline__ void open_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// All but the newest kPending groups have ended.
template <int kPending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The sums of a lane, as places of an instruction and as operands `d`.
#define SLORA_EIGHT_PLACES(a, b, c, e, f, g, h, i) \
  "%" #a ",%" #b ",%" #c ",%" #e ",%" #f ",%" #g ",%" #h ",%" #i
#define SLORA_8_PLACES SLORA_EIGHT_PLACES(0, 1, 2, 3, 4, 5, 6, 7)
#define SLORA_16_PLACES SLORA_8_PLACES "," SLORA_EIGHT_PLACES(8, 9, 10, 11, 12, 13, 14, 15)
#define SLORA_32_PLACES                                                                          \
  SLORA_16_PLACES "," SLORA_EIGHT_PLACES(16, 17, 18, 19, 20, 21, 22, 23) "," SLORA_EIGHT_PLACES( \
      24, 25, 26, 27, 28, 29, 30, 31)
#define SLORA_64_PLACES                                                                          \
  SLORA_32_PLACES "," SLORA_EIGHT_PLACES(32, 33, 34, 35, 36, 37, 38, 39) "," SLORA_EIGHT_PLACES( \
      40, 41, 42, 43, 44, 45, 46,                                                                \
      47) "," SLORA_EIGHT_PLACES(48, 49, 50, 51, 52, 53, 54,                                     \
                                 55) "," SLORA_EIGHT_PLACES(56, 57, 58, 59, 60, 61, 62, 63)
#define SLORA_EIGHT_SUMS(i)                                                                   \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define SLORA_8_SUMS SLORA_EIGHT_SUMS(0)
#define SLORA_16_SUMS SLORA_8_SUMS, SLORA_EIGHT_SUMS(8)
#define SLORA_32_SUMS SLORA_16_SUMS, SLORA_EIGHT_SUMS(16), SLORA_EIGHT_SUMS(24)
#define SLORA_64_SUMS                                                              \
  SLORA_32_SUMS, SLORA_EIGHT_SUMS(32), SLORA_EIGHT_SUMS(40), SLORA_EIGHT_SUMS(48), \
      SLORA_EIGHT_SUMS(56)
// An instruction on operands of PTX's `type`; the sums are kept where operand `adds` is not 0.
#define SLORA_WGMMA(type, columns, places, adds, operands)                                        \
  "{\n.reg .pred p;\nsetp.ne.b32 p, " adds                                                        \
  ", 0;\n"                                                                                        \
  "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" places "}, " operands \
  ";\n}\n"

// d [64, N] (+)= a [64, 16] b [N, 16]^T, both from shared memory, rows along the sum. Warp w of the
// warpgroup has rows 16 w to 16 w + 15; of d[4 n ..] a lane holds columns 8 n to 8 n + 7 as of
// `mma` (tensor_cores.cuh).
#define SLORA_MULTIPLY_TILES(sums, columns, a_b, kept_place)                                     \
  template <typename T>                                                                          \
  __device__ __forceinline__ void multiply_tiles(float(&d)[sums], uint64_t a, uint64_t b,        \
                                                 bool adds) {                                    \
    const int kept = adds;                                                                       \
    if constexpr (std::is_same_v<T, bf16>) {                                                     \
      asm volatile(                                                                              \
          SLORA_WGMMA("bf16", columns, SLORA_##sums##_PLACES, kept_place, a_b ", p, 1, 1, 0, 0") \
          : SLORA_##sums##_SUMS                                                                  \
          : "l"(a), "l"(b), "r"(kept));                                                          \
    } else {                                                                                     \
      asm volatile(                                                                              \
          SLORA_WGMMA("f16", columns, SLORA_##sums##_PLACES, kept_place, a_b ", p, 1, 1, 0, 0")  \
          : SLORA_##sums##_SUMS                                                                  \
          : "l"(a), "l"(b), "r"(kept));                                                          \
    }                                                                                            \
  }
SLORA_MULTIPLY_TILES(8, "16", "%8, %9", "%10")
SLORA_MULTIPLY_TILES(16, "32", "%16, %17", "%18")
SLORA_MULTIPLY_TILES(64, "128", "%64, %65", "%66")

// d [64, 128] (+)= a b with a in registers, as of `mma`, and b [16, 128] of rows across the sum.
template <typename T>
__device__ __forceinline__ void multiply_tile(float (&d)[64], const uint32_t (&a)[4], uint64_t b,
                                              bool adds) {
  const int kept = adds;
  if constexpr (std::is_same_v<T, bf16>) {
    asm volatile(
        SLORA_WGMMA("bf16", "128", SLORA_64_PLACES, "%69", "{%64,%65,%66,%67}, %68, p, 1, 1, 1")
        : SLORA_64_SUMS
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(kept));
  } else {
    asm volatile(
        SLORA_WGMMA("f16", "128", SLORA_64_PLACES, "%69", "{%64,%65,%66,%67}, %68, p, 1, 1, 1")
        : SLORA_64_SUMS
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(kept));
  }
}
#undef SLORA_MULTIPLY_TILES
#undef SLORA_WGMMA
#undef SLORA_8_SUMS
#undef SLORA_16_SUMS
#undef SLORA_32_SUMS
#undef SLORA_64_SUMS
#undef SLORA_EIGHT_SUMS
#undef SLORA_8_PLACES
#undef SLORA_16_PLACES
#undef SLORA_32_PLACES
#undef SLORA_64_PLACES
#undef SLORA_EIGHT_PLACES

// What ordinary stores and asynchronous copies wrote to shared memory before, as this thread sees
// it, is there for its products, and for those of threads that a barrier behind this lets on.
__device__ __forceinline__ void publish_to_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- registers

template <int kCount>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// ---- the block's named barriers, of kThreads threads

template <int kThreads>
__device__ __forceinline__ void sync_named(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}
// Counts towards it and goes on.
template <int kThreads>
__device__ __forceinline__ void arrive_named(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

// ---- barriers in shared memory, by address

__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives when all copies that this thread has asked for are there.
__device__ __forceinline__ void arrive_after_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
// Until the phase of this parity has ended; that before the first has parity 1. PTX's `order` says
// whose writes before their arrivals are seen.
#define SLORA_WAIT(order, barrier, parity) \
  asm volatile(                            \
      "{\n.reg .pred p;\n"                 \
      "again:\n"                           \
      "mbarrier.try_wait.parity" order     \
      ".shared::cta.b64 p, [%0], %1;\n"    \
      "@p bra.uni done;\n"                 \
      "bra.uni again;\n"                   \
      "done:\n}\n" ::"r"(barrier),         \
      "r"(parity)                          \
      : "memory")
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
  SLORA_WAIT("", barrier, parity);
}
// The same where other blocks of the cluster arrive.
__device__ __forceinline__ void barrier_wait_for_cluster(uint32_t barrier, uint32_t parity) {
  SLORA_WAIT(".acquire.cluster", barrier, parity);
}
#undef SLORA_WAIT
// Arrives at another block's barrier (`remote_address`) with all that this thread wrote.
__device__ __forceinline__ void barrier_arrive_remote(uint32_t barrier) {
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier)
               : "memory");
}

}  // namespace slora::kernels::cuda
