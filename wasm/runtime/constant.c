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

// Copies the stored values as floats. Integers still have to be scaled: the scale depends on the element.
static void widen(const tulle_constant* c, float* output) {
  if (c->type == TULLE_TYPE_FP32) {
    memcpy(output, c->values, 4 * (size_t)c->count);
  } else if (c->type == TULLE_TYPE_FP16) {
    for (uint32_t i = 0; i < c->count; i++) {
      uint16_t half;
      memcpy(&half, c->values + 2 * (size_t)i, 2);
      output[i] = half_to_float(half);
    }
  } else if (c->type == TULLE_TYPE_INT8) {
    for (uint32_t i = 0; i < c->count; i++) output[i] = (int8_t)c->values[i];
  } else {
    for (uint32_t i = 0; i < c->count; i++) output[i] = c->values[i];
  }
}

// Turns integers into what they stand for. No difference from a zero point has more than 9 bits, so that only the
// product is rounded.
static void scale(const tulle_constant* c, uint32_t elements, float* output) {
  for (uint32_t start = 0, s = 0; start < elements; start += c->scale_run) {
    const float by = c->scales[s];
    if (c->type == TULLE_TYPE_INT8) {
      for (uint32_t i = start; i < start + c->scale_run; i++) output[i] *= by;
    } else {
      const float zero = c->zero_points[s];
      for (uint32_t i = start; i < start + c->scale_run; i++) output[i] = output[i] < 0 ? 0 : (output[i] - zero) * by;
    }
    s = s + 1 == c->scale_count ? 0 : s + 1;
  }
}

void tulle_constant_decode_integers(const tulle_tensor* tensor, float* output) {
  const tulle_constant* c = &tensor->constant;
  // Sparse values are first widened into the end of the output and then moved to their elements, front to back. The
  // k-th last nonzero belongs to the k-th last element or one before it, so no value is overwritten before it moves.
  float* values = output + tensor->elements - c->count;
  const float absent = c->type == TULLE_TYPE_UINT8 ? -1 : 0;  // no byte; see scale()
  widen(c, values);
  if (c->encoding != TULLE_ENCODING_DENSE) {
    const float* next = values;
    uint32_t element = 0;
    if (c->encoding == TULLE_ENCODING_BITMASK) {
      for (size_t byte = 0; byte < c->index_size; byte++) {
        const uint32_t end = 8 * (uint32_t)byte + 8 < tensor->elements ? 8 * (uint32_t)byte + 8 : tensor->elements;
        for (uint32_t bits = c->index[byte]; element < end; bits >>= 1) output[element++] = bits & 1 ? *next++ : absent;
      }
    } else {
      for (size_t i = 0; i < c->index_size; i++) {
        for (uint32_t skip = c->index[i]; skip; skip--) output[element++] = absent;
        if (c->index[i] != 255) output[element++] = *next++;
      }
      while (element < tensor->elements) output[element++] = absent;
    }
  }
}

void tulle_constant_decode(const tulle_tensor* tensor, float* output) {
  tulle_constant_decode_integers(tensor, output);
  if (tensor->constant.scales) scale(&tensor->constant, tensor->elements, output);
}

uint32_t tulle_constant_nonzeros(const tulle_tensor* tensor) {
  const tulle_constant* c = &tensor->constant;
  if (c->encoding != TULLE_ENCODING_DENSE) return c->count;
  uint32_t count = 0;
  if (c->type == TULLE_TYPE_UINT8) {
    for (uint32_t i = 0; i < c->count; i++) count += c->values[i] != c->zero_points[i / c->scale_run % c->scale_count];
    return count;
  }
  if (c->type == TULLE_TYPE_INT8) {  // -128, which has the bits of a float's -0, is none
    for (uint32_t i = 0; i < c->count; i++) count += c->values[i] != 0;
    return count;
  }
  const size_t width = c->type == TULLE_TYPE_FP32 ? 4 : 2;
  for (uint32_t i = 0; i < c->count; i++) {
    uint32_t value = 0;
    memcpy(&value, c->values + i * width, width);
    count += value << (33 - 8 * width) != 0;  // without the sign: -0 is zero too
  }
  return count;
}
