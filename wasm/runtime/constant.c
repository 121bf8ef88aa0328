// Unpacking of compressed weights.

#include <string.h>

#include "runtime/net.h"

// IEEE half to float by integer arithmetic: exact, subnormals and NaN included.
static float half_to_float(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | mantissa << 13;
  } else if (exponent) {
    bits = sign | (exponent + 112) << 23 | mantissa << 13;
  } else if (mantissa) {
    const float value = (float)mantissa * 5.9604644775390625e-8f;  // 2^-24
    memcpy(&bits, &value, 4);
    bits |= sign;
  } else {
    bits = sign;
  }
  float result;
  memcpy(&result, &bits, 4);
  return result;
}

// Stored value `i`, which belongs to element `element` of the tensor.
static inline float value_at(const tulle_constant* c, uint32_t i, uint32_t element) {
  switch (c->type) {
    case 0: {
      float value;
      memcpy(&value, c->values + 4 * (size_t)i, 4);
      return value;
    }
    case 1: {
      uint16_t half;
      memcpy(&half, c->values + 2 * (size_t)i, 2);
      return half_to_float(half);
    }
    default:
      return (float)(int8_t)c->values[i] * c->scales[element / c->scale_run % c->scale_count];
  }
}

void tulle_constant_decode(const tulle_tensor* tensor, float* output) {
  const tulle_constant* c = &tensor->constant;
  if (c->encoding == 0) {
    for (uint32_t i = 0; i < tensor->elements; i++) output[i] = value_at(c, i, i);
    return;
  }
  memset(output, 0, 4 * (size_t)tensor->elements);
  uint32_t next = 0;
  if (c->encoding == 1) {
    for (size_t byte = 0; byte < c->index_size; byte++) {
      for (uint32_t bits = c->index[byte]; bits; bits &= bits - 1) {
        const uint32_t element = (uint32_t)(8 * byte) + (uint32_t)__builtin_ctz(bits);
        output[element] = value_at(c, next++, element);
      }
    }
    return;
  }
  uint32_t element = 0;
  for (size_t i = 0; i < c->index_size; i++) {
    element += c->index[i];
    if (c->index[i] == 255) continue;
    output[element] = value_at(c, next++, element);
    element++;
  }
}

uint32_t tulle_constant_nonzeros(const tulle_tensor* tensor) {
  const tulle_constant* c = &tensor->constant;
  if (c->encoding) return c->count;
  uint32_t count = 0;
  for (uint32_t i = 0; i < tensor->elements; i++) count += value_at(c, i, i) != 0;
  return count;
}
