// Bilinear resize of one CHW channel: two input rows are blended into one, whose columns are then blended.

#include "kernels/kernels.h"
#include "kernels/simd.h"

// Four columns between two rows.
TULLE_INLINE v4 blend(const float* above, const float* below, v4 weight) {
  const v4 a = v4_load(above);
  return v4_madd(wasm_f32x4_sub(v4_load(below), a), weight, a);
}

// Twice the width with half-pixel centers, for widths from 4 up: output 2j lies a quarter before input j, output 2j + 1
// a quarter behind it. Each column is blended three times: reading it back from memory moved by one column, right after
// it was stored, would take longer. The last vector overlaps the one before.
static void double_row(const float* above, const float* below, v4 weight, uint32_t width, float* output) {
  for (uint32_t x = 0; x < width; x += 4) {
    if (x + 4 > width) x = width - 4;
    const v4 b = blend(above + x, below + x, weight);
    const v4 a = x ? blend(above + x - 1, below + x - 1, weight) : wasm_i32x4_shuffle(b, b, 0, 0, 1, 2);
    const v4 c = x + 4 < width ? blend(above + x + 1, below + x + 1, weight) : wasm_i32x4_shuffle(b, b, 1, 2, 3, 3);
    const v4 even = v4_madd(wasm_f32x4_sub(b, a), V4_CONSTANT(0.75f), a),
             odd = v4_madd(wasm_f32x4_sub(c, b), V4_CONSTANT(0.25f), b);
    v4_store(output + 2 * x, wasm_i32x4_shuffle(even, odd, 0, 4, 1, 5));
    v4_store(output + 2 * x + 4, wasm_i32x4_shuffle(even, odd, 2, 6, 3, 7));
  }
}

void tulle_f32_resize_bilinear(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                               uint32_t out_width, bool doubled, const float* input, float* output, float* scratch) {
  for (uint32_t y = 0; y < out_height; y++) {
    const float *above = input + (size_t)rows[y].first * width, *below = input + (size_t)rows[y].second * width;
    const v4 weight = v4_splat(rows[y].weight);
    if (doubled && width >= 4) {
      double_row(above, below, weight, width, output);
      output += out_width;
      continue;
    }
    for (uint32_t x = 0; x < width; x += 4) v4_store(scratch + x, blend(above + x, below + x, weight));
    for (uint32_t x = 0; x < out_width; x++) {
      const float left = scratch[columns[x].first];
      *output++ = left + (scratch[columns[x].second] - left) * columns[x].weight;
    }
  }
}
