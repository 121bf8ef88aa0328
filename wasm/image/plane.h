// One plane of a picture, sampled at the places of an output's pixels.

#ifndef TULLE_IMAGE_PLANE_H_
#define TULLE_IMAGE_PLANE_H_

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const uint8_t* data;
  uint32_t width, height;
  uint32_t stride;    // bytes from row to row
  uint32_t channels;  // bytes of a pixel: 1, 2, 3 or 4, the fourth ignored
  float black;        // is subtracted, so that beyond the plane there is 0
} tulle_plane;

// From an output pixel's row and column to a place in the plane, in whose terms pixel i has its centre at i:
// x = x0 + column * x_column + row * x_row, and y alike.
typedef struct {
  double x0, x_column, x_row, y0, y_column, y_row;
} tulle_affine;

// Writes min(channels, 3) floats a pixel, 3 floats apart, from out[0] on. `across`, `down`: samples in each direction
// that are averaged. Returns false when out of memory.
bool tulle_plane_sample(const tulle_plane* plane, const tulle_affine* place, bool edge, uint32_t across, uint32_t down,
                        float* out, uint32_t height, uint32_t width);

#endif  // TULLE_IMAGE_PLANE_H_
