// Products of two matrices: activations by activations, as in attention, or rows of activations by a layer's weights.
//
// Tiles of 4 rows by 8 columns: 8 accumulators just hide the latency of a multiply-add. The columns of a tile stay in
// L1 while all rows pass.

#include "kernels/kernels.h"
#include "kernels/simd.h"

#define ROWS 4

void tulle_f32_matmul(const tulle_matmul* args) {
  const uint32_t depth = args->depth;
  const v4 low = v4_splat(args->low), high = v4_splat(args->high);
  for (uint32_t c = 0; c < args->columns; c += TULLE_MATMUL_COLUMNS) {
    const uint32_t left = args->columns - c;
    const v4 first = args->bias ? v4_load(args->bias + c) : v4_splat(0),
             second = args->bias ? v4_load(args->bias + c + 4) : v4_splat(0);
    for (uint32_t r = 0; r < args->rows; r += ROWS) {
      const uint32_t row_count = args->rows - r < ROWS ? args->rows - r : ROWS;
      const float *b = args->b + c, *a[ROWS];
      v4 sums[ROWS][2];
      TULLE_UNROLL
      for (uint32_t i = 0; i < ROWS; i++) {
        a[i] = args->a + (size_t)(i < row_count ? r + i : r) * depth;
        sums[i][0] = first;
        sums[i][1] = second;
      }
      for (uint32_t k = 0; k < depth; k++, b += args->b_step) {
        const v4 b0 = v4_load(b), b1 = v4_load(b + 4);
        TULLE_UNROLL
        for (uint32_t i = 0; i < ROWS; i++) {
          const v4 scale = v4_load_splat(a[i] + k);
          sums[i][0] = v4_madd(scale, b0, sums[i][0]);
          sums[i][1] = v4_madd(scale, b1, sums[i][1]);
        }
      }
      for (uint32_t i = 0; i < row_count; i++) {
        float* output = args->y + (r + i) * args->y_step + c;
        v4_store_first(output, v4_clamp(sums[i][0], low, high), left);
        if (left > 4) v4_store_first(output + 4, v4_clamp(sums[i][1], low, high), left - 4);
      }
    }
  }
}
