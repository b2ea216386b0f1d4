// Vector functions of the inner loops: exp, sigmoid, tanh.
#pragma once

#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

// Semantics  e^x within 2 ulp for x in [-87, 88.37]; 0 below (no subnormals), e^88.37 above; NaN
// stays NaN x = n ln 2 + r, |r| <= ln 2 / 2; e^r by the minimax polynomial of degree 5 of Cephes'
// expf, ln 2 in two parts.
inline Vf vexp(Vf x) {
  const Vf kMagic = vset(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the nearest integer
  const Vf clamped = vmin(vset(88.37f), vmax(vset(-87.0f), x));
  const Vf n_bits = vfma(clamped, vset(1.44269504088896341f), kMagic);
  const Vf n = vsub(n_bits, kMagic);
  Vf r = vnfma(n, vset(0.693359375f), clamped);
  r = vnfma(n, vset(-2.12194440e-4f), r);
  Vf p = vset(1.9875691500e-4f);
  p = vfma(p, r, vset(1.3981999507e-3f));
  p = vfma(p, r, vset(8.3334519073e-3f));
  p = vfma(p, r, vset(4.1665795894e-2f));
  p = vfma(p, r, vset(1.6666665459e-1f));
  p = vfma(p, r, vset(5.0000001201e-1f));
  p = vfma(p, vmul(r, r), vadd(r, vset(1.0f)));
  return vselect_less(x, vset(-87.0f), vzero(), vadd_exponent(p, n_bits));
}

// 1 / (1 + e^-x)
inline Vf vsigmoid(Vf x) { return vdiv(vset(1.0f), vadd(vset(1.0f), vexp(vsub(vzero(), x)))); }

// Odd polynomial of Cephes' tanhf near 0, where 1 - 2 / (e^2|x| + 1) would cancel.
inline Vf vtanh(Vf x) {
  const Vf magnitude = vabs(x);
  const Vf z = vmul(x, x);
  Vf p = vset(-5.70498872745e-3f);
  p = vfma(p, z, vset(2.06390887954e-2f));
  p = vfma(p, z, vset(-5.37397155531e-2f));
  p = vfma(p, z, vset(1.33314422036e-1f));
  p = vfma(p, z, vset(-3.33332819422e-1f));
  const Vf small = vfma(vmul(p, z), x, x);
  const Vf e = vexp(vadd(magnitude, magnitude));
  const Vf large = vsub(vset(1.0f), vdiv(vset(2.0f), vadd(e, vset(1.0f))));
  return vselect_less(magnitude, vset(0.625f), small, vcopy_sign(large, x));
}

}  // namespace
}  // namespace slora::kernels
