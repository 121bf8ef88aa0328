// Transforms of Winograd's minimal filtering F(4, 3): 4 outputs of a kernel of 3 from 6 products instead of 12, in one
// direction or in both (36 products instead of 144). Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks", CVPR 2016.
//
// A tile of 6 pixels stands for a polynomial, and the 6 products are its values and the kernel's at 6 points: 0, a, -a,
// b, -b and infinity. Those of the literature, 1 and 2, lose three times as many bits as 3/4 and 3/2, at which the
// coefficients of all three transforms are close to 1. Both are exact in binary, and so are their powers.

#include "kernels/kernels.h"
#include "kernels/simd.h"

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

// Columns [first, end) of the rows of a tile into lines, whose column 0 is column `left` of the input.
static void columns_to_points(const tulle_winograd* args, const float* const* rows, int32_t left, int32_t first,
                              int32_t end, float* lines) {
  const uint32_t line = args->line_floats, points = args->kernel_h == 3 ? 6 : 1;
  for (int32_t x = first; x < end; x += 4) {
    v4 d[6], at[6];
    if (points == 1) {
      at[0] = v4_load(rows[0] + x);
    } else {
      TULLE_UNROLL
      for (uint32_t i = 0; i < 6; i++) d[i] = v4_load(rows[i] + x);
      to_points(d, at);
    }
    float* out = lines + (x - left);
    v4_store(out, at[0]);
    if (points == 1) continue;
    TULLE_UNROLL
    for (uint32_t i = 1; i < 6; i++) v4_store(out + i * line, at[i]);
  }
  // The last vector has reached into the padding.
  for (uint32_t i = 0; i < points; i++) v4_store(lines + i * line + (end - left), v4_splat(0.0f));
}

static void line_to_points(const float* line, uint32_t columns, float* tiles, size_t stride) {
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

void tulle_f32_winograd_input(const tulle_winograd* args, const float* channel, uint32_t tile_row, uint32_t column,
                              uint32_t columns, float* lines, float* tiles) {
  const uint32_t line = args->line_floats, points = args->kernel_h == 3 ? 6 : 1;
  const bool across = args->kernel_w == 3;
  const int32_t width = (int32_t)args->width, top = (int32_t)(tile_row * (points == 6 ? 4 : 1)) - args->pad_top;
  const int32_t left = (int32_t)(column * (across ? 4 : 1)) - args->pad_left;
  const int32_t reach = left + (int32_t)(across ? 4 * columns + 2 : columns);
  const int32_t first = left > 0 ? left : 0, end = reach < width ? reach : width;
  if (first < end) {
    const float* rows[6];
    for (uint32_t i = 0; i < points; i++) {
      const int32_t y = top + (int32_t)i;
      // Line 6 is all zeros.
      rows[i] = y >= 0 && y < (int32_t)args->height ? channel + (size_t)y * args->width : lines + 6 * line - left;
    }
    columns_to_points(args, rows, left, first, end, lines);
  }
  for (uint32_t i = 0; i < points; i++) {
    const float* from = lines + i * line;
    if (across) {
      line_to_points(from, columns, tiles + 6 * i * args->matrix_stride, args->matrix_stride);
    } else {
      for (uint32_t x = 0; x < columns; x += 4) v4_store(tiles + i * args->matrix_stride + x, v4_load(from + x));
    }
  }
}

// Up to four vectors of an output row.
TULLE_INLINE void store_row(v4* y, uint32_t vectors, v4 bias, v4 low, v4 high, const float* residual, float* output,
                            uint32_t count) {
  for (uint32_t i = 0; i < vectors && 4 * i < count; i++) {
    v4 sum = wasm_f32x4_add(y[i], bias);
    if (residual) sum = wasm_f32x4_add(sum, v4_load(residual + 4 * i));
    v4_store_first(output + 4 * i, v4_clamp(sum, low, high), count - 4 * i);
  }
}

void tulle_f32_winograd_output(const tulle_winograd* args, const float* products, float bias, const float* residual,
                               float* output, uint32_t rows, uint32_t columns, const tulle_epilogue* epilogue) {
  const v4 biases = v4_splat(bias), low = v4_splat(epilogue->low), high = v4_splat(epilogue->high);
  const size_t stride = args->product_stride;
  const bool down = args->kernel_h == 3, across = args->kernel_w == 3;
  const uint32_t points = down ? 6 : 1, vectors = across ? 4 : 1;
  for (uint32_t x = 0; x < columns; x += 4 * vectors, products += 4) {
    v4 m[6], part[4][6], y[4][4];  // part[j][i]: column j of the outputs, at point i of the rows
    for (uint32_t i = 0; i < points; i++) {
      const float* from = products + (across ? 6 : 1) * i * stride;
      if (across) {
        v4 columns_of_i[4];
        TULLE_UNROLL
        for (uint32_t j = 0; j < 6; j++) m[j] = v4_load(from + j * stride);
        from_points(m, columns_of_i);
        TULLE_UNROLL
        for (uint32_t j = 0; j < 4; j++) part[j][i] = columns_of_i[j];
      } else {
        part[0][i] = v4_load(from);
      }
    }
    for (uint32_t j = 0; j < vectors; j++) {
      v4 column[4];
      if (down) {
        from_points(part[j], column);
      } else {
        column[0] = part[j][0];
      }
      y[0][j] = column[0];
      if (!down) continue;
      TULLE_UNROLL
      for (uint32_t r = 1; r < 4; r++) y[r][j] = column[r];
    }
    for (uint32_t r = 0; r < rows; r++) {
      const size_t at = (size_t)r * args->out_width + x;
      if (across) transpose(y[r]);
      store_row(y[r], vectors, biases, low, high, residual ? residual + at : NULL, output + at, columns - x);
    }
  }
}
