// Copies of any shape: nested loops, each with a step of its own in input and output.

#include <string.h>

#include "kernels/kernels.h"

// Two rows, or three, into one: an element of each in turn.
static uint32_t interleave_2(const float* a, const float* b, uint32_t count, float* output) {
  uint32_t i = 0;
  for (; i + 4 <= count; i += 4, output += 8) {
    const v4 x = v4_load(a + i), y = v4_load(b + i);
    v4_store(output, wasm_i32x4_shuffle(x, y, 0, 4, 1, 5));
    v4_store(output + 4, wasm_i32x4_shuffle(x, y, 2, 6, 3, 7));
  }
  return i;
}

static uint32_t interleave_3(const float* a, const float* b, const float* c, uint32_t count, float* output) {
  uint32_t i = 0;
  for (; i + 4 <= count; i += 4, output += 12) {
    const v4 x = v4_load(a + i), y = v4_load(b + i), z = v4_load(c + i);
    v4_store(output, wasm_i32x4_shuffle(wasm_i32x4_shuffle(x, y, 0, 4, 1, 5), z, 0, 1, 4, 2));
    v4_store(output + 4, wasm_i32x4_shuffle(wasm_i32x4_shuffle(y, z, 1, 5, 2, 6), x, 0, 1, 6, 2));
    v4_store(output + 8, wasm_i32x4_shuffle(wasm_i32x4_shuffle(x, y, 3, 7, 3, 7), z, 6, 0, 1, 7));
  }
  return i;
}

// output[i * out_step + j] = input[j * in_step + i] for i < rows and j < columns, in tiles of 4x4.
static void transpose(const float* input, int64_t in_step, float* output, int64_t out_step, uint32_t rows,
                      uint32_t columns) {
  uint32_t i = 0;
  if (columns == 2 && out_step == 2) {
    i = interleave_2(input, input + in_step, rows, output);
  } else if (columns == 3 && out_step == 3) {
    i = interleave_3(input, input + in_step, input + 2 * in_step, rows, output);
  } else {
    for (; i + 4 <= rows; i += 4) {
      uint32_t j = 0;
      for (; j + 4 <= columns; j += 4) {
        const float* from = input + j * in_step + i;
        float* to = output + i * out_step + j;
        const v4 a = v4_load(from), b = v4_load(from + in_step), c = v4_load(from + 2 * in_step),
                 d = v4_load(from + 3 * in_step);
        const v4 ab = wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), cd = wasm_i32x4_shuffle(c, d, 0, 4, 1, 5);
        const v4 ab_high = wasm_i32x4_shuffle(a, b, 2, 6, 3, 7), cd_high = wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
        v4_store(to, wasm_i64x2_shuffle(ab, cd, 0, 2));
        v4_store(to + out_step, wasm_i64x2_shuffle(ab, cd, 1, 3));
        v4_store(to + 2 * out_step, wasm_i64x2_shuffle(ab_high, cd_high, 0, 2));
        v4_store(to + 3 * out_step, wasm_i64x2_shuffle(ab_high, cd_high, 1, 3));
      }
      for (; j < columns; j++)
        for (uint32_t k = i; k < i + 4; k++) output[k * out_step + j] = input[j * in_step + k];
    }
  }
  for (; i < rows; i++)
    for (uint32_t j = 0; j < columns; j++) output[i * out_step + j] = input[j * in_step + i];
}

static void copy_loop(const tulle_copy* c, uint32_t loop, const float* input, float* output, uint32_t begin,
                      uint32_t end) {
  const int64_t in_step = c->in_step[loop], out_step = c->out_step[loop];
  input += begin * in_step;
  output += begin * out_step;
  if (loop + 2 == c->loops && in_step == 1 && c->out_step[loop + 1] == 1) {
    transpose(input, c->in_step[loop + 1], output, out_step, end - begin, c->sizes[loop + 1]);
  } else if (loop + 1 < c->loops) {
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

static void fill(float* x, float value, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] = value;
}

// `input`: where the loops around this one read, -1 if that is outside.
static void pad_loop(const tulle_pad* pad, uint32_t loop, int64_t input, float* output, uint32_t begin, uint32_t end) {
  output += begin * pad->out_step[loop];
  for (uint32_t i = begin; i < end; i++, output += pad->out_step[loop]) {
    const int32_t step = pad->from[loop][i];
    const int64_t at = input < 0 || step < 0 ? -1 : input + step;
    if (loop + 1 == pad->loops && i == pad->run_begin && pad->run > 0 && pad->run <= end - i) {
      memcpy(output, pad->input + at, pad->run * pad->count * sizeof(float));
      i += pad->run - 1;
      output += (pad->run - 1) * pad->out_step[loop];
    } else if (loop + 1 < pad->loops) {
      pad_loop(pad, loop + 1, at, output, 0, pad->sizes[loop + 1]);
    } else {
      const size_t before = at < 0 ? 0 : pad->before, count = at < 0 ? 0 : pad->count;
      fill(output, pad->value, before);
      memcpy(output + before, pad->input + (at < 0 ? 0 : at), count * sizeof(float));
      fill(output + before + count, pad->value, pad->before + pad->count + pad->after - before - count);
    }
  }
}

void tulle_f32_pad(const tulle_pad* pad, uint32_t begin, uint32_t end) { pad_loop(pad, 0, 0, pad->output, begin, end); }
