// Transposed convolutions.

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
