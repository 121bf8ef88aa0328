// From the frame to level 0, and from there to the mask's size and the network's input.

#include <string.h>

#include "compose/stage.h"
#include "compose/rows.h"
#include "kernels/simd.h"

// A row of the frame's colours at full size: planes of the frame itself, or parts of its pixels in scratch memory.
static void frame_row(const tulle_compositor* c, uint32_t y, const uint8_t* out[3], uint8_t* room) {
  const uint8_t* row = c->input + c->layout.offsets[0] + (size_t)y * c->layout.strides[0];
  for (int i = 0; i < 3; i++) out[i] = room + i * (size_t)c->row_bytes;
  tulle_part4_row(room, room + c->row_bytes, room + 2 * (size_t)c->row_bytes, row, c->width);
}

static void copy_row(uint8_t* out, const uint8_t* in, uint32_t count) { memcpy(out, in, count); }

void tulle_stage_split(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  const tulle_level* level = &c->levels[0];
  uint8_t *room = (uint8_t*)scratch, *other = room + 3 * (size_t)c->row_bytes;
  for (uint32_t y = begin; y < end; y++) {
    uint8_t* to[3];
    for (int i = 0; i < 3; i++) to[i] = tulle_row(&level->colours[i], y);
    // The rows of the frame that this one is made of; a missing last one repeats the one before.
    const uint32_t first = y << c->halvings, second = first + 1 < c->height ? first + 1 : first;
    if (!tulle_is_yuv(c)) {
      const uint8_t *above[3], *below[3];
      frame_row(c, first, above, room);
      if (c->halvings) frame_row(c, second, below, other);
      for (int i = 0; i < 3; i++) {
        if (c->halvings) {
          tulle_halve_row(to[i], above[i], below[i], c->width);
        } else {
          copy_row(to[i], above[i], c->width);
        }
      }
      continue;
    }
    const uint8_t* luma = c->input + c->layout.offsets[0];
    if (c->halvings) {
      tulle_halve_row(to[0], luma + (size_t)first * c->layout.strides[0], luma + (size_t)second * c->layout.strides[0],
                      c->width);
    } else {
      copy_row(to[0], luma + (size_t)y * c->layout.strides[0], c->width);
    }
    // Chroma has half the size.
    const uint32_t row = c->halvings ? y : y / 2, half = (c->width + 1) / 2;
    const uint8_t* chroma[2];
    if (c->format == TULLE_NV12) {
      tulle_part2_row(room, room + c->row_bytes, c->input + c->layout.offsets[1] + (size_t)row * c->layout.strides[1],
                      half);
      chroma[0] = room;
      chroma[1] = room + c->row_bytes;
    } else {
      for (int i = 0; i < 2; i++)
        chroma[i] = c->input + c->layout.offsets[i + 1] + (size_t)row * c->layout.strides[i + 1];
    }
    for (int i = 0; i < 2; i++) {
      if (c->halvings) {
        copy_row(to[i + 1], chroma[i], half);
      } else {
        tulle_repeat2_row(other, chroma[i], half);
        copy_row(to[i + 1], other, c->width);
      }
    }
  }
}

static void fill_margins(const tulle_compositor* c, float* row) {
  for (uint32_t i = 0; i < TULLE_COMPOSE_MARGIN; i++) {
    row[-1 - (int)i] = row[0];
    row[c->mask_width + i] = row[c->mask_width - 1];
  }
}

// sums[i] = weighted bytes of some rows.
static void sum_rows(float* sums, const tulle_bytes* plane, const tulle_taps* rows, uint32_t row, uint32_t width) {
  const uint32_t first = rows->starts[row], end = rows->starts[row + 1];
  for (uint32_t i = 0; i < width; i += 16) {
    v4 total[4];
    TULLE_UNROLL for (int k = 0; k < 4; k++) total[k] = v4_splat(0);
    for (uint32_t t = first; t < end; t++) {
      const v128_t x = wasm_v128_load(plane->data + (size_t)rows->taps[t].index * plane->stride + i);
      const v4 weight = v4_splat(rows->taps[t].weight);
      const v128_t low = wasm_u16x8_extend_low_u8x16(x), high = wasm_u16x8_extend_high_u8x16(x);
      const v128_t parts[4] = {wasm_u32x4_extend_low_u16x8(low), wasm_u32x4_extend_high_u16x8(low),
                               wasm_u32x4_extend_low_u16x8(high), wasm_u32x4_extend_high_u16x8(high)};
      TULLE_UNROLL for (int k = 0; k < 4; k++) total[k] = v4_madd(wasm_f32x4_convert_u32x4(parts[k]), weight, total[k]);
    }
    TULLE_UNROLL for (int k = 0; k < 4; k++) v4_store(sums + i + 4 * k, total[k]);
  }
}

// Columns x to x + 3 of the guide.
TULLE_INLINE v4 four_columns(const tulle_compositor* c, const float* sums, uint32_t x) {
  v4 total[4];
  TULLE_UNROLL for (uint32_t k = 0; k < 4; k++) {
    const float* from = sums + c->column_starts[x + k];
    const float* weights = c->column_weights + (size_t)(x + k) * c->column_taps;
    total[k] = v4_splat(0);
    for (uint32_t i = 0; i < c->column_taps; i += 4)
      total[k] = v4_madd(v4_load(from + i), v4_load(weights + i), total[k]);
  }
  // Lane k of the result is the sum of total[k].
  const v4 first = wasm_f32x4_add(wasm_i32x4_shuffle(total[0], total[1], 0, 4, 1, 5),
                                  wasm_i32x4_shuffle(total[0], total[1], 2, 6, 3, 7));
  const v4 second = wasm_f32x4_add(wasm_i32x4_shuffle(total[2], total[3], 0, 4, 1, 5),
                                   wasm_i32x4_shuffle(total[2], total[3], 2, 6, 3, 7));
  return wasm_f32x4_add(wasm_i64x2_shuffle(first, second, 0, 2), wasm_i64x2_shuffle(first, second, 1, 3));
}

void tulle_stage_guide(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  const tulle_level* level = &c->levels[0];
  const tulle_input* input = &c->model->inputs[0];
  float* sums = (float*)scratch;
  // What is read behind a row counts for nothing, but must be numbers.
  memset(sums + tulle_round_up(level->width, 16), 0, c->column_taps * sizeof *sums);
  for (uint32_t y = begin; y < end; y++) {
    for (int i = 0; i < 3; i++) {
      sum_rows(sums, &level->colours[i], &c->rows, y, level->width);
      float* out = tulle_mask_row(c, c->guide[i], y);
      for (uint32_t x = 0; x < c->mask_width; x += 4) v4_store(out + x, four_columns(c, sums, x));
      fill_margins(c, out);
    }
    float* pixel = input->data + 3 * (size_t)y * c->mask_width;
    const float *a = tulle_mask_row(c, c->guide[0], y), *b = tulle_mask_row(c, c->guide[1], y);
    const float* d = tulle_mask_row(c, c->guide[2], y);
    if (tulle_is_yuv(c)) {
      for (uint32_t x = 0; x < c->mask_width; x++) {
        pixel[3 * x] = a[x] - c->yuv.black;
        pixel[3 * x + 1] = b[x] - 128;
        pixel[3 * x + 2] = d[x] - 128;
      }
      tulle_yuv_to_rgb(&c->yuv, pixel, c->mask_width, input->scale, input->shift);
    } else {
      for (uint32_t x = 0; x < c->mask_width; x++) {
        pixel[3 * x] = a[x] * input->scale + input->shift;
        pixel[3 * x + 1] = b[x] * input->scale + input->shift;
        pixel[3 * x + 2] = d[x] * input->scale + input->shift;
      }
    }
  }
}
