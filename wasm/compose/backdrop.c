// Pictures and colours as frames: done once for each, so nothing here is fast.

#include <math.h>
#include <stdlib.h>

#include "compose/stage.h"

// Rows of the frame that are made at a time.
#define BAND 16

static uint8_t whole(float x) { return (uint8_t)(fminf(fmaxf(x, 0), 255) + 0.5f); }

// RGB of 0 to 255 as the frame's colours.
static void convert(const tulle_compositor* c, const float rgb[3], float out[3]) {
  const tulle_yuv* yuv = &c->yuv;
  const float luma = yuv->red * rgb[0] + (1 - yuv->red - yuv->blue) * rgb[1] + yuv->blue * rgb[2];
  out[0] = luma / yuv->luma + yuv->black;
  out[1] = (rgb[2] - luma) / yuv->blue_u + 128;
  out[2] = (rgb[0] - luma) / yuv->red_v + 128;
}

void tulle_backdrop_colour(const tulle_compositor* c, uint32_t rgb, uint8_t colour[3]) {
  const float given[3] = {(float)(rgb >> 16 & 255), (float)(rgb >> 8 & 255), (float)(rgb & 255)};
  float converted[3];
  convert(c, given, converted);
  for (int i = 0; i < 3; i++) colour[i] = whole(tulle_is_yuv(c) ? converted[i] : given[i]);
}

// The mean of 2 x 2 pixels of the rows, fewer at the frame's edge.
static void mean(const tulle_compositor* c, const float* rows, uint32_t count, uint32_t x, uint32_t y, float out[3]) {
  out[0] = out[1] = out[2] = 0;
  float pixels = 0;
  for (uint32_t j = y; j < y + 2 && j < count; j++)
    for (uint32_t i = x; i < x + 2 && i < c->width; i++, pixels++)
      for (int k = 0; k < 3; k++) out[k] += rows[3 * ((size_t)j * c->width + i) + (size_t)k];
  for (int k = 0; k < 3; k++) out[k] /= pixels;
}

static void put_rows(const tulle_compositor* c, uint8_t* frame, const float* rows, uint32_t top, uint32_t count) {
  for (uint32_t j = 0; j < count; j++) {
    uint8_t* out = frame + c->layout.offsets[0] + (size_t)(top + j) * c->layout.strides[0];
    for (uint32_t x = 0; x < c->width; x++) {
      const float* rgb = rows + 3 * ((size_t)j * c->width + x);
      float yuv[3];
      convert(c, rgb, yuv);
      if (tulle_is_yuv(c)) {
        out[x] = whole(yuv[0]);
        continue;
      }
      for (int k = 0; k < 3; k++) out[4 * x + (uint32_t)k] = whole(rgb[k]);
      out[4 * x + 3] = 255;
    }
  }
  if (!tulle_is_yuv(c)) return;
  for (uint32_t j = 0; j < count; j += 2) {
    for (uint32_t x = 0; x < c->width; x += 2) {
      float rgb[3], yuv[3];
      mean(c, rows, count, x, j, rgb);
      convert(c, rgb, yuv);
      const bool together = c->format == TULLE_NV12;
      for (uint32_t k = 0; k < 2; k++) {
        const uint32_t plane = together ? 1 : 1 + k, column = together ? x + k : x / 2;
        frame[c->layout.offsets[plane] + (size_t)((top + j) / 2) * c->layout.strides[plane] + column] =
            whole(yuv[1 + k]);
      }
    }
  }
}

bool tulle_backdrop_fill(const tulle_compositor* c, uint8_t* frame, const uint8_t* rgba, uint32_t width,
                         uint32_t height, double crop_width, double crop_height) {
  float* rows = malloc((size_t)BAND * c->width * 3 * sizeof *rows);
  bool ok = rows != NULL;
  for (uint32_t top = 0; ok && top < c->height; top += BAND) {
    const uint32_t count = c->height - top < BAND ? c->height - top : BAND;
    const double side = crop_height / c->height;
    const tulle_view view = {
        .x = 0.5 * width,
        .y = 0.5 * (height - crop_height) + (top + 0.5 * count) * side,
        .width = crop_width,
        .height = count * side,
        .edge = 1,
        .format = TULLE_RGBA8,
        .picture_width = width,
        .picture_height = height,
        .strides = {4 * width},
    };
    ok = tulle_view_sample(&view, rgba, rows, count, c->width, 1, 0) == NULL;
    if (ok) put_rows(c, frame, rows, top, count);
  }
  free(rows);
  return ok;
}
