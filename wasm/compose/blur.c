// The background without the person, blurred: at a level where the blur is a few pixels wide, which costs little.

#include <math.h>

#include "compose/stage.h"
#include "compose/rows.h"
#include "kernels/simd.h"

// The widest standard deviation at the level of the blur, in its pixels.
#define MOST_SIGMA 3.0f

void tulle_blur_prepare(tulle_compositor* c, float sigma) {
  uint32_t level = 1;
  sigma /= 2;
  while (sigma > MOST_SIGMA && level + 1 < TULLE_COMPOSE_LEVELS) {
    level++;
    sigma /= 2;
  }
  sigma = fminf(fmaxf(sigma, 0.3f), MOST_SIGMA);
  c->blur_level = level;
  c->reach = (uint32_t)ceilf(2.5f * sigma);
  float total = 0;
  for (uint32_t i = 0; i <= 2 * c->reach; i++) {
    const float way = (float)i - (float)c->reach;
    total += c->kernel[i] = expf(-way * way / (2 * sigma * sigma));
  }
  for (uint32_t i = 0; i <= 2 * c->reach; i++) c->kernel[i] /= total;
}

// Without the effect blur, only nearness is wanted.
static int first_plane(const tulle_compositor* c) { return c->effect == TULLE_EFFECT_BLUR ? 0 : 3; }

void tulle_stage_down(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const tulle_stage* s = stage;
  const tulle_level *to = &s->compositor->levels[s->level], *from = to - 1;
  for (uint32_t y = begin; y < end; y++) {
    const uint32_t first = 2 * y, second = first + 1 < from->height ? first + 1 : first;
    for (int i = first_plane(s->compositor); i < 4; i++) {
      const tulle_bytes* in = i < 3 ? &from->colours[i] : &from->alpha;
      const tulle_bytes* out = i < 3 ? &to->colours[i] : &to->alpha;
      tulle_halve_row(tulle_row(out, y), tulle_row(in, first), tulle_row(in, second), from->width);
    }
  }
}

void tulle_stage_up(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_stage* s = stage;
  const tulle_level *to = &s->compositor->levels[s->level], *from = to + 1;
  // At level 0 alpha is still to be read.
  const int planes = s->level ? 4 : 3;
  for (uint32_t y = begin; y < end; y++) {
    for (int i = first_plane(s->compositor); i < planes; i++) {
      const tulle_bytes* in = i < 3 ? &from->colours[i] : &from->alpha;
      const tulle_bytes* out = i < 3 ? &to->colours[i] : &to->alpha;
      tulle_double_row(tulle_row(out, y), in->data, in->stride, from->width, from->height, y, (uint16_t*)scratch);
    }
  }
}

// Pixels of four floats: colours by how much of the pixel is background, and that. It is never nothing, so that deep
// inside a person there is a colour too.
static void weigh_row(const tulle_level* level, uint32_t y, float* out) {
  const uint8_t* planes[4];
  for (int i = 0; i < 3; i++) planes[i] = tulle_row(&level->colours[i], y);
  const uint8_t* alpha = tulle_row(&level->alpha, y);
  for (uint32_t x = 0; x < level->width; x++) {
    const float weight = 256 - (float)alpha[x];
    const v4 pixel = wasm_f32x4_make((float)planes[0][x], (float)planes[1][x], (float)planes[2][x], 1);
    v4_store(out + 4 * x, wasm_f32x4_mul(pixel, v4_splat(weight)));
  }
}

void tulle_stage_blur_across(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_stage* s = stage;
  const tulle_compositor* c = s->compositor;
  const tulle_level* level = &c->levels[s->level];
  float* row = (float*)scratch + 4 * c->reach;
  const uint32_t width = level->width;
  for (uint32_t y = begin; y < end; y++) {
    weigh_row(level, y, row);
    for (uint32_t i = 1; i <= c->reach; i++) {
      v4_store(row - 4 * i, v4_load(row));
      v4_store(row + 4 * (width - 1 + i), v4_load(row + 4 * (width - 1)));
    }
    float* out = c->across + 4 * (size_t)y * width;
    for (uint32_t x = 0; x < width; x++) {
      const float* p = row + 4 * x - 4 * c->reach;
      v4 sum = v4_splat(0);
      for (uint32_t i = 0; i <= 2 * c->reach; i++) sum = v4_madd(v4_load(p + 4 * i), v4_load_splat(c->kernel + i), sum);
      v4_store(out + 4 * x, sum);
    }
  }
}

void tulle_stage_blur_down(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const tulle_stage* s = stage;
  const tulle_compositor* c = s->compositor;
  const tulle_level* level = &c->levels[s->level];
  const uint32_t width = level->width;
  const int64_t last = (int64_t)level->height - 1;
  for (uint32_t y = begin; y < end; y++) {
    const float* rows[2 * TULLE_COMPOSE_REACH + 1];
    for (uint32_t i = 0; i <= 2 * c->reach; i++) {
      const int64_t row = (int64_t)y + i - c->reach;
      rows[i] = c->across + 4 * (size_t)(row < 0 ? 0 : row > last ? last : row) * width;
    }
    uint8_t* planes[4];
    for (int i = 0; i < 3; i++) planes[i] = tulle_row(&level->colours[i], y);
    planes[3] = tulle_row(&level->alpha, y);
    for (uint32_t x = 0; x < width; x++) {
      v4 sum = v4_splat(0);
      for (uint32_t i = 0; i <= 2 * c->reach; i++)
        sum = v4_madd(v4_load(rows[i] + 4 * x), v4_load_splat(c->kernel + i), sum);
      const float weight = wasm_f32x4_extract_lane(sum, 3);
      v4 pixel = wasm_f32x4_div(sum, v4_splat(weight));
      pixel = wasm_f32x4_replace_lane(pixel, 3, weight - 1);
      const v128_t whole = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(pixel));
      planes[0][x] = (uint8_t)wasm_i32x4_extract_lane(whole, 0);
      planes[1][x] = (uint8_t)wasm_i32x4_extract_lane(whole, 1);
      planes[2][x] = (uint8_t)wasm_i32x4_extract_lane(whole, 2);
      planes[3][x] = (uint8_t)wasm_i32x4_extract_lane(whole, 3);
    }
  }
}
