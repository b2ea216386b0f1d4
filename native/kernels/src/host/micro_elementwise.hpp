// Inner loops over one row: rounding, norms, rotation, gates, exp. A short tail goes through masked
// lanes, so the same arithmetic holds for every element.
#pragma once

#include "src/host/micro_math.hpp"

namespace slora::kernels {
namespace {

// body(offset, n) for whole vectors, n == kLanes, then once for the rest.
template <typename Whole, typename Rest>
inline void for_vectors(int64_t n, Whole whole, Rest rest) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) whole(i);
  if (i < n) rest(i, n - i);
}

inline void to_bf16(const float* x, int64_t n, uint16_t* y) {
  for_vectors(
      n, [&](int64_t i) { vstore_bf16(y + i, vload(x + i)); },
      [&](int64_t i, int64_t rest) { vstore_bf16_n(y + i, rest, vload_n(x + i, rest)); });
}

inline float add_and_sum_squares(float* residual, const float* delta, int64_t n) {
  // Vector i adds to accumulator i % 4: short chains of additions, the same for every row of this
  // length.
  Vf sums[4] = {vzero(), vzero(), vzero(), vzero()};
  int64_t i = 0;
  for (int64_t vector = 0; i + kLanes <= n; i += kLanes, ++vector) {
    Vf x = vload(residual + i);
    if (delta) {
      x = vadd(x, vload(delta + i));
      vstore(residual + i, x);
    }
    sums[vector & 3] = vfma(x, x, sums[vector & 3]);
  }
  if (i < n) {
    Vf x = vload_n(residual + i, n - i);
    if (delta) {
      x = vadd(x, vload_n(delta + i, n - i));
      vstore_n(residual + i, n - i, x);
    }
    sums[0] = vfma(x, x, sums[0]);
  }
  return reduce_add(vadd(vadd(sums[0], sums[1]), vadd(sums[2], sums[3])));
}

inline void scale_by_weight(const float* x, const float* weight, float factor, float offset,
                            int64_t n, float* y) {
  const Vf f = vset(factor);
  const Vf o = vset(offset);
  for_vectors(
      n, [&](int64_t i) { vstore(y + i, vmul(vmul(vload(x + i), f), vadd(o, vload(weight + i)))); },
      [&](int64_t i, int64_t rest) {
        vstore_n(y + i, rest,
                 vmul(vmul(vload_n(x + i, rest), f), vadd(o, vload_n(weight + i, rest))));
      });
}

inline void rotate(const float* a, const float* b, const float* cosines, const float* sines,
                   int64_t n, float* out_a, float* out_b) {
  const auto turn = [](Vf& x, Vf& y, Vf c, Vf s) {
    const Vf turned = vsub(vmul(x, c), vmul(y, s));
    y = vadd(vmul(y, c), vmul(x, s));
    x = turned;
  };
  for_vectors(
      n,
      [&](int64_t i) {
        Vf x = vload(a + i), y = vload(b + i);
        turn(x, y, vload(cosines + i), vload(sines + i));
        vstore(out_a + i, x);
        vstore(out_b + i, y);
      },
      [&](int64_t i, int64_t rest) {
        Vf x = vload_n(a + i, rest), y = vload_n(b + i, rest);
        turn(x, y, vload_n(cosines + i, rest), vload_n(sines + i, rest));
        vstore_n(out_a + i, rest, x);
        vstore_n(out_b + i, rest, y);
      });
}

template <typename Act>
inline void gate(const float* x, const float* up, int64_t n, float* out, Act act) {
  for_vectors(
      n, [&](int64_t i) { vstore(out + i, vmul(act(vload(x + i)), vload(up + i))); },
      [&](int64_t i, int64_t rest) {
        vstore_n(out + i, rest, vmul(act(vload_n(x + i, rest)), vload_n(up + i, rest)));
      });
}

inline void gate_silu(const float* x, const float* up, int64_t n, float* out) {
  gate(x, up, n, out, [](Vf v) { return vmul(v, vsigmoid(v)); });
}

// 0.5 x (1 + tanh u) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): no cancellation where
// tanh nears -1.
inline void gate_gelu_tanh(const float* x, const float* up, int64_t n, float* out) {
  gate(x, up, n, out, [](Vf v) {
    const Vf cubic = vfma(vmul(vmul(v, v), v), vset(0.044715f), v);
    return vmul(v, vsigmoid(vmul(cubic, vset(1.5957691216057308f))));
  });
}

inline void axpy(float factor, const float* x, int64_t n, float* y) {
  const Vf f = vset(factor);
  for_vectors(
      n, [&](int64_t i) { vstore(y + i, vfma(f, vload(x + i), vload(y + i))); },
      [&](int64_t i, int64_t rest) {
        vstore_n(y + i, rest, vfma(f, vload_n(x + i, rest), vload_n(y + i, rest)));
      });
}

inline void exp_shifted(const float* x, float shift, int64_t n, float* y) {
  const Vf s = vset(shift);
  for_vectors(
      n, [&](int64_t i) { vstore(y + i, vexp(vsub(vload(x + i), s))); },
      [&](int64_t i, int64_t rest) { vstore_n(y + i, rest, vexp(vsub(vload_n(x + i, rest), s))); });
}

inline float max_of(const float* x, int64_t n) {
  Vf largest = vset(x[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = vmax(largest, vload(x + i));
  float result = reduce_max(largest);
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

}  // namespace
}  // namespace slora::kernels
