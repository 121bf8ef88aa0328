// What moves bytes of maps, or computes little with each.

#include <string.h>

#include "kernels/u8_lanes.h"

#if TULLE_HAS_DOT

// Four floats of each of four pixels as bytes, clamped.
TULLE_INLINE v4 scaled(v4 bytes, v4 scale, v4 offset, v4 low, v4 high) {
  v4 x[4];
  u8_unpack(bytes, x);
  TULLE_UNROLL
  for (uint32_t i = 0; i < 4; i++) x[i] = v4_madd(x[i], scale, offset);
  return u8_pack(x[0], x[1], x[2], x[3], low, high);
}

void tulle_u8_move(const tulle_integer_move* args, const uint8_t* input, uint8_t* output, size_t pixels) {
  const v4 mask = wasm_i32x4_splat((int32_t)args->mask), scale = v4_splat(args->scale);
  const v4 offset = v4_splat(args->offset + 0.5f);
  const v4 low = wasm_i8x16_splat(0), high = wasm_i8x16_splat((int8_t)(uint8_t)args->top);
  const bool whole = args->mask == UINT32_MAX;
  const uint32_t up = args->shift > 0 ? 8 * (uint32_t)args->shift : 0;
  const uint32_t down = args->shift < 0 ? 8 * (uint32_t)-args->shift : 0;
  for (; pixels > 0; input += 16, output += 16) {
    const uint32_t count = pixels < 4 ? (uint32_t)pixels : 4;
    v4 x = wasm_v128_load(input);
    if (args->rescale) x = scaled(x, scale, offset, low, high);
    if (!whole) {
      x = wasm_u32x4_shr(wasm_i32x4_shl(x, up), down);
      x = wasm_v128_bitselect(x, v4_load_first((const float*)output, count), mask);
    }
    v4_store_first((float*)output, x, count);
    pixels -= count;
  }
}

void tulle_u8_scale(const float scale[4], const float offset[4], float low, float high, const uint8_t* input,
                    uint8_t* output, size_t pixels) {
  const v4 scales = v4_load(scale), offsets = wasm_f32x4_add(v4_load(offset), v4_splat(0.5f));
  const v4 lows = wasm_i8x16_splat((int8_t)(uint8_t)low), highs = wasm_i8x16_splat((int8_t)(uint8_t)high);
  for (; pixels > 4; pixels -= 4, input += 16, output += 16)
    wasm_v128_store(output, scaled(wasm_v128_load(input), scales, offsets, lows, highs));
  v4_store_first((float*)output, scaled(wasm_v128_load(input), scales, offsets, lows, highs), (uint32_t)pixels);
}

// ---- pools ----------------------------------------------------------------------------------------------

// Columns of a row: as many before and behind the map as windows reach, and whole vectors.
static uint64_t pool_columns(const tulle_pool* p) {
  const uint64_t read = (((uint64_t)p->out_width + 3) / 4 * 4 + 1) * p->stride_w + p->kernel_w + 4;
  const uint64_t written = (uint64_t)p->pad_left + ((uint64_t)p->width + 3) / 4 * 4;
  return read > written ? read : written;
}

size_t tulle_u8_pool_scratch(const tulle_integer_pool* args) {
  const uint64_t bytes = pool_columns(&args->pool) * (args->average ? 8 : 4);
  return bytes > INT32_MAX ? SIZE_MAX : (size_t)bytes;
}

// Four pixels, `stride` apart.
TULLE_INLINE v4 pixels_apart(const uint8_t* at, uint32_t stride) {
  if (stride == 1) return wasm_v128_load(at);
  if (stride == 2) return wasm_i32x4_shuffle(wasm_v128_load(at), wasm_v128_load(at + 16), 0, 2, 4, 6);
  v4 x = wasm_v128_load32_zero(at);
  x = wasm_v128_load32_lane(at + 4 * (size_t)stride, x, 1);
  x = wasm_v128_load32_lane(at + 8 * (size_t)stride, x, 2);
  return wasm_v128_load32_lane(at + 12 * (size_t)stride, x, 3);
}

// The maxima, or sums, of the rows of a window in each column, and nothing in the columns beside the map.
static void max_of_rows(const tulle_pool* p, const uint8_t* input, uint32_t rows, uint8_t* columns) {
  uint8_t* column = columns + 4 * (size_t)p->pad_left;
  for (uint32_t x = 0; x < p->width; x += 4) {
    const uint8_t* at = input + 4 * (size_t)x;
    v4 most = wasm_v128_load(at);
    for (uint32_t r = 1; r < rows; r++) most = wasm_u8x16_max(most, wasm_v128_load(at + 4 * (size_t)r * p->width));
    wasm_v128_store(column + 4 * (size_t)x, most);
  }
  memset(column + 4 * (size_t)p->width, 0, 4 * (size_t)(pool_columns(p) - p->pad_left - p->width));
}

static void sum_of_rows(const tulle_pool* p, const uint8_t* input, uint32_t rows, uint16_t* columns) {
  uint16_t* column = columns + 4 * (size_t)p->pad_left;
  for (uint32_t x = 0; x < p->width; x += 4) {
    const uint8_t* at = input + 4 * (size_t)x;
    v4 low = wasm_i16x8_splat(0), high = low;
    for (uint32_t r = 0; r < rows; r++) {
      const v4 row = wasm_v128_load(at + 4 * (size_t)r * p->width);
      low = wasm_i16x8_add(low, wasm_u16x8_extend_low_u8x16(row));
      high = wasm_i16x8_add(high, wasm_u16x8_extend_high_u8x16(row));
    }
    wasm_v128_store(column + 4 * (size_t)x, low);
    wasm_v128_store(column + 4 * (size_t)x + 8, high);
  }
  memset(column + 4 * (size_t)p->width, 0, 8 * (size_t)(pool_columns(p) - p->pad_left - p->width));
}

static void max_row(const tulle_pool* p, const uint8_t* columns, uint8_t* output) {
  for (uint32_t x = 0; x < p->out_width; x += 4) {
    const uint8_t* column = columns + 4 * (size_t)x * p->stride_w;
    v4 most = pixels_apart(column, p->stride_w);
    for (uint32_t k = 1; k < p->kernel_w; k++)
      most = wasm_u8x16_max(most, pixels_apart(column + 4 * (size_t)k, p->stride_w));
    const uint32_t left = p->out_width - x;
    v4_store_first((float*)(output + 4 * (size_t)x), most, left < 4 ? left : 4);
  }
}

static void average_row(const tulle_integer_pool* args, const uint16_t* columns, uint32_t rows, uint8_t* output) {
  const tulle_pool* p = &args->pool;
  const v4 offset = v4_splat(args->offset + 0.5f);
  const v4 low = wasm_i8x16_splat((int8_t)(uint8_t)args->low), high = wasm_i8x16_splat((int8_t)(uint8_t)args->high);
  for (uint32_t x = 0; x < p->out_width; x++) {
    const int64_t begin = (int64_t)x * p->stride_w - p->pad_left, end = begin + p->kernel_w;
    const int64_t count = (end < p->width ? end : p->width) - (begin > 0 ? begin : 0);
    v4 sum = wasm_i32x4_splat(0);
    const uint16_t* column = columns + 4 * (size_t)x * p->stride_w;
    for (uint32_t k = 0; k < p->kernel_w; k++) sum = wasm_i32x4_add(sum, wasm_u32x4_load16x4(column + 4 * (size_t)k));
    const v4 scale = v4_splat(args->scale / ((float)rows * (float)count));
    const v4 y = v4_madd(wasm_f32x4_convert_i32x4(sum), scale, offset);
    wasm_v128_store32_lane(output + 4 * (size_t)x, u8_pack(y, y, y, y, low, high), 0);
  }
}

void tulle_u8_pool(const tulle_integer_pool* args, const uint8_t* input, uint8_t* output, uint32_t row,
                   uint32_t row_end, uint8_t* scratch) {
  const tulle_pool* p = &args->pool;
  memset(scratch, 0, tulle_u8_pool_scratch(args));
  for (; row < row_end; row++) {
    const int64_t begin = (int64_t)row * p->stride_h - p->pad_top, end = begin + p->kernel_h;
    const uint32_t first = begin > 0 ? (uint32_t)begin : 0, last = end < p->height ? (uint32_t)end : p->height;
    const uint8_t* rows = input + 4 * (size_t)first * p->width;
    uint8_t* y = output + 4 * (size_t)row * p->out_width;
    if (args->average) {
      sum_of_rows(p, rows, last - first, (uint16_t*)scratch);
      average_row(args, (const uint16_t*)scratch, last - first, y);
    } else {
      max_of_rows(p, rows, last - first, scratch);
      max_row(p, scratch, y);
    }
  }
}

// ---- other sizes ----------------------------------------------------------------------------------------

size_t tulle_u8_resize_scratch(const tulle_integer_resize* args) {
  return args->bilinear ? ((size_t)args->width + 3) / 4 * 64 : 0;
}

static void nearest_row(const tulle_integer_resize* args, const uint8_t* input, uint8_t* output) {
  for (uint32_t x = 0; x < args->out_width; x++)
    memcpy(output + 4 * (size_t)x, input + 4 * (size_t)args->columns[x].first, 4);
}

// What is between two rows: four floats a pixel.
static void row_between(const uint8_t* a, const uint8_t* b, float weight, uint32_t width, float* between) {
  const v4 weights = v4_splat(weight);
  for (uint32_t x = 0; x < width; x += 4, a += 16, b += 16, between += 16) {
    v4 first[4], second[4];
    u8_unpack(wasm_v128_load(a), first);
    u8_unpack(wasm_v128_load(b), second);
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++)
      v4_store(between + 4 * i, v4_madd(wasm_f32x4_sub(second[i], first[i]), weights, first[i]));
  }
}

static void bilinear_row(const tulle_integer_resize* args, const float* between, uint8_t* output) {
  const v4 scale = v4_splat(args->scale), offset = v4_splat(args->offset + 0.5f);
  const v4 low = wasm_i8x16_splat((int8_t)(uint8_t)args->low), high = wasm_i8x16_splat((int8_t)(uint8_t)args->high);
  for (uint32_t x = 0; x < args->out_width; x += 4) {
    const uint32_t left = args->out_width - x;
    v4 y[4];
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
      const tulle_lerp* column = &args->columns[i < left ? x + i : x];
      const v4 a = v4_load(between + 4 * (size_t)column->first), b = v4_load(between + 4 * (size_t)column->second);
      y[i] = v4_madd(v4_madd(wasm_f32x4_sub(b, a), v4_load_splat(&column->weight), a), scale, offset);
    }
    v4_store_first((float*)(output + 4 * (size_t)x), u8_pack(y[0], y[1], y[2], y[3], low, high), left < 4 ? left : 4);
  }
}

void tulle_u8_resize(const tulle_integer_resize* args, const uint8_t* input, uint8_t* output, uint32_t row,
                     uint32_t row_end, uint8_t* scratch) {
  const size_t row_bytes = 4 * (size_t)args->width, out_bytes = 4 * (size_t)args->out_width;
  for (uint32_t y = row; y < row_end; y++) {
    const tulle_lerp* at = &args->rows[y];
    uint8_t* out = output + y * out_bytes;
    if (args->bilinear) {
      row_between(input + at->first * row_bytes, input + at->second * row_bytes, at->weight, args->width,
                  (float*)scratch);
      bilinear_row(args, (const float*)scratch, out);
    } else if (y > row && at[-1].first == at->first) {
      memcpy(out, out - out_bytes, out_bytes);
    } else {
      nearest_row(args, input + at->first * row_bytes, out);
    }
  }
}

#endif  // TULLE_HAS_DOT
