// Unpacking of compressed weights.

#include <string.h>

#include "runtime/net.h"

// IEEE half to float, exact: the bits in place are the value times 2^-112, subnormals included; infinity and NaN then
// miss the upper exponent bits.
static inline float half_to_float(uint16_t h) {
  uint32_t bits = (uint32_t)(h & 0x7fff) << 13;
  float value;
  memcpy(&value, &bits, 4);
  value *= 5.192296858534828e33f;
  memcpy(&bits, &value, 4);
  bits |= (uint32_t)(h & 0x8000) << 16 | ((h & 0x7c00) == 0x7c00 ? 0x7f800000 : 0);
  memcpy(&value, &bits, 4);
  return value;
}

// Copies the stored values as floats. int8 values still have to be scaled: the scale depends on the element.
static void widen(const tulle_constant* c, float* output) {
  if (c->type == TULLE_TYPE_FP32) {
    memcpy(output, c->values, 4 * (size_t)c->count);
  } else if (c->type == TULLE_TYPE_FP16) {
    for (uint32_t i = 0; i < c->count; i++) {
      uint16_t half;
      memcpy(&half, c->values + 2 * (size_t)i, 2);
      output[i] = half_to_float(half);
    }
  } else {
    for (uint32_t i = 0; i < c->count; i++) output[i] = (int8_t)c->values[i];
  }
}

void tulle_constant_decode(const tulle_tensor* tensor, float* output) {
  const tulle_constant* c = &tensor->constant;
  // Sparse values are first widened into the end of the output and then moved to their elements, front to back. The
  // k-th last nonzero belongs to the k-th last element or one before it, so no value is overwritten before it moves.
  float* values = output + tensor->elements - c->count;
  widen(c, values);
  if (c->encoding != TULLE_ENCODING_DENSE) {
    const float* next = values;
    uint32_t element = 0;
    if (c->encoding == TULLE_ENCODING_BITMASK) {
      for (size_t byte = 0; byte < c->index_size; byte++) {
        const uint32_t end = 8 * (uint32_t)byte + 8 < tensor->elements ? 8 * (uint32_t)byte + 8 : tensor->elements;
        for (uint32_t bits = c->index[byte]; element < end; bits >>= 1) output[element++] = bits & 1 ? *next++ : 0;
      }
    } else {
      for (size_t i = 0; i < c->index_size; i++) {
        for (uint32_t skip = c->index[i]; skip; skip--) output[element++] = 0;
        if (c->index[i] != 255) output[element++] = *next++;
      }
      while (element < tensor->elements) output[element++] = 0;
    }
  }
  if (c->type == TULLE_TYPE_INT8) {
    for (uint32_t i = 0; i < tensor->elements; i++) output[i] *= c->scales[i / c->scale_run % c->scale_count];
  }
}

uint32_t tulle_constant_nonzeros(const tulle_tensor* tensor) {
  const tulle_constant* c = &tensor->constant;
  if (c->encoding != TULLE_ENCODING_DENSE) return c->count;
  const size_t width = c->type == TULLE_TYPE_FP32 ? 4 : c->type == TULLE_TYPE_FP16 ? 2 : 1;
  uint32_t count = 0;
  for (uint32_t i = 0; i < c->count; i++) {
    uint32_t value = 0;
    memcpy(&value, c->values + i * width, width);
    count += value << (33 - 8 * width) != 0;  // without the sign: -0 is zero too
  }
  return count;
}
