// The result: the person before what lies behind, with some of its light at the edge.

#include <string.h>

#include "compose/stage.h"
#include "compose/rows.h"

// The most of the light behind that the edge takes on, of 255.
#define WRAP 89

void tulle_stage_wrap(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  const tulle_level *level = &c->levels[0], *below = &c->levels[1];
  uint8_t* near = (uint8_t*)scratch;
  uint16_t* sums = (uint16_t*)(near + c->row_bytes);
  const bool lit = c->effect == TULLE_EFFECT_PICTURE;
  for (uint32_t y = begin; y < end; y++) {
    tulle_double_row(near, below->alpha.data, below->alpha.stride, below->width, below->height, y, sums);
    tulle_wrap_row(tulle_row(&level->alpha, y), near, lit ? tulle_row(&c->wrap, y) : NULL, WRAP, level->width);
  }
}

// Rows of one thread.
typedef struct {
  uint8_t *alpha, *wrap, *behind, *parts[3], *wide;
  uint16_t* sums;
} mix_room;

static mix_room room_in(const tulle_compositor* c, char* scratch) {
  uint8_t* p = (uint8_t*)scratch;
  const size_t row = c->row_bytes;
  return (mix_room){
      p, p + row, p + 2 * row, {p + 3 * row, p + 4 * row, p + 5 * row}, p + 6 * row, (uint16_t*)(p + 8 * row)};
}

// A row of a plane of level 0's size at the frame's.
static const uint8_t* at_frame(const tulle_compositor* c, const tulle_bytes* plane, uint32_t y, uint8_t* out,
                               uint16_t* sums) {
  if (!c->halvings) return tulle_row(plane, y);
  tulle_double_row(out, plane->data, plane->stride, c->levels[0].width, c->levels[0].height, y, sums);
  return out;
}

// The same at the size of chroma.
static const uint8_t* at_chroma(const tulle_compositor* c, const tulle_bytes* plane, uint32_t y, uint8_t* out) {
  if (c->halvings) return tulle_row(plane, y);
  const uint32_t second = 2 * y + 1 < c->height ? 2 * y + 1 : 2 * y;
  tulle_halve_row(out, tulle_row(plane, 2 * y), tulle_row(plane, second), c->width);
  return out;
}

// The frame's row of what lies behind: blurred or of one colour.
static void behind_row(const tulle_compositor* c, int channel, uint32_t y, uint8_t* out, uint16_t* sums) {
  if (c->effect == TULLE_EFFECT_COLOUR) {
    memset(out, c->colour[channel], c->width);
    return;
  }
  const tulle_level* half = &c->levels[1 - c->halvings];
  const tulle_bytes* plane = &half->colours[channel];
  tulle_double_row(out, plane->data, plane->stride, half->width, half->height, y, sums);
}

static const uint8_t* behind_chroma(const tulle_compositor* c, int channel, uint32_t y, uint8_t* out) {
  if (c->effect == TULLE_EFFECT_BLUR) return tulle_row(&c->levels[1 - c->halvings].colours[channel], y);
  memset(out, c->colour[channel], (c->width + 1) / 2);
  return out;
}

// One row of one plane, `count` bytes; alpha and wrap are given for each byte.
static void mix(const tulle_compositor* c, uint32_t plane, uint32_t y, const uint8_t* behind, const uint8_t* alpha,
                const uint8_t* wrap, uint32_t count) {
  const size_t at = c->layout.offsets[plane] + (size_t)y * c->layout.strides[plane];
  if (c->effect == TULLE_EFFECT_PICTURE) {
    tulle_mix_lit_row(c->output + at, c->input + at, c->backdrop + at, c->light + at, alpha, wrap, count);
  } else {
    tulle_mix_row(c->output + at, c->input + at, behind, alpha, count);
  }
}

static void mix_rgba_row(const tulle_compositor* c, uint32_t y, const mix_room* room) {
  const bool lit = c->effect == TULLE_EFFECT_PICTURE;
  const uint8_t* alpha = at_frame(c, &c->levels[0].alpha, y, room->parts[0], room->sums);
  uint8_t* out = c->output + c->layout.offsets[0] + (size_t)y * c->layout.strides[0];
  if (c->effect == TULLE_EFFECT_CUTOUT) {
    memcpy(out, c->input + c->layout.offsets[0] + (size_t)y * c->layout.strides[0], 4 * (size_t)c->width);
    for (uint32_t x = 0; x < c->width; x++) out[4 * x + 3] = alpha[x];
    return;
  }
  tulle_repeat4_row(room->alpha, alpha, c->width);
  if (lit) {
    tulle_repeat4_row(room->wrap, at_frame(c, &c->wrap, y, room->parts[0], room->sums), c->width);
  } else {
    for (int i = 0; i < 3; i++) behind_row(c, i, y, room->parts[i], room->sums);
    tulle_join4_row(room->behind, room->parts[0], room->parts[1], room->parts[2], c->width);
  }
  mix(c, 0, y, room->behind, room->alpha, room->wrap, 4 * c->width);
  for (uint32_t x = 0; x < c->width; x++) out[4 * x + 3] = 255;
}

static void mix_luma_row(const tulle_compositor* c, uint32_t y, const mix_room* room) {
  const bool lit = c->effect == TULLE_EFFECT_PICTURE;
  const uint8_t* alpha = at_frame(c, &c->levels[0].alpha, y, room->alpha, room->sums);
  const uint8_t* wrap = lit ? at_frame(c, &c->wrap, y, room->wrap, room->sums) : NULL;
  if (!lit) behind_row(c, 0, y, room->behind, room->sums);
  mix(c, 0, y, room->behind, alpha, wrap, c->width);
}

static void mix_chroma_row(const tulle_compositor* c, uint32_t y, const mix_room* room) {
  const bool lit = c->effect == TULLE_EFFECT_PICTURE;
  const uint32_t half = (c->width + 1) / 2;
  const uint8_t* alpha = at_chroma(c, &c->levels[0].alpha, y, room->alpha);
  const uint8_t* wrap = lit ? at_chroma(c, &c->wrap, y, room->wrap) : NULL;
  const uint8_t* behind[2] = {NULL, NULL};
  for (int i = 0; i < 2 && !lit; i++) behind[i] = behind_chroma(c, i + 1, y, room->parts[i]);
  if (c->format == TULLE_I420) {
    for (uint32_t i = 0; i < 2; i++) mix(c, i + 1, y, behind[i], alpha, wrap, half);
    return;
  }
  uint8_t* wide = room->wide;
  tulle_repeat2_row(wide, alpha, half);
  if (lit) {
    tulle_repeat2_row(wide + c->row_bytes, wrap, half);
  } else {
    tulle_join2_row(room->behind, behind[0], behind[1], half);
  }
  mix(c, 1, y, room->behind, wide, wide + c->row_bytes, 2 * half);
}

void tulle_stage_mix(const void* stage, uint32_t begin, uint32_t end, char* scratch) {
  const tulle_compositor* c = ((const tulle_stage*)stage)->compositor;
  const mix_room room = room_in(c, scratch);
  for (uint32_t pair = begin; pair < end; pair++) {
    for (uint32_t y = 2 * pair; y < 2 * pair + 2 && y < c->height; y++) {
      if (tulle_is_yuv(c)) {
        mix_luma_row(c, y, &room);
      } else {
        mix_rgba_row(c, y, &room);
      }
    }
    if (tulle_is_yuv(c)) mix_chroma_row(c, pair, &room);
  }
}
