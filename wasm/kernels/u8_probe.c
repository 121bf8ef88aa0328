// Which dot product of bytes this processor, and what runs us on it, has.

#include "kernels/u8_lanes.h"

#ifdef __wasm_relaxed_simd__

// Four products of -128 and 255 in each lane. Of memory that may change nothing is computed beforehand: Binaryen would.
tulle_dot tulle_u8_probe(void) {
  static volatile int32_t bytes[] = {(int32_t)0x80808080, -1};
  const v4 w = wasm_i32x4_splat(bytes[0]), x = wasm_i32x4_splat(bytes[1]), none = wasm_i32x4_splat(0);
  switch (wasm_i32x4_extract_lane(wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w, x, none), 0)) {
    case 4 * -128 * 255:
      return TULLE_DOT_UNSIGNED;
    case 4 * -128 * -1:
      return TULLE_DOT_SIGNED;
    default:  // 2 * INT16_MIN: sums of two products were clamped to 16 bits
      return TULLE_DOT_PAIRS;
  }
}

#else

tulle_dot tulle_u8_probe(void) { return TULLE_HAS_DOT ? TULLE_DOT_UNSIGNED : TULLE_DOT_NONE; }

#endif
