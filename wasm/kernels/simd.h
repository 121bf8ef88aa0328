// Four float lanes, and the one place where the simd128, relaxed-SIMD and native builds differ.

#ifndef TULLE_KERNELS_SIMD_H_
#define TULLE_KERNELS_SIMD_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#else
// SIMDe has wasm's functions for other machines.
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#endif

// Whether there is a fused multiply-add.
#if defined(__wasm_relaxed_simd__) || defined(__FMA__)
#define TULLE_HAS_FMA 1
#else
#define TULLE_HAS_FMA 0
#endif

// Whether there is a dot product of bytes.
#define TULLE_HAS_DOT TULLE_HAS_FMA

typedef v128_t v4;  // four floats

#define TULLE_INLINE static inline __attribute__((always_inline))
#define TULLE_UNROLL _Pragma("clang loop unroll(full)")

TULLE_INLINE v4 v4_load(const float* p) { return wasm_v128_load(p); }
TULLE_INLINE void v4_store(float* p, v4 x) { wasm_v128_store(p, x); }
TULLE_INLINE v4 v4_splat(float x) { return wasm_f32x4_splat(x); }
TULLE_INLINE v4 v4_load_splat(const float* p) { return wasm_v128_load32_splat(p); }

// A constant for use in loops. V8 materialises a v128.const at every use, through general registers, in five
// instructions; a load that neither V8 nor LLVM can see through takes one.
#define V4_CONSTANT(x)              \
  ({                                \
    static const float value = (x); \
    const float* hidden = &value;   \
    __asm__("" : "+r"(hidden));     \
    v4_load_splat(hidden);          \
  })

// a * b + c, fused (one rounding) where the machine has FMA. Every kernel accumulates through this and in
// the same order whatever the tile, so a pixel's value does not depend on how the work was split.
TULLE_INLINE v4 v4_madd(v4 a, v4 b, v4 c) {
#if defined(__wasm_relaxed_simd__)
  return wasm_f32x4_relaxed_madd(a, b, c);
#elif TULLE_HAS_FMA
  return (v4)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)c);
#else
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
#endif
}

// pmin/pmax are single instructions, unlike min/max; with x as first operand they propagate a NaN in x.
TULLE_INLINE v4 v4_clamp(v4 x, v4 low, v4 high) { return wasm_f32x4_pmin(wasm_f32x4_pmax(x, low), high); }

// The larger and the smaller of each pair, NaN if either is. One pmax alone loses a NaN in its second operand; the bits
// of both together are a NaN then, and otherwise the larger number twice. wasm's max takes more than twice as many
// instructions on x86.
TULLE_INLINE v4 v4_larger(v4 a, v4 b) { return wasm_v128_or(wasm_f32x4_pmax(a, b), wasm_f32x4_pmax(b, a)); }
TULLE_INLINE v4 v4_smaller(v4 a, v4 b) { return wasm_v128_or(wasm_f32x4_pmin(a, b), wasm_f32x4_pmin(b, a)); }

// Byte i of the result is byte lanes[i] of x, or 0 where lanes[i] is above 127; 16 to 127 do not occur.
TULLE_INLINE v4 v4_permute(v4 x, v4 lanes) {
#ifdef __wasm_relaxed_simd__
  return wasm_i8x16_relaxed_swizzle(x, lanes);
#else
  return wasm_i8x16_swizzle(x, lanes);
#endif
}

// Stores the first n lanes, 1 <= n <= 4.
TULLE_INLINE void v4_store_first(float* p, v4 x, uint32_t n) {
  if (n >= 4) {
    wasm_v128_store(p, x);
    return;
  }
  if (n & 2) {
    wasm_v128_store64_lane(p, x, 0);
    x = wasm_i64x2_shuffle(x, x, 1, 1);
    p += 2;
  }
  if (n & 1) wasm_v128_store32_lane(p, x, 0);
}

// Loads n lanes, 1 <= n <= 4, the others zero.
TULLE_INLINE v4 v4_load_first(const float* p, uint32_t n) {
  switch (n) {
    case 1:
      return wasm_v128_load32_zero(p);
    case 2:
      return wasm_v128_load64_zero(p);
    case 3:
      return wasm_v128_load32_lane(p + 2, wasm_v128_load64_zero(p), 2);
    default:
      return wasm_v128_load(p);
  }
}

TULLE_INLINE float v4_sum(v4 x) {
  x = wasm_f32x4_add(x, wasm_i64x2_shuffle(x, x, 1, 1));
  return wasm_f32x4_extract_lane(x, 0) + wasm_f32x4_extract_lane(x, 1);
}

#endif  // TULLE_KERNELS_SIMD_H_
