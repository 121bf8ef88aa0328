// Reductions that do not run along contiguous floats, and sums of all elements so far.

#include <math.h>

#include "kernels/kernels.h"

static float reduce(tulle_reduction reduction, float total, float x) {
  if (reduction == TULLE_REDUCE_MAX) return x > total || x != x ? x : total;
  if (reduction == TULLE_REDUCE_MIN) return x < total || x != x ? x : total;
  return total + x;
}

void tulle_f32_reduce_channels(tulle_reduction reduction, float scale, const float* x, size_t stride, uint32_t channels,
                               uint32_t begin, uint32_t end, float* y) {
  for (uint32_t p = begin; p < end; p++) y[p] = x[p];
  for (uint32_t c = 1; c < channels; c++) {
    const float* slice = x + c * stride;
    for (uint32_t p = begin; p < end; p++) y[p] = reduce(reduction, y[p], slice[p]);
  }
  for (uint32_t p = begin; p < end; p++) y[p] *= scale;
}

// Goes through the input in order and adds each element to the output element it belongs to.
void tulle_f32_reduce(const tulle_reduce* args, const float* input, float* output) {
  const float start = args->reduction == TULLE_REDUCE_MAX   ? -INFINITY
                      : args->reduction == TULLE_REDUCE_MIN ? INFINITY
                                                            : 0;
  for (uint32_t i = 0; i < args->out_elements; i++) output[i] = start;
  uint32_t index[TULLE_MAX_LOOPS] = {0};
  uint32_t out = 0, axis;
  do {
    output[out] = reduce(args->reduction, output[out], *input++);
    // The next index: the last axis that has not come to its end moves on, those after it start again.
    for (axis = args->rank; axis > 0; axis--) {
      const uint32_t d = axis - 1;
      out += args->out_step[d];
      if (++index[d] < args->shape[d]) break;
      out -= args->shape[d] * args->out_step[d];
      index[d] = 0;
    }
  } while (axis > 0);
  for (uint32_t i = 0; i < args->out_elements; i++) output[i] *= args->scale;
}

void tulle_f32_argmax(const float* x, uint32_t outer, uint32_t size, uint32_t inner, float* y) {
  for (uint32_t i = 0; i < outer * inner; i++) {
    const float* values = x + (size_t)(i / inner) * size * inner + i % inner;
    uint32_t best = 0;
    for (uint32_t j = 1; j < size; j++)
      if (values[(size_t)j * inner] > values[(size_t)best * inner]) best = j;
    y[i] = (float)best;
  }
}

void tulle_f32_cumsum(const tulle_cumsum* args, const float* x, float* y, uint32_t inner) {
  ptrdiff_t in_step = (ptrdiff_t)args->in_step, out_step = (ptrdiff_t)args->out_step;
  if (args->reverse) {
    x += (args->size - 1) * in_step, y += (args->size - 1) * out_step;
    in_step = -in_step, out_step = -out_step;
  }
  for (uint32_t i = 0; i < inner; i++) y[i] = args->exclusive ? 0 : x[i];
  if (!args->exclusive) x += in_step;
  for (uint32_t j = 1; j < args->size; j++, x += in_step, y += out_step)
    for (uint32_t i = 0; i < inner; i++) y[out_step + (ptrdiff_t)i] = y[i] + x[i];
}
