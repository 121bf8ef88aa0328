// Depthwise convolution of bytes: four rows of the window in one dot product.
//
// Rows come in quads: a column of a quad is 16 bytes, four channels of four rows each. Outputs are then one dot product
// per quad and column of the window, and the bytes are turned into columns once for all outputs that need them.
// Where fewer than four rows of a quad belong to a window, the weights of the others are zero; and where windows of
// several output rows lie within the same quads, these are computed together, from the same columns, with the weights
// further down by the stride: a 3x3 window with stride 1 makes two rows out of one quad, a 5x5 one four out of two.
// With dilation, every so manieth row is an image of its own, of which quads are made.

#include <string.h>

#include "kernels/u8_lanes.h"

#if TULLE_HAS_DOT

static uint32_t quads_of(const tulle_integer_depthwise* d) { return (d->kernel_h + 3) / 4; }

uint32_t tulle_u8_depthwise_rows(const tulle_integer_depthwise* d) {
  return (4 * quads_of(d) - d->kernel_h) / d->stride_h + 1;
}

// Vectors of weights of a group: [rows][kernel_w][quads], and if they are shifted as many of shifts.
static size_t vectors_of(const tulle_integer_depthwise* d) {
  return (size_t)tulle_u8_depthwise_rows(d) * d->kernel_w * quads_of(d);
}

static size_t group_vectors(const tulle_integer_depthwise* d) { return vectors_of(d) << d->shifted; }

size_t tulle_u8_depthwise_weights(const tulle_integer_depthwise* d, uint32_t channels) {
  return ((size_t)channels + 3) / 4 * group_vectors(d) * 16;
}

void tulle_u8_pack_depthwise(const tulle_integer_depthwise* d, const int8_t* weights, const int32_t* shifts,
                             uint32_t channels, int8_t* packed) {
  memset(packed, 0, tulle_u8_depthwise_weights(d, channels));
  const uint32_t quads = quads_of(d), rows = tulle_u8_depthwise_rows(d);
  for (uint32_t c = 0; c < channels; c++) {
    for (uint32_t j = 0; j < rows; j++) {
      for (uint32_t ky = 0; ky < d->kernel_h; ky++) {
        const uint32_t row = ky + j * d->stride_h;
        for (uint32_t kx = 0; kx < d->kernel_w; kx++) {
          const size_t vector = c / 4 * group_vectors(d) + (size_t)(j * d->kernel_w + kx) * quads + row / 4;
          int8_t* place = packed + 16 * vector + c % 4 * 4 + row % 4;
          *place = weights[((size_t)ky * d->kernel_w + kx) * channels + c];
          if (d->shifted) place[16 * vectors_of(d)] = (int8_t)shifts[c];
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
  const uint64_t reach = (uint64_t)(d->kernel_w - 1) * d->dilation_w + 1;
  const uint64_t reached = (((uint64_t)d->out_width + 3) / 4 * 4 - 1) * d->stride_w + reach;
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

// Bytes of a row of floats that are activated before they become bytes.
static uint64_t floats_bytes(const tulle_integer_depthwise* d) {
  return d->activation ? ((uint64_t)d->out_width + 3) / 4 * 64 : 0;
}

size_t tulle_u8_depthwise_scratch(const tulle_integer_depthwise* d) {
  const uint64_t bytes = zero_row_of(d) + sets_of(d) * set_bytes(d) + floats_bytes(d);
  return bytes > INT32_MAX ? SIZE_MAX : (size_t)bytes;
}

// Bytes of a and b in turn, from the first half of each and the second.
TULLE_INLINE v4 low_bytes(v4 a, v4 b) {
  return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TULLE_INLINE v4 high_bytes(v4 a, v4 b) {
  return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// The columns of the quad of rows from `row` on, `step` bytes apart. `end`: behind the last one.
TULLE_INLINE void quad(const tulle_integer_depthwise* d, const uint8_t* input, const uint8_t* zero_row, int64_t row,
                       uint8_t* columns, size_t step, const uint8_t* end) {
  const uint8_t* rows[4];
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++, row += d->dilation_h)
    rows[r] = row < 0 || row >= d->height ? zero_row : input + (size_t)row * d->width * 4;
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
  const uint32_t quads = quads_of(d), rows = tulle_u8_depthwise_rows(d) * d->stride_h * d->dilation_h;
  const size_t bytes = (size_t)set_bytes(d);
  uint8_t* set = scratch + (size_t)zero_row_of(d);
  for (; sets > 0; sets--, row += rows, set += bytes) {
    for (uint32_t q = 0; q < quads; q++)
      quad(d, input, scratch, row + 4 * (int64_t)q * d->dilation_h, set + ((size_t)d->pad_left * quads + q) * 16,
           16 * quads, set + bytes);
  }
}

// ---- outputs ----------------------------------------------------------------------------------------

// Rows of outputs of one group.
typedef struct {
  const uint8_t* columns;
  const int8_t* weights;  // [together][kernel_w][quads][16]
  const int8_t* shifts;   // as many, or NULL
  const float *scale, *offset;
  v4 low, high;
  float* floats;  // a row of them where there is an activation, else NULL
  const tulle_integer_depthwise* depthwise;
  uint8_t* output;
  size_t row_bytes;  // from one of these rows to the next
  size_t set_bytes;
  uint32_t rows, together;
  uint32_t out_width, kernel_w, stride_w, dilation_w, quads;
} outputs;

#define MOST_WEIGHTS 10

// Adds the products of a window, of any kind, to the sums of four outputs.
TULLE_INLINE void add_window(const uint8_t* column, const int8_t* weight, v4 sum[4], uint32_t kernel_w,
                             uint32_t stride_w, uint32_t dilation_w, uint32_t quads, const bool pairs) {
  // Without dilation all columns follow one another.
  const uint32_t runs = dilation_w == 1 ? 1 : kernel_w, run = dilation_w == 1 ? kernel_w * quads : quads;
  for (uint32_t r = runs; r > 0; r--, column += 16 * (size_t)(dilation_w - 1) * quads) {
    for (uint32_t k = run; k > 0; k--, weight += 16, column += 16) {
      const v4 one = wasm_v128_load(weight);
      TULLE_UNROLL
      for (uint32_t i = 0; i < 4; i++)
        sum[i] = u8_dot(pairs, one, wasm_v128_load(column + 16 * i * stride_w * quads), sum[i]);
    }
  }
}

// `usual`: what follows are constants, and the weights of a row MOST_WEIGHTS at most.
TULLE_INLINE void row_of_outputs(const outputs* o, const uint8_t* columns, const int8_t* weights, const int8_t* shifts,
                                 uint8_t* output, v4 scale, v4 offset, const bool usual, const uint32_t kernel_w,
                                 const uint32_t stride_w, const uint32_t quads, const bool pairs) {
  const v4 low = o->low, high = o->high;
  float* floats = o->floats;
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
    if (usual) {
      TULLE_UNROLL
      for (uint32_t k = 0; k < steps; k++) {
        TULLE_UNROLL
        for (uint32_t i = 0; i < 4; i++)
          sum[i] = u8_dot(pairs, w[k], wasm_v128_load(columns + 16 * (k + i * stride_w * quads)), sum[i]);
      }
    } else {
      add_window(columns, weights, sum, kernel_w, stride_w, o->dilation_w, quads, pairs);
      if (shifts) add_window(columns, shifts, sum, kernel_w, stride_w, o->dilation_w, quads, pairs);
    }
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) sum[i] = v4_madd(wasm_f32x4_convert_i32x4(sum[i]), scale, offset);
    if (floats) {
      TULLE_UNROLL
      for (uint32_t i = 0; i < 4; i++) v4_store(floats + 4 * i, sum[i]);
      floats += 16;
      if (left <= 4) return;
      continue;
    }
    const v4 y = u8_pack(sum[0], sum[1], sum[2], sum[3], low, high);
    if (left <= 4) {
      v4_store_first((float*)output, y, left);
      return;
    }
    wasm_v128_store(output, y);
  }
}

static __attribute__((noinline)) void finish_row(const outputs* o, uint8_t* output) {
  tulle_u8_activate(o->floats, 4 * (size_t)o->out_width, o->depthwise->activation, 0);
  tulle_u8_from_hwc(&o->depthwise->levels, o->floats, output, 0, o->out_width);
}

TULLE_INLINE void all_outputs(const outputs* o, const bool usual, const uint32_t kernel_w, const uint32_t stride_w,
                              const uint32_t quads, const bool pairs) {
  const v4 scale = wasm_v128_load(o->scale);
  const v4 offset = wasm_f32x4_add(wasm_v128_load(o->offset), v4_splat(o->floats ? 0 : 0.5f));
  const uint8_t* columns = o->columns;
  uint8_t* output = o->output;
  for (uint32_t left = o->rows;; columns += o->set_bytes) {
    size_t at = 0;
    for (uint32_t j = o->together; j > 0; j--, at += 16 * kernel_w * quads, output += o->row_bytes) {
      row_of_outputs(o, columns, o->weights + at, o->shifts ? o->shifts + at : NULL, output, scale, offset, usual,
                     kernel_w, stride_w, quads, pairs);
      if (o->floats) finish_row(o, output);
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

// The shifts of a group, NULL if all are 0.
static const int8_t* shifts_of(const tulle_integer_depthwise* d, const int8_t* weights) {
  if (!d->shifted) return NULL;
  const int8_t* shifts = weights + 16 * vectors_of(d);
  for (size_t i = 0; i < vectors_of(d); i++)
    if (wasm_v128_any_true(wasm_v128_load(shifts + 16 * i))) return shifts;
  return NULL;
}

void tulle_u8_depthwise(const tulle_integer_depthwise* d, uint32_t group, uint32_t group_end, uint32_t row,
                        uint32_t row_end, uint8_t* scratch) {
  const uint32_t quads = quads_of(d), together = tulle_u8_depthwise_rows(d);
  const uint32_t any = 3;
  const uint32_t kind = d->dilation_w > 1                                    ? any
                        : d->kernel_w == 3 && quads == 1 && d->stride_w <= 2 ? d->stride_w - 1
                        : d->kernel_w == 5 && quads == 2 && d->stride_w == 1 ? 2
                                                                             : any;
  void (*const* const kernels)(const outputs*) = d->dot == TULLE_DOT_PAIRS ? in_pairs : dots;
  const uint32_t most_rows = (uint32_t)sets_of(d) * together;
  const size_t bytes = tulle_u8_depthwise_scratch(d);
  memset(scratch, d->zero, bytes);
  outputs o = {.columns = scratch + (size_t)zero_row_of(d),
               .low = wasm_i8x16_splat((int8_t)(uint8_t)d->low),
               .high = wasm_i8x16_splat((int8_t)(uint8_t)d->high),
               .floats = d->activation ? (float*)(scratch + bytes - floats_bytes(d)) : NULL,
               .depthwise = d,
               .set_bytes = (size_t)set_bytes(d),
               .together = together,
               .out_width = d->out_width,
               .row_bytes = 4 * (size_t)d->out_width * d->dilation_h,
               .kernel_w = d->kernel_w,
               .stride_w = d->stride_w,
               .dilation_w = d->dilation_w,
               .quads = quads};
  for (; group < group_end; group++) {
    const uint8_t* input = d->input + group * d->input_stride;
    o.weights = d->weights + 16 * group * group_vectors(d);
    o.shifts = shifts_of(d, o.weights);
    o.scale = d->scale + 4 * group;
    o.offset = d->offset + 4 * group;
    for (uint32_t first = row; first < row_end && first < row + d->dilation_h; first++) {
      for (uint32_t y = first; y < row_end; y += o.rows * d->dilation_h) {
        const uint32_t rows = (row_end - y - 1) / d->dilation_h + 1;
        o.rows = rows < most_rows ? rows : most_rows;
        make_columns(d, input, (int64_t)y * d->stride_h - d->pad_top, (o.rows + together - 1) / together, scratch);
        o.output = d->output + group * d->output_stride + (size_t)y * d->out_width * 4;
        kernels[o.shifts ? any : kind](&o);
      }
    }
  }
}

#endif  // TULLE_HAS_DOT
