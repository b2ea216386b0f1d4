// Vectors of the inner loops: AVX-512. Sixteen floats; bf16 dot products in hardware where the
// compiler may use them.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace slora::kernels {
namespace {

using Vf = __m512;
using Vw = __m512i;  // a pair of bf16 weights (k, k + 1) a lane

constexpr int32_t kLanes = 16;
constexpr int32_t kTileRows =
    6;  // 6 x 4 accumulators, 4 weights and a broadcast fill the 32 registers
constexpr int32_t kTileVectors = 4;
constexpr int32_t kRowVectors = 4;  // a single row

inline Vf vzero() { return _mm512_setzero_ps(); }
inline Vf vset(float x) { return _mm512_set1_ps(x); }
inline Vf vload(const float* p) { return _mm512_loadu_ps(p); }
inline void vstore(float* p, Vf x) { _mm512_storeu_ps(p, x); }
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline Vf vload_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void vstore_n(float* p, int64_t n, Vf x) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

inline Vf vadd(Vf a, Vf b) { return _mm512_add_ps(a, b); }
inline Vf vsub(Vf a, Vf b) { return _mm512_sub_ps(a, b); }
inline Vf vmul(Vf a, Vf b) { return _mm512_mul_ps(a, b); }
inline Vf vdiv(Vf a, Vf b) { return _mm512_div_ps(a, b); }
inline Vf vfma(Vf a, Vf b, Vf c) { return _mm512_fmadd_ps(a, b, c); }
inline Vf vnfma(Vf a, Vf b, Vf c) { return _mm512_fnmadd_ps(a, b, c); }
// The second operand if either is NaN.
inline Vf vmax(Vf a, Vf b) { return _mm512_max_ps(a, b); }
inline Vf vmin(Vf a, Vf b) { return _mm512_min_ps(a, b); }
inline Vf vabs(Vf a) { return _mm512_abs_ps(a); }
// a < b ? x : y
inline Vf vselect_less(Vf a, Vf b, Vf x, Vf y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
inline Vf vcopy_sign(Vf magnitude, Vf sign) {
  return _mm512_or_ps(vabs(magnitude), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
// x * 2^n where the low bits of `n_bits` hold the integer n and the result is a normal number
inline Vf vadd_exponent(Vf x, Vf n_bits) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(n_bits), 23)));
}

// Written out: the order of _mm512_reduce_add_ps is the compiler's affair.
inline float reduce_add(Vf x) {
  const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  z = _mm_add_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}
inline float reduce_max(Vf x) { return _mm512_reduce_max_ps(x); }

inline Vf from_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
inline Vf vload(const uint16_t* p) {
  return from_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vf vload_n(const uint16_t* p, int64_t n) {
  return from_bf16(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

inline __m256i to_bf16_lanes(Vf x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16));
}
inline void vstore_bf16(uint16_t* p, Vf x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16_lanes(x));
}
inline void vstore_bf16_n(uint16_t* p, int64_t n, Vf x) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), to_bf16_lanes(x));
}

// Pairs of bf16 along k.
inline Vw vload_pairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
#if defined(__AVX512BF16__)
struct PairBroadcast {
  __m512i pair;
};
inline PairBroadcast broadcast_pair(const uint16_t* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, 4);
  return {_mm512_set1_epi32(static_cast<int>(pair))};
}
inline Vf vdot_pairs(Vf acc, Vw w, PairBroadcast x) {
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x.pair));
}
#else
struct PairBroadcast {
  __m512 even, odd;
};
inline Vf even_of(__m512i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
inline Vf odd_of(__m512i x) {
  return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
inline PairBroadcast broadcast_pair(const uint16_t* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, 4);
  const __m512i x = _mm512_set1_epi32(static_cast<int>(pair));
  return {even_of(x), odd_of(x)};
}
inline Vf vdot_pairs(Vf acc, Vw w, PairBroadcast x) {
  return vfma(x.odd, odd_of(w), vfma(x.even, even_of(w), acc));
}
#endif

// In place: row i becomes column i.
inline void transpose_lanes(Vf (&x)[16]) {
  __m512 t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
  __m512 u[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // u[4 g + c] holds, in 128-bit lane l, column 4 l + c of rows 4 g .. 4 g + 3.
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c) {
    const __m512 lo01 = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x44);
    const __m512 hi01 = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xee);
    const __m512 lo23 = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x44);
    const __m512 hi23 = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xee);
    x[c] = _mm512_shuffle_f32x4(lo01, lo23, 0x88);
    x[4 + c] = _mm512_shuffle_f32x4(lo01, lo23, 0xdd);
    x[8 + c] = _mm512_shuffle_f32x4(hi01, hi23, 0x88);
    x[12 + c] = _mm512_shuffle_f32x4(hi01, hi23, 0xdd);
  }
}

}  // namespace
}  // namespace slora::kernels
