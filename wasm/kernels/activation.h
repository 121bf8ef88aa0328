// Activations on four lanes.

#ifndef TULLE_KERNELS_ACTIVATION_H_
#define TULLE_KERNELS_ACTIVATION_H_

#include "kernels/simd.h"

// e^x to about 2 ulp for x in [-87, 88], clamped outside; NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, e^r by a degree-6 polynomial (Cephes expf), 2^n through the exponent bits.
// Adding 1.5 * 2^23 rounds to an integer and leaves it in the lowest bits, where the shift finds it.
TULLE_INLINE v4 v4_exp(v4 x) {
  const v4 one = v4_splat(1.0f), round = v4_splat(12582912.0f);
  x = v4_clamp(x, v4_splat(-87.33654f), v4_splat(88.37626f));
  const v4 t = v4_madd(x, v4_splat(1.44269504f), round);
  const v4 n = wasm_f32x4_sub(t, round);
  v4 r = v4_madd(n, v4_splat(-0.693359375f), x);
  r = v4_madd(n, v4_splat(2.12194440e-4f), r);
  v4 p = v4_splat(1.9875691500e-4f);
  p = v4_madd(p, r, v4_splat(1.3981999507e-3f));
  p = v4_madd(p, r, v4_splat(8.3334519073e-3f));
  p = v4_madd(p, r, v4_splat(4.1665795894e-2f));
  p = v4_madd(p, r, v4_splat(1.6666665459e-1f));
  p = v4_madd(p, r, v4_splat(5.0000001201e-1f));
  p = v4_madd(p, wasm_f32x4_mul(r, r), wasm_f32x4_add(r, one));
  return wasm_f32x4_mul(p, wasm_i32x4_add(wasm_i32x4_shl(t, 23), one));
}

// e^x in the whole range of floats, 0 and infinity included.
TULLE_INLINE v4 v4_exp_whole(v4 x) {
  const v4 root = v4_exp(wasm_f32x4_mul(x, v4_splat(0.5f)));
  return wasm_f32x4_mul(root, root);
}

// Not below 1.2e-38: subnormal numbers, which a division makes ten times slower, are no use to anyone here.
TULLE_INLINE v4 v4_sigmoid(v4 x) {
  const v4 one = v4_splat(1.0f);
  x = wasm_f32x4_pmax(x, v4_splat(-87.3f));
  return wasm_f32x4_div(one, wasm_f32x4_add(one, v4_exp(wasm_f32x4_neg(x))));
}

// Small |x| would cancel in 2 sigmoid(2x) - 1, so tanh there is x plus an odd polynomial (Cephes tanhf).
TULLE_INLINE v4 v4_tanh(v4 x) {
  const v4 s = wasm_f32x4_mul(x, x);
  v4 p = v4_splat(-5.70498872745e-3f);
  p = v4_madd(p, s, v4_splat(2.06390887954e-2f));
  p = v4_madd(p, s, v4_splat(-5.37397155531e-2f));
  p = v4_madd(p, s, v4_splat(1.33314422036e-1f));
  p = v4_madd(p, s, v4_splat(-3.33332819422e-1f));
  const v4 small = v4_madd(wasm_f32x4_mul(p, s), x, x);
  const v4 large = wasm_f32x4_sub(wasm_f32x4_mul(v4_splat(2.0f), v4_sigmoid(wasm_f32x4_add(x, x))), v4_splat(1.0f));
  return wasm_v128_bitselect(small, large, wasm_f32x4_lt(wasm_f32x4_abs(x), v4_splat(0.625f)));
}

TULLE_INLINE v4 v4_hard_swish(v4 x) {
  const v4 gate = v4_clamp(wasm_f32x4_add(x, v4_splat(3.0f)), v4_splat(0.0f), v4_splat(6.0f));
  return wasm_f32x4_mul(wasm_f32x4_mul(x, gate), v4_splat(1.0f / 6.0f));
}

// x where positive, else slope * x.
TULLE_INLINE v4 v4_leaky(v4 x, v4 slope) {
  return wasm_v128_bitselect(wasm_f32x4_mul(x, slope), x, wasm_f32x4_lt(x, v4_splat(0.0f)));
}

TULLE_INLINE v4 v4_elu(v4 x, v4 alpha) {
  const v4 negative = wasm_f32x4_mul(alpha, wasm_f32x4_sub(v4_exp(x), v4_splat(1.0f)));
  return wasm_v128_bitselect(negative, x, wasm_f32x4_lt(x, v4_splat(0.0f)));
}

TULLE_INLINE v4 v4_swish(v4 x) { return wasm_f32x4_mul(x, v4_sigmoid(x)); }

// x (1 + erf(x / sqrt 2)) / 2. 1 - erf(z) for z > 0 is a polynomial in 1 / (1 + pz) times e^(-z^2), off by at most
// 1.5e-7 (Abramowitz and Stegun 7.1.26); taken as it is for negative x, so that nothing cancels.
TULLE_INLINE v4 v4_gelu(v4 x) {
  const v4 one = v4_splat(1.0f), z = wasm_f32x4_abs(wasm_f32x4_mul(x, v4_splat(0.70710678f)));
  const v4 t = wasm_f32x4_div(one, v4_madd(z, v4_splat(0.3275911f), one));
  v4 p = v4_splat(1.061405429f);
  p = v4_madd(p, t, v4_splat(-1.453152027f));
  p = v4_madd(p, t, v4_splat(1.421413741f));
  p = v4_madd(p, t, v4_splat(-0.284496736f));
  p = v4_madd(p, t, v4_splat(0.254829592f));
  const v4 tail = wasm_f32x4_mul(wasm_f32x4_mul(p, t), v4_exp_whole(wasm_f32x4_neg(wasm_f32x4_mul(z, z))));
  const v4 half = wasm_f32x4_mul(tail, v4_splat(0.5f));
  const v4 negative = wasm_f32x4_lt(x, v4_splat(0.0f));
  return wasm_f32x4_mul(x, wasm_v128_bitselect(half, wasm_f32x4_sub(one, half), negative));
}

// The approximation by tanh, x (1 + tanh u) / 2, which is x sigmoid(2u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
TULLE_INLINE v4 v4_gelu_tanh(v4 x) {
  const v4 cubic = v4_madd(wasm_f32x4_mul(x, x), v4_splat(0.0713548163f), v4_splat(1.5957691216f));
  return wasm_f32x4_mul(x, v4_sigmoid(wasm_f32x4_mul(x, cubic)));
}

#endif  // TULLE_KERNELS_ACTIVATION_H_
