// Products of two matrices that are both activations, as in attention: 4 rows by 8 columns at a time.

#include "kernels/kernels.h"
#include "kernels/simd.h"

#define ROWS 4
#define COLUMNS 8

void tulle_f32_matmul(const float* a, const float* b, float* y, uint32_t rows, uint32_t depth, uint32_t columns) {
  for (uint32_t r = 0; r < rows; r += ROWS) {
    const uint32_t row_count = rows - r < ROWS ? rows - r : ROWS;
    for (uint32_t c = 0; c < columns; c += COLUMNS) {
      v4 sums[ROWS][2];
      TULLE_UNROLL
      for (uint32_t i = 0; i < ROWS; i++) sums[i][0] = sums[i][1] = v4_splat(0);
      for (uint32_t k = 0; k < depth; k++) {
        const float* row = b + (size_t)k * columns + c;
        const v4 b0 = v4_load(row), b1 = v4_load(row + 4);
        TULLE_UNROLL
        for (uint32_t i = 0; i < ROWS; i++) {
          const v4 scale = v4_load_splat(a + (size_t)(i < row_count ? r + i : r) * depth + k);
          sums[i][0] = v4_madd(scale, b0, sums[i][0]);
          sums[i][1] = v4_madd(scale, b1, sums[i][1]);
        }
      }
      for (uint32_t i = 0; i < row_count; i++) {
        float* output = y + (size_t)(r + i) * columns + c;
        v4_store_first(output, sums[i][0], columns - c);
        if (columns - c > 4) v4_store_first(output + 4, sums[i][1], columns - c - 4);
      }
    }
  }
}
