// Keys and masses: how sampling orders logits, and how it sums what they weigh.
//
// Masses exp(logit - max) are summed as integers of 2^-40, so no sum depends on the order of its
// terms, and equal seeds draw equal tokens at any number of blocks. What rounding to 2^-40 of the
// largest mass takes from a token is far below what exp itself errs by. The host sums doubles: the
// two can differ where a uniform or a threshold falls within about 1e-6 of a boundary.
#pragma once

#include "common.cuh"

namespace slora::kernels::cuda::sampling {

inline constexpr float kMassUnit = 1099511627776.0f;  // 2^40

// Ascends with x.
__device__ __forceinline__ uint32_t ascending_key(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of_key(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}
__device__ __forceinline__ float dropped() { return __uint_as_float(0xff800000u); }

// Orders (value, token): larger values first, equal ones (-0 and 0 too) by lower token.
__device__ __forceinline__ uint64_t rank_key(float x, int64_t token) {
  return static_cast<uint64_t>(ascending_key(x + 0.0f)) << 32 |
         (0xffffffffu - static_cast<uint32_t>(token));
}
__device__ __forceinline__ int32_t token_of(uint64_t key) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key));
}
__device__ __forceinline__ float value_of(uint64_t key) {
  return value_of_key(static_cast<uint32_t>(key >> 32));
}

// exp(x - largest)
__device__ inline float mass(float x, float largest) { return expf(x - largest); }
__device__ __forceinline__ uint64_t integer_mass(float mass) {
  return mass > 0.0f ? __float2ull_rn(mass * kMassUnit) : 0;
}

// *sum += x in shared memory, where 64-bit atomics are loops and 32-bit ones are not: each addition
// to the low half carries what it overflowed by.
__device__ __forceinline__ void add_to(uint64_t* sum, uint64_t x) {
  auto* const words = reinterpret_cast<uint32_t*>(sum);
  const auto low = static_cast<uint32_t>(x);
  auto high = static_cast<uint32_t>(x >> 32);
  if (low > 0 && atomicAdd(words, low) + low < low) ++high;
  if (high > 0) atomicAdd(words + 1, high);
}

__device__ __forceinline__ uint64_t share_of(float share, uint64_t total) {
  return static_cast<uint64_t>(ceil(static_cast<double>(share) * static_cast<double>(total)));
}

}  // namespace slora::kernels::cuda::sampling
