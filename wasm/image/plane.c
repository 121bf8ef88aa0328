#include "image/plane.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/taps.h"
#include "kernels/simd.h"

// ---- turned: every sample by itself -----------------------------------------------------------------------

// A pixel of 1 to 4 channels as floats. Never reads beyond it.
TULLE_INLINE v4 load_pixel(const uint8_t* p, uint32_t channels) {
  v128_t bytes;
  switch (channels) {
    case 1:
      return wasm_f32x4_make((float)p[0], 0, 0, 0);
    case 2:
      return wasm_f32x4_make((float)p[0], (float)p[1], 0, 0);
    case 3:
      return wasm_f32x4_make((float)p[0], (float)p[1], (float)p[2], 0);
    default:
      bytes = wasm_v128_load32_zero(p);
      return wasm_f32x4_convert_u32x4(wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(bytes)));
  }
}

TULLE_INLINE v4 mix(v4 a, v4 b, v4 share) { return v4_madd(wasm_f32x4_sub(b, a), share, a); }

// One of four neighbours, which may lie beyond the plane.
static v4 neighbour(const tulle_plane* plane, int64_t x, int64_t y, bool edge, v4 black) {
  const int64_t right = plane->width - 1, bottom = plane->height - 1;
  if (edge) {
    x = x < 0 ? 0 : x > right ? right : x;
    y = y < 0 ? 0 : y > bottom ? bottom : y;
  } else if (x < 0 || y < 0 || x > right || y > bottom) {
    return v4_splat(0);
  }
  const uint8_t* pixel = plane->data + (size_t)y * plane->stride + (size_t)x * plane->channels;
  return wasm_f32x4_sub(load_pixel(pixel, plane->channels), black);
}

// Between neighbours of which some lie beyond the plane. Few places do, so this is not worth a copy for each number of
// channels.
__attribute__((noinline)) static v4 bilinear_at_edge(const tulle_plane* plane, int64_t x, int64_t y, v4 across, v4 down,
                                                     bool edge, v4 black) {
  const v4 above = mix(neighbour(plane, x, y, edge, black), neighbour(plane, x + 1, y, edge, black), across);
  const v4 below = mix(neighbour(plane, x, y + 1, edge, black), neighbour(plane, x + 1, y + 1, edge, black), across);
  return mix(above, below, down);
}

TULLE_INLINE v4 bilinear(const tulle_plane* plane, double x, double y, bool edge, uint32_t channels, v4 black) {
  const double left = floor(x), top = floor(y);
  const v4 across = v4_splat((float)(x - left)), down = v4_splat((float)(y - top));
  if (left >= 0 && top >= 0 && left + 1 < plane->width && top + 1 < plane->height) {
    const uint8_t* p = plane->data + (size_t)top * plane->stride + (size_t)left * channels;
    const uint8_t* q = p + plane->stride;
    const v4 above = mix(load_pixel(p, channels), load_pixel(p + channels, channels), across);
    const v4 below = mix(load_pixel(q, channels), load_pixel(q + channels, channels), across);
    return wasm_f32x4_sub(mix(above, below, down), black);
  }
  // Places are at most 2^22 from the plane (view.c), so the numbers fit.
  return bilinear_at_edge(plane, (int64_t)left, (int64_t)top, across, down, edge, black);
}

// At each of four places two neighbours, of one or two channels, in the bytes of one lane.
TULLE_INLINE v128_t load_pairs(const uint8_t* const* places, size_t offset, uint32_t channels) {
  v128_t pairs = v4_splat(0);
  if (channels == 1) {
    pairs = wasm_v128_load16_lane(places[0] + offset, pairs, 0);
    pairs = wasm_v128_load16_lane(places[1] + offset, pairs, 2);
    pairs = wasm_v128_load16_lane(places[2] + offset, pairs, 4);
    pairs = wasm_v128_load16_lane(places[3] + offset, pairs, 6);
  } else {
    pairs = wasm_v128_load32_lane(places[0] + offset, pairs, 0);
    pairs = wasm_v128_load32_lane(places[1] + offset, pairs, 1);
    pairs = wasm_v128_load32_lane(places[2] + offset, pairs, 2);
    pairs = wasm_v128_load32_lane(places[3] + offset, pairs, 3);
  }
  return pairs;
}

// Four samples of a plane of one or two channels, at (x + k * step_x, y + k * step_y), all with their neighbours inside
// it: the first channels in sum[0], the second ones in sum[1], to which they are added.
TULLE_INLINE void bilinear_four(const tulle_plane* plane, double x, double y, v4 steps_x, v4 steps_y, uint32_t channels,
                                v4 black, v4* sum) {
  // The whole pixel of the first in double, the rest from there in float: exact enough however far from 0 it lies.
  const double left = floor(x), top = floor(y);
  const uint8_t* first = plane->data + (size_t)top * plane->stride + (size_t)left * channels;
  const v4 right_of = wasm_f32x4_add(v4_splat((float)(x - left)), steps_x);
  const v4 below_of = wasm_f32x4_add(v4_splat((float)(y - top)), steps_y);
  const v4 column = wasm_f32x4_floor(right_of), row = wasm_f32x4_floor(below_of);
  const v4 across = wasm_f32x4_sub(right_of, column), down = wasm_f32x4_sub(below_of, row);
  int32_t columns[4], rows[4];
  wasm_v128_store(columns, wasm_i32x4_trunc_sat_f32x4(column));
  wasm_v128_store(rows, wasm_i32x4_trunc_sat_f32x4(row));
  const uint8_t* p[4];
  TULLE_UNROLL for (int k = 0; k < 4; k++) {
    p[k] = first + (ptrdiff_t)rows[k] * plane->stride + (ptrdiff_t)columns[k] * (ptrdiff_t)channels;
  }
  const v128_t above = load_pairs(p, 0, channels), below = load_pairs(p, plane->stride, channels);
  const v128_t byte = wasm_i32x4_splat(255);
  TULLE_UNROLL for (uint32_t c = 0; c < channels; c++) {
    const v4 a = wasm_f32x4_convert_i32x4(wasm_v128_and(wasm_u32x4_shr(above, 8 * c), byte));
    const v4 b = wasm_f32x4_convert_i32x4(wasm_v128_and(wasm_u32x4_shr(above, 8 * (c + channels)), byte));
    const v4 d = wasm_f32x4_convert_i32x4(wasm_v128_and(wasm_u32x4_shr(below, 8 * c), byte));
    const v4 e = wasm_f32x4_convert_i32x4(wasm_v128_and(wasm_u32x4_shr(below, 8 * (c + channels)), byte));
    sum[c] = wasm_f32x4_add(sum[c], wasm_f32x4_sub(mix(mix(a, b, across), mix(d, e, across), down), black));
  }
}

TULLE_INLINE bool is_inside(const tulle_plane* plane, double x, double y) {
  // A hundredth of a pixel from the edge, rounding does not lead over it.
  return x >= 0.01 && y >= 0.01 && x + 1.01 < plane->width && y + 1.01 < plane->height;
}

TULLE_INLINE void sample_turned(const tulle_plane* plane, const tulle_affine* a, bool edge, uint32_t across,
                                uint32_t down, float* out, uint32_t height, uint32_t width, uint32_t channels) {
  const v4 black = v4_splat(plane->black);
  const v4 share = v4_splat(1.0f / (float)(across * down));
  const uint32_t written = channels < 3 ? channels : 3;
  const v4 lanes = wasm_f32x4_make(0, 1, 2, 3);
  const v4 steps_x = wasm_f32x4_mul(lanes, v4_splat((float)a->x_column));
  const v4 steps_y = wasm_f32x4_mul(lanes, v4_splat((float)a->y_column));
  for (uint32_t row = 0; row < height; row++) {
    uint32_t column = 0;
    while (column < width) {
      float* o = out + 3 * ((size_t)row * width + column);
      // Where the first and the last sample of the first and the last of four pixels lie inside, all do.
      bool four = channels <= 2 && column + 4 <= width;
      for (int corner = 0; four && corner < 4; corner++) {
        const double c = column + (corner & 1 ? 3.5 : -0.5), r = row + (corner & 2 ? 0.5 : -0.5);
        four = is_inside(plane, a->x0 + c * a->x_column + r * a->x_row, a->y0 + c * a->y_column + r * a->y_row);
      }
      v4 sum[2] = {v4_splat(0), v4_splat(0)};
      for (uint32_t j = 0; j < down; j++) {
        const double r = row + (j + 0.5) / down - 0.5;
        for (uint32_t i = 0; i < across; i++) {
          const double c = column + (i + 0.5) / across - 0.5;
          const double x = a->x0 + c * a->x_column + r * a->x_row;
          const double y = a->y0 + c * a->y_column + r * a->y_row;
          if (four) {
            bilinear_four(plane, x, y, steps_x, steps_y, channels < 2 ? 1 : 2, black, sum);
          } else {
            sum[0] = wasm_f32x4_add(sum[0], bilinear(plane, x, y, edge, channels, black));
          }
        }
      }
      if (!four) {
        v4_store_first(o, wasm_f32x4_mul(sum[0], share), written);
        column++;
        continue;
      }
      float values[2][4];
      TULLE_UNROLL for (uint32_t c = 0; c < 2; c++) v4_store(values[c], wasm_f32x4_mul(sum[c], share));
      for (int k = 0; k < 4; k++) {
        o[3 * k] = values[0][k];
        if (channels == 2) o[3 * k + 1] = values[1][k];
      }
      column += 4;
    }
  }
}

// ---- upright: rows and columns one after the other, with the same weights --------------------------------

// sums[i] += weight * (bytes[i] - black), for the bytes of a stretch of a row.
static void add_row(float* sums, const uint8_t* bytes, uint32_t count, float weight, float black) {
  uint32_t i = 0;
  const v4 w = v4_splat(weight), b = v4_splat(black);
  for (; i + 16 <= count; i += 16) {
    const v128_t x = wasm_v128_load(bytes + i);
    const v128_t low = wasm_u16x8_extend_low_u8x16(x), high = wasm_u16x8_extend_high_u8x16(x);
    const v128_t parts[4] = {wasm_u32x4_extend_low_u16x8(low), wasm_u32x4_extend_high_u16x8(low),
                             wasm_u32x4_extend_low_u16x8(high), wasm_u32x4_extend_high_u16x8(high)};
    TULLE_UNROLL for (int k = 0; k < 4; k++) {
      const v4 value = wasm_f32x4_sub(wasm_f32x4_convert_u32x4(parts[k]), b);
      v4_store(sums + i + 4 * k, v4_madd(value, w, v4_load(sums + i + 4 * k)));
    }
  }
  for (; i < count; i++) sums[i] += weight * ((float)bytes[i] - black);
}

static bool sample_upright(const tulle_plane* plane, const tulle_affine* a, bool edge, uint32_t across, uint32_t down,
                           float* out, uint32_t height, uint32_t width) {
  const uint32_t channels = plane->channels, written = channels < 3 ? channels : 3;
  tulle_taps columns = {0}, rows = {0};
  float* sums = NULL;
  bool ok = tulle_taps_make(&columns, a->x0, a->x_column, across, width, plane->width, edge) &&
            tulle_taps_make(&rows, a->y0, a->y_row, down, height, plane->height, edge);
  uint32_t begin = plane->width, end = 0;  // the columns that are needed
  if (ok) {
    for (uint32_t i = 0; i < columns.starts[width]; i++) {
      const uint32_t index = columns.taps[i].index;
      begin = index < begin ? index : begin;
      end = index + 1 > end ? index + 1 : end;
    }
    sums = malloc(((size_t)plane->width * channels + 1) * sizeof *sums);
    ok = sums != NULL;
  }
  for (uint32_t row = 0; ok && row < height; row++) {
    const uint32_t count = end > begin ? (end - begin) * channels : 0;
    memset(sums, 0, count * sizeof *sums);
    for (uint32_t k = rows.starts[row]; k < rows.starts[row + 1]; k++) {
      const uint8_t* bytes = plane->data + (size_t)rows.taps[k].index * plane->stride + (size_t)begin * channels;
      add_row(sums, bytes, count, rows.taps[k].weight, plane->black);
    }
    float* o = out + 3 * (size_t)row * width;
    for (uint32_t column = 0; column < width; column++, o += 3) {
      float total[3] = {0, 0, 0};
      for (uint32_t k = columns.starts[column]; k < columns.starts[column + 1]; k++) {
        const float* s = sums + (size_t)(columns.taps[k].index - begin) * channels;
        for (uint32_t c = 0; c < written; c++) total[c] += columns.taps[k].weight * s[c];
      }
      for (uint32_t c = 0; c < written; c++) o[c] = total[c];
    }
  }
  tulle_taps_free(&columns);
  tulle_taps_free(&rows);
  free(sums);
  return ok;
}

bool tulle_plane_sample(const tulle_plane* plane, const tulle_affine* place, bool edge, uint32_t across, uint32_t down,
                        float* out, uint32_t height, uint32_t width) {
  if (place->x_row == 0 && place->y_column == 0)
    return sample_upright(plane, place, edge, across, down, out, height, width);
  switch (plane->channels) {
    case 1:
      sample_turned(plane, place, edge, across, down, out, height, width, 1);
      break;
    case 2:
      sample_turned(plane, place, edge, across, down, out, height, width, 2);
      break;
    case 3:
      sample_turned(plane, place, edge, across, down, out, height, width, 3);
      break;
    default:
      sample_turned(plane, place, edge, across, down, out, height, width, 4);
  }
  return true;
}
