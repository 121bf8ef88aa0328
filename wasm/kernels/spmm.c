// Sparse 1x1 convolution over CHW: sparse matrix (weights) times dense matrix (channels x pixels).
//
// The accumulators of up to 52 pixels stay in registers while the nonzeros of one output channel stream past. A nonzero
// is eight bytes, its weight and the offset of its input channel, so it costs two scalar loads, a splat, and one load
// and multiply-add per vector. All output channels run over a tile before the next tile starts, which keeps its inputs
// in L1.
//
// The kernel is bound by those loads. Two output channels with nonzeros in the same columns share them: in a tile of up
// to 24 pixels x 2 channels each input vector is loaded once for both.

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

// Initialises the accumulators of an output channel.
TULLE_INLINE void start(const tulle_spmm* args, uint32_t channel, const float* output, size_t pixel, v4* sum,
                        const uint32_t vectors) {
  const v4 bias = v4_load_splat(args->bias + channel);
  TULLE_UNROLL
  for (uint32_t i = 0; i < vectors; i++) sum[i] = bias;
  if (args->accumulate) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_load(output + 4 * i);
  } else if (args->residual) {
    const float* residual = args->residual + channel * args->residual_stride + pixel;
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = wasm_f32x4_add(sum[i], v4_load(residual + 4 * i));
  }
}

// Stores the accumulators, with the epilogue if they are complete.
TULLE_INLINE void store(const tulle_spmm* args, uint32_t channel, float* output, v4 low, v4 high, v4* sum,
                        const uint32_t vectors) {
  if (!args->finish) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) v4_store(output + 4 * i, sum[i]);
    return;
  }
  TULLE_UNROLL
  for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_clamp(sum[i], low, high);
  if (args->epilogue.kind == TULLE_ACT_HARD_SWISH) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_hard_swish(sum[i]);
  }
  TULLE_UNROLL
  for (uint32_t i = 0; i < vectors; i++) v4_store(output + 4 * i, sum[i]);
  if (!tulle_in_store(args->epilogue.kind)) tulle_f32_activate(output, 4 * vectors, &args->epilogue, channel);
}

TULLE_INLINE void spmm_tile(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel,
                            const uint32_t vectors) {
  const char* input = (const char*)(args->input + pixel);
  const v4 low = v4_splat(args->epilogue.low), high = v4_splat(args->epilogue.high);
  const tulle_nonzero* next = args->nonzeros + args->row_start[row];
  for (; row < row_end; row++) {
    const tulle_nonzero* end = args->nonzeros + args->row_start[row + 1];
    const uint32_t channel = args->rows[row];
    float* output = args->output + channel * args->output_stride + pixel;
    v4 sum[TULLE_SPMM_MAX_VECTORS];
    start(args, channel, output, pixel, sum, vectors);
    for (; next != end; next++) {
      const v4 weight = v4_load_splat(&next->value);
      const float* x = (const float*)(input + next->offset);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_madd(weight, v4_load(x + 4 * i), sum[i]);
    }
    store(args, channel, output, low, high, sum, vectors);
  }
}

TULLE_INLINE void spmm_pair_tile(const tulle_spmm* args, uint32_t pair, uint32_t pair_end, size_t pixel,
                                 const uint32_t vectors) {
  const char* input = (const char*)(args->input + pixel);
  const v4 low = v4_splat(args->epilogue.low), high = v4_splat(args->epilogue.high);
  const tulle_nonzero_pair* next = args->pairs + args->pair_start[pair];
  for (; pair < pair_end; pair++) {
    const tulle_nonzero_pair* end = args->pairs + args->pair_start[pair + 1];
    const uint32_t one = args->pair_rows[2 * pair], other = args->pair_rows[2 * pair + 1];
    float* output = args->output + one * args->output_stride + pixel;
    float* other_output = args->output + other * args->output_stride + pixel;
    v4 sum[TULLE_SPMM_PAIR_MAX_VECTORS], other_sum[TULLE_SPMM_PAIR_MAX_VECTORS];
    start(args, one, output, pixel, sum, vectors);
    start(args, other, other_output, pixel, other_sum, vectors);
    for (; next != end; next++) {
      const v4 weight = v4_load_splat(&next->values[0]), other_weight = v4_load_splat(&next->values[1]);
      const float* channel = (const float*)(input + next->offset);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) {
        const v4 x = v4_load(channel + 4 * i);
        sum[i] = v4_madd(weight, x, sum[i]);
        other_sum[i] = v4_madd(other_weight, x, other_sum[i]);
      }
    }
    store(args, one, output, low, high, sum, vectors);
    store(args, other, other_output, low, high, other_sum, vectors);
  }
}

// One function for each width: V8 compiles only those that a model uses, and sooner.
#define TILE(kernel, vectors)                                                                                        \
  __attribute__((noinline)) static void kernel##_##vectors(const tulle_spmm* args, uint32_t unit, uint32_t unit_end, \
                                                           size_t pixel) {                                           \
    kernel##_tile(args, unit, unit_end, pixel, vectors);                                                             \
  }
TILE(spmm, 1)
TILE(spmm, 2)
TILE(spmm, 3)
TILE(spmm, 4)
TILE(spmm, 5)
TILE(spmm, 6)
TILE(spmm, 7)
TILE(spmm, 8)
TILE(spmm, 9)
TILE(spmm, 10)
TILE(spmm, 11)
TILE(spmm, 12)
TILE(spmm, 13)
TILE(spmm_pair, 1)
TILE(spmm_pair, 2)
TILE(spmm_pair, 3)
TILE(spmm_pair, 4)
TILE(spmm_pair, 5)
#if TULLE_SPMM_PAIR_MAX_VECTORS == 6
TILE(spmm_pair, 6)
#endif
#undef TILE

typedef void tile(const tulle_spmm*, uint32_t, uint32_t, size_t);

void tulle_f32_spmm(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel, uint32_t vectors) {
  static tile* const tiles[] = {spmm_1, spmm_2, spmm_3,  spmm_4,  spmm_5,  spmm_6, spmm_7,
                                spmm_8, spmm_9, spmm_10, spmm_11, spmm_12, spmm_13};
  tiles[vectors - 1](args, row, row_end, pixel);
}

void tulle_f32_spmm_pairs(const tulle_spmm* args, uint32_t pair, uint32_t pair_end, size_t pixel, uint32_t vectors) {
  static tile* const tiles[] = {spmm_pair_1, spmm_pair_2, spmm_pair_3, spmm_pair_4, spmm_pair_5,
#if TULLE_SPMM_PAIR_MAX_VECTORS == 6
                                spmm_pair_6
#endif
  };
  tiles[vectors - 1](args, pair, pair_end, pixel);
}
