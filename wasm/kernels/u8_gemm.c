// Dense convolution of bytes: 4 output channels x 8 pixels in registers.
//
// Four input channels cost two loads (4 pixels each) and four splats (four weights of one output channel) for eight dot
// products, which are 128 multiply-adds. With 12 pixels there would be fewer loads, but 12 sums, 3 vectors of pixels
// and a weight are one more than the 15 registers that V8 offers on x86, and long loops take a third longer. A k x k
// convolution is the same for each of its taps, over copies of some rows with their padding, split by column modulo the
// stride.

#include <string.h>

#include "kernels/u8_lanes.h"

#if TULLE_HAS_DOT

#define VECTORS 2
#define PIXELS (4 * VECTORS)

// Where the pixels of each tap are, in bytes from those of the tile.
typedef struct {
  const int32_t* offsets;
  uint32_t count;
} tap_list;

static const int32_t no_offset = 0;
static const tap_list one_tap = {&no_offset, 1};

// Vector i of a tile, as far as it is within the tile's `count` pixels.
TULLE_INLINE void store(float* output, v4 x, uint32_t count, const uint32_t i) {
  if (count >= 4 * (i + 1)) {
    v4_store(output, x);
  } else if (count > 4 * i) {
    v4_store_first(output, x, count - 4 * i);
  }
}

// Of each pixel from `pixel` on, the sum of all that weights are multiplied with.
static __attribute__((noinline)) void pixel_sums(const tulle_integer_gemm* args, const tap_list* taps, uint32_t pixel,
                                                 v4 sums[VECTORS]) {
  const v4 ones = wasm_i8x16_splat(1), last = wasm_i32x4_splat(0x01010101 >> (8 * (-args->inputs & 3)));
  for (uint32_t i = 0; i < VECTORS; i++) sums[i] = wasm_i32x4_splat(0);
  for (uint32_t t = 0; t < taps->count; t++) {
    const uint8_t* input = args->input + 4 * (size_t)pixel + taps->offsets[t];
    for (uint32_t n = (args->inputs + 3) / 4; n > 0; n--, input += args->input_stride) {
      // Without clamping pairs to 16 bits, since two bytes are at most 254 or one instruction adds all four.
      for (uint32_t i = 0; i < VECTORS; i++)
        sums[i] = u8_dot(false, n == 1 ? last : ones, wasm_v128_load(input + 16 * i), sums[i]);
    }
  }
}

// `count` pixels, at most PIXELS, from `pixel` on. all_sums: of these pixels; only with shifts.
TULLE_INLINE void tile(const tulle_integer_gemm* args, const tap_list* taps, const v4* all_sums, uint32_t group,
                       uint32_t pixel, uint32_t count, const bool pairs) {
  v4 sum[4][VECTORS];
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++) {
    TULLE_UNROLL
    for (uint32_t i = 0; i < VECTORS; i++) sum[r][i] = wasm_i32x4_splat(0);
  }
  const uint32_t steps = (args->inputs + 3) / 4;
  const int8_t* weight = args->weights + (size_t)group * taps->count * steps * 16;
  for (uint32_t t = 0; t < taps->count; t++) {
    const uint8_t* input = args->input + 4 * (size_t)pixel + taps->offsets[t];
    for (uint32_t n = steps; n > 0; n--, weight += 16, input += args->input_stride) {
      v4 x[VECTORS];
      TULLE_UNROLL
      for (uint32_t i = 0; i < VECTORS; i++) x[i] = wasm_v128_load(input + 16 * i);
      TULLE_UNROLL
      for (uint32_t r = 0; r < 4; r++) {
        const v4 w = wasm_v128_load32_splat(weight + 4 * r);
        TULLE_UNROLL
        for (uint32_t i = 0; i < VECTORS; i++) sum[r][i] = u8_dot(pairs, w, x[i], sum[r][i]);
      }
    }
  }

  if (all_sums && wasm_v128_any_true(wasm_v128_load(args->shifts + 4 * group))) {
    TULLE_UNROLL
    for (uint32_t r = 0; r < 4; r++) {
      const v4 shift = wasm_v128_load32_splat(args->shifts + 4 * group + r);
      TULLE_UNROLL
      for (uint32_t i = 0; i < VECTORS; i++) sum[r][i] = wasm_i32x4_add(sum[r][i], wasm_i32x4_mul(all_sums[i], shift));
    }
  }
  const float half = args->bytes ? 0.5f : 0;
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++) {
    const v4 scale = v4_load_splat(args->scale + 4 * group + r);
    const v4 offset = v4_splat(args->offset[4 * group + r] + half);
    TULLE_UNROLL
    for (uint32_t i = 0; i < VECTORS; i++) sum[r][i] = v4_madd(wasm_f32x4_convert_i32x4(sum[r][i]), scale, offset);
  }
  if (args->residual) {
    const uint8_t* residual = args->residual + group * args->residual_stride + 4 * (size_t)pixel;
    const v4 scale = v4_load_splat(&args->residual_scale);
    TULLE_UNROLL
    for (uint32_t i = 0; i < VECTORS; i++) {
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
    for (uint32_t i = 0; i < VECTORS; i++) {
      const v4 y = u8_transpose(u8_pack(sum[0][i], sum[1][i], sum[2][i], sum[3][i], low, high));
      store((float*)(output + 16 * i), y, count, i);
    }
    return;
  }
  const v4 low = v4_load_splat(&args->low), high = v4_load_splat(&args->high);
  float* output = args->floats + 4 * group * args->floats_stride + pixel;
  TULLE_UNROLL
  for (uint32_t r = 0; r < 4; r++, output += args->floats_stride) {
    if (4 * group + r >= args->outputs) break;
    TULLE_UNROLL
    for (uint32_t i = 0; i < VECTORS; i++) {
      const v4 y = v4_clamp(sum[r][i], low, high);
      store(output + 4 * i, y, count, i);
    }
  }
}

// One tile in all groups: its pixels stay in L1, and the weights pass.
typedef void tiles(const tulle_integer_gemm* args, const tap_list* taps, const v4* all_sums, uint32_t group,
                   uint32_t group_end, uint32_t pixel, uint32_t count);

static __attribute__((noinline)) void dot_tiles(const tulle_integer_gemm* args, const tap_list* taps,
                                                const v4* all_sums, uint32_t group, uint32_t group_end, uint32_t pixel,
                                                uint32_t count) {
  for (; group < group_end; group++) tile(args, taps, all_sums, group, pixel, count, false);
}

static __attribute__((noinline)) void pair_tiles(const tulle_integer_gemm* args, const tap_list* taps,
                                                 const v4* all_sums, uint32_t group, uint32_t group_end, uint32_t pixel,
                                                 uint32_t count) {
  for (; group < group_end; group++) tile(args, taps, all_sums, group, pixel, count, true);
}

static void all_tiles(const tulle_integer_gemm* args, const tap_list* taps, uint32_t group, uint32_t group_end,
                      uint32_t pixel, uint32_t pixel_end) {
  // By a table, or Binaryen would make one huge function of both.
  static tiles* const kinds[] = {dot_tiles, pair_tiles};
  tiles* const kind = kinds[args->dot == TULLE_DOT_PAIRS];
  v4 sums[VECTORS];
  const v4* all_sums = args->shifts ? sums : NULL;
  for (; pixel < pixel_end; pixel += PIXELS) {
    if (all_sums) pixel_sums(args, taps, pixel, sums);
    kind(args, taps, all_sums, group, group_end, pixel, pixel_end - pixel < PIXELS ? pixel_end - pixel : PIXELS);
  }
}

// One pixel in as many groups of outputs: lanes are output channels, and each weight is loaded once.
#define SUMS 4

TULLE_INLINE void sums_of_pixel(const int8_t* const weights[SUMS], const uint8_t* input, size_t input_stride,
                                uint32_t steps, v4 sums[SUMS], const bool pairs) {
  const int8_t *w0 = weights[0], *w1 = weights[1], *w2 = weights[2], *w3 = weights[3];
  v4 s0 = wasm_i32x4_splat(0), s1 = s0, s2 = s0, s3 = s0;
  for (size_t at = 0; at < 16 * (size_t)steps; at += 16, input += input_stride) {
    const v4 x = wasm_v128_load32_splat(input);
    s0 = u8_dot(pairs, wasm_v128_load(w0 + at), x, s0);
    s1 = u8_dot(pairs, wasm_v128_load(w1 + at), x, s1);
    s2 = u8_dot(pairs, wasm_v128_load(w2 + at), x, s2);
    s3 = u8_dot(pairs, wasm_v128_load(w3 + at), x, s3);
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

static void one_pixel(const tulle_integer_gemm* args, uint32_t first, uint32_t group_end, uint32_t pixel) {
  const uint32_t steps = (args->inputs + 3) / 4;
  const uint8_t* input = args->input + 4 * (size_t)pixel;
  const v4 low = v4_load_splat(&args->low), high = v4_load_splat(&args->high);
  v4 all[VECTORS] = {wasm_i32x4_splat(0)};
  if (args->shifts) pixel_sums(args, &one_tap, pixel, all);
  const v4 all_sum = wasm_i32x4_splat(wasm_i32x4_extract_lane(all[0], 0));
  for (; first < group_end; first += SUMS) {
    const int8_t* weights[SUMS];
    for (uint32_t i = 0; i < SUMS; i++)  // where there are fewer groups, the last one again
      weights[i] = args->weights + (size_t)(first + i < group_end ? first + i : group_end - 1) * steps * 16;
    v4 sums[SUMS];
    if (args->dot == TULLE_DOT_PAIRS) {
      sums_of_pixel(weights, input, args->input_stride, steps, sums, true);
    } else {
      sums_of_pixel(weights, input, args->input_stride, steps, sums, false);
    }
    _Pragma("clang loop unroll(disable)") for (uint32_t i = 0; i < SUMS && first + i < group_end; i++) {
      const uint32_t group = first + i;
      const v4 scale = wasm_v128_load(args->scale + 4 * group), offset = wasm_v128_load(args->offset + 4 * group);
      v4 sum = sums[i];
      if (args->shifts) sum = wasm_i32x4_add(sum, wasm_i32x4_mul(all_sum, wasm_v128_load(args->shifts + 4 * group)));
      v4 y = v4_madd(wasm_f32x4_convert_i32x4(sum), scale, offset);
      if (args->residual) {
        v4 x[4];
        u8_unpack(wasm_v128_load32_zero(args->residual + group * args->residual_stride + 4 * (size_t)pixel), x);
        y = v4_madd(x[0], v4_load_splat(&args->residual_scale), y);
      }
      y = v4_clamp(y, low, high);
      if (args->bytes) {
        y = wasm_f32x4_add(y, v4_splat(0.5f));
        const v4 byte = u8_pack(y, y, y, y, wasm_i8x16_splat(0), wasm_i8x16_splat(-1));
        wasm_v128_store32_lane(args->bytes + group * args->bytes_stride + 4 * (size_t)pixel, byte, 0);
        continue;
      }
      float lanes[4];
      v4_store(lanes, y);
      for (uint32_t r = 0; r < 4 && 4 * group + r < args->outputs; r++)
        args->floats[(4 * group + r) * args->floats_stride + pixel] = lanes[r];
    }
  }
}

// ---- activations --------------------------------------------------------------------------------------

// Floats of a block of pixels, in all channels, that are activated before they become bytes.
#define BLOCK_FLOATS 8192
#define MOST_PIXELS 256

static uint32_t block_pixels(const tulle_integer_gemm* args) {
  const uint32_t pixels = BLOCK_FLOATS / args->outputs / PIXELS * PIXELS;
  return pixels < PIXELS ? PIXELS : pixels < MOST_PIXELS ? pixels : MOST_PIXELS;
}

size_t tulle_u8_gemm_scratch(const tulle_integer_gemm* args) {
  return args->activation && args->bytes ? (size_t)args->outputs * block_pixels(args) * sizeof(float) : 0;
}

static void activate(const tulle_integer_gemm* args, uint32_t group, uint32_t group_end, uint32_t pixel, uint32_t count,
                     void (*function)(float*, size_t, const tulle_epilogue*, uint32_t)) {
  const uint32_t end = 4 * group_end < args->outputs ? 4 * group_end : args->outputs;
  for (uint32_t o = 4 * group; o < end; o++)
    function(args->floats + o * args->floats_stride + pixel, count, args->activation, o);
}

static void compute(const tulle_integer_gemm* args, const tap_list* taps, uint32_t group, uint32_t group_end,
                    uint32_t pixel, uint32_t pixel_end) {
  if (taps == &one_tap && pixel_end - pixel == 1) {
    one_pixel(args, group, group_end, pixel);
  } else {
    all_tiles(args, taps, group, group_end, pixel, pixel_end);
  }
}

static void compute_activated(const tulle_integer_gemm* args, const tap_list* taps, uint32_t group, uint32_t group_end,
                              uint32_t pixel, uint32_t pixel_end, uint8_t* scratch) {
  if (!args->activation || !args->bytes) {
    compute(args, taps, group, group_end, pixel, pixel_end);
    if (args->activation) activate(args, group, group_end, pixel, pixel_end - pixel, tulle_f32_activate);
    return;
  }
  tulle_integer_gemm block = *args;
  block.bytes = NULL;
  block.floats = (float*)scratch;
  block.floats_stride = block_pixels(args);
  tulle_integer_convert levels = args->levels;
  levels.floats_stride = block.floats_stride;
  levels.bytes_stride = args->bytes_stride;
  for (uint32_t count; pixel < pixel_end; pixel += count) {
    count = pixel_end - pixel < block.floats_stride ? pixel_end - pixel : (uint32_t)block.floats_stride;
    block.input = args->input + 4 * (size_t)pixel;
    if (args->residual) block.residual = args->residual + 4 * (size_t)pixel;
    compute(&block, taps, group, group_end, 0, count);
    activate(&block, group, group_end, 0, count, tulle_u8_activate);
    tulle_u8_from_f32(&levels, block.floats, args->bytes + 4 * (size_t)pixel, group, group_end, 0, count);
  }
}

void tulle_u8_gemm(const tulle_integer_gemm* args, uint32_t group, uint32_t group_end, uint32_t pixel,
                   uint32_t pixel_end, uint8_t* scratch) {
  compute_activated(args, &one_tap, group, group_end, pixel, pixel_end, scratch);
}

size_t tulle_u8_gemm_weights(uint32_t outputs, uint32_t inputs) { return tulle_u8_conv_weights(outputs, 1, inputs); }

void tulle_u8_pack_gemm(const int8_t* weights, uint32_t outputs, uint32_t inputs, int8_t* packed) {
  tulle_u8_pack_conv(weights, outputs, 1, inputs, packed);
}

// ---- k x k --------------------------------------------------------------------------------------------

size_t tulle_u8_conv_weights(uint32_t outputs, uint32_t taps, uint32_t inputs) {
  return (((size_t)outputs + 3) / 4) * taps * (((size_t)inputs + 3) / 4) * 16;
}

// [outputs / 4][taps][inputs / 4][4 outputs][4 inputs]
void tulle_u8_pack_conv(const int8_t* weights, uint32_t outputs, uint32_t taps, uint32_t inputs, int8_t* packed) {
  memset(packed, 0, tulle_u8_conv_weights(outputs, taps, inputs));
  const size_t steps = ((size_t)inputs + 3) / 4;
  for (uint32_t o = 0; o < outputs; o++) {
    int8_t* row = packed + o / 4 * taps * steps * 16 + o % 4 * 4;
    for (uint32_t t = 0; t < taps; t++, row += steps * 16) {
      for (uint32_t i = 0; i < inputs; i++) row[i / 4 * 16 + i % 4] = *weights++;
    }
  }
}

// Of the copies of rows that are made at a time.
#define MOST_BYTES 32768

// The copies: [groups of channels][rows][phases][width], four bytes a pixel.
typedef struct {
  uint32_t groups, phases;
  uint32_t outputs;  // rows of outputs that they are for
  uint64_t rows, width;
  uint64_t row_bytes, group_bytes;
} copies;

// Rows, or columns, from a window's first to its last.
static uint64_t reach(uint32_t kernel, uint32_t dilation) { return (uint64_t)(kernel - 1) * dilation + 1; }

static copies copies_of(const tulle_integer_conv* c) {
  copies p = {.groups = (c->gemm.inputs + 3) / 4, .phases = c->stride_w};
  const uint64_t rows = reach(c->kernel_h, c->dilation_h);
  const uint64_t read = ((uint64_t)c->out_width + 3) / 4 * 4 + (reach(c->kernel_w, c->dilation_w) - 1) / c->stride_w;
  const uint64_t written = ((uint64_t)c->pad_left + c->width) / c->stride_w + 4;  // whole vectors
  p.width = read > written ? read : written;
  p.row_bytes = p.phases * p.width * 4;
  const uint64_t most_rows = MOST_BYTES / (p.groups * p.row_bytes);
  const uint64_t outputs = most_rows > rows ? (most_rows - rows) / c->stride_h + 1 : 1;
  p.outputs = outputs < c->out_height ? (uint32_t)outputs : c->out_height;
  p.rows = (uint64_t)(p.outputs - 1) * c->stride_h + rows;
  p.group_bytes = (p.rows * p.row_bytes + 127) / 128 * 128 + 64;  // groups do not share sets of the cache
  return p;
}

static size_t offsets_bytes(const tulle_integer_conv* c) {
  return ((size_t)c->kernel_h * c->kernel_w * sizeof(int32_t) + 63) / 64 * 64;
}

size_t tulle_u8_conv_scratch(const tulle_integer_conv* c) {
  const copies p = copies_of(c);
  const uint64_t others = offsets_bytes(c) + (uint64_t)tulle_u8_gemm_scratch(&c->gemm);
  if (p.group_bytes > INT32_MAX || others + p.groups * p.group_bytes > INT32_MAX) return SIZE_MAX;
  return (size_t)(others + p.groups * p.group_bytes);
}

static void fill(uint8_t* pixels, size_t count, v4 zeros) {
  for (; count > 0; count--, pixels += 4) wasm_v128_store32_lane(pixels, zeros, 0);
}

// A row of the input, pixel x to column (x + pad_left) / stride of phase (x + pad_left) % stride.
static void copy_row(const tulle_integer_conv* c, const copies* p, const uint8_t* row, uint8_t* copy, v4 zeros) {
  const uint32_t width = c->width, pad = c->pad_left, stride = c->stride_w;
  const size_t phase_bytes = 4 * (size_t)p->width;
  if (!row) {
    fill(copy, (size_t)p->row_bytes / 4, zeros);
    return;
  }
  if (stride == 1) {
    for (uint32_t x = 0; x < width; x += 4) wasm_v128_store(copy + 4 * (pad + x), wasm_v128_load(row + 4 * x));
  } else if (stride == 2) {
    uint8_t* even = copy + pad % 2 * phase_bytes + 4 * (pad / 2);
    uint8_t* odd = copy + (pad + 1) % 2 * phase_bytes + 4 * ((pad + 1) / 2);
    for (uint32_t x = 0; x < width; x += 8, row += 32, even += 16, odd += 16) {
      const v4 a = wasm_v128_load(row), b = x + 4 < width ? wasm_v128_load(row + 16) : a;
      wasm_v128_store(even, wasm_i32x4_shuffle(a, b, 0, 2, 4, 6));
      wasm_v128_store(odd, wasm_i32x4_shuffle(a, b, 1, 3, 5, 7));
    }
  } else {
    for (uint32_t x = 0; x < width; x++)
      memcpy(copy + (pad + x) % stride * phase_bytes + 4 * ((pad + x) / stride), row + 4 * x, 4);
  }
  for (uint32_t phase = 0; phase < stride; phase++, copy += phase_bytes) {
    const uint32_t left = (pad + stride - 1 - phase) / stride, end = (pad + width + stride - 1 - phase) / stride;
    fill(copy, left, zeros);
    fill(copy + 4 * end, (size_t)p->width - end, zeros);
  }
}

void tulle_u8_conv(const tulle_integer_conv* c, uint32_t group, uint32_t group_end, uint32_t row, uint32_t row_end,
                   uint8_t* scratch) {
  const copies p = copies_of(c);
  const size_t row_bytes = (size_t)p.row_bytes, group_bytes = (size_t)p.group_bytes;
  const v4 zeros = wasm_i8x16_splat((int8_t)c->zero);
  int32_t* offsets = (int32_t*)scratch;
  uint8_t* rows = scratch + offsets_bytes(c);
  uint8_t* activated = rows + p.groups * group_bytes;
  for (uint32_t ky = 0; ky < c->kernel_h; ky++) {
    for (uint32_t kx = 0; kx < c->kernel_w; kx++) {
      const uint32_t column = kx * c->dilation_w;
      const size_t at =
          (size_t)ky * c->dilation_h * row_bytes + 4 * (column % p.phases * (size_t)p.width + column / p.phases);
      offsets[ky * c->kernel_w + kx] = (int32_t)at;
    }
  }
  const tap_list taps = {offsets, c->kernel_h * c->kernel_w};
  for (uint32_t y = row, count; y < row_end; y += count) {
    count = row_end - y < p.outputs ? row_end - y : p.outputs;
    for (uint32_t g = 0; g < p.groups; g++) {
      for (uint32_t r = 0; r < (count - 1) * c->stride_h + reach(c->kernel_h, c->dilation_h); r++) {
        const int64_t at = (int64_t)y * c->stride_h + r - c->pad_top;
        const bool inside = at >= 0 && at < c->height;
        const uint8_t* input = inside ? c->gemm.input + g * c->gemm.input_stride + 4 * (size_t)at * c->width : NULL;
        copy_row(c, &p, input, rows + g * group_bytes + r * row_bytes, zeros);
      }
    }
    for (uint32_t j = 0; j < count; j++) {
      const size_t pixel = (size_t)(y + j) * c->out_width;
      tulle_integer_gemm gemm = c->gemm;
      gemm.input = rows + j * c->stride_h * row_bytes;
      gemm.input_stride = group_bytes;
      if (gemm.residual) gemm.residual += 4 * pixel;
      if (gemm.bytes) gemm.bytes += 4 * pixel;
      if (gemm.floats) gemm.floats += pixel;
      compute_activated(&gemm, &taps, group, group_end, 0, c->out_width, activated);
    }
  }
}

#endif  // TULLE_HAS_DOT
