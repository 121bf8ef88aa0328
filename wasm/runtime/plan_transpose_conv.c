// Transposed convolutions.

#include <stdlib.h>

#include "kernels/simd.h"
#include "runtime/plan_conv.h"

typedef struct {
  tulle_transpose_conv conv;
  const float *input, *weights, *bias;
  float* output;
  size_t output_stride;
  uint32_t channels, rows, tasks;  // rows: of all output channels together
  tulle_epilogue epilogue;
} transpose_args;

static void run_transpose_conv(const tulle_step* step, uint32_t task, char* scratch) {
  const transpose_args* args = step->args;
  const tulle_transpose_conv* t = &args->conv;
  const size_t kernel = (size_t)t->kernel_h * t->kernel_w * t->in_channels;
  uint32_t row, end;
  tulle_piece(args->rows, args->tasks, task, &row, &end);
  for (; row < end; row++) {
    const uint32_t o = row / t->out_height, y = row % t->out_height;
    float* output = args->output + o * args->output_stride + (size_t)y * t->out_width;
    tulle_f32_transpose_conv_row(t, args->input, args->weights + o * kernel, args->bias[o], y, output, (float*)scratch);
    tulle_f32_finish(output, t->out_width, &args->epilogue, o);
  }
}

// Where kernel and stride are the same, no two inputs meet in an output: each position in the kernel is a 1x1
// convolution of its own, and their results are only interleaved. Row (channel, ky, kx) of this product is one of them.
typedef struct {
  tulle_dense dense;
  uint32_t height, width, kernel_h, kernel_w, channels, tasks;
  size_t row_floats;  // of a row of results in scratch
} upsample_args;

// `width` pixels of kernel_w rows, row_floats apart, to one row.
static void interleave(const float* rows, size_t row_floats, uint32_t kernel_w, uint32_t width, float* output) {
  uint32_t x = 0;
  if (kernel_w == 2) {
    for (; x + 4 <= width; x += 4, output += 8) {
      const v4 a = v4_load(rows + x), b = v4_load(rows + row_floats + x);
      v4_store(output, wasm_i32x4_shuffle(a, b, 0, 4, 1, 5));
      v4_store(output + 4, wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
    }
  }
  for (; x < width; x++)
    for (uint32_t kx = 0; kx < kernel_w; kx++) *output++ = rows[kx * row_floats + x];
}

static void run_upsample(const tulle_step* step, uint32_t task, char* scratch) {
  const upsample_args* args = step->args;
  const tulle_dense* dense = &args->dense;
  float* results = (float*)scratch;
  const size_t row_floats = args->row_floats;
  const uint32_t out_width = args->width * args->kernel_w;
  uint32_t y, end;
  tulle_piece(args->height, args->tasks, task, &y, &end);
  for (; y < end; y++) {
    for (uint32_t block = 0; block < dense->blocks; block++) {
      tulle_gemm gemm = tulle_gemm_block(dense, block, 0, dense->taps);
      gemm.output_stride = row_floats;
      float* output = results + TULLE_GEMM_ROWS * block * row_floats;
      tulle_f32_gemm(&gemm, dense->input + (size_t)y * args->width, output, NULL, args->width, false);
      tulle_activate_block(&gemm, output, args->width);
    }
    for (uint32_t row = 0; row < args->channels * args->kernel_h; row++) {
      const size_t out_row = (size_t)y * args->kernel_h + row % args->kernel_h;
      interleave(results + row * args->kernel_w * row_floats, row_floats, args->kernel_w, args->width,
                 dense->output + row / args->kernel_h * dense->output_stride + out_row * out_width);
    }
  }
}

static bool plan_upsample(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w) {
  const tulle_place *in = &planner->places[op->inputs[0]], *out = &planner->places[op->output];
  upsample_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_dense* dense = &args->dense;
  const uint32_t kernel = w->shape[1] * w->shape[2];
  args->height = x->shape[1];
  args->width = x->shape[2];
  args->kernel_h = w->shape[1];
  args->kernel_w = w->shape[2];
  args->channels = w->shape[0];
  dense->input = in->data;
  dense->output = out->data;
  dense->output_stride = out->stride;
  dense->rows = args->channels * kernel;
  dense->taps = w->shape[3];
  dense->blocks = (dense->rows + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS;
  if (!tulle_plan_epilogue(planner, op, 3, args->channels, &dense->epilogue)) return false;
  const float* channel_bias = tulle_plan_bias(planner, op, 2, args->channels, 0);
  float* bias = tulle_plan_alloc(planner, ((size_t)dense->rows + TULLE_GEMM_ROWS) * sizeof *bias);
  int32_t* offsets = tulle_plan_alloc(planner, dense->taps * sizeof *offsets);
  if (!channel_bias || !bias || !offsets) return false;
  for (uint32_t r = 0; r < dense->rows; r++) bias[r] = channel_bias[r / kernel];
  for (uint32_t t = 0; t < dense->taps; t++) offsets[t] = (int32_t)(t * in->stride * sizeof(float));
  dense->bias = bias;
  dense->offsets = offsets;
  float* weights = tulle_plan_unpack(planner, w);
  if (weights) dense->weights = tulle_pack_blocks(planner, weights, dense->rows, dense->taps, NULL);
  free(weights);
  if (!dense->weights) return false;
  args->row_floats = tulle_round_up(args->width, 8);
  tulle_plan_scratch(planner, (uint64_t)dense->blocks * TULLE_GEMM_ROWS * args->row_floats * sizeof(float));
  args->tasks = tulle_plan_tasks(planner, args->height);
  tulle_step* step = tulle_plan_step(planner, run_upsample, args, args->tasks, "f32_upsample_conv_" TULLE_GEMM_TILE);
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = tulle_constant_nonzeros(w);
  step->macs = (uint64_t)w->elements * x->shape[1] * x->shape[2];
  return true;
}

bool tulle_plan_transpose_conv(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = &planner->net->tensors[op->output];
  // It is the gradient of a convolution from y to x, and fits where that one does.
  if (!tulle_check_conv(planner, op, y, w, x)) return false;
  if (op->dilation_h != 1 || op->dilation_w != 1) return tulle_plan_fail(planner, "dilation is not possible");
  if (w->shape[0] != y->shape[3] || w->shape[3] != x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u input and %u output channels, tensors with %u and %u", w->shape[3],
                           w->shape[0], x->shape[3], y->shape[3]);
  if ((!x->chw && x->shape[1] * x->shape[2] > 1 && x->shape[3] > 1) ||
      (!y->chw && y->shape[1] * y->shape[2] > 1 && y->shape[3] > 1))
    return tulle_plan_fail(planner, "needs chw tensors");
  const bool apart = w->shape[1] == op->stride_h && w->shape[2] == op->stride_w && !op->pad_top && !op->pad_left &&
                     y->shape[1] == x->shape[1] * op->stride_h && y->shape[2] == x->shape[2] * op->stride_w;
  // prelu's alpha is per channel, and such a product's rows are not channels.
  if (apart && op->activation != TULLE_ACT_PRELU) return plan_upsample(planner, op, x, w);
  transpose_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->conv = (tulle_transpose_conv){.in_channels = x->shape[3],
                                      .height = x->shape[1],
                                      .width = x->shape[2],
                                      .out_height = y->shape[1],
                                      .out_width = y->shape[2],
                                      .kernel_h = w->shape[1],
                                      .kernel_w = w->shape[2],
                                      .stride_h = op->stride_h,
                                      .stride_w = op->stride_w,
                                      .pad_top = op->pad_top,
                                      .pad_left = op->pad_left,
                                      .in_stride = planner->places[op->inputs[0]].stride};
  args->input = planner->places[op->inputs[0]].data;
  args->output = planner->places[op->output].data;
  args->output_stride = planner->places[op->output].stride;
  args->channels = y->shape[3];
  if ((uint64_t)y->shape[3] * y->shape[1] > UINT32_MAX) return tulle_plan_fail(planner, "is too large");
  args->rows = y->shape[3] * y->shape[1];
  if (!(args->weights = tulle_plan_constant(planner, op->inputs[1], 0))) return false;
  if (!(args->bias = tulle_plan_bias(planner, op, 2, args->channels, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, 3, args->channels, &args->epilogue)) return false;
  tulle_plan_scratch(planner, ((uint64_t)y->shape[2] / op->stride_w + 8) * op->stride_w * sizeof(float) + 64);
  args->tasks = tulle_plan_tasks(planner, args->rows);
  tulle_step* step = tulle_plan_step(planner, run_transpose_conv, args, args->tasks, "f32_transpose_conv");
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = tulle_constant_nonzeros(w);
  step->macs = (uint64_t)w->elements * x->shape[1] * x->shape[2];
  return true;
}
