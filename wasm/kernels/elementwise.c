// Binary ops and what is fused with them.

#include "kernels/activation.h"
#include "kernels/kernels.h"

// 1 where true, else 0: comparisons give lanes of all ones or all zeros.
TULLE_INLINE v4 greater(v4 a, v4 b) { return wasm_v128_and(wasm_f32x4_gt(a, b), v4_splat(1)); }
TULLE_INLINE v4 equal(v4 a, v4 b) { return wasm_v128_and(wasm_f32x4_eq(a, b), v4_splat(1)); }
TULLE_INLINE v4 mask(v4 a, v4 b) { return wasm_v128_and(a, wasm_f32x4_ne(b, v4_splat(0))); }

// y[i] = clamp(OP(p, q)) for vectors p and q, which P and Q load.
#define LOOP(OP, P, Q)                                                                              \
  {                                                                                                 \
    size_t i = 0;                                                                                   \
    for (; i + 4 <= n; i += 4) v4_store(y + i, v4_clamp(OP(P, Q), low, high));                      \
    if (i < n) v4_store_first(y + i, v4_clamp(OP(P, Q), low, high), exact ? (uint32_t)(n - i) : 4); \
  }

#define EACH(OP)                             \
  if (a_step && b_step) {                    \
    LOOP(OP, v4_load(a + i), v4_load(b + i)) \
  } else if (a_step) {                       \
    LOOP(OP, v4_load(a + i), b0)             \
  } else if (b_step) {                       \
    LOOP(OP, a0, v4_load(b + i))             \
  } else {                                   \
    LOOP(OP, a0, b0)                         \
  }                                          \
  break

void tulle_f32_binary(tulle_binary_op op, const float* a, uint32_t a_step, const float* b, uint32_t b_step, float* y,
                      size_t n, const tulle_epilogue* epilogue, uint32_t channel, bool exact) {
  const v4 low = v4_splat(epilogue->low), high = v4_splat(epilogue->high);
  const v4 a0 = v4_load_splat(a), b0 = v4_load_splat(b);
  switch (op) {
    case TULLE_ADD:
      EACH(wasm_f32x4_add);
    case TULLE_SUB:
      EACH(wasm_f32x4_sub);
    case TULLE_MUL:
      EACH(wasm_f32x4_mul);
    case TULLE_DIV:
      EACH(wasm_f32x4_div);
    case TULLE_MAXIMUM:
      EACH(wasm_f32x4_max);
    case TULLE_MINIMUM:
      EACH(wasm_f32x4_min);
    case TULLE_GREATER:
      EACH(greater);
    case TULLE_EQUAL:
      EACH(equal);
    case TULLE_MASK:
      EACH(mask);
  }
  if (epilogue->kind != TULLE_ACT_NONE) tulle_f32_activate(y, n, epilogue, channel);
}

void tulle_f32_gated_sum(const float* a, float gate, const float* b, float* y, size_t n) {
  const v4 gates = v4_splat(gate);
  for (size_t i = 0; i < n; i += 4) v4_store(y + i, v4_madd(v4_load(a + i), gates, v4_load(b + i)));
}

void tulle_f32_prelu_rows(float* x, size_t rows, uint32_t channels, const float* alpha) {
  for (; rows > 0; rows--, x += channels) {
    for (uint32_t c = 0; c < channels; c++)
      if (x[c] < 0) x[c] *= alpha[c];
  }
}
