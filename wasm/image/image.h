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

#endif  // TULLE_IMAGE_IMAGE_H_
