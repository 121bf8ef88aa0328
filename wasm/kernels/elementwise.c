// Binary ops, sums, dot products and softmax.

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

float tulle_f32_dot(const float* w, const float* x, size_t n) {
  v4 sum[4] = {v4_splat(0), v4_splat(0), v4_splat(0), v4_splat(0)};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    TULLE_UNROLL
    for (uint32_t j = 0; j < 4; j++) sum[j] = v4_madd(v4_load(w + i + 4 * j), v4_load(x + i + 4 * j), sum[j]);
  }
  for (; i + 4 <= n; i += 4) sum[0] = v4_madd(v4_load(w + i), v4_load(x + i), sum[0]);
  if (i < n) {
    const uint32_t tail = (uint32_t)(n - i);
    sum[1] = v4_madd(v4_load_first(w + i, tail), v4_load_first(x + i, tail), sum[1]);
  }
  return v4_sum(wasm_f32x4_add(wasm_f32x4_add(sum[0], sum[1]), wasm_f32x4_add(sum[2], sum[3])));
}

float tulle_f32_sum(const float* x, size_t n) {
  v4 sum[4] = {v4_splat(0), v4_splat(0), v4_splat(0), v4_splat(0)};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    TULLE_UNROLL
    for (uint32_t j = 0; j < 4; j++) sum[j] = wasm_f32x4_add(sum[j], v4_load(x + i + 4 * j));
  }
  for (; i + 4 <= n; i += 4) sum[0] = wasm_f32x4_add(sum[0], v4_load(x + i));
  if (i < n) sum[1] = wasm_f32x4_add(sum[1], v4_load_first(x + i, (uint32_t)(n - i)));
  return v4_sum(wasm_f32x4_add(wasm_f32x4_add(sum[0], sum[1]), wasm_f32x4_add(sum[2], sum[3])));
}

float tulle_f32_max(const float* x, size_t n) {
  float best = x[0];
  for (size_t i = 1; i < n; i++) best = x[i] > best ? x[i] : best;
  return best;
}

float tulle_f32_min(const float* x, size_t n) {
  float best = x[0];
  for (size_t i = 1; i < n; i++) best = x[i] < best ? x[i] : best;
  return best;
}

// The largest value is subtracted first, so that no exponential overflows.
void tulle_f32_softmax(const float* x, float* y, size_t n, float beta) {
  const float largest = tulle_f32_max(x, n);
  float total = 0;
  for (size_t i = 0; i < n; i += 4) {
    const uint32_t count = n - i < 4 ? (uint32_t)(n - i) : 4;
    const v4 v = wasm_f32x4_mul(wasm_f32x4_sub(v4_load_first(x + i, count), v4_splat(largest)), v4_splat(beta));
    v4_store_first(y + i, v4_exp(v), count);
    for (uint32_t j = 0; j < count; j++) total += y[i + j];
  }
  const float scale = 1.0f / total;
  for (size_t i = 0; i < n; i++) y[i] *= scale;
}
