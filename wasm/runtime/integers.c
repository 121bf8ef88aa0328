// See integers.h. Plain loops, which the compiler turns into vectors.

#include "runtime/integers.h"

#include <math.h>

void tulle_dequantize(const tulle_integers* from, float* to) {
  const float scale = from->quantization.scale;
  const int32_t zero = from->quantization.zero_point;
  if (from->quantization.type == TULLE_TYPE_INT8) {
    const int8_t* values = (const int8_t*)from->values;
    for (uint32_t i = 0; i < from->count; i++) to[i] = (float)(values[i] - zero) * scale;
  } else {
    for (uint32_t i = 0; i < from->count; i++) to[i] = (float)(from->values[i] - zero) * scale;
  }
}

void tulle_quantize(const float* from, const tulle_integers* to) {
  const float scale = to->quantization.scale;
  const int32_t zero = to->quantization.zero_point, first = to->quantization.type == TULLE_TYPE_INT8 ? -128 : 0;
  const float least = (float)(first - zero), most = (float)(first + 255 - zero);
  for (uint32_t i = 0; i < to->count; i++) {
    const float exact = from[i] / scale;
    const float clipped = !(exact > least) ? least : exact < most ? exact : most;
    const float whole = truncf(clipped);
    // int8_t has the bits of its uint8_t.
    to->values[i] = (uint8_t)((int32_t)(whole + truncf(2 * (clipped - whole))) + zero);
  }
}
