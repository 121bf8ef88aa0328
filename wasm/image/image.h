// Pictures as model inputs: the part of one that a tulle_view (include/tulle.h) names, as floats.

#ifndef TULLE_IMAGE_IMAGE_H_
#define TULLE_IMAGE_IMAGE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/tulle.h"

// What is wrong with a view of `size` bytes, or NULL. Nothing else here checks anything.
const char* tulle_view_trouble(const tulle_view* view, size_t size);

// Whether it is a whole RGBA picture of this size as it is, rows without gaps.
bool tulle_view_is_whole(const tulle_view* view, uint32_t height, uint32_t width);

// Writes height * width * 3 floats: RGB from 0 to 255, times scale, plus shift. NULL, or what is wrong.
const char* tulle_view_sample(const tulle_view* view, const uint8_t* pixels, float* out, uint32_t height,
                              uint32_t width, float scale, float shift);

// How Y, U and V become RGB of 0 to 255: red = luma * (Y - black) + red_v * (V - 128), and so on; red and blue are
// their shares of Y.
typedef struct {
  float luma, black, red_v, green_u, green_v, blue_u, red, blue;
} tulle_yuv;

tulle_yuv tulle_yuv_of(uint32_t matrix, bool full_range);

// In place, pixels of three floats: Y, U and V without black (128 of U and V) to RGB, clipped, times scale, plus shift.
void tulle_yuv_to_rgb(const tulle_yuv* yuv, float* out, size_t count, float scale, float shift);

#endif  // TULLE_IMAGE_IMAGE_H_
