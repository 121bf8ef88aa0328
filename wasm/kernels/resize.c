// Bilinear resize of one CHW channel: two input rows are blended into one, whose columns are then blended.

#include "kernels/kernels.h"
#include "kernels/simd.h"

void tulle_f32_resize_bilinear(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                               uint32_t out_width, const float* input, float* output, float* row) {
  for (uint32_t y = 0; y < out_height; y++) {
    const float *above = input + (size_t)rows[y].first * width, *below = input + (size_t)rows[y].second * width;
    const v4 weight = v4_splat(rows[y].weight);
    for (uint32_t x = 0; x < width; x += 4) {
      const v4 a = v4_load(above + x);
      v4_store(row + x, v4_madd(wasm_f32x4_sub(v4_load(below + x), a), weight, a));
    }
    for (uint32_t x = 0; x < out_width; x++) {
      const float left = row[columns[x].first];
      *output++ = left + (row[columns[x].second] - left) * columns[x].weight;
    }
  }
}
