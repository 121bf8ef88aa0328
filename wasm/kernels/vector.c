// Kernels over one row of floats: dot products, sums, extremes and softmax.

#include "kernels/activation.h"
#include "kernels/kernels.h"

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

float tulle_f32_sparse_dot(const tulle_nonzero* next, const tulle_nonzero* end, const float* x) {
  float even = 0, odd = 0;
  for (; next + 2 <= end; next += 2) {
    even += next[0].value * *(const float*)((const char*)x + next[0].offset);
    odd += next[1].value * *(const float*)((const char*)x + next[1].offset);
  }
  if (next < end) even += next->value * *(const float*)((const char*)x + next->offset);
  return even + odd;
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

// The largest and the smallest number, NaN if one of them is.

float tulle_f32_max(const float* x, size_t n) {
  float best = x[0];
  for (size_t i = 1; i < n; i++) best = x[i] > best || x[i] != x[i] ? x[i] : best;
  return best;
}

float tulle_f32_min(const float* x, size_t n) {
  float best = x[0];
  for (size_t i = 1; i < n; i++) best = x[i] < best || x[i] != x[i] ? x[i] : best;
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
