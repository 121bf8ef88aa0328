// Softmax over the last dimension.

#include "ops/ops.h"

typedef struct {
  const float* input;
  float* output;
  uint32_t row_floats;
  float beta;
} softmax_args;

static void run_softmax(const void* pointer, uint32_t r, uint32_t end, char* scratch) {
  (void)scratch;
  const softmax_args* args = pointer;
  for (; r < end; r++)
    tulle_f32_softmax(args->input + (size_t)r * args->row_floats, args->output + (size_t)r * args->row_floats,
                      args->row_floats, args->beta);
}

bool tulle_plan_softmax(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (x->elements != y->elements) return tulle_plan_fail(planner, "input and output differ in size");
  softmax_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const uint32_t last = x->rank ? x->shape[x->rank - 1] : 1, rows = x->elements / last;
  *args = (softmax_args){tulle_place_of_input(planner, op, 0)->data, tulle_place_of_output(planner, op)->data, last,
                         op->beta};
  *work = (tulle_work){
      .run = run_softmax, .args = args, .units = rows, .tasks = tulle_plan_light_tasks(planner, x->elements, rows)};
  return true;
}
