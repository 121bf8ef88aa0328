// Activations on four lanes.

#ifndef TULLE_KERNELS_ACTIVATION_H_
#define TULLE_KERNELS_ACTIVATION_H_

#include "kernels/simd.h"

#define TULLE_EACH(statement)       \
  TULLE_UNROLL                      \
  for (int i = 0; i < count; i++) { \
    statement;                      \
  }

// e^x of `count` vectors, to about 2 ulp for x in [-87, 88], clamped outside; NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, e^r by a degree-6 polynomial (Cephes expf), 2^n through the exponent bits.
// Adding 1.5 * 2^23 rounds to an integer and leaves it in the lowest bits, where the shift finds it.
// Each operation depends on the one before. Four vectors in lockstep keep the processor busy, since out-of-order
// execution does not look far enough ahead to start the next vector by itself.
TULLE_INLINE void v4_exp_all(v4* x, const int count) {
  const v4 one = V4_CONSTANT(1.0f), round = V4_CONSTANT(12582912.0f);
  v4 t[4], r[4], p[4];
  TULLE_EACH(x[i] = v4_clamp(x[i], V4_CONSTANT(-87.33654f), V4_CONSTANT(88.37626f)))
  TULLE_EACH(t[i] = v4_madd(x[i], V4_CONSTANT(1.44269504f), round))
  TULLE_EACH(p[i] = wasm_f32x4_sub(t[i], round))
  TULLE_EACH(r[i] = v4_madd(p[i], V4_CONSTANT(-0.693359375f), x[i]))
  TULLE_EACH(r[i] = v4_madd(p[i], V4_CONSTANT(2.12194440e-4f), r[i]))
  TULLE_EACH(p[i] = v4_madd(V4_CONSTANT(1.9875691500e-4f), r[i], V4_CONSTANT(1.3981999507e-3f)))
  TULLE_EACH(p[i] = v4_madd(p[i], r[i], V4_CONSTANT(8.3334519073e-3f)))
  TULLE_EACH(p[i] = v4_madd(p[i], r[i], V4_CONSTANT(4.1665795894e-2f)))
  TULLE_EACH(p[i] = v4_madd(p[i], r[i], V4_CONSTANT(1.6666665459e-1f)))
  TULLE_EACH(p[i] = v4_madd(p[i], r[i], V4_CONSTANT(5.0000001201e-1f)))
  TULLE_EACH(p[i] = v4_madd(p[i], wasm_f32x4_mul(r[i], r[i]), wasm_f32x4_add(r[i], one)))
  TULLE_EACH(x[i] = wasm_f32x4_mul(p[i], wasm_i32x4_add(wasm_i32x4_shl(t[i], 23), one)))
}

TULLE_INLINE v4 v4_exp(v4 x) {
  v4_exp_all(&x, 1);
  return x;
}

// e^x in the whole range of floats, 0 and infinity included.
TULLE_INLINE v4 v4_exp_whole(v4 x) {
  const v4 root = v4_exp(wasm_f32x4_mul(x, V4_CONSTANT(0.5f)));
  return wasm_f32x4_mul(root, root);
}

// Never below 1.2e-38: a division with a subnormal result is ten times slower, and nothing here needs one.
TULLE_INLINE void v4_sigmoid_all(v4* x, const int count) {
  const v4 one = V4_CONSTANT(1.0f);
  TULLE_EACH(x[i] = wasm_f32x4_neg(wasm_f32x4_pmax(x[i], V4_CONSTANT(-87.3f))))
  v4_exp_all(x, count);
  TULLE_EACH(x[i] = wasm_f32x4_div(one, wasm_f32x4_add(one, x[i])))
}

TULLE_INLINE v4 v4_sigmoid(v4 x) {
  v4_sigmoid_all(&x, 1);
  return x;
}

// Small |x| would cancel in 2 sigmoid(2x) - 1, so tanh there is x plus an odd polynomial (Cephes tanhf).
TULLE_INLINE v4 v4_tanh(v4 x) {
  const v4 s = wasm_f32x4_mul(x, x);
  v4 p = V4_CONSTANT(-5.70498872745e-3f);
  p = v4_madd(p, s, V4_CONSTANT(2.06390887954e-2f));
  p = v4_madd(p, s, V4_CONSTANT(-5.37397155531e-2f));
  p = v4_madd(p, s, V4_CONSTANT(1.33314422036e-1f));
  p = v4_madd(p, s, V4_CONSTANT(-3.33332819422e-1f));
  const v4 small = v4_madd(wasm_f32x4_mul(p, s), x, x);
  const v4 large =
      wasm_f32x4_sub(wasm_f32x4_mul(V4_CONSTANT(2.0f), v4_sigmoid(wasm_f32x4_add(x, x))), V4_CONSTANT(1.0f));
  return wasm_v128_bitselect(small, large, wasm_f32x4_lt(wasm_f32x4_abs(x), V4_CONSTANT(0.625f)));
}

TULLE_INLINE v4 v4_hard_swish(v4 x) {
  const v4 gate = v4_madd(x, V4_CONSTANT(1.0f / 6.0f), V4_CONSTANT(0.5f));
  return wasm_f32x4_mul(x, v4_clamp(gate, v4_splat(0.0f), V4_CONSTANT(1.0f)));
}

// x where positive, else slope * x.
TULLE_INLINE v4 v4_leaky(v4 x, v4 slope) {
  return wasm_v128_bitselect(wasm_f32x4_mul(x, slope), x, wasm_f32x4_lt(x, v4_splat(0.0f)));
}

TULLE_INLINE v4 v4_elu(v4 x, v4 alpha) {
  const v4 negative = wasm_f32x4_mul(alpha, wasm_f32x4_sub(v4_exp(x), V4_CONSTANT(1.0f)));
  return wasm_v128_bitselect(negative, x, wasm_f32x4_lt(x, v4_splat(0.0f)));
}

TULLE_INLINE v4 v4_swish(v4 x) { return wasm_f32x4_mul(x, v4_sigmoid(x)); }

// Natural logarithm. x = m 2^e with m from sqrt(1/2) to sqrt(2), log m by a polynomial of degree 9 (Cephes logf).
TULLE_INLINE v4 v4_log(v4 x) {
  const v4 subnormal = wasm_f32x4_lt(x, V4_CONSTANT(1.17549435e-38f));
  const v4 bits = wasm_v128_bitselect(wasm_f32x4_mul(x, V4_CONSTANT(8388608.0f)), x, subnormal);
  const v4 exponent = wasm_i32x4_shr(wasm_i32x4_sub(bits, wasm_i32x4_splat(0x3f3504f3)), 23);
  const v4 e = wasm_f32x4_sub(wasm_f32x4_convert_i32x4(exponent), wasm_v128_and(V4_CONSTANT(23.0f), subnormal));
  const v4 m = wasm_f32x4_sub(wasm_i32x4_sub(bits, wasm_i32x4_shl(exponent, 23)), V4_CONSTANT(1.0f));
  const v4 square = wasm_f32x4_mul(m, m);
  v4 p = V4_CONSTANT(7.0376836292e-2f);
  p = v4_madd(p, m, V4_CONSTANT(-1.1514610310e-1f));
  p = v4_madd(p, m, V4_CONSTANT(1.1676998740e-1f));
  p = v4_madd(p, m, V4_CONSTANT(-1.2420140846e-1f));
  p = v4_madd(p, m, V4_CONSTANT(1.4249322787e-1f));
  p = v4_madd(p, m, V4_CONSTANT(-1.6668057665e-1f));
  p = v4_madd(p, m, V4_CONSTANT(2.0000714765e-1f));
  p = v4_madd(p, m, V4_CONSTANT(-2.4999993993e-1f));
  p = v4_madd(p, m, V4_CONSTANT(3.3333331174e-1f));
  v4 result = wasm_f32x4_mul(wasm_f32x4_mul(p, m), square);
  result = v4_madd(e, V4_CONSTANT(-2.12194440e-4f), result);
  result = v4_madd(square, V4_CONSTANT(-0.5f), result);
  result = v4_madd(e, V4_CONSTANT(0.693359375f), wasm_f32x4_add(m, result));
  const v4 zero = v4_splat(0.0f), infinity = V4_CONSTANT(__builtin_inff());
  result = wasm_v128_bitselect(infinity, result, wasm_f32x4_eq(x, infinity));
  result = wasm_v128_bitselect(wasm_f32x4_neg(infinity), result, wasm_f32x4_eq(x, zero));
  return wasm_v128_bitselect(result, V4_CONSTANT(__builtin_nanf("")), wasm_f32x4_ge(x, zero));
}

// log(1 + e^x) = max(x, 0) + log(1 + t), t = e^-|x|. What rounding 1 + t loses is added again.
TULLE_INLINE v4 v4_softplus(v4 x) {
  const v4 one = V4_CONSTANT(1.0f), t = v4_exp_whole(wasm_f32x4_neg(wasm_f32x4_abs(x))), u = wasm_f32x4_add(one, t);
  const v4 lost = wasm_f32x4_div(wasm_f32x4_sub(t, wasm_f32x4_sub(u, one)), u);
  return wasm_f32x4_add(wasm_f32x4_pmax(x, v4_splat(0.0f)), wasm_f32x4_add(v4_log(u), lost));
}

// 1 - erf(z) for z >= 0: a polynomial in 1 / (1 + pz) times e^(-z^2), off by at most 1.5e-7 (Abramowitz and Stegun
// 7.1.26).
TULLE_INLINE v4 v4_erfc_positive(v4 z) {
  const v4 one = V4_CONSTANT(1.0f);
  const v4 t = wasm_f32x4_div(one, v4_madd(z, V4_CONSTANT(0.3275911f), one));
  v4 p = V4_CONSTANT(1.061405429f);
  p = v4_madd(p, t, V4_CONSTANT(-1.453152027f));
  p = v4_madd(p, t, V4_CONSTANT(1.421413741f));
  p = v4_madd(p, t, V4_CONSTANT(-0.284496736f));
  p = v4_madd(p, t, V4_CONSTANT(0.254829592f));
  return wasm_f32x4_mul(wasm_f32x4_mul(p, t), v4_exp_whole(wasm_f32x4_neg(wasm_f32x4_mul(z, z))));
}

// Near 0, where the difference from 1 would lose digits, by a polynomial in x^2 (Cephes erff).
TULLE_INLINE v4 v4_erf(v4 x) {
  const v4 one = V4_CONSTANT(1.0f), z = wasm_f32x4_abs(x), square = wasm_f32x4_mul(x, x);
  v4 p = V4_CONSTANT(7.853861353153693e-5f);
  p = v4_madd(p, square, V4_CONSTANT(-8.010193625184903e-4f));
  p = v4_madd(p, square, V4_CONSTANT(5.188327685732524e-3f));
  p = v4_madd(p, square, V4_CONSTANT(-2.685381193529856e-2f));
  p = v4_madd(p, square, V4_CONSTANT(1.128358514861418e-1f));
  p = v4_madd(p, square, V4_CONSTANT(-3.761262582423300e-1f));
  p = v4_madd(p, square, V4_CONSTANT(1.128379165726710f));
  const v4 far = wasm_f32x4_sub(one, v4_erfc_positive(z)), sign = wasm_i32x4_splat((int32_t)0x80000000);
  return wasm_v128_bitselect(wasm_f32x4_mul(p, x), wasm_v128_or(far, wasm_v128_and(x, sign)), wasm_f32x4_lt(z, one));
}

// x (1 + erf(x / sqrt 2)) / 2. Negative x uses 1 - erf directly, which avoids cancellation.
TULLE_INLINE v4 v4_gelu(v4 x) {
  const v4 one = V4_CONSTANT(1.0f), z = wasm_f32x4_abs(wasm_f32x4_mul(x, V4_CONSTANT(0.70710678f)));
  const v4 half = wasm_f32x4_mul(v4_erfc_positive(z), V4_CONSTANT(0.5f));
  const v4 negative = wasm_f32x4_lt(x, v4_splat(0.0f));
  return wasm_f32x4_mul(x, wasm_v128_bitselect(half, wasm_f32x4_sub(one, half), negative));
}

// The approximation by tanh, x (1 + tanh u) / 2, which is x sigmoid(2u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
TULLE_INLINE v4 v4_gelu_tanh(v4 x) {
  const v4 cubic = v4_madd(wasm_f32x4_mul(x, x), V4_CONSTANT(0.0713548163f), V4_CONSTANT(1.5957691216f));
  return wasm_f32x4_mul(x, v4_sigmoid(wasm_f32x4_mul(x, cubic)));
}

#endif  // TULLE_KERNELS_ACTIVATION_H_
