// Depthwise convolution of one channel, read from a zero-padded plane.
//
// A tile is up to 8 outputs one below the other, a vector each, with their sums in registers. For each column of the
// kernel its weights stay in registers too, while the rows of the plane pass by: a vector of the plane is loaded once
// and used for every output it has a part in. A 5x5 tile of 7 rows loads 16 vectors for 35 multiply-adds. Stride 2 runs
// through the same code: the plane holds even and odd columns apart, so neighbouring outputs read neighbouring floats.
//
// Tiles go from right to left: a row whose width is not a multiple of 4 stores over the beginning of the next row,
// which is computed later.

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

// As many sums as hide the latency of a multiply-add; with 5 weights and a vector of the plane they make 14 registers.
#define MAX_ROWS 8

// Never called. Values that might be handed to it at some point must exist at that point: see FENCE.
__attribute__((noinline, cold, noreturn)) static void use(v4 a, v4 b, v4 c, v4 d, v4 e, v4 f, v4 g, v4 h) {
  volatile v4 sink = a;
  sink = b;
  sink = c;
  sink = d;
  sink = e;
  sink = f;
  sink = g;
  sink = h;
  (void)sink;
  __builtin_trap();
}

// Keeps multiply-adds on this side of the loads that follow. LLVM would sink all of them to where their sum is stored,
// and keep every vector of the tile alive until then, in more registers than there are. (An empty asm would do, but
// LLVM 19 takes no vectors there.) V8 sees that `nonzero` is the same each time, and tests it once.
#define FENCE(nonzero, sum, rows)                                                                           \
  do {                                                                                                      \
    __asm__ volatile("" : "+r"(nonzero) : : "memory");                                                      \
    if (__builtin_expect(nonzero == 0, 0))                                                                  \
      use(sum[0], sum[1 % rows], sum[2 % rows], sum[3 % rows], sum[4 % rows], sum[5 % rows], sum[6 % rows], \
          sum[7 % rows]);                                                                                   \
  } while (0)

typedef struct {
  const float* plane;
  const float* weights;
  float* output;
  uint32_t row_floats, phase_width, out_width;
  float bias, low, high;
  bool hard_swish;
} strip_args;

TULLE_INLINE void tiles(const strip_args* a, const uint32_t k, const uint32_t stride, const uint32_t rows) {
  const uint32_t out_width = a->out_width, row_floats = a->row_floats, phase_width = a->phase_width;
  uint32_t nonzero = row_floats;
  for (uint32_t x = (out_width + 3) / 4 * 4; x > 0;) {
    x -= 4;
    v4 sum[MAX_ROWS];
    TULLE_UNROLL
    for (uint32_t o = 0; o < rows; o++) sum[o] = v4_load_splat(&a->bias);
    const float* weights = a->weights;
    // Unrolled it is no faster.
#pragma clang loop unroll(disable)
    for (uint32_t kx = 0; kx < k; kx++, weights++) {
      const float* row = a->plane + x + kx % stride * phase_width + kx / stride;
      v4 w[5];
      TULLE_UNROLL
      for (uint32_t ky = 0; ky < k; ky++) w[ky] = v4_load_splat(weights + ky * k);
      TULLE_UNROLL
      for (uint32_t r = 0; r < (rows - 1) * stride + k; r++, row += row_floats) {
        const v4 v = v4_load(row);
        TULLE_UNROLL
        for (uint32_t o = 0; o < rows; o++)
          if (r >= o * stride && r < o * stride + k) sum[o] = v4_madd(w[r - o * stride], v, sum[o]);
        FENCE(nonzero, sum, rows);
      }
    }
    const v4 low = v4_load_splat(&a->low), high = v4_load_splat(&a->high);
    float* output = a->output + x;
    TULLE_UNROLL
    for (uint32_t o = 0; o < rows; o++) sum[o] = v4_clamp(sum[o], low, high);
    if (a->hard_swish) {
      TULLE_UNROLL
      for (uint32_t o = 0; o < rows; o++) sum[o] = v4_hard_swish(sum[o]);
    }
    TULLE_UNROLL
    for (uint32_t o = 0; o < rows; o++, output += out_width) v4_store(output, sum[o]);
  }
}

// A function for each number of rows: V8 makes poor code of one huge one. A strip is cut into groups of nearly equal
// height.
#define TILES(k, stride, rows)                                                               \
  static __attribute__((noinline)) void tiles_##k##_##stride##_##rows(const strip_args* a) { \
    tiles(a, k, stride, rows);                                                               \
  }
#define STRIP(k, stride)                                                                                         \
  TILES(k, stride, 1)                                                                                            \
  TILES(k, stride, 2)                                                                                            \
  TILES(k, stride, 3)                                                                                            \
  TILES(k, stride, 4)                                                                                            \
  TILES(k, stride, 5)                                                                                            \
  TILES(k, stride, 6)                                                                                            \
  TILES(k, stride, 7)                                                                                            \
  TILES(k, stride, 8)                                                                                            \
  static void strip_##k##_##stride(strip_args a, uint32_t height) {                                              \
    static void (*const kernels[MAX_ROWS])(const strip_args*) = {                                                \
        tiles_##k##_##stride##_1, tiles_##k##_##stride##_2, tiles_##k##_##stride##_3, tiles_##k##_##stride##_4,  \
        tiles_##k##_##stride##_5, tiles_##k##_##stride##_6, tiles_##k##_##stride##_7, tiles_##k##_##stride##_8}; \
    for (uint32_t groups = (height + MAX_ROWS - 1) / MAX_ROWS; groups > 0; groups--) {                           \
      const uint32_t rows = (height + groups - 1) / groups;                                                      \
      kernels[rows - 1](&a);                                                                                     \
      height -= rows;                                                                                            \
      a.plane += rows * stride * a.row_floats;                                                                   \
      a.output += rows * a.out_width;                                                                            \
    }                                                                                                            \
  }
STRIP(3, 1)
STRIP(3, 2)
STRIP(5, 1)
STRIP(5, 2)
#undef STRIP
#undef TILES

// Any kernel, stride and dilation, a vector at a time.
static void any(const tulle_depthwise* d, const strip_args* a) {
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
      sum = v4_clamp(sum, low, high);
      v4_store(a->output + (size_t)y * d->out_width + x, a->hard_swish ? v4_hard_swish(sum) : sum);
    }
  }
}

void tulle_f32_depthwise(const tulle_depthwise* d, const float* plane, const float* weights, float bias, float* output,
                         const tulle_epilogue* epilogue, uint32_t channel) {
  const strip_args a = {.plane = plane,
                        .weights = weights,
                        .output = output,
                        .row_floats = d->row_floats,
                        .phase_width = d->phase_width,
                        .out_width = d->out_width,
                        .bias = bias,
                        .low = epilogue->low,
                        .high = epilogue->high,
                        .hard_swish = epilogue->kind == TULLE_ACT_HARD_SWISH};
  const bool square_kernel =
      d->kernel_h == d->kernel_w && d->stride_h == d->stride_w && d->dilation_h == 1 && d->dilation_w == 1;
  if (square_kernel && d->kernel_h == 3 && d->stride_h == 1) {
    strip_3_1(a, d->out_height);
  } else if (square_kernel && d->kernel_h == 3 && d->stride_h == 2) {
    strip_3_2(a, d->out_height);
  } else if (square_kernel && d->kernel_h == 5 && d->stride_h == 1) {
    strip_5_1(a, d->out_height);
  } else if (square_kernel && d->kernel_h == 5 && d->stride_h == 2) {
    strip_5_2(a, d->out_height);
  } else {
    any(d, &a);
  }
  if (!tulle_in_store(epilogue->kind))
    tulle_f32_activate(output, (size_t)d->out_height * d->out_width, epilogue, channel);
}
