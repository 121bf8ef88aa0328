// Sparse 1x1 convolution over CHW: sparse matrix (weights) times dense matrix (channels x pixels).
//
// A tile of up to 52 pixels stays in registers while the nonzeros of one output channel stream past: each brings its
// weight and the place of its input channel side by side in eight bytes, so one nonzero costs two scalar loads, a
// splat and one load and multiply-add a vector. All output channels run over the tile before the next one, which keeps
// the tile's inputs in L1.

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

TULLE_INLINE void spmm_tile(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel,
                            const uint32_t vectors) {
  const char* input = (const char*)(args->input + pixel);
  const v4 low = v4_splat(args->epilogue.low), high = v4_splat(args->epilogue.high);
  const tulle_nonzero* next = args->nonzeros + args->row_start[row];
  for (; row < row_end; row++) {
    const tulle_nonzero* end = args->nonzeros + args->row_start[row + 1];
    v4 sum[TULLE_SPMM_MAX_VECTORS];
    const v4 bias = v4_load_splat(args->bias + row);
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = bias;
    float* output = args->output + row * args->output_stride + pixel;
    if (args->accumulate) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_load(output + 4 * i);
    } else if (args->residual) {
      const float* residual = args->residual + row * args->residual_stride + pixel;
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = wasm_f32x4_add(sum[i], v4_load(residual + 4 * i));
    }
    for (; next != end; next++) {
      const v4 weight = v4_load_splat(&next->value);
      const float* channel = (const float*)(input + next->offset);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_madd(weight, v4_load(channel + 4 * i), sum[i]);
    }
    if (!args->finish) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) v4_store(output + 4 * i, sum[i]);
      continue;
    }
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_clamp(sum[i], low, high);
    if (args->epilogue.kind == TULLE_ACT_HARD_SWISH) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_hard_swish(sum[i]);
    }
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) v4_store(output + 4 * i, sum[i]);
    if (!tulle_in_store(args->epilogue.kind)) tulle_f32_activate(output, 4 * vectors, &args->epilogue, row);
  }
}

// A function for each width: V8 compiles only those that a model uses, and sooner.
#define TILE(vectors)                                                                                          \
  __attribute__((noinline)) static void spmm_##vectors(const tulle_spmm* args, uint32_t row, uint32_t row_end, \
                                                       size_t pixel) {                                         \
    spmm_tile(args, row, row_end, pixel, vectors);                                                             \
  }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)
TILE(13)
#undef TILE

void tulle_f32_spmm(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel, uint32_t vectors) {
  static void (*const tiles[])(const tulle_spmm*, uint32_t, uint32_t, size_t) = {
      spmm_1, spmm_2, spmm_3, spmm_4, spmm_5, spmm_6, spmm_7, spmm_8, spmm_9, spmm_10, spmm_11, spmm_12, spmm_13};
  tiles[vectors - 1](args, row, row_end, pixel);
}
