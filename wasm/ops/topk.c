// The largest or smallest elements along an axis, and where they are.

#include "ops/ops.h"

typedef struct {
  tulle_topk topk;
  const float* input;
  float* output;
} topk_args;

// One line of elements after the other, of [outer, size, inner].
static void run_topk(const void* pointer, uint32_t line, uint32_t end, char* scratch) {
  const topk_args* args = pointer;
  const size_t inner = args->topk.step;
  for (; line < end; line++) {
    const size_t outer = line / inner, column = line % inner;
    tulle_f32_topk(&args->topk, args->input + outer * args->topk.size * inner + column,
                   args->output + outer * args->topk.k * inner + column, (uint64_t*)scratch);
  }
}

bool tulle_plan_topk(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  const int32_t rank = (int32_t)x->rank;
  if (op->axis < 0 || op->axis >= rank) return tulle_plan_fail(planner, "axis %d of %u", op->axis, x->rank);
  if (y->rank != x->rank) return tulle_plan_fail(planner, "input and output differ in rank");
  const uint32_t size = x->shape[op->axis], k = y->shape[op->axis];
  if (k > size) return tulle_plan_fail(planner, "%u elements of %u", k, size);
  size_t inner = 1;
  for (int32_t d = 0; d < rank; d++) {
    if (d != op->axis && x->shape[d] != y->shape[d])
      return tulle_plan_fail(planner, "input and output differ beyond axis %d", op->axis);
    if (d > op->axis) inner *= x->shape[d];
  }
  topk_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (topk_args){.topk = {.size = size,
                               .k = k,
                               .step = inner,
                               .largest = op->largest,
                               .indices = op->kind == TULLE_OP_TOPK_INDICES},
                      .input = tulle_place_of_input(planner, op, 0)->data,
                      .output = tulle_place_of_output(planner, op)->data};
  const uint32_t lines = x->elements / size;
  *work = (tulle_work){.run = run_topk,
                       .args = args,
                       .units = lines,
                       .tasks = tulle_plan_light_tasks(planner, x->elements, lines),
                       .scratch = (uint64_t)k * sizeof(uint64_t)};
  return true;
}
