// Dense convolution: 4 output channels x up to 12 pixels in registers, one pass over the taps.
//
// A tap costs three loads of pixels and four splats of weights for twelve multiply-adds. Offsets make the same kernel serve
// 1x1 convolutions (a tap is an input channel) and k x k ones (a tap is a channel, row and column of padded planes).

#include "kernels/kernels.h"
#include "kernels/simd.h"

TULLE_INLINE void gemm_tile(const tulle_gemm* args, const float* input, float* output, const float* residual, uint32_t count,
                            bool exact, const uint32_t vectors) {
  v4 sum[TULLE_GEMM_ROWS][TULLE_GEMM_MAX_VECTORS];
  const uint32_t rows = args->rows;
  TULLE_UNROLL
  for (uint32_t r = 0; r < TULLE_GEMM_ROWS; r++) {
    const v4 bias = v4_load_splat(args->bias + r);
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[r][i] = bias;
    if (r >= rows) continue;
    if (args->accumulate) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_load(output + r * args->output_stride + 4 * i);
    } else if (residual) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++)
        sum[r][i] = wasm_f32x4_add(sum[r][i], v4_load(residual + r * args->residual_stride + 4 * i));
    }
  }
  const float* weight = args->weights;
  const int32_t* offset = args->offsets;
  for (const int32_t* end = offset + args->taps; offset != end; offset++, weight += TULLE_GEMM_ROWS) {
    const float* pixels = (const float*)((const char*)input + *offset);
    v4 x[TULLE_GEMM_MAX_VECTORS];
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) x[i] = v4_load(pixels + 4 * i);
    TULLE_UNROLL
    for (uint32_t r = 0; r < TULLE_GEMM_ROWS; r++) {
      const v4 w = v4_load_splat(weight + r);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_madd(w, x[i], sum[r][i]);
    }
  }
  if (args->finish) {
    const v4 low = v4_splat(args->epilogue->low), high = v4_splat(args->epilogue->high);
    TULLE_UNROLL
    for (uint32_t r = 0; r < TULLE_GEMM_ROWS; r++) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_clamp(sum[r][i], low, high);
    }
  }
  TULLE_UNROLL
  for (uint32_t r = 0; r < TULLE_GEMM_ROWS; r++) {
    if (r >= rows) break;
    float* out = output + r * args->output_stride;
    TULLE_UNROLL
    for (uint32_t i = 0; i + 1 < vectors; i++) v4_store(out + 4 * i, sum[r][i]);
    float* last = out + 4 * (vectors - 1);
    if (exact) {
      v4_store_first(last, sum[r][vectors - 1], count - 4 * (vectors - 1));
    } else {
      v4_store(last, sum[r][vectors - 1]);
    }
  }
}

void tulle_f32_gemm_4(const tulle_gemm* args, const float* input, float* output, const float* residual, uint32_t count,
                      bool exact) {
  if (count > 8) {
    gemm_tile(args, input, output, residual, count, exact, 3);
  } else if (count > 4) {
    gemm_tile(args, input, output, residual, count, exact, 2);
  } else {
    gemm_tile(args, input, output, residual, count, exact, 1);
  }
}
