// Kernels over one row of floats: dot products, sums, extremes and softmax.

#include "kernels/activation.h"
#include "kernels/kernels.h"

// Four rows at a time share the loads of x, which bound a single one.
void tulle_f32_dots(const float* weights, const float* x, size_t n, uint32_t rows, float* y) {
  for (uint32_t r = 0; r < rows; r += TULLE_DOT_ROWS) {
    const float* w[TULLE_DOT_ROWS];
    v4 sum[TULLE_DOT_ROWS][2];
    TULLE_UNROLL
    for (uint32_t i = 0; i < TULLE_DOT_ROWS; i++) {
      w[i] = weights + (r + i < rows ? r + i : rows - 1) * n;
      sum[i][0] = sum[i][1] = v4_splat(0);
    }
    size_t k = 0;
    for (; k + 8 <= n; k += 8) {
      const v4 x0 = v4_load(x + k), x1 = v4_load(x + k + 4);
      TULLE_UNROLL
      for (uint32_t i = 0; i < TULLE_DOT_ROWS; i++) {
        sum[i][0] = v4_madd(v4_load(w[i] + k), x0, sum[i][0]);
        sum[i][1] = v4_madd(v4_load(w[i] + k + 4), x1, sum[i][1]);
      }
    }
    for (; k < n; k += 4) {
      const uint32_t left = n - k < 4 ? (uint32_t)(n - k) : 4;
      const v4 rest = v4_load_first(x + k, left);
      TULLE_UNROLL
      for (uint32_t i = 0; i < TULLE_DOT_ROWS; i++) sum[i][0] = v4_madd(v4_load_first(w[i] + k, left), rest, sum[i][0]);
    }
    v4 s[TULLE_DOT_ROWS];
    TULLE_UNROLL
    for (uint32_t i = 0; i < TULLE_DOT_ROWS; i++) s[i] = wasm_f32x4_add(sum[i][0], sum[i][1]);
    const v4 ab =
                 wasm_f32x4_add(wasm_i32x4_shuffle(s[0], s[1], 0, 4, 1, 5), wasm_i32x4_shuffle(s[0], s[1], 2, 6, 3, 7)),
             cd =
                 wasm_f32x4_add(wasm_i32x4_shuffle(s[2], s[3], 0, 4, 1, 5), wasm_i32x4_shuffle(s[2], s[3], 2, 6, 3, 7));
    v4_store_first(y + r, wasm_f32x4_add(wasm_i64x2_shuffle(ab, cd, 0, 2), wasm_i64x2_shuffle(ab, cd, 1, 3)), rows - r);
  }
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

// The largest or smallest number, NaN if one of them is.
TULLE_INLINE float extreme(const float* x, size_t n, const bool max) {
  v4 best[4] = {v4_splat(x[0]), v4_splat(x[0]), v4_splat(x[0]), v4_splat(x[0])};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    TULLE_UNROLL
    for (uint32_t j = 0; j < 4; j++) {
      const v4 v = v4_load(x + i + 4 * j);
      best[j] = max ? v4_larger(best[j], v) : v4_smaller(best[j], v);
    }
  }
  for (; i < n; i++) best[0] = max ? v4_larger(best[0], v4_splat(x[i])) : v4_smaller(best[0], v4_splat(x[i]));
  TULLE_UNROLL
  for (uint32_t j = 1; j < 4; j++) best[0] = max ? v4_larger(best[0], best[j]) : v4_smaller(best[0], best[j]);
  const v4 halves = wasm_i64x2_shuffle(best[0], best[0], 1, 1);
  v4 last = max ? v4_larger(best[0], halves) : v4_smaller(best[0], halves);
  const v4 other = wasm_i32x4_shuffle(last, last, 1, 1, 1, 1);
  last = max ? v4_larger(last, other) : v4_smaller(last, other);
  return wasm_f32x4_extract_lane(last, 0);
}

float tulle_f32_max(const float* x, size_t n) { return extreme(x, n, true); }

float tulle_f32_min(const float* x, size_t n) { return extreme(x, n, false); }

// The largest value is subtracted first, so that no exponential overflows.
void tulle_f32_softmax(const float* x, float* y, size_t n, float beta) {
  const v4 largest = v4_splat(tulle_f32_max(x, n)), factor = v4_splat(beta);
  v4 sum = v4_splat(0);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    v4 v[4];
    TULLE_UNROLL
    for (uint32_t j = 0; j < 4; j++) v[j] = wasm_f32x4_mul(wasm_f32x4_sub(v4_load(x + i + 4 * j), largest), factor);
    v4_exp_all(v, 4);
    TULLE_UNROLL
    for (uint32_t j = 0; j < 4; j++) v4_store(y + i + 4 * j, v[j]);
    sum = wasm_f32x4_add(sum, wasm_f32x4_add(wasm_f32x4_add(v[0], v[1]), wasm_f32x4_add(v[2], v[3])));
  }
  for (; i + 4 <= n; i += 4) {
    const v4 v = v4_exp(wasm_f32x4_mul(wasm_f32x4_sub(v4_load(x + i), largest), factor));
    v4_store(y + i, v);
    sum = wasm_f32x4_add(sum, v);
  }
  float total = v4_sum(sum);
  if (i < n) {
    const uint32_t count = (uint32_t)(n - i);
    v4_store_first(y + i, v4_exp(wasm_f32x4_mul(wasm_f32x4_sub(v4_load_first(x + i, count), largest), factor)), count);
    for (size_t j = i; j < n; j++) total += y[j];
  }
  const float scale = 1.0f / total;
  for (i = 0; i < n; i++) y[i] *= scale;
}
