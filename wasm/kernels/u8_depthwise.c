// Depthwise convolution of bytes: four rows of the window in one dot product.
//
// Rows come in quads: a column of a quad is 16 bytes, four channels of four rows each. Outputs are then one dot product
// per quad and column of the window, and the bytes are turned into columns once for all outputs that need them.
// Where fewer than four rows of a quad belong to a window, the weights of the others are zero; and where windows of
// several output rows lie within the same quads, these are computed together, from the same columns, with the weights
// further down by the stride: a 3x3 window with stride 1 makes two rows out of one quad, a 5x5 one four out of two.

#include <string.h>

#include "kernels/u8_lanes.h"

#if TULLE_HAS_DOT

static uint32_t quads_of(const tulle_integer_depthwise* d) { return (d->kernel_h + 3) / 4; }

uint32_t tulle_u8_depthwise_rows(const tulle_integer_depthwise* d) {
  return (4 * quads_of(d) - d->kernel_h) / d->stride_h + 1;
}

// Vectors of weights of a group: [rows][kernel_w][quads].
static size_t vectors_of(const tulle_integer_depthwise* d) {
  return (size_t)tulle_u8_depthwise_rows(d) * d->kernel_w * quads_of(d);
}

size_t tulle_u8_depthwise_weights(const tulle_integer_depthwise* d, uint32_t channels) {
  return ((size_t)channels + 3) / 4 * vectors_of(d) * 16;
}

void tulle_u8_pack_depthwise(const tulle_integer_depthwise* d, const int8_t* weights, uint32_t channels,
                             int8_t* packed) {
  memset(packed, 0, tulle_u8_depthwise_weights(d, channels));
  const uint32_t quads = quads_of(d), rows = tulle_u8_depthwise_rows(d);
  for (uint32_t c = 0; c < channels; c++) {
    for (uint32_t j = 0; j < rows; j++) {
      for (uint32_t ky = 0; ky < d->kernel_h; ky++) {
        const uint32_t row = ky + j * d->stride_h;
        for (uint32_t kx = 0; kx < d->kernel_w; kx++) {
          const size_t vector = c / 4 * vectors_of(d) + (size_t)(j * d->kernel_w + kx) * quads + row / 4;
          packed[16 * vector + c % 4 * 4 + row % 4] = weights[((size_t)ky * d->kernel_w + kx) * channels + c];
        }
      }
    }
  }
}

// ---- columns ----------------------------------------------------------------------------------------

// Columns of the padded input, 16 bytes a quad: those that windows reach, and whole vectors of the input's.
static size_t columns_of(const tulle_integer_depthwise* d) {
  const size_t reached = (((size_t)d->out_width + 3) / 4 * 4 - 1) * d->stride_w + d->kernel_w;
  const size_t written = (size_t)d->pad_left + (d->width + 3) / 4 * 4;
  return reached > written ? reached : written;
}

static size_t zero_row_of(const tulle_integer_depthwise* d) { return ((size_t)d->width + 3) / 4 * 16; }

size_t tulle_u8_depthwise_scratch(const tulle_integer_depthwise* d) {
  return zero_row_of(d) + columns_of(d) * quads_of(d) * 16;
}

// Bytes of a and b in turn, from the first half of each and the second.
TULLE_INLINE v4 low_bytes(v4 a, v4 b) {
  return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TULLE_INLINE v4 high_bytes(v4 a, v4 b) {
  return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Four rows as columns, `step` bytes from one to the next.
static __attribute__((noinline)) void quad(const uint8_t* const rows[4], uint32_t width, uint8_t* columns,
                                           size_t step) {
  const uint8_t *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
  for (uint32_t x = 0; x < width; x += 4, columns += 4 * step, a += 16, b += 16, c += 16, d += 16) {
    const v4 r0 = wasm_v128_load(a), r1 = wasm_v128_load(b), r2 = wasm_v128_load(c), r3 = wasm_v128_load(d);
    const v4 low01 = low_bytes(r0, r1), high01 = high_bytes(r0, r1);
    const v4 low23 = low_bytes(r2, r3), high23 = high_bytes(r2, r3);
    wasm_v128_store(columns, wasm_i16x8_shuffle(low01, low23, 0, 8, 1, 9, 2, 10, 3, 11));
    wasm_v128_store(columns + step, wasm_i16x8_shuffle(low01, low23, 4, 12, 5, 13, 6, 14, 7, 15));
    wasm_v128_store(columns + 2 * step, wasm_i16x8_shuffle(high01, high23, 0, 8, 1, 9, 2, 10, 3, 11));
    wasm_v128_store(columns + 3 * step, wasm_i16x8_shuffle(high01, high23, 4, 12, 5, 13, 6, 14, 7, 15));
  }
}

// ---- outputs ----------------------------------------------------------------------------------------

// One row of outputs of one group. The rest of the arguments are constants.
typedef struct {
  const uint8_t* columns;
  const int8_t* weights;  // [kernel_w][quads][16]
  const float *scale, *offset;
  v4 low, high;
  uint8_t* output;
  uint32_t out_width, kernel_w, stride_w, quads;
} row_of_outputs;

TULLE_INLINE void outputs(const row_of_outputs* o, const uint32_t kernel_w, const uint32_t stride_w,
                          const uint32_t quads, const bool usual, const bool pairs) {
  const v4 scale = wasm_v128_load(o->scale), offset = wasm_f32x4_add(wasm_v128_load(o->offset), v4_splat(0.5f));
  const v4 low = o->low, high = o->high;
  const uint8_t* columns = o->columns;
  uint8_t* output = o->output;
  for (uint32_t left = o->out_width;; left -= 4, output += 16, columns += (size_t)64 * stride_w * quads) {
    v4 sum[4];
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) sum[i] = wasm_i32x4_const_splat(0);
    const int8_t* weight = o->weights;
    const uint8_t* column = columns;
#define STEP(k)                                                                                      \
  do {                                                                                               \
    const v4 w = wasm_v128_load(weight + 16 * (k));                                                  \
    TULLE_UNROLL                                                                                     \
    for (uint32_t i = 0; i < 4; i++)                                                                 \
      sum[i] = u8_dot(pairs, w, wasm_v128_load(column + 16 * ((k) + i * stride_w * quads)), sum[i]); \
  } while (0)
    const uint32_t steps = kernel_w * quads;
    if (usual) {
      TULLE_UNROLL
      for (uint32_t k = 0; k < steps; k++) STEP(k);
    } else {
      for (uint32_t k = steps; k > 0; k--, weight += 16, column += 16) STEP(0);
    }
#undef STEP
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) sum[i] = v4_madd(wasm_f32x4_convert_i32x4(sum[i]), scale, offset);
    const v4 y = u8_pack(sum[0], sum[1], sum[2], sum[3], low, high);
    if (left <= 4) {
      v4_store_first((float*)output, y, left);
      return;
    }
    wasm_v128_store(output, y);
  }
}

// ... of the usual kernels, and of any. Called through a table, or Binaryen would make one huge function.
#define OUTPUTS(name, pairs)                                                                                      \
  static __attribute__((noinline)) void name##_3_1(const row_of_outputs* o) { outputs(o, 3, 1, 1, true, pairs); } \
  static __attribute__((noinline)) void name##_3_2(const row_of_outputs* o) { outputs(o, 3, 2, 1, true, pairs); } \
  static __attribute__((noinline)) void name##_5_1(const row_of_outputs* o) { outputs(o, 5, 1, 2, true, pairs); } \
  static __attribute__((noinline)) void name##_any(const row_of_outputs* o) {                                     \
    outputs(o, o->kernel_w, o->stride_w, o->quads, false, pairs);                                                 \
  }                                                                                                               \
  static void (*const name[])(const row_of_outputs*) = {name##_3_1, name##_3_2, name##_5_1, name##_any};
OUTPUTS(dots, false)
OUTPUTS(in_pairs, true)
#undef OUTPUTS

// ---- all --------------------------------------------------------------------------------------------

void tulle_u8_depthwise(const tulle_integer_depthwise* d, uint32_t group, uint32_t group_end, uint32_t row,
                        uint32_t row_end, uint8_t* scratch) {
  const uint32_t quads = quads_of(d), together = tulle_u8_depthwise_rows(d);
  const uint32_t kind = d->kernel_w == 3 && quads == 1 && d->stride_w <= 2   ? d->stride_w - 1
                        : d->kernel_w == 5 && quads == 2 && d->stride_w == 1 ? 2
                                                                             : 3;
  void (*const kernel)(const row_of_outputs*) = (d->dot == TULLE_DOT_PAIRS ? in_pairs : dots)[kind];
  uint8_t* zero_row = scratch;
  uint8_t* columns = scratch + zero_row_of(d);
  memset(scratch, d->zero, tulle_u8_depthwise_scratch(d));  // the padding on the left stays
  const size_t right = ((size_t)d->pad_left + d->width) * quads * 16, end = columns_of(d) * quads * 16;
  row_of_outputs o = {.low = wasm_u8x16_splat((uint8_t)d->low),
                      .high = wasm_u8x16_splat((uint8_t)d->high),
                      .columns = columns,
                      .out_width = d->out_width,
                      .kernel_w = d->kernel_w,
                      .stride_w = d->stride_w,
                      .quads = quads};
  for (; group < group_end; group++) {
    const uint8_t* input = d->input + group * d->input_stride;
    o.scale = d->scale + 4 * group;
    o.offset = d->offset + 4 * group;
    for (uint32_t y = row; y < row_end; y += together) {
      const int64_t first = (int64_t)y * d->stride_h - d->pad_top;
      for (uint32_t q = 0; q < quads; q++) {
        const uint8_t* rows[4];
        for (uint32_t r = 0; r < 4; r++) {
          const int64_t at = first + 4 * q + r;
          rows[r] = at < 0 || at >= d->height ? zero_row : input + (size_t)at * d->width * 4;
        }
        quad(rows, d->width, columns + ((size_t)d->pad_left * quads + q) * 16, 16 * quads);
      }
      memset(columns + right, d->zero, end - right);  // the last vectors of rows reach into it
      for (uint32_t j = 0; j < together && y + j < row_end; j++) {
        o.weights = d->weights + 16 * (group * vectors_of(d) + (size_t)j * d->kernel_w * quads);
        o.output = d->output + group * d->output_stride + (size_t)(y + j) * d->out_width * 4;
        kernel(&o);
      }
    }
  }
}

#endif  // TULLE_HAS_DOT
