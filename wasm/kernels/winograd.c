// Transforms of Winograd's minimal filtering F(4, 3): 4 outputs of a kernel of 3 from 6 products instead of 12, in one
// direction or in both (36 products instead of 144). Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks", CVPR 2016.
//
// A tile of 6 pixels stands for a polynomial, and the 6 products are its values times the kernel's at 6 points: 0, a,
// -a, b, -b and infinity. Rounding errors depend on the points: 3/4 and 3/2, with which the coefficients of all three
// transforms are close to 1, leave a quarter of the largest error of 1 and 2, which one reads of most. Both are exact
// in binary, and so are their powers.

#include "kernels/kernels.h"
#include "kernels/simd.h"

// A loop that is as fast as it stands, and smaller.
#define ROLLED _Pragma("clang loop unroll(disable)")

#define A 0.75f
#define B 1.5f

// The values at the six points. Factors that the points -a and -b share with a and b are computed once.
TULLE_INLINE void to_points(const v4* d, v4* at) {
  const v4 minus_aa = V4_CONSTANT(-A * A), minus_bb = V4_CONSTANT(-B * B);
  const v4 even_a = v4_madd(minus_bb, d[2], d[4]), even_b = v4_madd(minus_aa, d[2], d[4]);
  const v4 odd_a = v4_madd(minus_bb, d[1], d[3]), odd_b = v4_madd(minus_aa, d[1], d[3]);
  at[0] = v4_madd(minus_aa, v4_madd(minus_bb, d[0], d[2]), even_a);
  at[1] = v4_madd(V4_CONSTANT(A), odd_a, even_a);
  at[2] = v4_madd(V4_CONSTANT(-A), odd_a, even_a);
  at[3] = v4_madd(V4_CONSTANT(B), odd_b, even_b);
  at[4] = v4_madd(V4_CONSTANT(-B), odd_b, even_b);
  at[5] = v4_madd(minus_aa, odd_a, v4_madd(minus_bb, d[3], d[5]));
}

// The four outputs from the products at the six points.
TULLE_INLINE void from_points(const v4* m, v4* y) {
  const v4 sum_a = wasm_f32x4_add(m[1], m[2]), difference_a = wasm_f32x4_sub(m[1], m[2]);
  const v4 sum_b = wasm_f32x4_add(m[3], m[4]), difference_b = wasm_f32x4_sub(m[3], m[4]);
  y[0] = wasm_f32x4_add(wasm_f32x4_add(m[0], sum_a), sum_b);
  y[1] = v4_madd(V4_CONSTANT(A), difference_a, wasm_f32x4_mul(V4_CONSTANT(B), difference_b));
  y[2] = v4_madd(V4_CONSTANT(A * A), sum_a, wasm_f32x4_mul(V4_CONSTANT(B * B), sum_b));
  y[3] = v4_madd(V4_CONSTANT(A * A * A), difference_a, v4_madd(V4_CONSTANT(B * B * B), difference_b, m[5]));
}

TULLE_INLINE void transpose(v4* v) {
  const v4 a = wasm_i32x4_shuffle(v[0], v[1], 0, 4, 1, 5), b = wasm_i32x4_shuffle(v[2], v[3], 0, 4, 1, 5);
  const v4 c = wasm_i32x4_shuffle(v[0], v[1], 2, 6, 3, 7), d = wasm_i32x4_shuffle(v[2], v[3], 2, 6, 3, 7);
  v[0] = wasm_i64x2_shuffle(a, b, 0, 2);
  v[1] = wasm_i64x2_shuffle(a, b, 1, 3);
  v[2] = wasm_i64x2_shuffle(c, d, 0, 2);
  v[3] = wasm_i64x2_shuffle(c, d, 1, 3);
}

void tulle_f32_winograd_weights(uint32_t kernel_h, uint32_t kernel_w, const float* weights, size_t stride, v4* at) {
  // Row p: the powers of point p over the product of its distances from the other points.
  const float da = 2 * A * A * (A * A - B * B), db = 2 * B * B * (B * B - A * A);
  const float from_taps[6][3] = {{1 / (A * A * B * B), 0, 0},   {1 / da, A / da, A * A / da},
                                 {1 / da, -A / da, A * A / da}, {1 / db, B / db, B * B / db},
                                 {1 / db, -B / db, B * B / db}, {0, 0, 1}};
  const uint32_t rows = kernel_h == 3 ? 6 : 1, columns = kernel_w == 3 ? 6 : 1;
  for (uint32_t i = 0; i < rows; i++) {
    v4 row[3];
    for (uint32_t x = 0; x < kernel_w; x++) {
      row[x] = rows == 1 ? v4_load(weights + x * stride) : v4_splat(0.0f);
      for (uint32_t y = 0; rows == 6 && y < 3; y++)
        row[x] = v4_madd(v4_splat(from_taps[i][y]), v4_load(weights + (y * kernel_w + x) * stride), row[x]);
    }
    for (uint32_t j = 0; j < columns; j++) {
      v4 sum = columns == 1 ? row[0] : v4_splat(0.0f);
      for (uint32_t x = 0; columns == 6 && x < 3; x++) sum = v4_madd(v4_splat(from_taps[j][x]), row[x], sum);
      at[i * columns + j] = sum;
    }
  }
}

// Columns [first, end) of the rows of a tile at each point, `line` floats apart; column `left` goes to out[0].
TULLE_INLINE void columns_to_points(const float* const* rows, int32_t left, int32_t first, int32_t end, float* out,
                                    size_t line, const bool down) {
  out -= left;
  for (int32_t x = first; x < end; x += 4) {
    v4 d[6], at[6] = {v4_load(rows[0] + x)};
    TULLE_UNROLL
    for (uint32_t i = 0; down && i < 6; i++) d[i] = v4_load(rows[i] + x);
    if (down) to_points(d, at);
    TULLE_UNROLL
    for (uint32_t i = 0; i < (down ? 6 : 1); i++) v4_store(out + i * line + x, at[i]);
  }
}

TULLE_INLINE void line_to_points(const float* line, uint32_t columns, float* tiles, size_t stride) {
  for (uint32_t t = 0; t < columns; t += 4, line += 16, tiles += 4) {
    v4 d[6] = {v4_load(line), v4_load(line + 4), v4_load(line + 8), v4_load(line + 12)}, at[6];
    transpose(d);
    d[4] = wasm_i32x4_shuffle(d[0], v4_load(line + 16), 1, 2, 3, 4);
    d[5] = wasm_i32x4_shuffle(d[1], v4_load(line + 17), 1, 2, 3, 4);
    to_points(d, at);
    TULLE_UNROLL
    for (uint32_t i = 0; i < 6; i++) v4_store(tiles + i * stride, at[i]);
  }
}

TULLE_INLINE void input_rows(const tulle_winograd* args, const float* channel, uint32_t top, uint32_t bottom,
                             uint32_t column, uint32_t columns, float* lines, float* tiles, const bool down,
                             const bool across) {
  const size_t line = args->line_floats, width = args->width, stride = args->matrix_stride;
  const int32_t left = (int32_t)(column * (across ? 4 : 1)) - args->pad_left;
  const int32_t reach = left + (int32_t)(across ? 4 * columns + 2 : columns);
  const int32_t first = left > 0 ? left : 0, end = reach < (int32_t)width ? reach : (int32_t)width;
  const uint32_t points = down ? 6 : 1;
  for (; top < bottom; top++, tiles += columns) {
    const float* rows[6];
    for (uint32_t i = 0; i < points; i++) {
      const int32_t y = (int32_t)(top * (down ? 4 : 1) + i) - args->pad_top;
      // Line 6 is all zeros.
      rows[i] = y >= 0 && y < (int32_t)args->height ? channel + (size_t)y * width : lines + 6 * line - left;
    }
    if (!across) {  // no padding left or right
      columns_to_points(rows, left, left, reach, tiles, stride, down);
      continue;
    }
    if (first < end) columns_to_points(rows, left, first, end, lines, line, down);
    for (uint32_t i = 0; i < points; i++) {
      // The last vector has reached into the padding.
      if (first < end) v4_store(lines + i * line + (end - left), v4_splat(0.0f));
      line_to_points(lines + i * line, columns, tiles + 6 * i * stride, stride);
    }
  }
}

void tulle_f32_winograd_input(const tulle_winograd* args, const float* channel, uint32_t top, uint32_t bottom,
                              uint32_t column, uint32_t columns, float* lines, float* tiles) {
  if (args->kernel_h == 1) {
    input_rows(args, channel, top, bottom, column, columns, lines, tiles, false, true);
  } else if (args->kernel_w == 1) {
    input_rows(args, channel, top, bottom, column, columns, lines, tiles, true, false);
  } else {
    input_rows(args, channel, top, bottom, column, columns, lines, tiles, true, true);
  }
}

typedef struct {
  v4 bias, low, high;
} finish;

TULLE_INLINE v4 finished(const finish* f, v4 sum, const float* residual) {
  sum = wasm_f32x4_add(sum, f->bias);
  if (residual) sum = wasm_f32x4_add(sum, v4_load(residual));
  return v4_clamp(sum, f->low, f->high);
}

// part[j][i]: column j of the outputs of neighbouring tiles, at point i of their rows; y[r][j]: their row r.
TULLE_INLINE void outputs_across(const float* products, size_t stride, v4 (*part)[6], uint32_t i, const bool across) {
  v4 m[6], column[4] = {v4_load(products)};
  TULLE_UNROLL
  for (uint32_t j = 0; across && j < 6; j++) m[j] = v4_load(products + j * stride);
  if (across) from_points(m, column);
  TULLE_UNROLL
  for (uint32_t j = 0; j < (across ? 4 : 1); j++) part[j][i] = column[j];
}

TULLE_INLINE void outputs_down(v4 (*part)[6], v4 (*y)[4], uint32_t j, const bool down) {
  v4 row[4] = {part[j][0]};
  if (down) from_points(part[j], row);
  TULLE_UNROLL
  for (uint32_t r = 0; r < (down ? 4 : 1); r++) y[r][j] = row[r];
}

// `rows` rows, up to 4, of the outputs of neighbouring tiles, `columns` of each.
TULLE_INLINE void output_row(const tulle_winograd* args, const float* products, const finish* f, const float* residual,
                             float* output, uint32_t rows, uint32_t columns, const bool down, const bool across) {
  const size_t stride = args->product_stride, width = args->out_width;
  const uint32_t vectors = across ? 4 : 1;
  for (uint32_t x = 0; x < columns; x += 4 * vectors, products += 4) {
    v4 part[4][6],
        y[4][4];  // part[j][i]: column j of the outputs, at point i of the rows
    if (down && across) {
      ROLLED
      for (uint32_t i = 0; i < 6; i++) outputs_across(products + 6 * i * stride, stride, part, i, true);
      ROLLED
      for (uint32_t j = 0; j < 4; j++) outputs_down(part, y, j, true);
    } else {
      TULLE_UNROLL
      for (uint32_t i = 0; i < (down ? 6 : 1); i++) outputs_across(products + i * stride, stride, part, i, across);
      TULLE_UNROLL
      for (uint32_t j = 0; j < vectors; j++) outputs_down(part, y, j, down);
    }
    const uint32_t count = columns - x;
    for (uint32_t r = 0; r < rows; r++) {
      const size_t at = r * width + x;
      float* out = output + at;
      const float* added = residual ? residual + at : NULL;
      if (across) transpose(y[r]);
      if (count >= 4 * vectors) {
        TULLE_UNROLL
        for (uint32_t i = 0; i < vectors; i++)
          v4_store(out + 4 * i, finished(f, y[r][i], added ? added + 4 * i : NULL));
      } else {
        for (uint32_t i = 0; 4 * i < count; i++)
          v4_store_first(out + 4 * i, finished(f, y[r][i], added ? added + 4 * i : NULL), count - 4 * i);
      }
    }
  }
}

#define OUTPUT(name, down, across)                                                                                    \
  static __attribute__((noinline)) void name(const tulle_winograd* args, const float* products, const finish* f,      \
                                             const float* residual, float* output, uint32_t rows, uint32_t columns) { \
    const uint32_t height = down ? 4 : 1, tiles = across ? (columns + 3) / 4 : columns;                               \
    for (uint32_t y = 0; y < rows; y += height, products += tiles) {                                                  \
      const size_t at = (size_t)y * args->out_width;                                                                  \
      output_row(args, products, f, residual ? residual + at : NULL, output + at,                                     \
                 rows - y < height ? rows - y : height, columns, down, across);                                       \
    }                                                                                                                 \
  }
OUTPUT(output_3x3, true, true)
OUTPUT(output_1x3, false, true)
OUTPUT(output_3x1, true, false)
#undef OUTPUT

void tulle_f32_winograd_output(const tulle_winograd* args, const float* products, float bias, const float* residual,
                               float* output, uint32_t rows, uint32_t columns, const tulle_epilogue* epilogue) {
  static void (*const kernels[])(const tulle_winograd*, const float*, const finish*, const float*, float*, uint32_t,
                                 uint32_t) = {output_3x3, output_1x3, output_3x1};
  const finish f = {v4_splat(bias), v4_splat(epilogue->low), v4_splat(epilogue->high)};
  kernels[args->kernel_h == 1 ? 1 : args->kernel_w == 1 ? 2 : 0](args, products, &f, residual, output, rows, columns);
}
