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

// Of columns as many are made ahead as fit into L1 with what they are made of.
#define MOST_BYTES 16384

// Columns of the padded input: those that windows reach, and whole vectors of the input's.
static uint64_t columns_of(const tulle_integer_depthwise* d) {
  const uint64_t reached = (((uint64_t)d->out_width + 3) / 4 * 4 - 1) * d->stride_w + d->kernel_w;
  const uint64_t written = (uint64_t)d->pad_left + ((uint64_t)d->width + 3) / 4 * 4;
  return reached > written ? reached : written;
}

// Bytes of the columns of all quads that windows of the same rows have.
static uint64_t set_bytes(const tulle_integer_depthwise* d) { return columns_of(d) * quads_of(d) * 16; }

static size_t sets_of(const tulle_integer_depthwise* d) {
  const uint32_t together = tulle_u8_depthwise_rows(d);
  const uint64_t all = ((uint64_t)d->out_height + together - 1) / together, most = MOST_BYTES / set_bytes(d);
  return all < most ? (size_t)all : most ? (size_t)most : 1;
}

static uint64_t zero_row_of(const tulle_integer_depthwise* d) { return ((uint64_t)d->width + 3) / 4 * 16; }

size_t tulle_u8_depthwise_scratch(const tulle_integer_depthwise* d) {
  const uint64_t bytes = zero_row_of(d) + sets_of(d) * set_bytes(d);
  return bytes > INT32_MAX ? SIZE_MAX : (size_t)bytes;
}

// Bytes of a and b in turn, from the first half of each and the second.
TULLE_INLINE v4 low_bytes(v4 a, v4 b) {
  return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TULLE_INLINE v4 high_bytes(v4 a, v4 b) {
  return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// The columns of the four rows from `row` on, `step` bytes apart. `end`: behind the last one.
TULLE_INLINE void quad(const tulle_integer_depthwise* d, const uint8_t* input, const uint8_t* zero_row, int64_t row,
                       uint8_t* columns, size_t step, const uint8_t* end) {
  const uint8_t* rows[4];
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++)
    rows[r] = row + r < 0 || row + r >= d->height ? zero_row : input + (size_t)(row + r) * d->width * 4;
  const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  uint8_t* column = columns;
  for (uint32_t x = 0; x < d->width; x += 4, column += 4 * step, r0 += 16, r1 += 16, r2 += 16, r3 += 16) {
    const v4 a = wasm_v128_load(r0), b = wasm_v128_load(r1), c = wasm_v128_load(r2), e = wasm_v128_load(r3);
    const v4 low01 = low_bytes(a, b), high01 = high_bytes(a, b), low23 = low_bytes(c, e), high23 = high_bytes(c, e);
    wasm_v128_store(column, wasm_i16x8_shuffle(low01, low23, 0, 8, 1, 9, 2, 10, 3, 11));
    wasm_v128_store(column + step, wasm_i16x8_shuffle(low01, low23, 4, 12, 5, 13, 6, 14, 7, 15));
    wasm_v128_store(column + 2 * step, wasm_i16x8_shuffle(high01, high23, 0, 8, 1, 9, 2, 10, 3, 11));
    wasm_v128_store(column + 3 * step, wasm_i16x8_shuffle(high01, high23, 4, 12, 5, 13, 6, 14, 7, 15));
  }
  // The padding on the right, into which the last vector may have reached.
  const v4 zeros = wasm_v128_load(zero_row);
  for (column = columns + d->width * step; column < end; column += step) wasm_v128_store(column, zeros);
}

// Those of `sets` sets of rows. The padding on the left is there already.
static __attribute__((noinline)) void make_columns(const tulle_integer_depthwise* d, const uint8_t* input, int64_t row,
                                                   size_t sets, uint8_t* scratch) {
  const uint32_t quads = quads_of(d), rows = tulle_u8_depthwise_rows(d) * d->stride_h;
  const size_t bytes = (size_t)set_bytes(d);
  uint8_t* set = scratch + (size_t)zero_row_of(d);
  for (; sets > 0; sets--, row += rows, set += bytes) {
    for (uint32_t q = 0; q < quads; q++)
      quad(d, input, scratch, row + 4 * q, set + ((size_t)d->pad_left * quads + q) * 16, 16 * quads, set + bytes);
  }
}

// ---- outputs ----------------------------------------------------------------------------------------

// Rows of outputs of one group.
typedef struct {
  const uint8_t* columns;
  const int8_t* weights;  // [together][kernel_w][quads][16]
  const float *scale, *offset;
  v4 low, high;
  uint8_t* output;
  size_t set_bytes;
  uint32_t rows, together;
  uint32_t out_width, kernel_w, stride_w, quads;
} outputs;

#define MOST_WEIGHTS 10

// `usual`: what follows are constants, and the weights of a row MOST_WEIGHTS at most.
TULLE_INLINE void row_of_outputs(const outputs* o, const uint8_t* columns, const int8_t* weights, uint8_t* output,
                                 v4 scale, v4 offset, const bool usual, const uint32_t kernel_w,
                                 const uint32_t stride_w, const uint32_t quads, const bool pairs) {
  const v4 low = o->low, high = o->high;
  const uint32_t steps = kernel_w * quads;
  v4 w[MOST_WEIGHTS];
  if (usual) {
    TULLE_UNROLL
    for (uint32_t k = 0; k < steps; k++) w[k] = wasm_v128_load(weights + 16 * k);
  }
  for (uint32_t left = o->out_width;; left -= 4, output += 16, columns += (size_t)64 * stride_w * quads) {
    v4 sum[4];
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) sum[i] = wasm_i32x4_splat(0);
    const uint8_t* column = columns;
    if (usual) {
      TULLE_UNROLL
      for (uint32_t k = 0; k < steps; k++) {
        TULLE_UNROLL
        for (uint32_t i = 0; i < 4; i++)
          sum[i] = u8_dot(pairs, w[k], wasm_v128_load(column + 16 * (k + i * stride_w * quads)), sum[i]);
      }
    } else {
      const int8_t* weight = weights;
      for (uint32_t k = steps; k > 0; k--, weight += 16, column += 16) {
        const v4 one = wasm_v128_load(weight);
        TULLE_UNROLL
        for (uint32_t i = 0; i < 4; i++)
          sum[i] = u8_dot(pairs, one, wasm_v128_load(column + 16 * i * stride_w * quads), sum[i]);
      }
    }
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

TULLE_INLINE void all_outputs(const outputs* o, const bool usual, const uint32_t kernel_w, const uint32_t stride_w,
                              const uint32_t quads, const bool pairs) {
  const v4 scale = wasm_v128_load(o->scale), offset = wasm_f32x4_add(wasm_v128_load(o->offset), v4_splat(0.5f));
  const uint8_t* columns = o->columns;
  uint8_t* output = o->output;
  for (uint32_t left = o->rows;; columns += o->set_bytes) {
    const int8_t* weights = o->weights;
    for (uint32_t j = o->together; j > 0; j--, weights += 16 * kernel_w * quads, output += 4 * (size_t)o->out_width) {
      row_of_outputs(o, columns, weights, output, scale, offset, usual, kernel_w, stride_w, quads, pairs);
      if (--left == 0) return;
    }
  }
}

// The usual windows, and any. Called through a table, or Binaryen would make one huge function of them.
#define OUTPUTS(name, pairs)                                                                                   \
  static __attribute__((noinline)) void name##_3_1(const outputs* o) { all_outputs(o, true, 3, 1, 1, pairs); } \
  static __attribute__((noinline)) void name##_3_2(const outputs* o) { all_outputs(o, true, 3, 2, 1, pairs); } \
  static __attribute__((noinline)) void name##_5_1(const outputs* o) { all_outputs(o, true, 5, 1, 2, pairs); } \
  static __attribute__((noinline)) void name##_any(const outputs* o) {                                         \
    all_outputs(o, false, o->kernel_w, o->stride_w, o->quads, pairs);                                          \
  }                                                                                                            \
  static void (*const name[])(const outputs*) = {name##_3_1, name##_3_2, name##_5_1, name##_any};
OUTPUTS(dots, false)
OUTPUTS(in_pairs, true)
#undef OUTPUTS

void tulle_u8_depthwise(const tulle_integer_depthwise* d, uint32_t group, uint32_t group_end, uint32_t row,
                        uint32_t row_end, uint8_t* scratch) {
  const uint32_t quads = quads_of(d), together = tulle_u8_depthwise_rows(d);
  const uint32_t kind = d->kernel_w == 3 && quads == 1 && d->stride_w <= 2   ? d->stride_w - 1
                        : d->kernel_w == 5 && quads == 2 && d->stride_w == 1 ? 2
                                                                             : 3;
  void (*const kernel)(const outputs*) = (d->dot == TULLE_DOT_PAIRS ? in_pairs : dots)[kind];
  const uint32_t most_rows = (uint32_t)sets_of(d) * together;
  memset(scratch, d->zero, tulle_u8_depthwise_scratch(d));
  outputs o = {.columns = scratch + (size_t)zero_row_of(d),
               .low = wasm_i8x16_splat((int8_t)(uint8_t)d->low),
               .high = wasm_i8x16_splat((int8_t)(uint8_t)d->high),
               .set_bytes = (size_t)set_bytes(d),
               .together = together,
               .out_width = d->out_width,
               .kernel_w = d->kernel_w,
               .stride_w = d->stride_w,
               .quads = quads};
  for (; group < group_end; group++) {
    const uint8_t* input = d->input + group * d->input_stride;
    o.weights = d->weights + 16 * group * vectors_of(d);
    o.scale = d->scale + 4 * group;
    o.offset = d->offset + 4 * group;
    for (uint32_t y = row; y < row_end; y += o.rows) {
      o.rows = row_end - y < most_rows ? row_end - y : most_rows;
      make_columns(d, input, (int64_t)y * d->stride_h - d->pad_top, (o.rows + together - 1) / together, scratch);
      o.output = d->output + group * d->output_stride + (size_t)y * d->out_width * 4;
      kernel(&o);
    }
  }
}

#endif  // TULLE_HAS_DOT
