#include "compose/rows.h"

#include <string.h>

#include "kernels/simd.h"

TULLE_INLINE v128_t load(const void* p) { return wasm_v128_load(p); }
TULLE_INLINE void store(void* p, v128_t x) { wasm_v128_store(p, x); }
TULLE_INLINE v128_t low(v128_t x) { return wasm_u16x8_extend_low_u8x16(x); }
TULLE_INLINE v128_t high(v128_t x) { return wasm_u16x8_extend_high_u8x16(x); }

// Sums of pairs of both rows, and their quarter.
TULLE_INLINE v128_t quarter(v128_t a, v128_t b) {
  const v128_t sums = wasm_i16x8_add(wasm_u16x8_extadd_pairwise_u8x16(a), wasm_u16x8_extadd_pairwise_u8x16(b));
  return wasm_u16x8_shr(wasm_i16x8_add(sums, wasm_i16x8_splat(2)), 2);
}

void tulle_halve_row(uint8_t* out, const uint8_t* above, const uint8_t* below, uint32_t width) {
  for (uint32_t i = 0; i < width; i += 32) {
    const v128_t first = quarter(load(above + i), load(below + i));
    const v128_t second = quarter(load(above + i + 16), load(below + i + 16));
    store(out + i / 2, wasm_u8x16_narrow_i16x8(first, second));
  }
  if (width % 2) out[width / 2] = (uint8_t)((above[width - 1] + below[width - 1] + 1) >> 1);
}

void tulle_double_row(uint8_t* out, const uint8_t* plane, uint32_t stride, uint32_t width, uint32_t height, uint32_t y,
                      uint16_t* sums) {
  const uint32_t row = y / 2;
  const uint32_t other = y % 2 ? (row + 1 < height ? row + 1 : row) : (row ? row - 1 : 0);
  const uint8_t *a = plane + (size_t)row * stride, *b = plane + (size_t)other * stride;
  uint16_t* s = sums + 8;  // with a number before the first and one behind the last
  for (uint32_t i = 0; i < width; i += 16) {
    const v128_t x = load(a + i), z = load(b + i);
    const v128_t three = wasm_i16x8_splat(3);
    store(s + i, wasm_i16x8_add(wasm_i16x8_mul(low(x), three), low(z)));
    store(s + i + 8, wasm_i16x8_add(wasm_i16x8_mul(high(x), three), high(z)));
  }
  s[-1] = s[0];
  s[width] = s[width - 1];
  for (uint32_t i = 0; i < width; i += 8) {
    const v128_t here = load(s + i), before = load(s + i - 1), after = load(s + i + 1);
    const v128_t most = wasm_i16x8_add(wasm_i16x8_mul(here, wasm_i16x8_splat(3)), wasm_i16x8_splat(8));
    const v128_t even = wasm_u16x8_shr(wasm_i16x8_add(most, before), 4);
    const v128_t odd = wasm_u16x8_shr(wasm_i16x8_add(most, after), 4);
    store(out + 2 * i, wasm_v128_or(even, wasm_i16x8_shl(odd, 8)));
  }
}

// x / 255, rounded, for x up to 65535 - 128.
TULLE_INLINE v128_t over_255(v128_t x) {
  x = wasm_u16x8_add_sat(x, wasm_i16x8_splat(128));
  return wasm_u16x8_shr(wasm_u16x8_add_sat(x, wasm_u16x8_shr(x, 8)), 8);
}

TULLE_INLINE v128_t product_low(v128_t a, v128_t b) { return wasm_u16x8_extmul_low_u8x16(a, b); }
TULLE_INLINE v128_t product_high(v128_t a, v128_t b) { return wasm_u16x8_extmul_high_u8x16(a, b); }

TULLE_INLINE v128_t mixed(v128_t front, v128_t behind, v128_t alpha) {
  const v128_t rest = wasm_v128_not(alpha);  // 255 - alpha
  const v128_t first = wasm_i16x8_add(product_low(front, alpha), product_low(behind, rest));
  const v128_t second = wasm_i16x8_add(product_high(front, alpha), product_high(behind, rest));
  return wasm_u8x16_narrow_i16x8(over_255(first), over_255(second));
}

void tulle_mix_row(uint8_t* out, const uint8_t* front, const uint8_t* behind, const uint8_t* alpha, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t a = load(alpha + i);
    // Most of a frame is person or background and nothing in between.
    if (!wasm_v128_any_true(a)) {
      store(out + i, load(behind + i));
    } else if (!wasm_v128_any_true(wasm_v128_not(a))) {
      store(out + i, load(front + i));
    } else {
      store(out + i, mixed(load(front + i), load(behind + i), a));
    }
  }
}

void tulle_mix_lit_row(uint8_t* out, const uint8_t* front, const uint8_t* behind, const uint8_t* shine,
                       const uint8_t* alpha, const uint8_t* wrap, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t a = load(alpha + i), w = load(wrap + i);
    const v128_t f = load(front + i), b = load(behind + i);
    if (!wasm_v128_any_true(w)) {
      store(out + i, wasm_v128_any_true(a) ? mixed(f, b, a) : b);
      continue;
    }
    const v128_t s = load(shine + i);
    const v128_t rest = wasm_u8x16_sub_sat(wasm_v128_not(a), w);
    const v128_t first = wasm_u16x8_add_sat(wasm_i16x8_add(product_low(f, a), product_low(s, w)), product_low(b, rest));
    const v128_t second =
        wasm_u16x8_add_sat(wasm_i16x8_add(product_high(f, a), product_high(s, w)), product_high(b, rest));
    store(out + i, wasm_u8x16_narrow_i16x8(over_255(first), over_255(second)));
  }
}

void tulle_wrap_row(uint8_t* alpha, const uint8_t* near, uint8_t* wrap, uint32_t strength, uint32_t count) {
  const v128_t most = wasm_i8x16_splat((int8_t)strength);
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t a = load(alpha + i), n = load(near + i);
    v128_t taken = wasm_i8x16_splat(0);
    if (wasm_v128_any_true(a) && wasm_v128_any_true(n)) {
      const v128_t share = wasm_u8x16_narrow_i16x8(over_255(product_low(n, most)), over_255(product_high(n, most)));
      taken = wasm_u8x16_narrow_i16x8(over_255(product_low(a, share)), over_255(product_high(a, share)));
      store(alpha + i, wasm_i8x16_sub(a, taken));
    }
    if (wrap) store(wrap + i, taken);
  }
}

void tulle_repeat2_row(uint8_t* out, const uint8_t* in, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t x = load(in + i);
    store(out + 2 * i, wasm_i8x16_shuffle(x, x, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7));
    store(out + 2 * i + 16, wasm_i8x16_shuffle(x, x, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15));
  }
}

void tulle_repeat4_row(uint8_t* out, const uint8_t* in, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t x = load(in + i);
    store(out + 4 * i, wasm_i8x16_shuffle(x, x, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
    store(out + 4 * i + 16, wasm_i8x16_shuffle(x, x, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7));
    store(out + 4 * i + 32, wasm_i8x16_shuffle(x, x, 8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11));
    store(out + 4 * i + 48, wasm_i8x16_shuffle(x, x, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15));
  }
}

TULLE_INLINE v128_t join_low(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TULLE_INLINE v128_t join_high(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

void tulle_join2_row(uint8_t* out, const uint8_t* a, const uint8_t* b, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t x = load(a + i), y = load(b + i);
    store(out + 2 * i, join_low(x, y));
    store(out + 2 * i + 16, join_high(x, y));
  }
}

void tulle_join4_row(uint8_t* out, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint32_t count) {
  const v128_t opaque = wasm_i8x16_splat(-1);
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t x = load(a + i), y = load(b + i), z = load(c + i);
    const v128_t xz0 = join_low(x, z), xz1 = join_high(x, z);
    const v128_t ya0 = join_low(y, opaque), ya1 = join_high(y, opaque);
    store(out + 4 * i, join_low(xz0, ya0));
    store(out + 4 * i + 16, join_high(xz0, ya0));
    store(out + 4 * i + 32, join_low(xz1, ya1));
    store(out + 4 * i + 48, join_high(xz1, ya1));
  }
}

TULLE_INLINE v128_t even(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
TULLE_INLINE v128_t odd(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

void tulle_part2_row(uint8_t* a, uint8_t* b, const uint8_t* in, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const v128_t x = load(in + 2 * i), y = load(in + 2 * i + 16);
    store(a + i, even(x, y));
    store(b + i, odd(x, y));
  }
}

void tulle_part4_row(uint8_t* a, uint8_t* b, uint8_t* c, const uint8_t* in, uint32_t count) {
  for (uint32_t i = 0; i < count; i += 16) {
    const uint8_t* p = in + 4 * i;
    const v128_t x = load(p), y = load(p + 16), z = load(p + 32), w = load(p + 48);
    const v128_t ac0 = even(x, y), ac1 = even(z, w);
    store(a + i, even(ac0, ac1));
    store(c + i, odd(ac0, ac1));
    store(b + i, even(odd(x, y), odd(z, w)));
  }
}
