// Zero-padded copies of input rows, the form that k x k kernels and some depthwise ones read (see tulle_plane).
//
// The copy costs a load and a store for every k * k multiply-adds; in return, kernels have no border cases. The zeros
// left and right stay in place from one channel to the next, so only the input's own columns are written: in whole
// vectors, of which the last overlaps the one before.

#include "kernels/kernels.h"
#include "kernels/simd.h"

void tulle_f32_zero(float* x, size_t n) {
  for (size_t i = 0; i < n; i += 4) v4_store_first(x + i, v4_splat(0.0f), n - i < 4 ? (uint32_t)(n - i) : 4);
}

TULLE_INLINE v4 even_lanes(const float* p) { return wasm_i32x4_shuffle(v4_load(p), v4_load(p + 4), 0, 2, 4, 6); }

// Copies every `stride`th float of `input`, numbers x to count - 1. Those before x must have been written; the last
// vector may write some of them again.
TULLE_INLINE void gather_rest(const float* input, uint32_t stride, float* output, uint32_t x, uint32_t count) {
  if (stride > 2 || count < 4) {
    for (; x < count; x++) output[x] = input[x * stride];
  } else if (stride == 2) {
    for (; x + 4 <= count; x += 4) v4_store(output + x, even_lanes(input + 2 * x));
    if (x < count) v4_store(output + count - 4, even_lanes(input + 2 * (count - 4)));
  } else {
    for (; x + 4 <= count; x += 4) v4_store(output + x, v4_load(input + x));
    if (x < count) v4_store(output + count - 4, v4_load(input + count - 4));
  }
}

// Where the columns of one phase begin in the padded row and in the input, and how many there are.
typedef struct {
  uint32_t start, column, count;
} phase_span;

// `stride` is the plane's: a constant where possible, since this divides by it.
TULLE_INLINE phase_span span_of(const tulle_plane* plane, uint32_t phase, const uint32_t stride) {
  const uint32_t pad = plane->pad_left, width = plane->phase_width;
  phase_span s;
  s.start = pad > phase ? (pad - phase + stride - 1) / stride : 0;
  s.column = s.start * stride + phase - pad;
  s.count = s.column < plane->width && s.start < width ? (plane->width - s.column + stride - 1) / stride : 0;
  if (s.count > width - s.start) s.count = width - s.start;
  return s;
}

// Splits a row into its even and odd columns.
TULLE_INLINE void split_pairs(const float* input, float* even, uint32_t even_count, float* odd, uint32_t odd_count) {
  uint32_t x = 0;
  for (const uint32_t both = odd_count < even_count ? odd_count : even_count; x + 4 <= both; x += 4) {
    const v4 a = v4_load(input + 2 * x), b = v4_load(input + 2 * x + 4);
    v4_store(even + x, wasm_i32x4_shuffle(a, b, 0, 2, 4, 6));
    v4_store(odd + x, wasm_i32x4_shuffle(a, b, 1, 3, 5, 7));
  }
  gather_rest(input, 2, even, x, even_count);
  gather_rest(input + 1, 2, odd, x, odd_count);
}

// What pad_row needs to know of a plane, computed once per call.
typedef struct {
  const tulle_plane* plane;
  phase_span first, second;  // phases 0 and 1, of strides 1 and 2
  bool pairs;                // stride 2, and each phase begins with column 0 or 1
} row_spans;

TULLE_INLINE row_spans spans_of(const tulle_plane* plane) {
  row_spans s = {.plane = plane};
  if (plane->stride == 1) s.first = span_of(plane, 0, 1);
  if (plane->stride == 2) {
    s.first = span_of(plane, 0, 2);
    s.second = span_of(plane, 1, 2);
    s.pairs = s.first.column + s.second.column == 1;
  }
  return s;
}

// Copies a row of the input into the phases of a row of the plane.
TULLE_INLINE void pad_row(const row_spans* s, const float* input, float* output) {
  const tulle_plane* plane = s->plane;
  if (plane->stride == 1) {
    gather_rest(input + s->first.column, 1, output + s->first.start, 0, s->first.count);
  } else if (s->pairs) {
    float *first = output + s->first.start, *second = output + plane->phase_width + s->second.start;
    if (s->first.column == 0) {
      split_pairs(input, first, s->first.count, second, s->second.count);
    } else {
      split_pairs(input, second, s->second.count, first, s->first.count);
    }
  } else {
    for (uint32_t phase = 0; phase < plane->stride; phase++, output += plane->phase_width) {
      const phase_span span = span_of(plane, phase, plane->stride);
      gather_rest(input + span.column, plane->stride, output + span.start, 0, span.count);
    }
  }
}

TULLE_INLINE bool inside(const tulle_plane* plane, int32_t row) { return row >= 0 && row < (int32_t)plane->height; }

// Copies rows of `count` contiguous floats, in `vectors` vectors of which the last overlaps the one before. A constant
// number of vectors makes a loop without branches.
TULLE_INLINE void copy_rows(const float* input, size_t width, float* output, size_t row_floats, uint32_t rows,
                            uint32_t count, uint32_t vectors) {
  for (; rows > 0; rows--, input += width, output += row_floats) {
    for (uint32_t i = 0; i + 1 < vectors; i++) v4_store(output + 4 * i, v4_load(input + 4 * i));
    v4_store(output + count - 4, v4_load(input + count - 4));
  }
}

// The same for rows that are split into `count` even and `count` odd columns.
TULLE_INLINE void split_rows(const float* input, size_t width, float* even, float* odd, size_t row_floats,
                             uint32_t rows, uint32_t count, uint32_t vectors) {
  for (; rows > 0; rows--, input += width, even += row_floats, odd += row_floats) {
    for (uint32_t i = 0; i < vectors; i++) {
      const uint32_t x = i + 1 < vectors ? 4 * i : count - 4;
      const v4 a = v4_load(input + 2 * x), b = v4_load(input + 2 * x + 4);
      v4_store(even + x, wasm_i32x4_shuffle(a, b, 0, 2, 4, 6));
      v4_store(odd + x, wasm_i32x4_shuffle(a, b, 1, 3, 5, 7));
    }
  }
}

// Calls f(..., vectors) with a constant for the widths of common maps: 7, 14, 28 (and what stride 2 makes of them).
#define EACH_WIDTH(vectors, f, ...) \
  switch (vectors) {                \
    case 1:                         \
      f(__VA_ARGS__, 1);            \
      break;                        \
    case 2:                         \
      f(__VA_ARGS__, 2);            \
      break;                        \
    case 4:                         \
      f(__VA_ARGS__, 4);            \
      break;                        \
    case 7:                         \
      f(__VA_ARGS__, 7);            \
      break;                        \
    default:                        \
      f(__VA_ARGS__, vectors);      \
  }

// Rows that all lie inside the input.
static void pad_rows(const tulle_plane* plane, const float* input, uint32_t rows, float* output) {
  const row_spans spans = spans_of(plane);
  const uint32_t width = plane->width, row_floats = plane->stride * plane->phase_width, count = spans.first.count;
  const uint32_t vectors = (count + 3) / 4;
  if (plane->stride == 1 && count >= 4) {
    input += spans.first.column;
    output += spans.first.start;
    EACH_WIDTH(vectors, copy_rows, input, width, output, row_floats, rows, count)
  } else if (spans.pairs && count >= 4 && count == spans.second.count) {
    float *first = output + spans.first.start, *second = output + plane->phase_width + spans.second.start;
    float *even = spans.first.column ? second : first, *odd = spans.first.column ? first : second;
    EACH_WIDTH(vectors, split_rows, input, width, even, odd, row_floats, rows, count)
  } else {
    for (; rows > 0; rows--, input += width, output += row_floats) pad_row(&spans, input, output);
  }
}

void tulle_f32_pad_chw(const tulle_plane* plane, const float* channel, int32_t row, uint32_t rows, float* output) {
  const uint32_t row_floats = plane->stride * plane->phase_width;
  const int32_t end = row + (int32_t)rows, height = (int32_t)plane->height;
  const int32_t from = row < 0 ? (end < 0 ? end : 0) : row, to = end > height ? (row > height ? row : height) : end;
  // [row, from) lies above the input, [to, end) below.
  float* below = output + (size_t)(to - row) * row_floats;
  if (from > row) tulle_f32_zero(output, (size_t)(from - row) * row_floats);
  if (to > from)
    pad_rows(plane, channel + (size_t)from * plane->width, (uint32_t)(to - from),
             output + (size_t)(from - row) * row_floats);
  if (end > to) tulle_f32_zero(below, (size_t)(end - to) * row_floats);
}

// Splits a row of `channels` interleaved values into `channels` rows, `width + 8` floats apart.
TULLE_INLINE void split_channels(const float* image, uint32_t width, uint32_t channels, float* line) {
  const size_t next = width + 8;
  uint32_t x = 0;
  if (channels == 3) {
    for (; x + 4 <= width; x += 4, image += 12) {
      const v4 a = v4_load(image), b = v4_load(image + 4), c = v4_load(image + 8);  // rgbr gbrg brgb
      v4_store(line + x, wasm_i32x4_shuffle(wasm_i32x4_shuffle(a, b, 0, 3, 6, 6), c, 0, 1, 2, 5));
      v4_store(line + next + x, wasm_i32x4_shuffle(wasm_i32x4_shuffle(a, b, 1, 4, 7, 7), c, 0, 1, 2, 6));
      v4_store(line + 2 * next + x, wasm_i32x4_shuffle(wasm_i32x4_shuffle(a, b, 2, 5, 5, 5), c, 0, 1, 4, 7));
    }
  }
  if (channels == 4) {
    for (; x + 4 <= width; x += 4, image += 16) {
      const v4 a = v4_load(image), b = v4_load(image + 4), c = v4_load(image + 8), d = v4_load(image + 12);
      const v4 ab = wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), cd = wasm_i32x4_shuffle(c, d, 0, 4, 1, 5);
      const v4 ab_high = wasm_i32x4_shuffle(a, b, 2, 6, 3, 7), cd_high = wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
      v4_store(line + x, wasm_i64x2_shuffle(ab, cd, 0, 2));
      v4_store(line + next + x, wasm_i64x2_shuffle(ab, cd, 1, 3));
      v4_store(line + 2 * next + x, wasm_i64x2_shuffle(ab_high, cd_high, 0, 2));
      v4_store(line + 3 * next + x, wasm_i64x2_shuffle(ab_high, cd_high, 1, 3));
    }
  }
  for (; x < width; x++) {
    for (uint32_t c = 0; c < channels; c++) line[c * next + x] = *image++;
  }
}

// The same for RGBA bytes, which are normalised; alpha is dropped.
TULLE_INLINE void split_rgba8(const uint8_t* image, uint32_t width, float scale, float shift, float* line) {
  const size_t next = width + 8;
  const v4 scales = v4_splat(scale), shifts = v4_splat(shift);
  uint32_t x = 0;
  for (; x + 4 <= width; x += 4, image += 16) {
    const v128_t pixels = wasm_v128_load(image), mask = wasm_i32x4_splat(0xff);
    const v128_t r = wasm_v128_and(pixels, mask);
    const v128_t g = wasm_v128_and(wasm_u32x4_shr(pixels, 8), mask);
    const v128_t b = wasm_v128_and(wasm_u32x4_shr(pixels, 16), mask);
    v4_store(line + x, wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(r), scales), shifts));
    v4_store(line + next + x, wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(g), scales), shifts));
    v4_store(line + 2 * next + x, wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_convert_i32x4(b), scales), shifts));
  }
  for (; x < width; x++, image += 4) {
    for (uint32_t c = 0; c < 3; c++) line[c * next + x] = (float)image[c] * scale + shift;
  }
}

TULLE_INLINE void pad_interleaved(const tulle_plane* plane, const float* image, const uint8_t* bytes, float scale,
                                  float shift, uint32_t channels, int32_t row, uint32_t rows, float* output,
                                  size_t plane_stride, float* line) {
  const row_spans spans = spans_of(plane);
  const uint32_t row_floats = plane->stride * plane->phase_width;
  for (uint32_t r = 0; r < rows; r++, row++) {
    if (inside(plane, row)) {
      const size_t pixel = (size_t)row * plane->width;
      if (bytes) {
        split_rgba8(bytes + 4 * pixel, plane->width, scale, shift, line);
      } else {
        split_channels(image + channels * pixel, plane->width, channels, line);
      }
    }
    for (uint32_t c = 0; c < channels; c++) {
      float* out = output + c * plane_stride + (size_t)r * row_floats;
      if (inside(plane, row)) {
        pad_row(&spans, line + c * (plane->width + 8), out);
      } else {
        tulle_f32_zero(out, row_floats);
      }
    }
  }
}

void tulle_f32_pad_hwc(const tulle_plane* plane, const float* image, uint32_t channels, int32_t row, uint32_t rows,
                       float* output, size_t plane_stride, float* line) {
  pad_interleaved(plane, image, NULL, 0, 0, channels, row, rows, output, plane_stride, line);
}

void tulle_f32_pad_rgba8(const tulle_plane* plane, const uint8_t* image, float scale, float shift, int32_t row,
                         uint32_t rows, float* output, size_t plane_stride, float* line) {
  pad_interleaved(plane, NULL, image, scale, shift, 3, row, rows, output, plane_stride, line);
}
