// Depthwise convolution without a window, and with any kernel, stride and dilation, from a zero-padded plane.

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

// Accumulators that hide the latency of a multiply-add.
#define TILE 8

// The arguments of a tile: `count` vectors of outputs, `in_step` and `out_step` floats from one to the next, either
// below each other or side by side.
typedef struct {
  const tulle_depthwise_plane* plane;
  const float* weights;
  size_t in_step, out_step;
  float bias, low, high;
  bool hard_swish;
} tile_args;

TULLE_INLINE void tile(const tile_args* args, const float* input, float* output, const uint32_t count) {
  const tulle_depthwise_plane* d = args->plane;
  v4 sum[TILE];
  TULLE_UNROLL
  for (uint32_t i = 0; i < count; i++) sum[i] = v4_load_splat(&args->bias);
  uint32_t phase = 0, column = 0;  // column = (kx * dilation) / stride, phase the remainder
  for (uint32_t kx = 0; kx < d->kernel_w; kx++) {
    const float *p = input + (size_t)phase * d->phase_width + column, *weight = args->weights + kx;
    for (uint32_t ky = 0; ky < d->kernel_h; ky++, weight += d->kernel_w, p += d->dilation_h * d->row_floats) {
      const v4 w = v4_load_splat(weight);
      const float* x = p;
      TULLE_UNROLL
      for (uint32_t i = 0; i < count; i++, x += args->in_step) sum[i] = v4_madd(w, v4_load(x), sum[i]);
    }
    for (phase += d->dilation_w; phase >= d->stride_w; phase -= d->stride_w) column++;
  }
  const v4 low = v4_load_splat(&args->low), high = v4_load_splat(&args->high);
  TULLE_UNROLL
  for (uint32_t i = 0; i < count; i++, output += args->out_step) {
    const v4 y = v4_clamp(sum[i], low, high);
    v4_store(output, args->hard_swish ? v4_hard_swish(y) : y);
  }
}

__attribute__((noinline)) static void tiles(const tile_args* args, const float* input, float* output, uint32_t count) {
  for (; count >= TILE; count -= TILE, input += TILE * args->in_step, output += TILE * args->out_step)
    tile(args, input, output, TILE);
  if (count & 4) {
    tile(args, input, output, 4);
    input += 4 * args->in_step;
    output += 4 * args->out_step;
  }
  for (count &= 3; count > 0; count--, input += args->in_step, output += args->out_step) tile(args, input, output, 1);
}

void tulle_f32_depthwise_plane(const tulle_depthwise_plane* d, const float* plane, const float* weights, float bias,
                               float* output, const tulle_epilogue* epilogue, uint32_t channel) {
  const uint32_t height = d->out_height, width = d->out_width;
  const size_t row_step = (size_t)d->stride_h * d->row_floats;
  tile_args args = {.plane = d,
                    .weights = weights,
                    .bias = bias,
                    .low = epilogue->low,
                    .high = epilogue->high,
                    .hard_swish = epilogue->kind == TULLE_ACT_HARD_SWISH};
  if (height >= TILE || height >= width / 4) {
    args.in_step = row_step;
    args.out_step = width;
    // From right to left: a row's last vector may reach into the next row, which is then overwritten.
    for (uint32_t vector = (width + 3) / 4; vector-- > 0;)
      tiles(&args, plane + 4 * vector, output + 4 * vector, height);
  } else {
    args.in_step = args.out_step = 4;
    for (uint32_t y = 0; y < height; y++)
      tiles(&args, plane + y * row_step, output + (size_t)y * width, (width + 3) / 4);
  }
  if (!tulle_in_store(epilogue->kind)) tulle_f32_activate(output, (size_t)height * width, epilogue, channel);
}
