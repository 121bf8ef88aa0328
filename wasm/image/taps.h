// The weights of resizing along one axis.

#ifndef TULLE_IMAGE_TAPS_H_
#define TULLE_IMAGE_TAPS_H_

#include <stdbool.h>
#include <stdint.h>

// The pixels that each output pixel averages along one axis: those of output i are taps[starts[i]] on.
typedef struct {
  uint32_t index;
  float weight;
} tulle_tap;

typedef struct {
  uint32_t* starts;
  tulle_tap* taps;
} tulle_taps;

// Output i is the mean of `samples` bilinear samples around first + i * step, among `length` pixels. False when out of
// memory; to be freed either way.
bool tulle_taps_make(tulle_taps* t, double first, double step, uint32_t samples, uint32_t outputs, uint32_t length,
                     bool edge);
void tulle_taps_free(tulle_taps* t);

#endif  // TULLE_IMAGE_TAPS_H_
