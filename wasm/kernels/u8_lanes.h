// What the kernels on bytes share: dot products, and the way from sums to bytes.

#ifndef TULLE_KERNELS_U8_LANES_H_
#define TULLE_KERNELS_U8_LANES_H_

#include "kernels/simd.h"
#include "kernels/u8.h"

#if TULLE_HAS_DOT

// Lane i of the result is lane i of sum plus the dot product of bytes 4i to 4i + 3 of a (signed) and b (0 to the top of
// `dot`). `pairs` is a constant: whether dot == TULLE_DOT_PAIRS.
TULLE_INLINE v4 u8_dot(const bool pairs, v4 a, v4 b, v4 sum) {
#ifdef __wasm_relaxed_simd__
  if (!pairs) return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sum);
  return wasm_i32x4_add(sum, wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b)));
#else
  (void)pairs;
  const v4 low = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(a), wasm_u16x8_extend_low_u8x16(b));
  const v4 high = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(a), wasm_u16x8_extend_high_u8x16(b));
  const v4 even = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), odd = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
  return wasm_i32x4_add(sum, wasm_i32x4_add(even, odd));
#endif
}

// The integer part of each lane, |x| < 2^31.
TULLE_INLINE v4 u8_truncate(v4 x) {
#ifdef __wasm_relaxed_simd__
  return wasm_i32x4_relaxed_trunc_f32x4(x);
#else
  return wasm_i32x4_trunc_sat_f32x4(x);
#endif
}

// A 4 x 4 matrix of bytes the other way round: four pixels of four channels to four channels of four pixels, and back.
TULLE_INLINE v4 u8_transpose(v4 x) {
  static const uint8_t lanes[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  const uint8_t* hidden = lanes;  // see V4_CONSTANT
  __asm__("" : "+r"(hidden));
  return v4_permute(x, wasm_v128_load(hidden));
}

// Four vectors of floats to 16 bytes, rounded towards zero and clamped: below 0 is 0, so for what counts this rounds
// down, and rounds to nearest where 1/2 has been added.
TULLE_INLINE v4 u8_pack(v4 a, v4 b, v4 c, v4 d, v4 low, v4 high) {
  const v4 ab = wasm_i16x8_narrow_i32x4(u8_truncate(a), u8_truncate(b));
  const v4 cd = wasm_i16x8_narrow_i32x4(u8_truncate(c), u8_truncate(d));
  return wasm_u8x16_min(wasm_u8x16_max(wasm_u8x16_narrow_i16x8(ab, cd), low), high);
}

// 16 bytes as four vectors of floats.
TULLE_INLINE void u8_unpack(v4 x, v4 floats[4]) {
  const v4 low = wasm_u16x8_extend_low_u8x16(x), high = wasm_u16x8_extend_high_u8x16(x);
  floats[0] = wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(low));
  floats[1] = wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(low));
  floats[2] = wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(high));
  floats[3] = wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(high));
}

#endif  // TULLE_HAS_DOT

#endif  // TULLE_KERNELS_U8_LANES_H_
