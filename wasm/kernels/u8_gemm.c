// Dense 1x1 convolution of bytes: 4 output channels x 12 pixels in registers.
//
// Four input channels cost three loads (4 pixels each) and four splats (four weights of one output channel) for twelve
// dot products, which are 192 multiply-adds; the kernel in float32 has eight loads for 48.

#include <string.h>

#include "kernels/u8_lanes.h"

#if TULLE_HAS_DOT

#define VECTORS 3

// `count` pixels, at most 4 * vectors, from `pixel` on.
TULLE_INLINE void tile(const tulle_integer_gemm* args, uint32_t group, uint32_t pixel, uint32_t count,
                       const uint32_t vectors, const bool pairs) {
  v4 sum[4][VECTORS];
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[r][i] = wasm_i32x4_splat(0);
  }
  const uint32_t steps = (args->inputs + 3) / 4;
  const int8_t* weight = args->weights + (size_t)group * steps * 16;
  const uint8_t* input = args->input + 4 * (size_t)pixel;
  for (uint32_t n = steps; n > 0; n--, weight += 16, input += args->input_stride) {
    v4 x[VECTORS];
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) x[i] = wasm_v128_load(input + 16 * i);
    TULLE_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
      const v4 w = wasm_v128_load32_splat(weight + 4 * r);
      TULLE_UNROLL
      for (uint32_t i = 0; i < vectors; i++) sum[r][i] = u8_dot(pairs, w, x[i], sum[r][i]);
    }
  }

  const float half = args->bytes ? 0.5f : 0;
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++) {
    const v4 scale = v4_load_splat(args->scale + 4 * group + r);
    const v4 offset = v4_splat(args->offset[4 * group + r] + half);
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) sum[r][i] = v4_madd(wasm_f32x4_convert_i32x4(sum[r][i]), scale, offset);
  }
  if (args->residual) {
    const uint8_t* residual = args->residual + group * args->residual_stride + 4 * (size_t)pixel;
    const v4 scale = v4_load_splat(&args->residual_scale);
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) {
      v4 x[4];
      u8_unpack(u8_transpose(wasm_v128_load(residual + 16 * i)), x);
      TULLE_UNROLL
      for (uint32_t r = 0; r < 4; r++) sum[r][i] = v4_madd(x[r], scale, sum[r][i]);
    }
  }
  if (args->bytes) {
    const v4 low = wasm_i8x16_splat((int8_t)(uint8_t)args->low), high = wasm_i8x16_splat((int8_t)(uint8_t)args->high);
    uint8_t* output = args->bytes + group * args->bytes_stride + 4 * (size_t)pixel;
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) {
      const v4 y = u8_transpose(u8_pack(sum[0][i], sum[1][i], sum[2][i], sum[3][i], low, high));
      if (i == vectors - 1) {
        v4_store_first((float*)(output + 16 * i), y, count - 4 * i);
      } else {
        wasm_v128_store(output + 16 * i, y);
      }
    }
    return;
  }
  const v4 low = v4_load_splat(&args->low), high = v4_load_splat(&args->high);
  float* output = args->floats + 4 * group * args->floats_stride + pixel;
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++, output += args->floats_stride) {
    if (4 * group + r >= args->outputs) break;
    TULLE_UNROLL
    for (uint32_t i = 0; i < vectors; i++) {
      const v4 y = v4_clamp(sum[r][i], low, high);
      if (i == vectors - 1) {
        v4_store_first(output + 4 * i, y, count - 4 * i);
      } else {
        v4_store(output + 4 * i, y);
      }
    }
  }
}

// One tile in all groups: its pixels stay in L1, and the weights pass.
typedef void tiles(const tulle_integer_gemm* args, uint32_t group, uint32_t group_end, uint32_t pixel, uint32_t count);

#define TILES(name, vectors, pairs)                                                                              \
  static __attribute__((noinline)) void name(const tulle_integer_gemm* args, uint32_t group, uint32_t group_end, \
                                             uint32_t pixel, uint32_t count) {                                   \
    for (; group < group_end; group++) tile(args, group, pixel, count, vectors, pairs);                          \
  }
TILES(dot_4, 1, false)
TILES(dot_8, 2, false)
TILES(dot_12, 3, false)
TILES(pairs_4, 1, true)
TILES(pairs_8, 2, true)
TILES(pairs_12, 3, true)
#undef TILES

void tulle_u8_gemm(const tulle_integer_gemm* args, uint32_t group, uint32_t group_end, uint32_t pixel,
                   uint32_t pixel_end) {
  static tiles* const dots[] = {dot_4, dot_8, dot_12};
  static tiles* const in_pairs[] = {pairs_4, pairs_8, pairs_12};
  tiles* const* by_size = args->dot == TULLE_DOT_PAIRS ? in_pairs : dots;
  while (pixel < pixel_end) {
    const uint32_t left = pixel_end - pixel;
    // 13 to 16 pixels are 8 + 8: a tile of 4 has too few sums, which wait for each other.
    const uint32_t vectors = left > 16 || (left > 8 && left <= 12) ? 3 : left > 4 ? 2 : 1;
    const uint32_t count = left < 4 * vectors ? left : 4 * vectors;
    by_size[vectors - 1](args, group, group_end, pixel, count);
    pixel += count;
  }
}

size_t tulle_u8_gemm_weights(uint32_t outputs, uint32_t inputs) {
  return (((size_t)outputs + 3) / 4) * (((size_t)inputs + 3) / 4) * 16;
}

void tulle_u8_pack_gemm(const int8_t* weights, uint32_t outputs, uint32_t inputs, int8_t* packed) {
  memset(packed, 0, tulle_u8_gemm_weights(outputs, inputs));
  const size_t steps = ((size_t)inputs + 3) / 4;
  for (uint32_t o = 0; o < outputs; o++) {
    int8_t* row = packed + o / 4 * steps * 16 + o % 4 * 4;
    for (uint32_t i = 0; i < inputs; i++) row[i / 4 * 16 + i % 4] = weights[(size_t)o * inputs + i];
  }
}

#endif  // TULLE_HAS_DOT
