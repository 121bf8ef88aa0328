// The largest or smallest elements along an axis, in order.

#include <string.h>

#include "kernels/kernels.h"

// What comes first has the larger number: the element's value above, its index below, so that no two are equal. Bits of
// positive floats grow with their value, those of negative ones shrink.
static uint64_t precedence(float x, uint32_t index, bool largest) {
  uint32_t bits;
  x += 0.0f;  // -0 equals 0
  memcpy(&bits, &x, sizeof bits);
  uint32_t value = x != x ? UINT32_MAX : bits >> 31 ? ~bits : bits | 1u << 31;
  if (!largest) value = ~value;
  return (uint64_t)value << 32 | (UINT32_MAX - index);
}

// Puts `number` into a heap with the smallest on top, whose place `at` is empty, at this place or further down.
static void sift_down(uint64_t* heap, uint32_t size, uint32_t at, uint64_t number) {
  for (uint32_t child; (child = 2 * at + 1) < size; at = child) {
    if (child + 1 < size && heap[child + 1] < heap[child]) child++;
    if (number <= heap[child]) break;
    heap[at] = heap[child];
  }
  heap[at] = number;
}

void tulle_f32_topk(const tulle_topk* args, const float* x, float* y, uint64_t* best) {
  const uint32_t k = args->k;
  const bool largest = args->largest;
  for (uint32_t i = 0; i < k; i++) best[i] = precedence(x[i * args->step], i, largest);
  for (uint32_t i = k / 2; i-- > 0;) sift_down(best, k, i, best[i]);
  for (uint32_t i = k; i < args->size; i++) {
    const uint64_t number = precedence(x[i * args->step], i, largest);
    if (number > best[0]) sift_down(best, k, 0, number);
  }
  // The heap shrinks from its end, where the last of those left goes.
  for (uint32_t left = k; left-- > 1;) {
    const uint64_t number = best[left];
    best[left] = best[0];
    sift_down(best, left, 0, number);
  }
  for (uint32_t i = 0; i < k; i++) {
    const uint32_t index = UINT32_MAX - (uint32_t)best[i];
    y[i * args->step] = args->indices ? (float)index : x[index * args->step];
  }
}
