// Dense convolution: 6 output channels (4 without fused multiply-add) x up to 8 pixels in registers, one pass over the
// taps.
//
// A tap costs two loads of pixels and six splats of weights for twelve multiply-adds. Twelve accumulators, two pixel
// vectors and a weight are the 15 registers that V8 offers on x86; 4 x 12 would need 16, and spills. Offsets let the
// same kernel serve 1x1 convolutions (a tap is an input channel) and k x k ones (a tap is a channel, row and column of
// padded planes).

#include <string.h>

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

#define MOST_VECTORS 8

// Where vector i of a tile begins in the input: 8 pixels lie together.
#define PIXELS(p, i) ((p) + (i) / 2 * step + 4 * ((i) % 2))

// `rows` are computed, args->rows of them exist.
TULLE_INLINE void gemm_tile(const tulle_gemm* args, const float* input, float* output, const float* residual,
                            uint32_t count, bool exact, const uint32_t rows, const uint32_t vectors) {
  v4 sum[TULLE_GEMM_ROWS][MOST_VECTORS];
  const size_t step = args->input_step;
  TULLE_UNROLL
  for (uint32_t r = 0; r < rows; r++) {
    const v4 bias = v4_load_splat(args->bias + r);
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[r][i] = bias;
    if (r >= args->rows) continue;
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
    if (vectors > TULLE_GEMM_MAX_VECTORS) {  // few rows: their weights stay, and the pixels pass
      v4 w[2];
      TULLE_UNROLL
      for (uint32_t r = 0; r < rows; r++) w[r] = v4_load_splat(weight + r);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) {
        const v4 x = v4_load(PIXELS(pixels, i));
        TULLE_UNROLL
        for (uint32_t r = 0; r < rows; r++) sum[r][i] = v4_madd(w[r], x, sum[r][i]);
      }
      continue;
    }
    v4 x[TULLE_GEMM_MAX_VECTORS];
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) x[i] = v4_load(PIXELS(pixels, i));
    TULLE_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
      const v4 w = v4_load_splat(weight + r);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_madd(w, x[i], sum[r][i]);
    }
  }
  if (args->finish && args->epilogue->kind == TULLE_ACT_HARD_SWISH) {
    TULLE_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_hard_swish(sum[r][i]);
    }
  } else if (args->finish && args->epilogue->kind == TULLE_ACT_PRELU) {
    const float* slopes = args->epilogue->prelu + args->channel;
    TULLE_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
      if (r >= args->rows) break;
      const v4 slope = v4_load_splat(slopes + r);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_leaky(sum[r][i], slope);
    }
  } else if (args->finish) {
    const v4 low = v4_splat(args->epilogue->low), high = v4_splat(args->epilogue->high);
    TULLE_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_clamp(sum[r][i], low, high);
    }
  }
  TULLE_UNROLL
  for (uint32_t r = 0; r < rows; r++) {
    if (r >= args->rows) break;
    float* out = output + r * args->output_stride;
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) {
      if (exact && i == vectors - 1) {
        v4_store_first(out + 4 * i, sum[r][i], count - 4 * i);
      } else {
        v4_store(out + 4 * i, sum[r][i]);
      }
    }
  }
}

// One or two rows: 8 accumulators too, so that the multiply-adds do not wait for each other.
#define FEW_ROWS(rows)                                                                                         \
  static __attribute__((noinline)) void gemm_##rows(const tulle_gemm* args, const float* input, float* output, \
                                                    const float* residual, uint32_t count, bool exact) {       \
    const uint32_t wide = 8 / rows;                                                                            \
    for (; count >= 4 * wide; count -= 4 * wide) {                                                             \
      gemm_tile(args, input, output, residual, 4 * wide, false, rows, wide);                                   \
      input += wide / 2 * args->input_step;                                                                    \
      output += 4 * wide;                                                                                      \
      residual = residual ? residual + 4 * wide : NULL;                                                        \
    }                                                                                                          \
    for (; count > 4; count -= 8, input += args->input_step, output += 8) {                                    \
      gemm_tile(args, input, output, residual, count, exact&& count < 8, rows, 2);                             \
      if (count <= 8) return;                                                                                  \
      residual = residual ? residual + 8 : NULL;                                                               \
    }                                                                                                          \
    if (count) gemm_tile(args, input, output, residual, count, exact, rows, 1);                                \
  }
FEW_ROWS(1)
FEW_ROWS(2)
#undef FEW_ROWS

// All pixels, 8 at a time; a remainder of one to four takes a narrower tile.
#define ROWS(rows)                                                                                                     \
  static __attribute__((noinline)) void gemm_##rows(const tulle_gemm* args, const float* input, float* output,         \
                                                    const float* residual, uint32_t count, bool exact) {               \
    for (; count > 4; count -= 8, input += args->input_step, output += 8, residual = residual ? residual + 8 : NULL) { \
      gemm_tile(args, input, output, residual, count, exact&& count < 8, rows, 2);                                     \
      if (count <= 8) return;                                                                                          \
    }                                                                                                                  \
    gemm_tile(args, input, output, residual, count, exact, rows, 1);                                                   \
  }
ROWS(4)
#if TULLE_GEMM_ROWS == 6
ROWS(6)
#endif
#undef ROWS

void tulle_f32_gemm(const tulle_gemm* args, const float* input, float* output, const float* residual, uint32_t count,
                    bool exact) {
  static void (*const blocks[])(const tulle_gemm*, const float*, float*, const float*, uint32_t, bool) = {
      gemm_1, gemm_2, gemm_4, gemm_4,
#if TULLE_GEMM_ROWS == 6
      gemm_6, gemm_6,
#endif
  };
  blocks[args->rows - 1](args, input, output, residual, count, exact);
}

void tulle_f32_pack_panel(const float* input, size_t stride, uint32_t channels, float* panel) {
  for (uint32_t c = 0; c < channels; c++, input += stride, panel += 8) memcpy(panel, input, 8 * sizeof *panel);
}
