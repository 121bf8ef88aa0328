// Bilinear resize of one CHW channel: two input rows are blended into one, whose columns are then blended.

#include "kernels/kernels.h"
#include "kernels/simd.h"

// Twice the width with half-pixel centers: output 2j lies a quarter before input j, output 2j + 1 a quarter behind it.
static void double_row(float* row, uint32_t width, float* output) {
  row[-1] = row[0];
  row[width] = row[width - 1];
  uint32_t x = 0;
  for (; x + 4 <= width; x += 4, output += 8) {
    const v4 a = v4_load(row + x - 1), b = v4_load(row + x), c = v4_load(row + x + 1);
    const v4 even = v4_madd(wasm_f32x4_sub(b, a), v4_splat(0.75f), a),
             odd = v4_madd(wasm_f32x4_sub(c, b), v4_splat(0.25f), b);
    v4_store(output, wasm_i32x4_shuffle(even, odd, 0, 4, 1, 5));
    v4_store(output + 4, wasm_i32x4_shuffle(even, odd, 2, 6, 3, 7));
  }
  for (; x < width; x++) {
    *output++ = row[x - 1] + (row[x] - row[x - 1]) * 0.75f;
    *output++ = row[x] + (row[x + 1] - row[x]) * 0.25f;
  }
}

void tulle_f32_resize_bilinear(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                               uint32_t out_width, bool doubled, const float* input, float* output, float* scratch) {
  float* row = scratch + 4;
  for (uint32_t y = 0; y < out_height; y++) {
    const float *above = input + (size_t)rows[y].first * width, *below = input + (size_t)rows[y].second * width;
    const v4 weight = v4_splat(rows[y].weight);
    for (uint32_t x = 0; x < width; x += 4) {
      const v4 a = v4_load(above + x);
      v4_store(row + x, v4_madd(wasm_f32x4_sub(v4_load(below + x), a), weight, a));
    }
    if (doubled) {
      double_row(row, width, output);
      output += out_width;
      continue;
    }
    for (uint32_t x = 0; x < out_width; x++) {
      const float left = row[columns[x].first];
      *output++ = left + (row[columns[x].second] - left) * columns[x].weight;
    }
  }
}
