// Depthwise convolution, 3x3 and 5x5 with stride 1 or 2, reading the input in place.
//
// These kernels are bound by the number of instructions: copying the input into a zero-padded plane first, split by
// column parity for stride 2, took as long as the multiply-adds. Instead, rows above and below the input are skipped,
// vectors that cross its left or right border get zeros inserted, and stride 2 separates even and odd columns in
// registers. There are three ways to walk a map:
//   - 3x3: down a column one vector wide, the 9 weights in registers, each input row added to all outputs that use it;
//   - 5x5 with stride 2: the same two vectors wide, so that a weight from memory serves two multiply-adds;
//   - 5x5: tiles of up to 9 outputs, one below the other, one column of the kernel at a time.
//
// All walk from right to left: where the width is not a multiple of 4, a row's last vector is stored over the beginning
// of the next row, which is computed later.

#include "kernels/activation.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

// More accumulators than it takes to hide the latency of a multiply-add; with 5 weights and a vector of the input they
// fill the 15 registers.
#define MAX_ROWS 9
#define MAX_KERNEL 5
// One at the left border, and up to two at the right. One more entry, the last, is for all tiles in between.
#define MAX_BORDERS 3

// How to load a vector of input columns that may lie partly outside: four floats from `start`, permuted by `lanes`, or
// masked with it if none is missing on the left. `outside`: whether any column does.
typedef struct {
  v4 lanes;
  uint32_t start;
  bool outside;
} border_vector;

// The arguments of a call. Rows are counted from the first row of the first output's window, `row` of the input.
typedef struct {
  const float *input, *weights, *bias;  // of the first channel
  const float* added;
  float* output;
  size_t input_stride, output_stride;
  uint32_t channels, rows;  // to compute
  uint32_t height, width, out_width, pad_left;
  int32_t row;
  uint32_t begin, end;        // rows that lie inside the input
  uint32_t whole;             // 3x3: outputs whose window's last row does
  uint32_t inner, inner_end;  // tiles at x in [inner, inner_end) cross no border
  float low, high;
  bool hard_swish;
  border_vector borders[MAX_BORDERS + 1][MAX_KERNEL];
} window;

TULLE_INLINE v4 even_lanes(v4 a, v4 b) { return wasm_i32x4_shuffle(a, b, 0, 2, 4, 6); }
TULLE_INLINE v4 odd_lanes(v4 a, v4 b) { return wasm_i32x4_shuffle(a, b, 1, 3, 5, 7); }

TULLE_INLINE void finish(const window* w, v4 sum, const float* added, float* output, const bool hard_swish) {
  sum = v4_clamp(sum, v4_load_splat(&w->low), v4_load_splat(&w->high));
  if (hard_swish) sum = v4_hard_swish(sum);
  if (added) sum = wasm_f32x4_add(sum, v4_load(added));
  v4_store(output, sum);
}

// Hides from LLVM where a pointer came from: it would recompute each from the first, by several additions.
#define OPAQUE(pointer) __asm__("" : "+r"(pointer))

// Never called. A call that might happen forces its arguments to exist at that point: see FENCE.
__attribute__((noinline, cold, noreturn)) static void use(v4 a, v4 b, v4 c, v4 d, v4 e, v4 f, v4 g, v4 h, v4 i) {
  volatile v4 sink = a;
  sink = b;
  sink = c;
  sink = d;
  sink = e;
  sink = f;
  sink = g;
  sink = h;
  sink = i;
  (void)sink;
  __builtin_trap();
}

// Keeps multiply-adds before the loads that follow. LLVM would sink all of them to where their accumulator is stored,
// and keep every vector of the tile alive until then, in more registers than there are. (An empty asm would do, but
// LLVM 19 does not accept vectors there.) V8 sees that `nonzero` never changes, and tests it once.
#define FENCE(nonzero, sum, rows)                                                                           \
  do {                                                                                                      \
    __asm__ volatile("" : "+r"(nonzero) : : "memory");                                                      \
    if (__builtin_expect(nonzero == 0, 0))                                                                  \
      use(sum[0], sum[1 % rows], sum[2 % rows], sum[3 % rows], sum[4 % rows], sum[5 % rows], sum[6 % rows], \
          sum[7 % rows], sum[8 % rows]);                                                                    \
  } while (0)

// ---- 3x3 ---------------------------------------------------------------------------------------------

// The three vectors of a row that the kernel's columns are multiplied with. Only the first can cross the left border,
// and only the third the right one.
TULLE_INLINE void load_3(const float* row, const border_vector* border, const uint32_t stride, const bool bordered,
                         v4 v[3]) {
  if (stride == 1) {
    v[0] = bordered ? v4_permute(v4_load(row + border->start), border[0].lanes) : v4_load(row);
    v[1] = v4_load(row + 1);
    v[2] = v4_load(row + 2);
  } else {
    const v4 a = v4_load(bordered ? row + border->start : row), b = v4_load(row + 4), c = v4_load(row + 8);
    const v4 aa = bordered ? v4_permute(a, border[0].lanes) : a;
    v[0] = even_lanes(aa, b);
    v[1] = odd_lanes(aa, b);
    v[2] = wasm_i32x4_shuffle(v[0], c, 1, 2, 3, 4);
  }
  if (bordered) v[2] = wasm_v128_and(v[2], border[2].lanes);
}

// Sums the row before adding it, so that an output's dependency chain is three additions long and not nine
// multiply-adds, which would take eight outputs in flight to hide.
TULLE_INLINE v4 row_of_3(const v4* weights, const v4 v[3], v4 sum) {
  v4 p = wasm_f32x4_mul(weights[0], v[0]);
  TULLE_UNROLL
  for (uint32_t i = 1; i < 3; i++) p = v4_madd(weights[i], v[i], p);
  return wasm_f32x4_add(sum, p);
}

TULLE_INLINE v4 first_row_of_3(const v4* weights, const v4 v[3], v4 sum) {
  TULLE_UNROLL
  for (uint32_t i = 0; i < 3; i++) sum = v4_madd(weights[i], v[i], sum);
  return sum;
}

// Accumulators of two outputs: the next row is the last of `middle`'s window and the middle one of `first`'s.
TULLE_INLINE void column_3_1(const window* w, const float* input, const v4 k[9], const float* bias,
                             const border_vector* border, const bool bordered, const bool hard_swish,
                             const float* added, float* output) {
  const uint32_t width = w->width, out_width = w->out_width;
  v4 middle = v4_load_splat(bias), first = middle, v[3];
  if (w->begin == 0) {
    load_3(input, border, 1, bordered, v);
    middle = first_row_of_3(k, v, middle);
  }
  input += width;
  if (w->end > 1) {
    load_3(input, border, 1, bordered, v);
    middle = row_of_3(k + 3, v, middle);
    first = first_row_of_3(k, v, first);
  }
  input += width;
  for (uint32_t whole = w->whole; whole > 0; whole--) {
    const v4 next = v4_load_splat(bias);
    load_3(input, border, 1, bordered, v);
    middle = row_of_3(k + 6, v, middle);
    finish(w, middle, added, output, hard_swish);
    middle = row_of_3(k + 3, v, first);
    first = first_row_of_3(k, v, next);
    input += width;
    output += out_width;
    OPAQUE(input);
    OPAQUE(output);
    if (added) {
      added += out_width;
      OPAQUE(added);
    }
  }
  for (uint32_t rest = w->rows - w->whole; rest > 0; rest--, output += out_width) {
    finish(w, middle, added, output, hard_swish);
    if (added) added += out_width;
    middle = first;
  }
}

TULLE_INLINE void column_3_2(const window* w, const float* input, const v4 k[9], const float* bias,
                             const border_vector* border, const bool bordered, const bool hard_swish, float* output) {
  const uint32_t width = w->width, out_width = w->out_width;
  v4 next = v4_load_splat(bias), v[3];
  if (w->begin == 0) {
    load_3(input, border, 2, bordered, v);
    next = first_row_of_3(k, v, next);
  }
  input += width;
  OPAQUE(input);
  for (uint32_t whole = w->whole; whole > 0; whole--) {
    load_3(input, border, 2, bordered, v);
    v4 sum = row_of_3(k + 3, v, next);
    next = v4_load_splat(bias);
    input += width;
    OPAQUE(input);
    load_3(input, border, 2, bordered, v);
    sum = row_of_3(k + 6, v, sum);
    next = first_row_of_3(k, v, next);
    finish(w, sum, NULL, output, hard_swish);
    input += width;
    output += out_width;
    OPAQUE(input);
    OPAQUE(output);
  }
  if (w->rows > w->whole) {
    load_3(input, border, 2, bordered, v);
    finish(w, row_of_3(k + 3, v, next), NULL, output, hard_swish);
  }
}

TULLE_INLINE void columns_3(const window* w, const uint32_t stride, const bool hard_swish, const bool sum) {
  const float *input = w->input, *weights = w->weights, *bias = w->bias;
  const float* added = sum ? w->added : NULL;
  float* output = w->output;
  const uint32_t from = (w->out_width + 3) / 4 * 4;
  for (uint32_t c = w->channels; c > 0; c--) {
    v4 k[9];
    TULLE_UNROLL
    for (uint32_t i = 0; i < 9; i++) k[i] = v4_load_splat(weights + i);
    const float* row = input + w->row * (int32_t)w->width - (int32_t)w->pad_left;
    for (uint32_t x = from; x > 0;) {
      x -= 4;
      const float* at = row + x * stride;
      if (x < w->inner || x >= w->inner_end) {
        const border_vector* border = w->borders[x < w->inner ? 0 : (x - w->inner_end + w->inner) / 4];
        if (stride == 1)
          column_3_1(w, at, k, bias, border, true, hard_swish, sum ? added + x : NULL, output + x);
        else
          column_3_2(w, at, k, bias, border, true, hard_swish, output + x);
      } else {
        if (stride == 1)
          column_3_1(w, at, k, bias, NULL, false, hard_swish, sum ? added + x : NULL, output + x);
        else
          column_3_2(w, at, k, bias, NULL, false, hard_swish, output + x);
      }
    }
    input += w->input_stride;
    output += w->output_stride;
    if (sum) added += w->output_stride;
    weights += 9;
    bias++;
  }
}
// Separate functions for hard_swish, whose constants would take registers from the others.
static __attribute__((noinline)) void columns_3_1(const window* w) { columns_3(w, 1, false, false); }
static __attribute__((noinline)) void columns_3_1_swish(const window* w) { columns_3(w, 1, true, false); }
static __attribute__((noinline)) void columns_3_1_sum(const window* w) { columns_3(w, 1, false, true); }
static __attribute__((noinline)) void columns_3_2(const window* w) { columns_3(w, 2, false, false); }
static __attribute__((noinline)) void columns_3_2_swish(const window* w) { columns_3(w, 2, true, false); }

// ---- 5x5, stride 1 ---------------------------------------------------------------------------------------------

// Adds one column of the kernel to the accumulators.
TULLE_INLINE void tile_column(const float* row, const uint32_t width, const float* weights, const v4 lanes,
                              const bool bordered, const uint32_t rows, const uint32_t valid, v4 sum[MAX_ROWS]) {
  const uint32_t all = rows + 4;
  uint32_t nonzero = width;
  v4 weight[MAX_KERNEL];
  TULLE_UNROLL
  for (uint32_t ky = 0; ky < 5; ky++) weight[ky] = v4_load_splat(weights + ky * 5);
  TULLE_UNROLL
  for (uint32_t r = 0; r < all; r++, row += width) {
    if ((r < 2 || r >= all - 2) && !(valid >> r & 1)) continue;
    v4 v = v4_load(row);
    if (bordered) v = v4_permute(v, lanes);
    TULLE_UNROLL
    for (uint32_t o = 0; o < rows; o++)
      if (r >= o && r < o + 5) sum[o] = v4_madd(weight[r - o], v, sum[o]);
    FENCE(nonzero, sum, rows);
  }
}

TULLE_INLINE void tile(const window* w, const float* input, const float* weights, const float* bias,
                       const border_vector* border, const uint32_t rows, const uint32_t valid, float* output) {
  const uint32_t width = w->width, out_width = w->out_width;
  v4 sum[MAX_ROWS];
  TULLE_UNROLL
  for (uint32_t o = 0; o < rows; o++) sum[o] = v4_load_splat(bias);
#pragma clang loop unroll(disable)
  for (const border_vector* end = border + 5; border < end; border++, weights++) {
    const float* row = input + border->start;
    if (border->outside) {
      tile_column(row, width, weights, border->lanes, true, rows, valid, sum);
    } else {
      tile_column(row, width, weights, border->lanes, false, rows, valid, sum);
    }
  }
  const v4 low = v4_load_splat(&w->low), high = v4_load_splat(&w->high);
  TULLE_UNROLL
  for (uint32_t o = 0; o < rows; o++) sum[o] = v4_clamp(sum[o], low, high);
  if (w->hard_swish) {
    TULLE_UNROLL
    for (uint32_t o = 0; o < rows; o++) sum[o] = v4_hard_swish(sum[o]);
  }
  TULLE_UNROLL
  for (uint32_t o = 0; o < rows; o++, output += out_width) v4_store(output, sum[o]);
}

TULLE_INLINE void tiles(const window* w, const uint32_t rows) {
  const float *input = w->input, *weights = w->weights, *bias = w->bias;
  float* output = w->output;
  uint32_t valid = 0;
  for (uint32_t r = 0; r < rows + 4; r++) valid |= (uint32_t)((uint32_t)w->row + r < w->height) << r;
  for (uint32_t c = w->channels; c > 0; c--) {
    const float* row = input + w->row * (int32_t)w->width;
    for (uint32_t x = (w->out_width + 3) / 4 * 4; x > 0;) {
      x -= 4;
      const bool inner = x >= w->inner && x < w->inner_end;
      const float* at = inner ? row + (int32_t)x - (int32_t)w->pad_left : row;
      const border_vector* border = w->borders[inner          ? MAX_BORDERS
                                               : x < w->inner ? 0
                                                              : (x - w->inner_end + w->inner) / 4];
      tile(w, at, weights, bias, border, rows, valid, output + x);
    }
    input += w->input_stride;
    output += w->output_stride;
    weights += 25;
    bias++;
  }
}

// One function for each number of rows: V8 generates poor code for one huge function.
#define TILES(rows) \
  static __attribute__((noinline)) void tiles_##rows(const window* w) { tiles(w, rows); }
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)
TILES(8)
TILES(9)
#undef TILES

// More than 9 rows are cut into groups of nearly equal height.
static void columns_5_1(window* w) {
  static void (*const kernels[MAX_ROWS])(const window*) = {tiles_1, tiles_2, tiles_3, tiles_4, tiles_5,
                                                           tiles_6, tiles_7, tiles_8, tiles_9};
  if (w->rows <= MAX_ROWS) {
    kernels[w->rows - 1](w);
    return;
  }
  window one = *w;
  one.channels = 1;
  for (uint32_t c = 0; c < w->channels; c++, one.weights += 25, one.bias++) {
    one.row = w->row;
    one.input = w->input + c * w->input_stride;
    one.output = w->output + c * w->output_stride;
    uint32_t left = w->rows;
    for (uint32_t groups = (left + MAX_ROWS - 1) / MAX_ROWS; groups > 0; groups--) {
      const uint32_t rows = (left + groups - 1) / groups;
      kernels[rows - 1](&one);
      left -= rows;
      one.row += (int32_t)rows;
      one.output += rows * w->out_width;
    }
  }
}

// ---- 5x5, stride 2 -----------------------------------------------------------------------------------

// Adds a row of the input to the outputs whose windows contain it: up to three, two vectors each, from output `from`
// on. The first output's window does not reach an odd row.
TULLE_INLINE void row_5_2(const float* row, const border_vector* border, const uint32_t far, const bool bordered,
                          const v4* weights, const bool odd, const uint32_t from, v4 sum[6], uint32_t* nonzero) {
  v4 a = v4_load(bordered ? row + border[0].start : row), b = v4_load(row + 4), c = v4_load(row + 8),
     d = v4_load(row + 12), e = v4_load(bordered ? row + far : row + 16);
  if (bordered) {
    a = v4_permute(a, border[0].lanes);
    b = wasm_v128_and(b, border[1].lanes);
    c = wasm_v128_and(c, border[2].lanes);
    d = wasm_v128_and(d, border[3].lanes);
    e = wasm_v128_and(e, border[4].lanes);
  }
  const v4 even0 = even_lanes(a, b), odd0 = odd_lanes(a, b), even1 = even_lanes(c, d), odd1 = odd_lanes(c, d);
  const v4 odd2 = bordered ? odd_lanes(e, e) : v4_load(row + 17);
// Column kx of the kernel. left, right: the input vectors it is multiplied with, for the outputs' two vectors.
#define TAPS(kx, left, right)             \
  do {                                    \
    const v4 l = left, r = right;         \
    const v4* k = weights + kx + 5 * odd; \
    if (from == 0 && !odd) {              \
      sum[0] = v4_madd(k[20], l, sum[0]); \
      sum[1] = v4_madd(k[20], r, sum[1]); \
    }                                     \
    if (from <= 1) {                      \
      sum[2] = v4_madd(k[10], l, sum[2]); \
      sum[3] = v4_madd(k[10], r, sum[3]); \
    }                                     \
    sum[4] = v4_madd(k[0], l, sum[4]);    \
    sum[5] = v4_madd(k[0], r, sum[5]);    \
    FENCE((*nonzero), sum, 6);            \
  } while (0)
  TAPS(0, even0, even1);
  TAPS(2, wasm_i32x4_shuffle(even0, even1, 1, 2, 3, 4), wasm_i32x4_shuffle(even1, e, 1, 2, 3, 4));
  TAPS(4, wasm_i32x4_shuffle(even0, even1, 2, 3, 4, 5), wasm_i32x4_shuffle(even1, e, 2, 3, 4, 6));
  TAPS(1, odd0, odd1);
  TAPS(3, wasm_i32x4_shuffle(odd0, odd1, 1, 2, 3, 4), wasm_i32x4_shuffle(odd1, odd2, 1, 2, 3, 4));
#undef TAPS
}

TULLE_INLINE void shift_5_2(v4 sum[6], const float* bias) {
  sum[0] = sum[2], sum[1] = sum[3], sum[2] = sum[4], sum[3] = sum[5];
  sum[4] = sum[5] = v4_load_splat(bias);
}

TULLE_INLINE void finish_5_2(const window* w, const v4 sum[6], float* output, const bool both, const bool hard_swish) {
  finish(w, sum[0], NULL, output, hard_swish);
  if (both) finish(w, sum[1], NULL, output + 4, hard_swish);
}

TULLE_INLINE void column_5_2(const window* w, const float* input, const v4* weights, const float* bias,
                             const border_vector* border, const bool bordered, const bool both, const bool hard_swish,
                             float* output) {
  const uint32_t width = w->width, out_width = w->out_width, far = bordered ? border[4].start : 0;
  const uint32_t begin = w->begin, end = w->end;
  uint32_t nonzero = width;
  v4 sum[6];
  sum[0] = sum[1] = sum[2] = sum[3] = sum[4] = sum[5] = v4_load_splat(bias);
  if (begin == 0) row_5_2(input, border, far, bordered, weights, false, 2, sum, &nonzero);
  input += width;
  if (begin <= 1 && end > 1) row_5_2(input, border, far, bordered, weights, true, 2, sum, &nonzero);
  input += width;
  shift_5_2(sum, bias);
  if (end > 2) row_5_2(input, border, far, bordered, weights, false, 1, sum, &nonzero);
  input += width;
  if (end > 3) row_5_2(input, border, far, bordered, weights, true, 1, sum, &nonzero);
  input += width;
  shift_5_2(sum, bias);
  uint32_t row = 4;
  for (uint32_t y = w->rows; y > 0; y--, row += 2, output += out_width) {
    OPAQUE(input);
    if (row < end) row_5_2(input, border, far, bordered, weights, false, 0, sum, &nonzero);
    finish_5_2(w, sum, output, both, hard_swish);
    input += width;
    OPAQUE(input);
    if (row + 1 < end) row_5_2(input, border, far, bordered, weights, true, 0, sum, &nonzero);
    input += width;
    shift_5_2(sum, bias);
  }
}

TULLE_INLINE void columns_5_2_any(const window* w, const bool hard_swish) {
  const float *input = w->input, *weights = w->weights, *bias = w->bias;
  float* output = w->output;
  v4 splat[28];  // 25 weights: loading a vector takes one instruction, a splat load two
  for (uint32_t c = w->channels; c > 0; c--) {
    for (uint32_t i = 0; i < 28; i += 4) {
      const v4 four = v4_load(weights + i);
      splat[i] = wasm_i32x4_shuffle(four, four, 0, 0, 0, 0);
      splat[i + 1] = wasm_i32x4_shuffle(four, four, 1, 1, 1, 1);
      splat[i + 2] = wasm_i32x4_shuffle(four, four, 2, 2, 2, 2);
      splat[i + 3] = wasm_i32x4_shuffle(four, four, 3, 3, 3, 3);
    }
    const float* row = input + w->row * (int32_t)w->width - (int32_t)w->pad_left;
    for (uint32_t x = (w->out_width + 7) / 8 * 8; x > 0;) {
      x -= 8;
      const bool both = x + 4 < w->out_width;
      if (x < w->inner || x >= w->inner_end) {
        const border_vector* border = w->borders[x < w->inner ? 0 : (x - w->inner_end + w->inner) / 8];
        column_5_2(w, row + 2 * x, splat, bias, border, true, both, hard_swish, output + x);
      } else {
        column_5_2(w, row + 2 * x, splat, bias, NULL, false, both, hard_swish, output + x);
      }
    }
    input += w->input_stride;
    output += w->output_stride;
    weights += 25;
    bias++;
  }
}
static __attribute__((noinline)) void columns_5_2(const window* w) { columns_5_2_any(w, false); }
static __attribute__((noinline)) void columns_5_2_swish(const window* w) { columns_5_2_any(w, true); }

// ---- all ---------------------------------------------------------------------------------------------

// For a vector whose lane i is input column `column` + i, or zero outside. Only the first `used` lanes matter.
static border_vector border_at(int32_t column, int32_t width, int32_t used) {
  const int32_t missing = column < 0 ? -column : 0;  // on the left
  const v4 lane = wasm_i32x4_const(0, 1, 2, 3), at = wasm_i32x4_add(wasm_i32x4_splat(column), lane);
  const v4 outside = wasm_v128_or(wasm_i32x4_lt(at, wasm_i32x4_splat(0)), wasm_i32x4_ge(at, wasm_i32x4_splat(width)));
  const v4 from = wasm_i32x4_sub(lane, wasm_i32x4_splat(missing));
  const v4 bytes = wasm_i32x4_add(wasm_i32x4_mul(from, wasm_i32x4_splat(0x04040404)), wasm_i32x4_splat(0x03020100));
  return (border_vector){
      .lanes = wasm_v128_or(bytes, outside),
      .start = column + missing < width ? (uint32_t)(column + missing) : 0,
      .outside = wasm_v128_any_true(wasm_v128_and(outside, wasm_i32x4_lt(lane, wasm_i32x4_splat(used))))};
}

// All ones in the lanes whose column, `column` + lane * step, lies left of the right border.
static v4 inside_at(int32_t column, int32_t step, int32_t width) {
  const v4 at =
      wasm_i32x4_add(wasm_i32x4_splat(column), wasm_i32x4_mul(wasm_i32x4_const(0, 1, 2, 3), wasm_i32x4_splat(step)));
  return wasm_i32x4_lt(at, wasm_i32x4_splat(width));
}

void tulle_f32_depthwise(const tulle_depthwise* d, const float* input, const float* weights, const float* bias,
                         float* output, uint32_t channels, uint32_t top, uint32_t rows, const tulle_epilogue* epilogue,
                         uint32_t channel) {
  const int32_t stride = (int32_t)d->stride, pad = (int32_t)d->pad_left, kernel = (int32_t)d->kernel;
  const int32_t width = (int32_t)d->width;
  window w = {.input = input,
              .weights = weights,
              .bias = bias,
              .added = d->added,
              .output = output,
              .input_stride = d->input_stride,
              .output_stride = d->output_stride,
              .channels = channels,
              .row = (int32_t)(top * d->stride) - (int32_t)d->pad_top,
              .rows = rows,
              .height = d->height,
              .width = d->width,
              .out_width = d->out_width,
              .pad_left = d->pad_left,
              .low = epilogue->low,
              .high = epilogue->high,
              .hard_swish = epilogue->kind == TULLE_ACT_HARD_SWISH};
  const uint32_t step = kernel == 5 && stride == 2 ? 8 : 4;  // outputs per tile, side by side
  w.inner = pad ? step : 0;
  const uint32_t end = (d->out_width + step - 1) / step * step;
  // outputs whose windows do not cross the right border
  int32_t whole = width + pad - kernel < 0 ? 0 : (width + pad - kernel) / stride + 1;
  if (whole >= (int32_t)d->out_width) whole = (int32_t)end;
  w.inner_end = (uint32_t)whole / step * step > w.inner ? (uint32_t)whole / step * step : w.inner;
  uint32_t borders = 0;
  for (uint32_t i = 0; i < d->kernel; i++) w.borders[MAX_BORDERS][i] = (border_vector){.start = i};
  for (uint32_t x = 0; x < end; x += step) {
    if (x >= w.inner && x < w.inner_end) {
      x = w.inner_end - step;
      continue;
    }
    const int32_t column = (int32_t)x * stride - pad;
    border_vector* border = w.borders[borders];
    if (kernel == 3) {
      border[0] = border_at(column, column + 4, 4);
      border[0].start = column < 0 ? (uint32_t)pad : 0;
      border[2].lanes = inside_at(column + 2, stride, width);
    } else if (stride == 2) {
      border[0] = border_at(column, width, 4);
      border[0].start = column < 0 ? (uint32_t)pad : 0;
      for (int32_t i = 1; i < 5; i++) border[i].lanes = inside_at(column + 4 * i, 1, width);
      border[4].start = column + 16 < width ? 16 : (uint32_t)pad;  // avoids reading far past the input
    } else {
      for (int32_t i = 0; i < kernel; i++) border[i] = border_at(column + i, width, (int32_t)(d->out_width - x));
    }
    borders++;
  }
  const int32_t all = (int32_t)(rows - 1) * stride + kernel, end_row = (int32_t)d->height - w.row;
  w.begin = w.row < 0 ? (uint32_t)-w.row : 0;
  w.end = (uint32_t)(end_row < all ? end_row : all);
  w.whole = w.end < 3 ? 0 : (w.end - 3) / d->stride + 1;
  switch (tulle_f32_depthwise_id(d)) {
    case TULLE_KERNEL_DWCONV_SUM:
      columns_3_1_sum(&w);
      break;
    case TULLE_KERNEL_DWCONV_3X3:
      (w.hard_swish ? columns_3_1_swish : columns_3_1)(&w);
      break;
    case TULLE_KERNEL_DWCONV_3X3S2:
      (w.hard_swish ? columns_3_2_swish : columns_3_2)(&w);
      break;
    case TULLE_KERNEL_DWCONV_5X5:
      columns_5_1(&w);
      break;
    default:
      (w.hard_swish ? columns_5_2_swish : columns_5_2)(&w);
  }
  if (!tulle_in_store(epilogue->kind)) {
    for (uint32_t c = 0; c < channels; c++)
      tulle_f32_activate(output + c * d->output_stride, (size_t)rows * d->out_width, epilogue, channel + c);
  }
}

tulle_kernel_id tulle_f32_depthwise_id(const tulle_depthwise* d) {
  if (d->kernel == 3 && d->stride == 1) return d->added ? TULLE_KERNEL_DWCONV_SUM : TULLE_KERNEL_DWCONV_3X3;
  if (d->kernel == 3 && d->stride == 2) return TULLE_KERNEL_DWCONV_3X3S2;
  if (d->kernel == 5 && d->stride == 1) return TULLE_KERNEL_DWCONV_5X5;
  if (d->kernel == 5 && d->stride == 2) return TULLE_KERNEL_DWCONV_5X5S2;
  return TULLE_KERNEL_DWCONV;
}
