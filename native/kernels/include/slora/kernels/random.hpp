// Counter-based random numbers that every backend must give bit for bit. C++17: .cu files reach
// this header.
#pragma once

#include <cstdint>

#include "slora/core/page_layout.hpp"  // SLORA_HOST_DEVICE

namespace slora::kernels {

// Semantics  a uniform in [0, 1) of 53 bits: the first two words of Philox4x32-10 (Salmon et al.,
// SC 2011) with key
//            `seed` and counter (`counter`, 0): ((word1 << 32 | word0) >> 11) * 2^-53
SLORA_HOST_DEVICE inline double philox_uniform(uint64_t seed, uint64_t counter) {
  uint32_t x0 = static_cast<uint32_t>(counter), x1 = static_cast<uint32_t>(counter >> 32), x2 = 0,
           x3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * x0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * x2;
    x0 = static_cast<uint32_t>(p1 >> 32) ^ x1 ^ k0;
    x1 = static_cast<uint32_t>(p1);
    x2 = static_cast<uint32_t>(p0 >> 32) ^ x3 ^ k1;
    x3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return static_cast<double>((uint64_t{x1} << 32 | x0) >> 11) * 0x1.0p-53;
}

// Semantics  an approximate N(0, stddev): the sum of the four 16-bit parts of splitmix64(seed,
// counter), centred and
//            scaled (Irwin-Hall of four: tails end at 3.46 stddev). Integers and one product: no
//            library's log or cos.
SLORA_HOST_DEVICE inline float fill_normal(uint64_t seed, uint64_t counter, float stddev) {
  uint64_t z = seed * 0xD1342543DE82EF95ull + (counter + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  const int32_t sum =
      static_cast<int32_t>((z & 0xffff) + ((z >> 16) & 0xffff) + ((z >> 32) & 0xffff) + (z >> 48));
  // The variance of a 16-bit uniform is (2^32 - 1) / 12, of four a third of 2^32: stddev 2^16 /
  // sqrt 3.
  return static_cast<float>(sum - 131070) * (2.642891e-5f * stddev);
}

}  // namespace slora::kernels
