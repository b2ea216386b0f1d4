// One product of the tensor cores, as attention and LoRA use it.
#pragma once

#include "src/cuda/common.cuh"

namespace slora::kernels::cuda {

// d += a b of 16 x 16 and 16 x 8 (row, column), fp32 sums. The lane with g = lane / 4, c = lane % 4
// holds
//   a  (g, 2c), (g + 8, 2c), (g, 2c + 8), (g + 8, 2c + 8), pairs along k
//   b  (2c, g), (2c + 8, g), pairs along k
//   d  (g, 2c), (g, 2c + 1), (g + 8, 2c), (g + 8, 2c + 1)
template <typename T>
__device__ __forceinline__ void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, bf16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

}  // namespace slora::kernels::cuda
