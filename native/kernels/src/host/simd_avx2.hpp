// Vectors of the inner loops: AVX2 with FMA. Eight floats.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace slora::kernels {
namespace {

using Vf = __m256;
using Vw = __m256i;  // a pair of bf16 weights (k, k + 1) a lane

constexpr int32_t kLanes = 8;
constexpr int32_t kTileRows =
    6;  // 6 x 2 accumulators, 2 weights and a broadcast fill the 16 registers
constexpr int32_t kTileVectors = 2;
constexpr int32_t kRowVectors =
    8;  // a single row: enough sums in flight to hide the latency of FMA

inline Vf vzero() { return _mm256_setzero_ps(); }
inline Vf vset(float x) { return _mm256_set1_ps(x); }
inline Vf vload(const float* p) { return _mm256_loadu_ps(p); }
inline void vstore(float* p, Vf x) { _mm256_storeu_ps(p, x); }
inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vf vload_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void vstore_n(float* p, int64_t n, Vf x) { _mm256_maskstore_ps(p, first_lanes(n), x); }

inline Vf vadd(Vf a, Vf b) { return _mm256_add_ps(a, b); }
inline Vf vsub(Vf a, Vf b) { return _mm256_sub_ps(a, b); }
inline Vf vmul(Vf a, Vf b) { return _mm256_mul_ps(a, b); }
inline Vf vdiv(Vf a, Vf b) { return _mm256_div_ps(a, b); }
inline Vf vfma(Vf a, Vf b, Vf c) { return _mm256_fmadd_ps(a, b, c); }
inline Vf vnfma(Vf a, Vf b, Vf c) { return _mm256_fnmadd_ps(a, b, c); }
// The second operand if either is NaN.
inline Vf vmax(Vf a, Vf b) { return _mm256_max_ps(a, b); }
inline Vf vmin(Vf a, Vf b) { return _mm256_min_ps(a, b); }
inline Vf vabs(Vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
// a < b ? x : y
inline Vf vselect_less(Vf a, Vf b, Vf x, Vf y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline Vf vcopy_sign(Vf magnitude, Vf sign) {
  return _mm256_or_ps(vabs(magnitude), _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
// x * 2^n where the low bits of `n_bits` hold the integer n and the result is a normal number
inline Vf vadd_exponent(Vf x, Vf n_bits) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(n_bits), 23)));
}

inline float reduce_add(Vf x) {
  __m128 z = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  z = _mm_add_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}
inline float reduce_max(Vf x) {
  __m128 z = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  z = _mm_max_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
}

inline Vf from_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline Vf vload(const uint16_t* p) {
  return from_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vf vload_n(const uint16_t* p, int64_t n) {
  alignas(16) uint16_t lanes[8] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return from_bf16(_mm_load_si128(reinterpret_cast<const __m128i*>(lanes)));
}

inline __m128i to_bf16_lanes(Vf x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
inline void vstore_bf16(uint16_t* p, Vf x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16_lanes(x));
}
inline void vstore_bf16_n(uint16_t* p, int64_t n, Vf x) {
  alignas(16) uint16_t lanes[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), to_bf16_lanes(x));
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// Pairs of bf16 along k.
inline Vw vload_pairs(const uint16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
struct PairBroadcast {
  __m256 even, odd;
};
inline Vf even_of(__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
inline Vf odd_of(__m256i x) {
  return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
inline PairBroadcast broadcast_pair(const uint16_t* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, 4);
  const __m256i x = _mm256_set1_epi32(static_cast<int>(pair));
  return {even_of(x), odd_of(x)};
}
inline Vf vdot_pairs(Vf acc, Vw w, PairBroadcast x) {
  return vfma(x.odd, odd_of(w), vfma(x.even, even_of(w), acc));
}

// In place: row i becomes column i.
inline void transpose_lanes(Vf (&x)[8]) {
  __m256 t[8];
#pragma GCC unroll 16
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
  __m256 u[8];
#pragma GCC unroll 16
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c) {
    x[c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
    x[4 + c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
  }
}

}  // namespace
}  // namespace slora::kernels
