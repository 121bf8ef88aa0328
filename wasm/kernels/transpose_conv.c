// Transposed convolution, one output row at a time.
//
// Outputs in columns that are equal modulo the stride use the same weights on neighbouring inputs. So each such phase
// is accumulated as a separate row, and the phases are interleaved at the end.

#include "kernels/kernels.h"
#include "kernels/simd.h"

// sum[x] += weight * input[x], `count` floats; up to 3 more of sum are overwritten.
TULLE_INLINE void accumulate(float* sum, const float* input, float weight, uint32_t count) {
  const v4 w = v4_splat(weight);
  uint32_t x = 0;
  for (; x + 4 <= count; x += 4) v4_store(sum + x, v4_madd(w, v4_load(input + x), v4_load(sum + x)));
  if (x < count) {
    const v4 y = v4_madd(w, v4_load(input + x), v4_load(sum + x));
    v4_store_first(sum + x, y, count - x);
  }
}

void tulle_f32_transpose_conv_row(const tulle_transpose_conv* t, const float* input, const float* weights, float bias,
                                  uint32_t y, float* output, float* phases) {
  const uint32_t stride = t->stride_w, columns = (t->out_width + stride - 1) / stride,
                 phase_floats = t->out_width / stride + 8;
  for (uint32_t p = 0; p < stride && p < t->out_width; p++)
    for (uint32_t x = 0; x < columns; x += 4) v4_store(phases + p * phase_floats + x, v4_splat(bias));
  for (uint32_t ky = 0; ky < t->kernel_h; ky++) {
    // Output row y gets input row i where i * stride_h + ky - pad_top = y.
    const int64_t place = (int64_t)y + t->pad_top - ky;
    if (place < 0 || place % t->stride_h || place / t->stride_h >= t->height) continue;
    const float* row = input + (size_t)(place / t->stride_h) * t->width;
    for (uint32_t kx = 0; kx < t->kernel_w; kx++) {
      // Input column j goes to output column j * stride + kx - pad_left: in phase p, at index j + shift.
      const int64_t target = (int64_t)kx - t->pad_left;
      const uint32_t phase = (uint32_t)(((target % stride) + stride) % stride);
      const int64_t shift = (target - phase) / stride;
      const uint32_t in_phase = phase < t->out_width ? (t->out_width - phase + stride - 1) / stride : 0;
      const int64_t first = shift < 0 ? -shift : 0;
      int64_t end = (int64_t)in_phase - shift;
      if (end > (int64_t)t->width) end = t->width;
      if (first >= end) continue;
      float* sum = phases + phase * phase_floats + first + shift;
      const float* weight = weights + (size_t)(ky * t->kernel_w + kx) * t->in_channels;
      for (uint32_t c = 0; c < t->in_channels; c++)
        accumulate(sum, row + c * t->in_stride + first, weight[c], (uint32_t)(end - first));
    }
  }
  if (stride == 1) {
    for (uint32_t x = 0; x < t->out_width; x++) output[x] = phases[x];
    return;
  }
  for (uint32_t p = 0; p < stride && p < t->out_width; p++)
    for (uint32_t x = p, i = 0; x < t->out_width; x += stride, i++) output[x] = phases[p * phase_floats + i];
}

void tulle_f32_interleave(const float* rows, size_t row_floats, uint32_t kernel_w, uint32_t width, float* output) {
  uint32_t x = 0;
  if (kernel_w == 2) {
    for (; x + 4 <= width; x += 4, output += 8) {
      const v4 a = v4_load(rows + x), b = v4_load(rows + row_floats + x);
      v4_store(output, wasm_i32x4_shuffle(a, b, 0, 4, 1, 5));
      v4_store(output + 4, wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
    }
  }
  for (; x < width; x++)
    for (uint32_t kx = 0; kx < kernel_w; kx++) *output++ = rows[kx * row_floats + x];
}
