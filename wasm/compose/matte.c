// From the network's mask to alpha at level 0: steadied over time, sure where the network is sure, with edges where the
// frame has edges.

#include <math.h>
#include <string.h>

#include "compose/stage.h"
#include "compose/rows.h"
#include "kernels/simd.h"

// How much of the mask before is kept where the network is undecided: so much where the frame moves, and so much more
// where it stands still.
#define KEEP 0.5f
#define KEEP_STILL 0.4f
// Difference of luma, from 0 to 255 in the mean of the pixels under one of the mask, from which on it moves.
#define MOVES 6.0f

// Probabilities up to FLOOR are background, from CEILING on person. Both are high, since a rim of the old background is
// more visible than a missing rim of the person.
#define FLOOR 0.4f
#define CEILING 0.9f

// Joint bilateral upsampling (Kopf et al. 2007). Standard deviations: in pixels of the mask, and in colour, whose
// channels go from 0 to 1. The floor is added to each colour weight, so that distance alone decides where no colour
// fits.
#define SIGMA_SPACE 1.1f
#define SIGMA_COLOUR 0.09f
#define COLOUR_FLOOR 0.004f

TULLE_INLINE v4 between(v4 x, float low, float high) {
  return wasm_f32x4_pmin(wasm_f32x4_pmax(x, v4_splat(low)), v4_splat(high));
}

void tulle_stage_steady(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  const v4 one = v4_splat(1);
  for (uint32_t y = begin; y < end; y++) {
    const float* mask = c->model->outputs[0].data + (size_t)y * c->mask_width;
    float *before = c->probability + (size_t)y * c->mask_width, *luma_before = tulle_mask_row(c, c->before_luma, y);
    float* alpha = tulle_mask_row(c, c->alpha, y);
    const float* guide[3];
    for (int i = 0; i < 3; i++) guide[i] = tulle_mask_row(c, c->guide[i], y);
    for (uint32_t x = 0; x < c->mask_width; x += 4) {
      const uint32_t left = c->mask_width - x < 4 ? c->mask_width - x : 4;
      // Whatever a network says, NaN too, is a probability from here on.
      v4 p = between(v4_load_first(mask + x, left), 0, 1);
      p = wasm_v128_and(p, wasm_f32x4_eq(p, p));
      v4 luma = v4_load(guide[0] + x);
      if (!tulle_is_yuv(c)) {
        const v4 green = v4_load(guide[1] + x);
        luma = wasm_f32x4_add(wasm_f32x4_add(luma, v4_load(guide[2] + x)), wasm_f32x4_add(green, green));
        luma = wasm_f32x4_mul(luma, v4_splat(0.25f));
      }
      if (c->has_mask) {
        const v4 moved = wasm_f32x4_abs(wasm_f32x4_sub(luma, v4_load(luma_before + x)));
        const v4 still = between(wasm_f32x4_sub(one, wasm_f32x4_mul(moved, v4_splat(1 / MOVES))), 0, 1);
        const v4 centred = wasm_f32x4_sub(wasm_f32x4_add(p, p), one);
        const v4 undecided = wasm_f32x4_sub(one, wasm_f32x4_mul(centred, centred));
        const v4 keep = wasm_f32x4_add(v4_splat(KEEP), wasm_f32x4_mul(still, v4_splat(KEEP_STILL)));
        const v4 change = wasm_f32x4_sub(v4_load_first(before + x, left), p);
        p = wasm_f32x4_add(p, wasm_f32x4_mul(change, wasm_f32x4_mul(keep, undecided)));
      }
      v4_store_first(before + x, p, left);
      v4_store_first(luma_before + x, luma, left);
      const v4 scaled = wasm_f32x4_mul(wasm_f32x4_sub(p, v4_splat(FLOOR)), v4_splat(1 / (CEILING - FLOOR)));
      const v4 t = between(scaled, 0, 1);
      // The cubic that GLSL calls smoothstep.
      const v4 cubic = wasm_f32x4_mul(wasm_f32x4_mul(t, t), wasm_f32x4_sub(v4_splat(3), wasm_f32x4_add(t, t)));
      v4_store_first(alpha + x, wasm_f32x4_nearest(wasm_f32x4_mul(cubic, v4_splat(255))), left);
    }
    for (uint32_t i = 0; i < TULLE_COMPOSE_MARGIN; i++) {
      alpha[-1 - (int)i] = alpha[0];
      alpha[c->mask_width + i] = alpha[c->mask_width - 1];
    }
  }
}

// Row `begin` of `mixed` belongs to the places between rows begin - 1 and begin of the mask.
void tulle_stage_mixed(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  float *most = (float*)scratch, *least = most + c->mask_stride + 4;
  const uint32_t margin = TULLE_COMPOSE_MARGIN;
  for (uint32_t y = begin; y < end; y++) {
    const float* rows[TULLE_COMPOSE_TAPS];
    for (int j = 0; j < TULLE_COMPOSE_TAPS; j++) rows[j] = tulle_mask_row(c, c->alpha, (int64_t)y - 2 + j) - margin;
    for (uint32_t x = 0; x < c->mask_stride; x += 4) {
      v4 high = v4_load(rows[0] + x), low = high;
      for (int j = 1; j < TULLE_COMPOSE_TAPS; j++) {
        const v4 next = v4_load(rows[j] + x);
        high = wasm_f32x4_pmax(high, next);
        low = wasm_f32x4_pmin(low, next);
      }
      v4_store(most + x, high);
      v4_store(least + x, low);
    }
    uint8_t* mixed = c->mixed + (size_t)y * c->mixed_stride;
    for (uint32_t x = 0; x <= c->mask_width; x += 4) {
      const float *h = most + margin + x - 2, *l = least + margin + x - 2;
      v4 high = v4_load(h), low = v4_load(l);
      TULLE_UNROLL for (int i = 1; i < TULLE_COMPOSE_TAPS; i++) {
        high = wasm_f32x4_pmax(high, v4_load(h + i));
        low = wasm_f32x4_pmin(low, v4_load(l + i));
      }
      const v128_t differ = wasm_f32x4_ne(high, low);
      const v128_t words = wasm_i16x8_narrow_i32x4(differ, differ);
      wasm_v128_store32_lane(mixed + x, wasm_i8x16_narrow_i16x8(words, words), 0);
    }
  }
}

// For each of `large` pixels among `small` ones: the pixel before it plus one, and the weights of the taps around it.
static void places(uint32_t large, uint32_t small, uint32_t* first, float* near) {
  for (uint32_t i = 0; i < large; i++) {
    const double exact = (i + 0.5) * small / large - 0.5, before = floor(exact);
    first[i] = (uint32_t)(before + 1);
    for (int k = 0; k < TULLE_COMPOSE_TAPS; k++) {
      const double way = k - (TULLE_COMPOSE_TAPS / 2 - 1) - (exact - before);
      near[TULLE_COMPOSE_TAPS * i + (uint32_t)k] = expf((float)(-way * way / (2 * SIGMA_SPACE * SIGMA_SPACE)));
    }
  }
}

void tulle_refine_tables(tulle_compositor* c) {
  places(c->levels[0].width, c->mask_width, c->column_first, c->column_near);
  places(c->levels[0].height, c->mask_height, c->row_first, c->row_near);
}

typedef struct {
  const float *guide[3], *alpha;
} mask_rows;

// The mask around a pixel, weighted by distance and likeness of colour. exp(-x) is (1 - x / 16) to the 16.
TULLE_INLINE uint8_t refined(const mask_rows* rows, uint32_t column, const float* across, const float* down,
                             const v4 colour[3], const v4 shares[3]) {
  const v4 near = v4_load(across);
  v4 sum = v4_splat(0), weights = sum;
  TULLE_UNROLL for (int j = 0; j < TULLE_COMPOSE_TAPS; j++) {
    v4 x = v4_splat(1);
    TULLE_UNROLL for (int i = 0; i < 3; i++) {
      const v4 away = wasm_f32x4_sub(v4_load(rows[j].guide[i] + column), colour[i]);
      x = wasm_f32x4_sub(x, wasm_f32x4_mul(wasm_f32x4_mul(away, away), shares[i]));
    }
    x = wasm_f32x4_pmax(x, v4_splat(0));
    TULLE_UNROLL for (int k = 0; k < 4; k++) x = wasm_f32x4_mul(x, x);
    x = wasm_f32x4_mul(wasm_f32x4_add(x, v4_splat(COLOUR_FLOOR)), wasm_f32x4_mul(near, v4_load_splat(down + j)));
    sum = wasm_f32x4_add(sum, wasm_f32x4_mul(x, v4_load(rows[j].alpha + column)));
    weights = wasm_f32x4_add(weights, x);
  }
  return (uint8_t)(v4_sum(sum) / v4_sum(weights) + 0.5f);
}

void tulle_stage_refine(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  const tulle_level* level = &c->levels[0];
  // What a difference of one adds to the squared distance of two colours in RGB, over 16 times the denominator of the
  // Gaussian. The mixed terms of Y, U and V are left out.
  float shares[3] = {1, 1, 1};
  if (tulle_is_yuv(c)) {
    shares[0] = 3 * c->yuv.luma * c->yuv.luma;
    shares[1] = c->yuv.green_u * c->yuv.green_u + c->yuv.blue_u * c->yuv.blue_u;
    shares[2] = c->yuv.green_v * c->yuv.green_v + c->yuv.red_v * c->yuv.red_v;
  }
  v4 factors[3];
  for (int i = 0; i < 3; i++) factors[i] = v4_splat(shares[i] / (255 * 255 * 2 * SIGMA_COLOUR * SIGMA_COLOUR * 16));
  for (uint32_t y = begin; y < end; y++) {
    const uint32_t place = c->row_first[y];
    const uint8_t* mixed = c->mixed + (size_t)place * c->mixed_stride;
    mask_rows rows[TULLE_COMPOSE_TAPS];
    for (int j = 0; j < TULLE_COMPOSE_TAPS; j++) {
      const int64_t row = (int64_t)place - 2 + j;
      for (int i = 0; i < 3; i++) rows[j].guide[i] = tulle_mask_row(c, c->guide[i], row) - 2;
      rows[j].alpha = tulle_mask_row(c, c->alpha, row) - 2;
    }
    const float *down = c->row_near + TULLE_COMPOSE_TAPS * (size_t)y, *plain = rows[1].alpha + 1;
    const uint8_t* colours[3];
    for (int i = 0; i < 3; i++) colours[i] = tulle_row(&level->colours[i], y);
    uint8_t* out = tulle_row(&level->alpha, y);
    for (uint32_t x = 0; x < level->width; x++) {
      const uint32_t column = c->column_first[x];
      if (!mixed[column]) {
        out[x] = (uint8_t)plain[column];
        continue;
      }
      v4 colour[3];
      for (int i = 0; i < 3; i++) colour[i] = v4_splat(colours[i][x]);
      out[x] = refined(rows, column, c->column_near + TULLE_COMPOSE_TAPS * (size_t)x, down, colour, factors);
    }
  }
}
