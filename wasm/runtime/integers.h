// Inputs and outputs as the integers of a quantised model: (integer - zero_point) * scale is the real number.

#ifndef TULLE_RUNTIME_INTEGERS_H_
#define TULLE_RUNTIME_INTEGERS_H_

#include "runtime/planner.h"

// Writes `count` floats.
void tulle_dequantize(const tulle_integers* from, float* to);

// Rounds to the nearest integer, halves away from zero as TFLite does, and clips to the type's range. NaN becomes the
// least integer.
void tulle_quantize(const float* from, const tulle_integers* to);

#endif  // TULLE_RUNTIME_INTEGERS_H_
