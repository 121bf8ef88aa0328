// Depthwise convolution without a window, and with any kernel, stride and dilation, from a zero-padded plane, a vector
// at a time.

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

void tulle_f32_scale(const float* x, float weight, float bias, float* y, size_t n, const tulle_epilogue* epilogue,
                     uint32_t channel) {
  const v4 weights = v4_splat(weight), biases = v4_splat(bias);
  if (epilogue->kind == TULLE_ACT_PRELU) {
    const v4 slope = v4_load_splat(epilogue->prelu + channel);
    for (size_t i = 0; i < n; i += 4) v4_store(y + i, v4_leaky(v4_madd(weights, v4_load(x + i), biases), slope));
    return;
  }
  const v4 low = v4_splat(epilogue->low), high = v4_splat(epilogue->high);
  for (size_t i = 0; i < n; i += 4) v4_store(y + i, v4_clamp(v4_madd(weights, v4_load(x + i), biases), low, high));
  if (epilogue->kind != TULLE_ACT_NONE) tulle_f32_activate(y, n, epilogue, channel);
}

void tulle_f32_depthwise_plane(const tulle_depthwise_plane* d, const float* plane, const float* weights, float bias,
                               float* output, const tulle_epilogue* epilogue, uint32_t channel) {
  const v4 low = v4_splat(epilogue->low), high = v4_splat(epilogue->high);
  const bool hard_swish = epilogue->kind == TULLE_ACT_HARD_SWISH;
  for (uint32_t y = 0; y < d->out_height; y++) {
    for (uint32_t x = 0; x < d->out_width; x += 4) {
      v4 sum = v4_splat(bias);
      const float* weight = weights;
      for (uint32_t ky = 0; ky < d->kernel_h; ky++) {
        const float* row = plane + (size_t)(y * d->stride_h + ky * d->dilation_h) * d->row_floats + x;
        for (uint32_t kx = 0; kx < d->kernel_w; kx++) {
          const uint32_t column = kx * d->dilation_w;
          const float* p = row + column % d->stride_w * d->phase_width + column / d->stride_w;
          sum = v4_madd(v4_load_splat(weight++), v4_load(p), sum);
        }
      }
      sum = v4_clamp(sum, low, high);
      v4_store(output + (size_t)y * d->out_width + x, hard_swish ? v4_hard_swish(sum) : sum);
    }
  }
  if (!tulle_in_store(epilogue->kind))
    tulle_f32_activate(output, (size_t)d->out_height * d->out_width, epilogue, channel);
}
