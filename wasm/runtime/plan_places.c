// Ops whose places are computed while running: max unpooling, and sampling at any positions.

#include "runtime/plan.h"

typedef struct {
  tulle_pool pool;
  const float *input, *indices;
  float* output;
  size_t input_stride, indices_stride, output_stride;
  uint32_t channels, tasks;
} unpool_args;

static void run_unpool(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const unpool_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++)
    tulle_f32_max_unpool(&args->pool, args->input + c * args->input_stride, args->indices + c * args->indices_stride,
                         args->output + c * args->output_stride);
}

bool tulle_plan_max_unpool(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *indices = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = &planner->net->tensors[op->output];
  if (!indices || indices->is_constant || x->rank != 4 || indices->rank != 4 || y->rank != 4 || !tulle_is_chw(x) ||
      !tulle_is_chw(indices) || !tulle_is_chw(y))
    return tulle_plan_fail(planner, "needs chw activations");
  for (uint32_t d = 0; d < 4; d++)
    if (x->shape[d] != indices->shape[d]) return tulle_plan_fail(planner, "values and indices differ in shape");
  if (x->shape[3] != y->shape[3]) return tulle_plan_fail(planner, "input and output differ in channels");
  unpool_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (unpool_args){.pool = {y->shape[1], y->shape[2], x->shape[1], x->shape[2], op->kernel_h, op->kernel_w,
                                 op->stride_h, op->stride_w, op->pad_top, op->pad_left},
                        .input = planner->places[op->inputs[0]].data,
                        .indices = planner->places[op->inputs[1]].data,
                        .output = planner->places[op->output].data,
                        .input_stride = planner->places[op->inputs[0]].stride,
                        .indices_stride = planner->places[op->inputs[1]].stride,
                        .output_stride = planner->places[op->output].stride,
                        .channels = x->shape[3]};
  args->tasks = tulle_plan_tasks(planner, args->channels);
  return tulle_plan_step(planner, run_unpool, args, args->tasks, "f32_unpool") != NULL;
}

typedef struct {
  const float *input, *xs, *ys;
  float* output;
  size_t input_stride, output_stride;
  uint32_t height, width, pixels, channels, tasks;
} sample_args;

static void run_sample(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const sample_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++)
    tulle_f32_sample_bilinear(args->xs, args->ys, args->pixels, args->height, args->width,
                              args->input + c * args->input_stride, args->output + c * args->output_stride);
}

bool tulle_plan_sample(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *at = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = &planner->net->tensors[op->output];
  if (!at || at->is_constant || x->rank != 4 || at->rank != 4 || y->rank != 4 || !tulle_is_chw(x) ||
      !tulle_is_chw(at) || !tulle_is_chw(y))
    return tulle_plan_fail(planner, "needs chw activations");
  if (at->shape[3] != 2 || at->shape[1] != y->shape[1] || at->shape[2] != y->shape[2] || x->shape[3] != y->shape[3])
    return tulle_plan_fail(planner, "needs two positions for each of its %ux%u output pixels", y->shape[1],
                           y->shape[2]);
  sample_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const tulle_place* positions = &planner->places[op->inputs[1]];
  *args = (sample_args){.input = planner->places[op->inputs[0]].data,
                        .xs = positions->data,
                        .ys = positions->data + positions->stride,
                        .output = planner->places[op->output].data,
                        .input_stride = planner->places[op->inputs[0]].stride,
                        .output_stride = planner->places[op->output].stride,
                        .height = x->shape[1],
                        .width = x->shape[2],
                        .pixels = y->shape[1] * y->shape[2],
                        .channels = x->shape[3]};
  args->tasks = tulle_plan_tasks(planner, args->channels);
  return tulle_plan_step(planner, run_sample, args, args->tasks, "f32_sample") != NULL;
}
