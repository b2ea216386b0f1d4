// What the kernels of the second half share: how a lane's pieces of B become its operands, and sums
// over the parts of t.
//
// Rows of B transposed run along the output, so a lane loads 16 bytes of four of them and has,
// after a shuffle of halves, its operand for eight tiles of eight columns. Which columns a tile
// stands for is free; it is chosen so that each lane holds whole 16-byte pieces of y.
#pragma once

#include "src/cuda/lora_common.cuh"

namespace slora::kernels::cuda {

// Eight columns of the group that tile column `lane / 4` stands for: so chosen that tile columns 2t
// and 2t + 1, which lane t of a quad gets, are pieces t and t + 4 of a row of y.
__device__ __forceinline__ int32_t piece_of_lane(int32_t lane) {
  return lane / 8 + lane / 4 % 2 * 4;
}

// Words of two rows' neighbours in, (row, next row) pairs of one column out.
__device__ __forceinline__ void pair_rows(uint4& even, uint4& odd) {
  const auto turn = [](uint32_t& low, uint32_t& high) {
    const uint32_t a = low, b = high;
    low = __byte_perm(a, b, 0x5410);
    high = __byte_perm(a, b, 0x7632);
  };
  turn(even.x, odd.x);
  turn(even.y, odd.y);
  turn(even.z, odd.z);
  turn(even.w, odd.w);
}

__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// The parts of four neighbours in t, in order; `there` of them (all, if aligned) exist.
template <int kParts>
__device__ __forceinline__ void add_parts(float (&sum)[4], const float* t, int64_t part_stride) {
  float4 part[kParts];
#pragma unroll
  for (int i = 0; i < kParts; ++i) part[i] = *reinterpret_cast<const float4*>(t + i * part_stride);
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    sum[0] += part[i].x;
    sum[1] += part[i].y;
    sum[2] += part[i].z;
    sum[3] += part[i].w;
  }
}
__device__ __forceinline__ void sum_parts(float (&sum)[4], const float* t, int64_t part_stride,
                                          int32_t parts, int32_t there, bool is_aligned) {
  if (is_aligned && there >= 4) {
    if (parts == kMostParts) {
      add_parts<kMostParts>(sum, t, part_stride);
      return;
    }
#pragma unroll 1
    for (; parts >= 4; parts -= 4, t += 4 * part_stride) add_parts<4>(sum, t, part_stride);
#pragma unroll 1
    for (; parts > 0; --parts, t += part_stride) add_parts<1>(sum, t, part_stride);
    return;
  }
#pragma unroll 1
  for (; parts > 0; --parts, t += part_stride) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < there) sum[i] += t[i];
    }
  }
}

}  // namespace slora::kernels::cuda
