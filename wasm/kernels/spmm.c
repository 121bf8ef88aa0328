// Sparse 1x1 convolution over CHW: sparse matrix (weights) times dense matrix (channels x pixels).
//
// The accumulators of up to 52 pixels stay in registers while the nonzeros of one output channel stream past. A nonzero
// is eight bytes, its weight and the offset of its input channel, so it costs two scalar loads, a splat, and one load
// and multiply-add per vector. All output channels run over a tile before the next tile starts, which keeps its inputs
// in L1.
//
// The kernel is bound by those loads. Two output channels with nonzeros in the same columns share them: in a tile of up
// to 24 pixels x 2 channels each input vector is loaded once for both.

#include <math.h>

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

// What happens to the sums before they are stored: nothing, a maximum as in ReLU, or all that an epilogue may say.
typedef enum { NOTHING, MAXIMUM, EPILOGUE } ending;

static ending ending_of(const tulle_epilogue* epilogue) {
  if (epilogue->kind != TULLE_ACT_NONE || epilogue->high != INFINITY) return EPILOGUE;
  return epilogue->low == -INFINITY ? NOTHING : MAXIMUM;
}

// Initialises the accumulators of an output channel.
TULLE_INLINE void start(const tulle_spmm* args, uint32_t channel, size_t pixel, const bool added, v4* sum,
                        const uint32_t vectors) {
  if (added) {
    const float* x = args->added + channel * args->added_stride + pixel;
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_load(x + 4 * i);
    if (!args->bias) return;
  }
  const v4 bias = v4_load_splat(args->bias + channel);
  TULLE_UNROLL
  for (uint32_t i = 0; i < vectors; i++) sum[i] = added ? wasm_f32x4_add(sum[i], bias) : bias;
}

// Stores the accumulators.
TULLE_INLINE void store(const tulle_spmm* args, uint32_t channel, float* output, v4 low, v4 high, const ending end,
                        v4* sum, const uint32_t vectors) {
  if (end == MAXIMUM) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = wasm_f32x4_pmax(sum[i], low);
  } else if (end == EPILOGUE) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_clamp(sum[i], low, high);
    if (args->epilogue.kind == TULLE_ACT_HARD_SWISH) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_hard_swish(sum[i]);
    }
  }
  TULLE_UNROLL
  for (uint32_t i = 0; i < vectors; i++) v4_store(output + 4 * i, sum[i]);
  if (end == EPILOGUE && !tulle_in_store(args->epilogue.kind))
    tulle_f32_activate(output, 4 * vectors, &args->epilogue, channel);
}

TULLE_INLINE void spmm_tile(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel, const bool added,
                            const ending end, const uint32_t vectors) {
  const char* input = (const char*)(args->input + pixel);
  const v4 low = v4_splat(args->epilogue.low), high = v4_splat(args->epilogue.high);
  const tulle_nonzero* next = args->nonzeros + args->row_start[row];
  for (; row < row_end; row++) {
    const tulle_nonzero* last = args->nonzeros + args->row_start[row + 1];
    const uint32_t channel = args->rows[row];
    v4 sum[TULLE_SPMM_MAX_VECTORS];
    start(args, channel, pixel, added, sum, vectors);
    for (; next != last; next++) {
      const v4 weight = v4_load_splat(&next->value);
      const float* x = (const float*)(input + next->offset);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[i] = v4_madd(weight, v4_load(x + 4 * i), sum[i]);
    }
    store(args, channel, args->output + channel * args->output_stride + pixel, low, high, end, sum, vectors);
  }
}

TULLE_INLINE void spmm_pair_tile(const tulle_spmm* args, uint32_t pair, uint32_t pair_end, size_t pixel,
                                 const uint32_t vectors) {
  const char* input = (const char*)(args->input + pixel);
  const v4 low = v4_splat(args->epilogue.low), high = v4_splat(args->epilogue.high);
  const bool added = args->added;
  const tulle_nonzero_pair* next = args->pairs + args->pair_start[pair];
  for (; pair < pair_end; pair++) {
    const tulle_nonzero_pair* end = args->pairs + args->pair_start[pair + 1];
    const uint32_t one = args->pair_rows[2 * pair], other = args->pair_rows[2 * pair + 1];
    float* output = args->output + one * args->output_stride + pixel;
    float* other_output = args->output + other * args->output_stride + pixel;
    v4 sum[TULLE_SPMM_PAIR_MAX_VECTORS], other_sum[TULLE_SPMM_PAIR_MAX_VECTORS];
    start(args, one, pixel, added, sum, vectors);
    start(args, other, pixel, added, other_sum, vectors);
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
    store(args, one, output, low, high, EPILOGUE, sum, vectors);
    store(args, other, other_output, low, high, EPILOGUE, other_sum, vectors);
  }
}

// One function for each width: V8 compiles only those that a model uses, and sooner.
#define FUNCTION(name, ...)                                                                                            \
  __attribute__((noinline)) static void name(const tulle_spmm* args, uint32_t unit, uint32_t unit_end, size_t pixel) { \
    __VA_ARGS__;                                                                                                       \
  }

#define TILE(vectors) FUNCTION(spmm_##vectors, spmm_tile(args, unit, unit_end, pixel, args->added, EPILOGUE, vectors))
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
#undef TILE

// Larger maps are cut into tiles of 12 and 13. They have functions for what is to be done with each row as well.
#define TILE(vectors, added, end) \
  FUNCTION(spmm_##vectors##_##added##_##end, spmm_tile(args, unit, unit_end, pixel, added, end, vectors))
#define TILES(vectors)           \
  TILE(vectors, false, NOTHING)  \
  TILE(vectors, false, MAXIMUM)  \
  TILE(vectors, false, EPILOGUE) \
  TILE(vectors, true, NOTHING)   \
  TILE(vectors, true, MAXIMUM)   \
  TILE(vectors, true, EPILOGUE)
TILES(12)
TILES(13)
#undef TILES
#undef TILE

#define TILE(vectors) FUNCTION(spmm_pair_##vectors, spmm_pair_tile(args, unit, unit_end, pixel, vectors))
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
#if TULLE_SPMM_PAIR_MAX_VECTORS == 6
TILE(6)
#endif
#undef TILE
#undef FUNCTION

typedef void tile(const tulle_spmm*, uint32_t, uint32_t, size_t);

void tulle_f32_spmm(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel, uint32_t vectors) {
  static tile* const narrow[] = {spmm_1, spmm_2, spmm_3, spmm_4,  spmm_5, spmm_6,
                                 spmm_7, spmm_8, spmm_9, spmm_10, spmm_11};
#define TILES(vectors, added) \
  {spmm_##vectors##_##added##_NOTHING, spmm_##vectors##_##added##_MAXIMUM, spmm_##vectors##_##added##_EPILOGUE}
  static tile* const wide[2][2][3] = {{TILES(12, false), TILES(12, true)}, {TILES(13, false), TILES(13, true)}};
#undef TILES
  tile* kernel =
      vectors < 12 ? narrow[vectors - 1] : wide[vectors - 12][args->added != NULL][ending_of(&args->epilogue)];
  kernel(args, row, row_end, pixel);
}

void tulle_f32_spmm_pairs(const tulle_spmm* args, uint32_t pair, uint32_t pair_end, size_t pixel, uint32_t vectors) {
  static tile* const tiles[] = {spmm_pair_1, spmm_pair_2, spmm_pair_3, spmm_pair_4, spmm_pair_5,
#if TULLE_SPMM_PAIR_MAX_VECTORS == 6
                                spmm_pair_6
#endif
  };
  tiles[vectors - 1](args, pair, pair_end, pixel);
}
