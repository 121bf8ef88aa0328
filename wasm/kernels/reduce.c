// Reductions that do not run along contiguous floats, and sums of all elements so far.

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/simd.h"

static float reduce(tulle_reduction reduction, float total, float x) {
  if (reduction == TULLE_REDUCE_MAX) return x > total || x != x ? x : total;
  if (reduction == TULLE_REDUCE_MIN) return x < total || x != x ? x : total;
  return total + x;
}

TULLE_INLINE v4 reduce_4(const tulle_reduction reduction, v4 total, v4 x) {
  return reduction == TULLE_REDUCE_MAX   ? v4_larger(total, x)
         : reduction == TULLE_REDUCE_MIN ? v4_smaller(total, x)
                                         : wasm_f32x4_add(total, x);
}

TULLE_INLINE void reduce_rows(const tulle_reduction reduction, float scale, const float* x, size_t stride,
                              uint32_t rows, uint32_t columns, float* y) {
  memcpy(y, x, columns * sizeof *y);
  for (uint32_t r = 1; r < rows; r++) {
    const float* row = x + r * stride;
    uint32_t p = 0;
    for (; p + 4 <= columns; p += 4) v4_store(y + p, reduce_4(reduction, v4_load(y + p), v4_load(row + p)));
    for (; p < columns; p++) y[p] = reduce(reduction, y[p], row[p]);
  }
  for (uint32_t p = 0; p < columns; p++) y[p] *= scale;
}

void tulle_f32_reduce_channels(tulle_reduction reduction, float scale, const float* x, size_t stride, uint32_t channels,
                               uint32_t begin, uint32_t end, float* y) {
  // Few enough columns at a time to stay in the first-level cache.
  for (uint32_t next; begin < end; begin = next) {
    next = end - begin > 2048 ? begin + 2048 : end;
    if (reduction == TULLE_REDUCE_MAX) {
      reduce_rows(TULLE_REDUCE_MAX, scale, x + begin, stride, channels, next - begin, y + begin);
    } else if (reduction == TULLE_REDUCE_MIN) {
      reduce_rows(TULLE_REDUCE_MIN, scale, x + begin, stride, channels, next - begin, y + begin);
    } else {
      reduce_rows(TULLE_REDUCE_SUM, scale, x + begin, stride, channels, next - begin, y + begin);
    }
  }
}

// Goes through the input in order and adds each element to the output element it belongs to.
void tulle_f32_reduce(const tulle_reduce* args, const float* input, float* output) {
  const float start = args->reduction == TULLE_REDUCE_MAX   ? -INFINITY
                      : args->reduction == TULLE_REDUCE_MIN ? INFINITY
                                                            : 0;
  for (uint32_t i = 0; i < args->out_elements; i++) output[i] = start;
  uint32_t index[TULLE_MAX_LOOPS] = {0};
  uint32_t out = 0, axis;
  do {
    output[out] = reduce(args->reduction, output[out], *input++);
    // The next index: the last axis that has not come to its end moves on, those after it start again.
    for (axis = args->rank; axis > 0; axis--) {
      const uint32_t d = axis - 1;
      out += args->out_step[d];
      if (++index[d] < args->shape[d]) break;
      out -= args->shape[d] * args->out_step[d];
      index[d] = 0;
    }
  } while (axis > 0);
  for (uint32_t i = 0; i < args->out_elements; i++) output[i] *= args->scale;
}

// Of `size` numbers next to each other. A NaN is no maximum unless it comes first.
static uint32_t argmax_of_row(const float* x, uint32_t size) {
  v4 best = v4_splat(x[0]), place = wasm_i32x4_splat(0), number = wasm_i32x4_make(0, 1, 2, 3);
  uint32_t i = 0;
  for (; i + 4 <= size; i += 4, number = wasm_i32x4_add(number, wasm_i32x4_splat(4))) {
    const v4 v = v4_load(x + i), is_larger = wasm_f32x4_gt(v, best);
    best = wasm_v128_bitselect(v, best, is_larger);
    place = wasm_v128_bitselect(number, place, is_larger);
  }
  float values[4];
  uint32_t places[4];
  wasm_v128_store(values, best);
  wasm_v128_store(places, place);
  uint32_t result = places[0];
  float largest = values[0];
  for (uint32_t lane = 1; lane < 4; lane++)
    if (values[lane] > largest || (values[lane] == largest && places[lane] < result))
      largest = values[lane], result = places[lane];
  for (; i < size; i++)
    if (x[i] > largest) largest = x[i], result = i;
  return result;
}

void tulle_f32_argmax(const float* x, uint32_t size, uint32_t inner, uint32_t begin, uint32_t end, float* y) {
  if (inner == 1) {
    for (uint32_t i = begin; i < end; i++) y[i] = (float)argmax_of_row(x + (size_t)i * size, size);
    return;
  }
  for (uint32_t i = begin, count; i < end; i += count) {
    const uint32_t row = i / inner, column = i % inner;
    const float* values = x + (size_t)row * size * inner + column;
    count = inner - column < end - i ? inner - column : end - i;
    if (count > 4) count = 4;
    v4 best = v4_load_first(values, count), place = v4_splat(0.0f);
    for (uint32_t j = 1; j < size; j++) {
      const v4 v = v4_load_first(values + (size_t)j * inner, count), is_larger = wasm_f32x4_gt(v, best);
      best = wasm_v128_bitselect(v, best, is_larger);
      place = wasm_v128_bitselect(v4_splat((float)j), place, is_larger);
    }
    v4_store_first(y + i, place, count);
  }
}

void tulle_f32_cumsum(const tulle_cumsum* args, const float* x, float* y, uint32_t inner) {
  ptrdiff_t in_step = (ptrdiff_t)args->in_step, out_step = (ptrdiff_t)args->out_step;
  if (args->reverse) {
    x += (args->size - 1) * in_step, y += (args->size - 1) * out_step;
    in_step = -in_step, out_step = -out_step;
  }
  for (uint32_t i = 0; i < inner; i++) y[i] = args->exclusive ? 0 : x[i];
  if (!args->exclusive) x += in_step;
  for (uint32_t j = 1; j < args->size; j++, x += in_step, y += out_step)
    for (uint32_t i = 0; i < inner; i++) y[out_step + (ptrdiff_t)i] = y[i] + x[i];
}
