// Inner loops of LoRA: dot products of activation rows with one row of A, and sums of rows of B.
#pragma once

#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

// Fetches the lines of a run of elements.
template <typename Element>
inline void fetch(const Element* p, int64_t count) {
  const char* line = reinterpret_cast<const char*>(p);
  for (int64_t i = 0; i < count * static_cast<int64_t>(sizeof(Element)); i += 64) {
    __builtin_prefetch(line + i, 0, 3);
  }
}

// Vector v of a row adds to accumulator v % 4, whatever kRows is: the sum of an element depends on
// n alone.
template <int kRows, typename Element>
inline void dot_rows(const float* x, int64_t x_stride, const Element* a, const Element* ahead,
                     int64_t n, float* out, int64_t out_stride) {
  Vf acc[kRows][4];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc[i][j] = vzero();
  }
  int64_t h = 0;
  for (; h + 4 * kLanes <= n; h += 4 * kLanes) {
    if (ahead) fetch(ahead + h, 4 * kLanes);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const Vf weights = vload(a + h + j * kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i)
        acc[i][j] = vfma(vload(x + i * x_stride + h + j * kLanes), weights, acc[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const int64_t rest = n - h - j * kLanes;
    if (rest <= 0) break;
    const Vf weights =
        rest >= kLanes ? vload(a + h + j * kLanes) : vload_n(a + h + j * kLanes, rest);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const float* p = x + i * x_stride + h + j * kLanes;
      acc[i][j] = vfma(rest >= kLanes ? vload(p) : vload_n(p, rest), weights, acc[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    out[i * out_stride] = reduce_add(vadd(vadd(acc[i][0], acc[i][1]), vadd(acc[i][2], acc[i][3])));
  }
}

template <typename Element>
inline void dot(const float* x, int64_t x_stride, int32_t num_rows, const Element* a,
                const Element* ahead, int64_t n, float* out, int64_t out_stride) {
  switch (num_rows) {
    case 1:
      return dot_rows<1>(x, x_stride, a, ahead, n, out, out_stride);
    case 2:
      return dot_rows<2>(x, x_stride, a, ahead, n, out, out_stride);
    case 3:
      return dot_rows<3>(x, x_stride, a, ahead, n, out, out_stride);
    default:
      return dot_rows<4>(x, x_stride, a, ahead, n, out, out_stride);
  }
}

// One vector of columns: rows of B in ascending order onto the accumulator of each activation row.
template <int kRows, int kB, typename Element>
inline void add_scaled_rows(const float* t, int64_t t_stride, const Element* const* b,
                            const Element* const* ahead, int64_t n, float* acc,
                            int64_t acc_stride) {
  Vf factors[kRows][kB];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kB; ++r) factors[i][r] = vset(t[i * t_stride + r]);
  }
  int64_t o = 0;
  for (; o + kLanes <= n; o += kLanes) {
    Vf weights[kB];
#pragma GCC unroll 4
    for (int r = 0; r < kB; ++r) {
      weights[r] = vload(b[r] + o);
      if (ahead) fetch(ahead[r] + o, kLanes);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      Vf sum = vload(acc + i * acc_stride + o);
#pragma GCC unroll 4
      for (int r = 0; r < kB; ++r) sum = vfma(factors[i][r], weights[r], sum);
      vstore(acc + i * acc_stride + o, sum);
    }
  }
  const int64_t rest = n - o;
  if (rest == 0) return;
  for (int i = 0; i < kRows; ++i) {
    Vf sum = vload_n(acc + i * acc_stride + o, rest);
    for (int r = 0; r < kB; ++r) sum = vfma(factors[i][r], vload_n(b[r] + o, rest), sum);
    vstore_n(acc + i * acc_stride + o, rest, sum);
  }
}

template <int kRows, typename Element>
inline void add_scaled_rows(const float* t, int64_t t_stride, const Element* const* b,
                            const Element* const* ahead, int32_t num_b, int64_t n, float* acc,
                            int64_t acc_stride) {
  switch (num_b) {
    case 1:
      return add_scaled_rows<kRows, 1>(t, t_stride, b, ahead, n, acc, acc_stride);
    case 2:
      return add_scaled_rows<kRows, 2>(t, t_stride, b, ahead, n, acc, acc_stride);
    case 3:
      return add_scaled_rows<kRows, 3>(t, t_stride, b, ahead, n, acc, acc_stride);
    default:
      return add_scaled_rows<kRows, 4>(t, t_stride, b, ahead, n, acc, acc_stride);
  }
}

template <typename Element>
inline void add_scaled(const float* t, int64_t t_stride, int32_t num_rows, const Element* const* b,
                       const Element* const* ahead, int32_t num_b, int64_t n, float* acc,
                       int64_t acc_stride) {
  switch (num_rows) {
    case 1:
      return add_scaled_rows<1>(t, t_stride, b, ahead, num_b, n, acc, acc_stride);
    case 2:
      return add_scaled_rows<2>(t, t_stride, b, ahead, num_b, n, acc, acc_stride);
    case 3:
      return add_scaled_rows<3>(t, t_stride, b, ahead, num_b, n, acc, acc_stride);
    default:
      return add_scaled_rows<4>(t, t_stride, b, ahead, num_b, n, acc, acc_stride);
  }
}

}  // namespace
}  // namespace slora::kernels
