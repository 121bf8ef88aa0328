// Sampling at positions that are computed while running.

#include "ops/ops.h"

typedef struct {
  const float *input, *xs, *ys;
  float* output;
  size_t input_stride, output_stride;
  uint32_t height, width, pixels, channels, tasks;
} sample_args;

static void run_sample(const void* pointer, uint32_t task, char* scratch) {
  (void)scratch;
  const sample_args* args = pointer;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++)
    tulle_f32_sample_bilinear(args->xs, args->ys, args->pixels, args->height, args->width,
                              args->input + c * args->input_stride, args->output + c * args->output_stride);
}

bool tulle_plan_sample(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *at = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (at->is_constant) return tulle_plan_fail(planner, "its positions '%s' are constant", at->name);
  if (at->shape[3] != 2 || at->shape[1] != y->shape[1] || at->shape[2] != y->shape[2] || x->shape[3] != y->shape[3])
    return tulle_plan_fail(planner, "needs two positions for each of its %ux%u output pixels", y->shape[1],
                           y->shape[2]);
  sample_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const tulle_place* positions = tulle_place_of_input(planner, op, 1);
  *args = (sample_args){.input = tulle_place_of_input(planner, op, 0)->data,
                        .xs = positions->data,
                        .ys = positions->data + positions->stride,
                        .output = tulle_place_of_output(planner, op)->data,
                        .input_stride = tulle_place_of_input(planner, op, 0)->stride,
                        .output_stride = tulle_place_of_output(planner, op)->stride,
                        .height = x->shape[1],
                        .width = x->shape[2],
                        .pixels = y->shape[1] * y->shape[2],
                        .channels = x->shape[3]};
  args->tasks = tulle_plan_tasks(planner, args->channels);
  *work = (tulle_work){.run = run_sample, .args = args, .tasks = args->tasks, .kernel = TULLE_KERNEL_SAMPLE};
  return true;
}
