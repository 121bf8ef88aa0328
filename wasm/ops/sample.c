// Sampling at positions that are computed while running.

#include "ops/ops.h"

typedef struct {
  tulle_place x, positions, y;
  uint32_t height, width, pixels;
} sample_args;

static void run_sample(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  (void)scratch;
  const sample_args* args = pointer;
  for (; c < end; c++)
    tulle_f32_sample_bilinear(tulle_channel(&args->positions, 0), tulle_channel(&args->positions, 1), args->pixels,
                              args->height, args->width, tulle_channel(&args->x, c), tulle_channel(&args->y, c));
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
  *args = (sample_args){.x = *tulle_place_of_input(planner, op, 0),
                        .positions = *tulle_place_of_input(planner, op, 1),
                        .y = *tulle_place_of_output(planner, op),
                        .height = x->shape[1],
                        .width = x->shape[2],
                        .pixels = y->shape[1] * y->shape[2]};
  *work = (tulle_work){.run = run_sample,
                       .args = args,
                       .units = x->shape[3],
                       .tasks = tulle_plan_tasks(planner, x->shape[3]),
                       .kernel = TULLE_KERNEL_SAMPLE};
  return true;
}
