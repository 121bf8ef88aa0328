// Concatenation: a copy for each input.

#include "ops/copy.h"

bool tulle_plan_concat(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (op->axis < 0 || op->axis >= (int32_t)y->rank) return tulle_plan_fail(planner, "axis %d of %u", op->axis, y->rank);
  const uint32_t axis = (uint32_t)op->axis;
  tulle_copy* copies = tulle_plan_alloc(planner, op->input_count * sizeof *copies);
  if (!copies) return false;
  int64_t out_steps[TULLE_MAX_RANK], in_steps[TULLE_MAX_RANK];
  uint32_t order[TULLE_MAX_RANK];
  tulle_steps_of(planner, op->output, out_steps);
  tulle_loop_order(y, order);
  uint64_t at = 0;
  for (uint32_t i = 0; i < op->input_count; i++) {
    const tulle_tensor* x = tulle_plan_input(planner, op, i);
    if (!x || x->rank != y->rank) return tulle_plan_fail(planner, "input %u does not have the output's rank", i);
    for (uint32_t d = 0; d < y->rank; d++)
      if (d != axis && x->shape[d] != y->shape[d])
        return tulle_plan_fail(planner, "'%s' differs in dimension %u", x->name, d);
    const float* data = planner->places[op->inputs[i]].data;
    if (x->is_constant && !(data = tulle_plan_constant(planner, op->inputs[i], 0))) return false;
    tulle_steps_of(planner, op->inputs[i], in_steps);
    copies[i].input = data;
    copies[i].output = tulle_place_of_output(planner, op)->data + at * (uint64_t)out_steps[axis];
    for (uint32_t d = 0; d < y->rank; d++)
      tulle_add_loop(&copies[i], x->shape[order[d]], in_steps[order[d]], out_steps[order[d]]);
    at += x->shape[axis];
  }
  if (at != y->shape[axis])
    return tulle_plan_fail(planner, "its inputs make %u along axis %u, not %u", (unsigned)at, axis, y->shape[axis]);
  return tulle_plan_copies(planner, copies, op->input_count, y->elements, work);
}
