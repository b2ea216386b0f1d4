// Vectors of the inner loops for any machine: four floats in the compiler's portable vectors. Right
// rather than fast.
#pragma once

#include <stdint.h>

namespace slora::kernels {
namespace {

typedef float Vf __attribute__((vector_size(16)));
typedef uint32_t Vw __attribute__((vector_size(16)));  // a pair of bf16 weights (k, k + 1) a lane

constexpr int32_t kLanes = 4;
constexpr int32_t kTileRows = 6;
constexpr int32_t kTileVectors = 2;
constexpr int32_t kRowVectors = 8;

template <typename To, typename From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

inline Vf vzero() { return Vf{}; }
inline Vf vset(float x) { return Vf{x, x, x, x}; }
inline Vf vload(const float* p) {
  Vf x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
inline void vstore(float* p, Vf x) { __builtin_memcpy(p, &x, sizeof x); }
inline Vf vload_n(const float* p, int64_t n) {
  Vf x{};
  for (int64_t i = 0; i < n; ++i) x[i] = p[i];
  return x;
}
inline void vstore_n(float* p, int64_t n, Vf x) {
  for (int64_t i = 0; i < n; ++i) p[i] = x[i];
}

inline Vf vadd(Vf a, Vf b) { return a + b; }
inline Vf vsub(Vf a, Vf b) { return a - b; }
inline Vf vmul(Vf a, Vf b) { return a * b; }
inline Vf vdiv(Vf a, Vf b) { return a / b; }
inline Vf vfma(Vf a, Vf b, Vf c) { return a * b + c; }  // rounds twice: no FMA to rely on
inline Vf vnfma(Vf a, Vf b, Vf c) { return c - a * b; }
// The second operand if either is NaN.
inline Vf vmax(Vf a, Vf b) { return a > b ? a : b; }
inline Vf vmin(Vf a, Vf b) { return a < b ? a : b; }
inline Vf vabs(Vf a) { return bit_cast<Vf>(bit_cast<Vw>(a) & 0x7fffffffu); }
// a < b ? x : y
inline Vf vselect_less(Vf a, Vf b, Vf x, Vf y) { return a < b ? x : y; }
inline Vf vcopy_sign(Vf magnitude, Vf sign) {
  return bit_cast<Vf>((bit_cast<Vw>(magnitude) & 0x7fffffffu) | (bit_cast<Vw>(sign) & 0x80000000u));
}
// x * 2^n where the low bits of `n_bits` hold the integer n and the result is a normal number
inline Vf vadd_exponent(Vf x, Vf n_bits) {
  return bit_cast<Vf>(bit_cast<Vw>(x) + (bit_cast<Vw>(n_bits) << 23));
}

inline float reduce_add(Vf x) { return (x[0] + x[2]) + (x[1] + x[3]); }
inline float reduce_max(Vf x) {
  const float a = x[0] > x[1] ? x[0] : x[1];
  const float b = x[2] > x[3] ? x[2] : x[3];
  return a > b ? a : b;
}

inline Vf vload_n(const uint16_t* p, int64_t n) {
  Vw x{};
  for (int64_t i = 0; i < n; ++i) x[i] = uint32_t{p[i]} << 16;
  return bit_cast<Vf>(x);
}
inline Vf vload(const uint16_t* p) { return vload_n(p, kLanes); }
inline void vstore_bf16_n(uint16_t* p, int64_t n, Vf x) {
  const Vw bits = bit_cast<Vw>(x);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t b = bits[i];
    const bool is_nan = (b & 0x7fffffffu) > 0x7f800000u;
    p[i] = static_cast<uint16_t>((is_nan ? (b | 0x400000u) : b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
  }
}
inline void vstore_bf16(uint16_t* p, Vf x) { vstore_bf16_n(p, kLanes, x); }

// Pairs of bf16 along k.
inline Vw vload_pairs(const uint16_t* p) {
  Vw x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
struct PairBroadcast {
  Vf even, odd;
};
inline Vf even_of(Vw x) { return bit_cast<Vf>(x << 16); }
inline Vf odd_of(Vw x) { return bit_cast<Vf>(x & 0xffff0000u); }
inline PairBroadcast broadcast_pair(const uint16_t* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, 4);
  const Vw x{pair, pair, pair, pair};
  return {even_of(x), odd_of(x)};
}
inline Vf vdot_pairs(Vf acc, Vw w, PairBroadcast x) {
  return vfma(x.odd, odd_of(w), vfma(x.even, even_of(w), acc));
}

// In place: row i becomes column i.
inline void transpose_lanes(Vf (&x)[4]) {
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    for (int j = i + 1; j < 4; ++j) {
      const float upper = x[i][j];
      x[i][j] = x[j][i];
      x[j][i] = upper;
    }
  }
}

}  // namespace
}  // namespace slora::kernels
