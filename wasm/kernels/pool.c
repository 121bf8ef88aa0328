// Max and average pooling of one CHW channel, and max unpooling.

#include <math.h>

#include "kernels/kernels.h"
#include "kernels/simd.h"

// Of float32. A maximum is larger.
#define LOWEST (-3.402823466e+38f)

// The part of a window that lies inside the input: [*begin, *end) from the output's index.
static void window(uint32_t out, uint32_t stride, uint32_t kernel, uint32_t pad, uint32_t size, uint32_t* begin,
                   uint32_t* end) {
  const int64_t first = (int64_t)out * stride - pad, last = first + kernel;
  *begin = first < 0 ? 0 : (uint32_t)first;
  *end = last > (int64_t)size ? size : (uint32_t)(last < 0 ? 0 : last);
}

// 2x2 windows with stride 2 and no padding, the usual case, have their own loops.
static bool is_2x2(const tulle_pool* p) {
  return p->kernel_h == 2 && p->kernel_w == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_top == 0 &&
         p->pad_left == 0 && 2 * p->out_height <= p->height && 2 * p->out_width <= p->width;
}

// NaN if either is. (a > b || a != a ? a : b) makes a 3x3 pool take half as long again.
static float larger(float a, float b) {
#ifdef __wasm__
  return __builtin_wasm_max_f32(a, b);
#else
  return a > b || a != a ? a : b;
#endif
}

// A row of 2x2 windows; 4 outputs at a time.
static void max_2x2(const float* row, const float* next, uint32_t count, float* output) {
  uint32_t x = 0;
  for (; x + 4 <= count; x += 4) {
    const v4 left = v4_larger(v4_load(row + 2 * x), v4_load(next + 2 * x));
    const v4 right = v4_larger(v4_load(row + 2 * x + 4), v4_load(next + 2 * x + 4));
    v4_store(output + x,
             v4_larger(wasm_i32x4_shuffle(left, right, 0, 2, 4, 6), wasm_i32x4_shuffle(left, right, 1, 3, 5, 7)));
  }
  for (; x < count; x++) output[x] = larger(larger(row[2 * x], row[2 * x + 1]), larger(next[2 * x], next[2 * x + 1]));
}

// A pool is one of columns, then of rows: first `line` gets the maximum, or sum, of the window's rows in every column,
// then an output that of its columns. So a window takes kernel_h + kernel_w steps, four columns or outputs at a time.
TULLE_INLINE v4 combine(v4 a, v4 b, const bool max) { return max ? v4_larger(a, b) : wasm_f32x4_add(a, b); }

// The rows [top, bottom) of the input. The line's padding is there already.
TULLE_INLINE void pool_rows(const tulle_pool* p, const float* input, uint32_t top, uint32_t bottom, float* line,
                            const bool max) {
  const v4 none = v4_splat(max ? -INFINITY : 0.0f);
  line += p->pad_left;
  uint32_t x = 0;
  for (; x + 4 <= p->width; x += 4) {
    v4 result = none;
    for (uint32_t i = top; i < bottom; i++) result = combine(result, v4_load(input + (size_t)i * p->width + x), max);
    v4_store(line + x, result);
  }
  if (x == p->width) return;
  v4 result = none;
  for (uint32_t i = top; i < bottom; i++)
    result = combine(result, v4_load_first(input + (size_t)i * p->width + x, p->width - x), max);
  v4_store_first(line + x, result, p->width - x);
}

// Four outputs. `line` begins at the first one's window; `stride` is that of a loop of its own, and otherwise 0.
TULLE_INLINE v4 pool_columns(const tulle_pool* p, const float* line, const uint32_t stride, const bool max) {
  v4 result = v4_splat(max ? -INFINITY : 0.0f);
  if (stride == 1) {
    for (uint32_t k = 0; k < p->kernel_w; k++) result = combine(result, v4_load(line + k), max);
  } else if (stride == 2) {
    for (uint32_t k = 0; k < p->kernel_w; k += 2) {
      const v4 a = v4_load(line + k), b = v4_load(line + k + 4);
      result = combine(result, wasm_i32x4_shuffle(a, b, 0, 2, 4, 6), max);
      if (k + 1 < p->kernel_w) result = combine(result, wasm_i32x4_shuffle(a, b, 1, 3, 5, 7), max);
    }
  } else {
    for (uint32_t k = 0; k < p->kernel_w; k++, line++) {
      const uint32_t s = p->stride_w;
      result = combine(result, wasm_f32x4_make(line[0], line[s], line[2 * s], line[3 * s]), max);
    }
  }
  return result;
}

TULLE_INLINE void pool_line(const tulle_pool* p, const float* line, uint32_t rows, float* output, const uint32_t stride,
                            const bool max) {
  for (uint32_t x = 0; x < p->out_width; x += 4) {
    v4 result = pool_columns(p, line + (size_t)x * p->stride_w, stride, max);
    if (!max) {
      const v4 count = wasm_f32x4_mul(v4_splat((float)rows), v4_load(p->columns + x));
      result = wasm_f32x4_div(result, wasm_f32x4_pmax(count, v4_splat(1.0f)));
    }
    v4_store_first(output + x, result, p->out_width - x);
  }
}

TULLE_INLINE void pool(const tulle_pool* p, const float* input, float* output, float* line, const bool max) {
  for (size_t i = 0; i < p->line_floats; i++) line[i] = max ? -INFINITY : 0.0f;
  for (uint32_t y = 0; y < p->out_height; y++, output += p->out_width) {
    uint32_t top, bottom;
    window(y, p->stride_h, p->kernel_h, p->pad_top, p->height, &top, &bottom);
    pool_rows(p, input, top, bottom, line, max);
    const uint32_t rows = bottom > top ? bottom - top : 0;
    if (p->stride_w == 1) {
      pool_line(p, line, rows, output, 1, max);
    } else if (p->stride_w == 2) {
      pool_line(p, line, rows, output, 2, max);
    } else {
      pool_line(p, line, rows, output, 0, max);
    }
  }
}

uint64_t tulle_f32_pool_line(tulle_pool* p) {
  const uint64_t data = (uint64_t)p->pad_left + p->width;
  const uint64_t read = ((uint64_t)p->out_width + 3) * p->stride_w + p->kernel_w;
  const uint64_t floats = (data > read ? data : read) + 8;
  p->line_floats = (size_t)floats;
  return floats * sizeof(float);
}

void tulle_f32_pool_columns(const tulle_pool* p, float* columns) {
  for (uint32_t x = 0; x < p->out_width; x++) {
    uint32_t left, right;
    window(x, p->stride_w, p->kernel_w, p->pad_left, p->width, &left, &right);
    columns[x] = right > left ? (float)(right - left) : 0.0f;
  }
}

void tulle_f32_max_pool(const tulle_pool* p, const float* input, float* output, float* line) {
  if (!is_2x2(p)) {
    pool(p, input, output, line, true);
    return;
  }
  for (uint32_t y = 0; y < p->out_height; y++, input += 2 * (size_t)p->width, output += p->out_width)
    max_2x2(input, input + p->width, p->out_width, output);
}

void tulle_f32_average_pool(const tulle_pool* p, const float* input, float* output, float* line) {
  pool(p, input, output, line, false);
}

void tulle_f32_average_all(const tulle_pool* p, const float* input, float* output, float* line) {
  (void)line;
  const uint32_t pixels = p->height * p->width;
  *output = tulle_f32_sum(input, pixels) / (float)pixels;
}

// Where the maximum of each 2x2 window lies, of the `count` windows of a row, 4 at a time; a NaN is no maximum.
// Returns how many windows that were.
static uint32_t argmax_2x2(const float* row, const float* next, uint32_t count, float* output) {
  uint32_t x = 0;
  for (; x + 4 <= count; x += 4) {
    const v4 a = v4_load(row + 2 * x), b = v4_load(row + 2 * x + 4);
    const v4 c = v4_load(next + 2 * x), d = v4_load(next + 2 * x + 4);
    const v4 values[4] = {wasm_i32x4_shuffle(a, b, 0, 2, 4, 6), wasm_i32x4_shuffle(a, b, 1, 3, 5, 7),
                          wasm_i32x4_shuffle(c, d, 0, 2, 4, 6), wasm_i32x4_shuffle(c, d, 1, 3, 5, 7)};
    v4 best = V4_CONSTANT(LOWEST), place = v4_splat(0.0f);
    const v4 one = V4_CONSTANT(1.0f);
    v4 number = place;
    TULLE_UNROLL
    for (int i = 0; i < 4; i++, number = wasm_f32x4_add(number, one)) {
      const v4 larger = wasm_f32x4_gt(values[i], best);
      best = wasm_v128_bitselect(values[i], best, larger);
      place = wasm_v128_bitselect(number, place, larger);
    }
    v4_store(output + x, place);
  }
  return x;
}

void tulle_f32_max_pool_argmax(const tulle_pool* p, const float* input, float* output, float* line) {
  (void)line;
  // Windows of 2x2 next to each other, those at the end that reach beyond the input aside.
  const bool by_2 = p->kernel_h == 2 && p->kernel_w == 2 && p->stride_h == 2 && p->stride_w == 2 && p->pad_top == 0 &&
                    p->pad_left == 0;
  const uint32_t whole = p->width / 2 < p->out_width ? p->width / 2 : p->out_width;
  for (uint32_t y = 0; y < p->out_height; y++) {
    uint32_t top, bottom, x = 0;
    window(y, p->stride_h, p->kernel_h, p->pad_top, p->height, &top, &bottom);
    if (by_2 && bottom - top == 2) {
      const float* row = input + (size_t)top * p->width;
      x = argmax_2x2(row, row + p->width, whole, output);
      output += x;
    }
    for (; x < p->out_width; x++) {
      uint32_t left, right;
      window(x, p->stride_w, p->kernel_w, p->pad_left, p->width, &left, &right);
      float best = LOWEST;
      uint32_t row = 0, column = 0;  // of the input, plus the padding before it
      for (uint32_t i = top; i < bottom; i++)
        for (uint32_t j = left; j < right; j++) {
          const float value = input[(size_t)i * p->width + j];
          if (value > best)
            best = value, row = i + p->pad_top - y * p->stride_h, column = j + p->pad_left - x * p->stride_w;
        }
      *output++ = (float)(row * p->kernel_w + column);
    }
  }
}

// A row of 2x2 windows next to each other. Whatever leads out of its window is nowhere.
static void unpool_2x2(const float* input, const float* indices, uint32_t count, float* row, float* next) {
  uint32_t x = 0;
  for (; x + 4 <= count; x += 4) {
    const v4 values = v4_load(input + x), index = v4_load(indices + x), place = wasm_f32x4_trunc(index);
    const v4 valid = wasm_v128_and(values, wasm_f32x4_ge(index, v4_splat(0.0f)));
    const v4 at_0 = wasm_v128_and(valid, wasm_f32x4_eq(place, v4_splat(0.0f)));
    const v4 at_1 = wasm_v128_and(valid, wasm_f32x4_eq(place, V4_CONSTANT(1.0f)));
    const v4 at_2 = wasm_v128_and(valid, wasm_f32x4_eq(place, V4_CONSTANT(2.0f)));
    const v4 at_3 = wasm_v128_and(valid, wasm_f32x4_eq(place, V4_CONSTANT(3.0f)));
    v4_store(row + 2 * x, wasm_i32x4_shuffle(at_0, at_1, 0, 4, 1, 5));
    v4_store(row + 2 * x + 4, wasm_i32x4_shuffle(at_0, at_1, 2, 6, 3, 7));
    v4_store(next + 2 * x, wasm_i32x4_shuffle(at_2, at_3, 0, 4, 1, 5));
    v4_store(next + 2 * x + 4, wasm_i32x4_shuffle(at_2, at_3, 2, 6, 3, 7));
  }
  for (; x < count; x++) {
    row[2 * x] = row[2 * x + 1] = next[2 * x] = next[2 * x + 1] = 0;
    if (!(indices[x] >= 0 && indices[x] < 4)) continue;
    const uint32_t index = (uint32_t)indices[x];
    (index < 2 ? row : next)[2 * x + index % 2] = input[x];
  }
}

void tulle_f32_max_unpool(const tulle_pool* p, const float* input, const float* indices, float* output) {
  if (is_2x2(p) && 2 * p->out_height == p->height && 2 * p->out_width == p->width) {
    for (uint32_t y = 0; y < p->out_height; y++, input += p->out_width, indices += p->out_width, output += 2 * p->width)
      unpool_2x2(input, indices, p->out_width, output, output + p->width);
    return;
  }
  tulle_f32_zero(output, (size_t)p->height * p->width);
  const float places = (float)(p->kernel_h * p->kernel_w);
  for (uint32_t y = 0; y < p->out_height; y++) {
    for (uint32_t x = 0; x < p->out_width; x++, input++, indices++) {
      if (!(*indices >= 0 && *indices < places)) continue;
      const uint32_t index = (uint32_t)*indices;
      // A position in the padding wraps around to a number larger than any image.
      const uint32_t row = y * p->stride_h + index / p->kernel_w - p->pad_top;
      const uint32_t column = x * p->stride_w + index % p->kernel_w - p->pad_left;
      if (row < p->height && column < p->width) output[(size_t)row * p->width + column] = *input;
    }
  }
}
