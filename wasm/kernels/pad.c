// Zero-padded copies of input rows, the form that k x k and depthwise kernels read (see tulle_plane).
//
// The copy costs a load and a store for every k * k multiply-adds and buys kernels without a single border case.

#include "kernels/kernels.h"
#include "kernels/simd.h"

// Zeros at [begin, end), rounded up to whole vectors.
TULLE_INLINE void zero(float* p, uint32_t begin, uint32_t end) {
  for (uint32_t x = begin; x < end; x += 4) v4_store(p + x, v4_splat(0.0f));
}

// Every `stride`th float from `input` on, `count` of them, to `output` with whole-vector stores.
TULLE_INLINE void gather(const float* input, uint32_t stride, float* output, uint32_t count) {
  if (stride == 1) {
    for (uint32_t x = 0; x < count; x += 4) v4_store(output + x, v4_load(input + x));
  } else if (stride == 2) {
    for (uint32_t x = 0; x < count; x += 4)
      v4_store(output + x, wasm_i32x4_shuffle(v4_load(input + 2 * x), v4_load(input + 2 * x + 4), 0, 2, 4, 6));
  } else {
    for (uint32_t x = 0; x < count; x++) output[x] = input[x * stride];
  }
}

// One row of `width` floats, split into its phases, between its zeros.
TULLE_INLINE void pad_row(const tulle_plane* plane, const float* input, float* output) {
  const uint32_t stride = plane->stride, width = plane->width, pad = plane->pad_left;
  for (uint32_t phase = 0; phase < stride; phase++, output += plane->phase_width) {
    // The first column of this phase at or right of the input's first one, and the input column it holds.
    const uint32_t start = pad > phase ? (pad - phase + stride - 1) / stride : 0;
    const uint32_t column = start * stride + phase - pad;
    uint32_t count = column < width ? (width - column + stride - 1) / stride : 0;
    if (start >= plane->phase_width) {
      count = 0;
    } else if (count > plane->phase_width - start) {
      count = plane->phase_width - start;
    }
    zero(output, 0, start < plane->phase_width ? start : plane->phase_width);
    gather(input + column, stride, output + start, count);
    zero(output, start + count, plane->phase_width);
  }
}

TULLE_INLINE bool inside(const tulle_plane* plane, int32_t row) { return row >= 0 && row < (int32_t)plane->height; }

void tulle_f32_pad_chw(const tulle_plane* plane, const float* channel, int32_t row, uint32_t rows, float* output) {
  const uint32_t row_floats = plane->stride * plane->phase_width;
  for (uint32_t r = 0; r < rows; r++, row++, output += row_floats) {
    if (inside(plane, row)) {
      pad_row(plane, channel + (size_t)row * plane->width, output);
    } else {
      zero(output, 0, row_floats);
    }
  }
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
  for (; x < width; x++) {
    for (uint32_t c = 0; c < channels; c++) line[c * next + x] = *image++;
  }
}

// The same of RGBA bytes, alpha dropped, normalised.
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
        pad_row(plane, line + c * (plane->width + 8), out);
      } else {
        zero(out, 0, row_floats);
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
