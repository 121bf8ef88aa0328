// Depthwise convolution of one channel, read from a zero-padded plane.
//
// A block is up to 4 rows x 8 columns of outputs in registers. The loop over the kernel's rows is a real loop:
// unrolled, LLVM moves every load of a block to its beginning and V8 then spills most of them (measured at half the
// speed). In it, a row's k weights stay in registers for all outputs. Stride 2 runs through the same code: the plane
// holds even and odd columns apart, so neighbouring outputs read neighbouring floats.
//
// Blocks go from right to left: a row whose width is not a multiple of 4 stores over the beginning of the next row,
// which is computed later.

#include "kernels/kernels.h"
#include "kernels/simd.h"

#define MAX_ROWS 4
#define MAX_VECTORS 2

typedef struct {
  const float* plane;
  const float* weights;
  float* output;
  uint32_t row_floats, phase_width, out_width;
  float bias, low, high;
} block_args;

TULLE_INLINE void block(const block_args* a, uint32_t x, const uint32_t k, const uint32_t stride, const uint32_t rows,
                        const uint32_t vectors) {
  v4 sum[MAX_ROWS][MAX_VECTORS];
  TULLE_UNROLL
  for (uint32_t o = 0; o < rows; o++) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[o][i] = v4_splat(a->bias);
  }
  const float *plane = a->plane + x, *weights = a->weights, *end = weights + k * k;
  const uint32_t row_floats = a->row_floats, phase_width = a->phase_width;
  do {
    v4 w[5];
    TULLE_UNROLL
    for (uint32_t kx = 0; kx < k; kx++) w[kx] = v4_load_splat(weights + kx);
    TULLE_UNROLL
    for (uint32_t o = 0; o < rows; o++) {
      const float* row = plane + o * stride * row_floats;
      TULLE_UNROLL
      for (uint32_t kx = 0; kx < k; kx++) {
        TULLE_UNROLL
        for (uint32_t i = 0; i < vectors; i++)
          sum[o][i] = v4_madd(w[kx], v4_load(row + kx % stride * phase_width + kx / stride + 4 * i), sum[o][i]);
      }
    }
    weights += k;
    plane += row_floats;
    // Without this the compiler knows that the loop runs k times, and unrolls it.
    __asm__("" : "+r"(weights));
  } while (weights != end);
  const v4 low = v4_splat(a->low), high = v4_splat(a->high);
  TULLE_UNROLL
  for (uint32_t o = 0; o < rows; o++) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++)
      v4_store(a->output + o * a->out_width + x + 4 * i, v4_clamp(sum[o][i], low, high));
  }
}

TULLE_INLINE void block_row(const block_args* a, const uint32_t k, const uint32_t stride, const uint32_t rows) {
  uint32_t vectors = (a->out_width + 3) / 4;
  if (vectors & 1) block(a, 4 * --vectors, k, stride, rows, 1);
  while (vectors) {
    vectors -= 2;
    block(a, 4 * vectors, k, stride, rows, 2);
  }
}

// k x k with equal strides and no dilation. A function for each number of rows, or V8 makes poor code of one huge one.
#define SQUARE(k, stride)                                                                                         \
  static __attribute__((noinline)) void rows4_##k##_##stride(const block_args* a) { block_row(a, k, stride, 4); } \
  static __attribute__((noinline)) void rows3_##k##_##stride(const block_args* a) { block_row(a, k, stride, 3); } \
  static __attribute__((noinline)) void rows2_##k##_##stride(const block_args* a) { block_row(a, k, stride, 2); } \
  static __attribute__((noinline)) void rows1_##k##_##stride(const block_args* a) { block_row(a, k, stride, 1); } \
  static void square_##k##_##stride(block_args a, uint32_t left) {                                                \
    for (; left >= 4; left -= 4) {                                                                                \
      rows4_##k##_##stride(&a);                                                                                   \
      a.plane += 4 * stride * a.row_floats;                                                                       \
      a.output += 4 * a.out_width;                                                                                \
    }                                                                                                             \
    if (left == 3) rows3_##k##_##stride(&a);                                                                      \
    if (left == 2) rows2_##k##_##stride(&a);                                                                      \
    if (left == 1) rows1_##k##_##stride(&a);                                                                      \
  }
SQUARE(3, 1)
SQUARE(3, 2)
SQUARE(5, 1)
SQUARE(5, 2)
#undef SQUARE

// Any kernel, stride and dilation, a vector at a time.
static void any(const tulle_depthwise* d, const block_args* a) {
  const v4 low = v4_splat(a->low), high = v4_splat(a->high);
  for (uint32_t y = 0; y < d->out_height; y++) {
    for (uint32_t x = 0; x < d->out_width; x += 4) {
      v4 sum = v4_splat(a->bias);
      const float* weight = a->weights;
      for (uint32_t ky = 0; ky < d->kernel_h; ky++) {
        const float* row = a->plane + (size_t)(y * d->stride_h + ky * d->dilation_h) * d->row_floats + x;
        for (uint32_t kx = 0; kx < d->kernel_w; kx++) {
          const uint32_t column = kx * d->dilation_w;
          const float* p = row + column % d->stride_w * d->phase_width + column / d->stride_w;
          sum = v4_madd(v4_load_splat(weight++), v4_load(p), sum);
        }
      }
      v4_store(a->output + (size_t)y * d->out_width + x, v4_clamp(sum, low, high));
    }
  }
}

void tulle_f32_depthwise(const tulle_depthwise* d, const float* plane, const float* weights, float bias, float* output,
                         const tulle_epilogue* epilogue, uint32_t channel) {
  const block_args a = {.plane = plane,
                        .weights = weights,
                        .output = output,
                        .row_floats = d->row_floats,
                        .phase_width = d->phase_width,
                        .out_width = d->out_width,
                        .bias = bias,
                        .low = epilogue->low,
                        .high = epilogue->high};
  const bool square_kernel =
      d->kernel_h == d->kernel_w && d->stride_h == d->stride_w && d->dilation_h == 1 && d->dilation_w == 1;
  if (square_kernel && d->kernel_h == 3 && d->stride_h == 1) {
    square_3_1(a, d->out_height);
  } else if (square_kernel && d->kernel_h == 3 && d->stride_h == 2) {
    square_3_2(a, d->out_height);
  } else if (square_kernel && d->kernel_h == 5 && d->stride_h == 1) {
    square_5_1(a, d->out_height);
  } else if (square_kernel && d->kernel_h == 5 && d->stride_h == 2) {
    square_5_2(a, d->out_height);
  } else {
    any(d, &a);
  }
  if (epilogue->kind != TULLE_ACT_NONE)
    tulle_f32_activate(output, (size_t)d->out_height * d->out_width, epilogue, channel);
}
