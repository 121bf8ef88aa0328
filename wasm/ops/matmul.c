// Products of two matrices, computed ones too.

#include <math.h>

#include "ops/ops.h"

typedef struct {
  const float *a, *b;
  float* y;
  uint32_t rows, depth, columns;
  uint32_t rank, shape[TULLE_MAX_RANK];                     // of the output without its matrices
  uint32_t a_step[TULLE_MAX_RANK], b_step[TULLE_MAX_RANK];  // floats; 0 where one matrix serves all
  uint32_t pieces;                                          // of the rows of one matrix
} matmul_args;

static void run_matmul(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next, (void)scratch;
  const matmul_args* args = pointer;
  uint32_t row, end;
  tulle_piece(args->rows, args->pieces, task % args->pieces, &row, &end);
  const uint32_t matrix = task / args->pieces;
  const float *a = args->a + (size_t)row * args->depth, *b = args->b;
  for (uint32_t d = args->rank, rest = matrix; d-- > 0; rest /= args->shape[d]) {
    a += (size_t)(rest % args->shape[d]) * args->a_step[d];
    b += (size_t)(rest % args->shape[d]) * args->b_step[d];
  }
  tulle_f32_matmul(&(tulle_matmul){.a = a,
                                   .b = b,
                                   .y = args->y + ((size_t)matrix * args->rows + row) * args->columns,
                                   .rows = end - row,
                                   .depth = args->depth,
                                   .columns = args->columns,
                                   .b_step = args->columns,
                                   .y_step = args->columns,
                                   .low = -INFINITY,
                                   .high = INFINITY});
}

// Steps of an operand along the dimensions of the output before its matrices.
static bool steps_along(tulle_planner* planner, const tulle_tensor* t, const tulle_tensor* y, uint32_t* steps) {
  uint32_t step = t->shape[t->rank - 1] * t->shape[t->rank - 2];
  for (uint32_t d = t->rank - 2; d-- > 0; step *= t->shape[d]) {
    const uint32_t at = d + y->rank - t->rank;
    if (t->shape[d] != 1 && t->shape[d] != y->shape[at])
      return tulle_plan_fail(planner, "'%s' does not broadcast to its output", t->name);
    steps[at] = t->shape[d] == 1 ? 0 : step;
  }
  return true;
}

bool tulle_plan_matmul(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *a = tulle_plan_input(planner, op, 0), *b = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (a->rank < 2 || b->rank < 2 || a->rank > y->rank || b->rank > y->rank)
    return tulle_plan_fail(planner, "needs operands of at least two dimensions, and no more than its output has");
  const uint32_t rows = a->shape[a->rank - 2], depth = a->shape[a->rank - 1], columns = b->shape[b->rank - 1];
  if (b->shape[b->rank - 2] != depth || y->shape[y->rank - 2] != rows || y->shape[y->rank - 1] != columns)
    return tulle_plan_fail(planner, "%ux%u times %ux%u does not make its output", rows, depth, b->shape[b->rank - 2],
                           columns);
  matmul_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->a =
      a->is_constant ? tulle_plan_constant(planner, op->inputs[0], 0) : tulle_place_of_input(planner, op, 0)->data;
  args->b =
      b->is_constant ? tulle_plan_constant(planner, op->inputs[1], 0) : tulle_place_of_input(planner, op, 1)->data;
  if (!args->a || !args->b) return false;
  args->y = tulle_place_of_output(planner, op)->data;
  args->rows = rows;
  args->depth = depth;
  args->columns = columns;
  args->rank = y->rank - 2;
  uint32_t matrices = 1;
  for (uint32_t d = 0; d < args->rank; d++) matrices *= args->shape[d] = y->shape[d];
  if (!steps_along(planner, a, y, args->a_step) || !steps_along(planner, b, y, args->b_step)) return false;
  args->pieces = matrices < 64 ? tulle_plan_tasks(planner, (rows + 3) / 4) : 1;
  *work = (tulle_work){
      .run = run_matmul, .args = args, .tasks = matrices * args->pieces, .macs = (uint64_t)y->elements * depth};
  return true;
}
