// Copies of any shape: nested loops, each with a step of its own in input and output.

#include <string.h>

#include "kernels/kernels.h"

static void copy_loop(const tulle_copy* c, uint32_t loop, const float* input, float* output, uint32_t begin,
                      uint32_t end) {
  const int64_t in_step = c->in_step[loop], out_step = c->out_step[loop];
  input += begin * in_step;
  output += begin * out_step;
  if (loop + 1 < c->loops) {
    for (uint32_t i = begin; i < end; i++, input += in_step, output += out_step)
      copy_loop(c, loop + 1, input, output, 0, c->sizes[loop + 1]);
  } else if (in_step == 1 && out_step == 1) {
    memcpy(output, input, (end - begin) * sizeof(float));
  } else {
    for (uint32_t i = begin; i < end; i++, input += in_step, output += out_step) *output = *input;
  }
}

void tulle_f32_copy(const tulle_copy* copy, uint32_t begin, uint32_t end) {
  copy_loop(copy, 0, copy->input, copy->output, begin, end);
}

// `input`: where the loops around this one read, -1 if that is outside.
static void pad_loop(const tulle_pad* pad, uint32_t loop, int64_t input, float* output, uint32_t begin, uint32_t end) {
  output += begin * pad->out_step[loop];
  for (uint32_t i = begin; i < end; i++, output += pad->out_step[loop]) {
    const int32_t step = pad->from[loop][i];
    const int64_t at = input < 0 || step < 0 ? -1 : input + step;
    if (loop + 1 < pad->loops) {
      pad_loop(pad, loop + 1, at, output, 0, pad->sizes[loop + 1]);
    } else {
      *output = at < 0 ? pad->value : pad->input[at];
    }
  }
}

void tulle_f32_pad(const tulle_pad* pad, uint32_t begin, uint32_t end) { pad_loop(pad, 0, 0, pad->output, begin, end); }
