#include "image/taps.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

void tulle_taps_free(tulle_taps* t) {
  free(t->starts);
  free(t->taps);
  *t = (tulle_taps){0};
}

// Neighbouring samples share pixels, whose weights are added up.
bool tulle_taps_make(tulle_taps* t, double first, double step, uint32_t samples, uint32_t outputs, uint32_t length,
                     bool edge) {
  t->starts = malloc(((size_t)outputs + 1) * sizeof *t->starts);
  t->taps = malloc((size_t)outputs * samples * 2 * sizeof *t->taps);
  if (!t->starts || !t->taps) return false;
  uint32_t count = 0;
  for (uint32_t i = 0; i < outputs; i++) {
    const uint32_t start = t->starts[i] = count;
    for (uint32_t k = 0; k < samples; k++) {
      // From the lowest place up, whichever way the axis runs, so that equal pixels come one after another.
      const uint32_t place = step < 0 ? samples - 1 - k : k;
      const double x = first + (i + (place + 0.5) / samples - 0.5) * step;
      const double left = floor(x);
      for (int side = 0; side < 2; side++) {
        int64_t index = (int64_t)left + side;
        const double weight = (side ? x - left : left + 1 - x) / samples;
        if (edge) index = index < 0 ? 0 : index >= length ? length - 1 : index;
        if (weight <= 0 || index < 0 || index >= length) continue;
        if (count > start && t->taps[count - 1].index == index) {
          t->taps[count - 1].weight += (float)weight;
        } else if (count > start + 1 && t->taps[count - 2].index == index) {
          t->taps[count - 2].weight += (float)weight;
        } else {
          t->taps[count++] = (tulle_tap){(uint32_t)index, (float)weight};
        }
      }
    }
  }
  t->starts[outputs] = count;
  return true;
}
