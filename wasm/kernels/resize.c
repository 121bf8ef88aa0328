// Resizing of one CHW channel. Bilinear: two input rows are blended into one, whose columns are then blended.

#include "kernels/kernels.h"
#include "kernels/simd.h"

// Four columns between two rows, with each of the weights.
TULLE_INLINE void blend(const float* above, const float* below, const v4* weights, v4* blended, const uint32_t count) {
  const v4 a = v4_load(above), difference = wasm_f32x4_sub(v4_load(below), a);
  TULLE_UNROLL
  for (uint32_t i = 0; i < count; i++) blended[i] = v4_madd(difference, weights[i], a);
}

// Upsampling to twice the width with half-pixel centers, for widths of at least 4: output 2j lies a quarter of a pixel
// before input j, output 2j + 1 a quarter after it. Makes one output row, or the two between the same input rows. Each
// column is blended three times: storing it and reading it back shifted by one column would stall on the store. The
// last vector overlaps the one before.
TULLE_INLINE void double_rows(const float* above, const float* below, const v4 weights[2], uint32_t width,
                              const float* added, v4 gate, float* output, const uint32_t rows) {
  const v4 *w = weights, quarter = V4_CONSTANT(0.25f), most = V4_CONSTANT(0.75f);
  for (uint32_t x = 0; x < width; x += 4) {
    if (x + 4 > width) x = width - 4;
    v4 a[2], b[2], c[2];
    blend(above + x, below + x, w, b, rows);
    if (x) blend(above + x - 1, below + x - 1, w, a, rows);
    if (x + 4 < width) blend(above + x + 1, below + x + 1, w, c, rows);
    TULLE_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
      if (!x) a[r] = wasm_i32x4_shuffle(b[r], b[r], 0, 0, 1, 2);
      if (x + 4 >= width) c[r] = wasm_i32x4_shuffle(b[r], b[r], 1, 2, 3, 3);
      const v4 even = v4_madd(wasm_f32x4_sub(b[r], a[r]), most, a[r]);
      const v4 odd = v4_madd(wasm_f32x4_sub(c[r], b[r]), quarter, b[r]);
      v4 first = wasm_i32x4_shuffle(even, odd, 0, 4, 1, 5), second = wasm_i32x4_shuffle(even, odd, 2, 6, 3, 7);
      const uint32_t at = 2 * x + r * 2 * width;
      if (added) {
        first = v4_madd(v4_load(added + at), gate, first);
        second = v4_madd(v4_load(added + at + 4), gate, second);
      }
      v4_store(output + at, first);
      v4_store(output + at + 4, second);
    }
  }
}

// Twice the width, any height.
TULLE_INLINE void doubled(const tulle_lerp* rows, uint32_t width, uint32_t out_height, const float* input,
                          const float* added, float gate, float* output) {
  const v4 gates = v4_splat(gate);
  for (uint32_t y = 0; y < out_height;) {
    const float *above = input + (size_t)rows[y].first * width, *below = input + (size_t)rows[y].second * width;
    const bool two = y + 1 < out_height && rows[y + 1].first == rows[y].first && rows[y + 1].second == rows[y].second;
    const v4 weights[2] = {v4_splat(rows[y].weight), v4_splat(rows[y + two].weight)};
    if (two) {
      double_rows(above, below, weights, width, added, gates, output, 2);
    } else {
      double_rows(above, below, weights, width, added, gates, output, 1);
    }
    y += 1 + two;
    output += (1 + two) * 2 * width;
    if (added) added += (1 + two) * 2 * width;
  }
}

static __attribute__((noinline)) void doubled_plain(const tulle_lerp* rows, uint32_t width, uint32_t out_height,
                                                    const float* input, float* output) {
  doubled(rows, width, out_height, input, NULL, 0, output);
}
static __attribute__((noinline)) void doubled_sum(const tulle_lerp* rows, uint32_t width, uint32_t out_height,
                                                  const float* input, const float* added, float gate, float* output) {
  doubled(rows, width, out_height, input, added, gate, output);
}

void tulle_f32_resize_bilinear(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                               uint32_t out_width, bool double_width, const float* input, const float* added,
                               float gate, float* output, float* scratch) {
  if (double_width) {
    if (added) {
      doubled_sum(rows, width, out_height, input, added, gate, output);
    } else {
      doubled_plain(rows, width, out_height, input, output);
    }
    return;
  }
  for (uint32_t y = 0; y < out_height; y++) {
    const float *above = input + (size_t)rows[y].first * width, *below = input + (size_t)rows[y].second * width;
    const v4 weight = v4_splat(rows[y].weight);
    for (uint32_t x = 0; x < width; x += 4) {
      v4 blended;
      blend(above + x, below + x, &weight, &blended, 1);
      v4_store(scratch + x, blended);
    }
    for (uint32_t x = 0; x < out_width; x++) {
      const float left = scratch[columns[x].first];
      *output++ = left + (scratch[columns[x].second] - left) * columns[x].weight;
    }
  }
}

void tulle_f32_resize_nearest(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                              uint32_t out_width, const float* input, float* output) {
  for (uint32_t y = 0; y < out_height; y++) {
    const float* row = input + (size_t)rows[y].first * width;
    for (uint32_t x = 0; x < out_width; x++) *output++ = row[columns[x].first];
  }
}
