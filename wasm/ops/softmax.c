// Softmax over the last dimension.

#include "ops/ops.h"

typedef struct {
  const float* input;
  float* output;
  uint32_t rows, row_floats;
  float beta;
} softmax_args;

static void run_softmax(const void* pointer, uint32_t task, char* scratch) {
  (void)task, (void)scratch;
  const softmax_args* args = pointer;
  for (uint32_t r = 0; r < args->rows; r++)
    tulle_f32_softmax(args->input + (size_t)r * args->row_floats, args->output + (size_t)r * args->row_floats,
                      args->row_floats, args->beta);
}

bool tulle_plan_softmax(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (x->elements != y->elements) return tulle_plan_fail(planner, "input and output differ in size");
  softmax_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const uint32_t last = x->rank ? x->shape[x->rank - 1] : 1;
  *args = (softmax_args){tulle_place_of_input(planner, op, 0)->data, tulle_place_of_output(planner, op)->data,
                         x->elements / last, last, op->beta};
  *work = (tulle_work){.run = run_softmax, .args = args, .tasks = 1, .kernel = TULLE_KERNEL_SOFTMAX};
  return true;
}
