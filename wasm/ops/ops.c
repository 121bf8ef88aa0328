#include "ops/ops.h"

#include <math.h>
#include <string.h>

// The columns of ops.inc.

enum {
  NO_FLAGS = 0,
  ACTIVATION = 1,
  WEIGHT = 2,
  CONSTANT = 4,
  BY_ROWS = 8,
  FREE = 16,
  FREE_IF_BOTH = 32,
};

typedef enum {
  LAYOUT_CHW,
  LAYOUT_IMAGE,
  LAYOUT_PLAIN,
  LAYOUT_SAME,
  LAYOUT_REDUCED,
  LAYOUT_TO_PLAIN,
  LAYOUT_TO_CHW,
} layout_rule;

static const struct {
  uint8_t least, most;
  uint8_t layout;  // layout_rule
  uint8_t flags;
  tulle_sum_function* takes_sum;
  tulle_plan_function* plan;
} table[] = {
#define OP(c_name, name, least, most, layout, flags, takes_sum, plan) \
  {least, most, LAYOUT_##layout, flags, takes_sum, plan},
#include "ops/ops.inc"
#undef OP
};

static bool has(const tulle_op* op, uint32_t flag) { return table[op->kind].flags & flag; }

bool tulle_op_is_free(const tulle_net* net, const tulle_op* op) {
  const tulle_tensor* y = &net->tensors[op->output];
  return has(op, FREE) || (has(op, FREE_IF_BOTH) && tulle_is_plain(y) && tulle_is_chw(y));
}

bool tulle_op_runs_by_rows(const tulle_net* net, const tulle_op* op) {
  return has(op, BY_ROWS) && !tulle_prefers_winograd(net, op);
}

bool tulle_op_takes_sum(const tulle_net* net, const tulle_op* op, bool gated) {
  return table[op->kind].takes_sum(net, op, gated);
}

bool tulle_plan_op(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  return table[op->kind].plan(planner, op, work);
}

bool tulle_same_shape(const tulle_tensor* a, const tulle_tensor* b) {
  return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) == 0;
}

bool tulle_takes_no_sum(const tulle_net* net, const tulle_op* op, bool gated) {
  (void)net, (void)op, (void)gated;
  return false;
}

bool tulle_plan_nothing(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  (void)op, (void)work;
  return tulle_plan_fail(planner, "cannot be run");
}

// ---- checks -----------------------------------------------------------------------------------------------

static bool check_inputs(tulle_planner* planner, const tulle_op* op) {
  const uint32_t least = table[op->kind].least, most = table[op->kind].most + has(op, ACTIVATION);
  if (op->input_count < least || op->input_count > most)
    return tulle_plan_fail(planner, "has %u inputs; it takes %u to %u", op->input_count, least, most);
  for (uint32_t i = 0; i < op->input_count; i++) {
    const tulle_tensor* x = tulle_plan_input(planner, op, i);
    if (!x && i < least) return tulle_plan_fail(planner, "its input %u is left out", i);
    if (i == 0 && x->is_constant && !has(op, CONSTANT))
      return tulle_plan_fail(planner, "its input '%s' is constant; convert folds such ops away", x->name);
    if (i == 1 && has(op, WEIGHT) && !x->is_constant)
      return tulle_plan_fail(planner, "its weight '%s' must be constant", x->name);
  }
  if (op->activation != TULLE_ACT_NONE && !has(op, ACTIVATION)) return tulle_plan_fail(planner, "takes no activation");
  return true;
}

static bool check_tensor_layout(tulle_planner* planner, const tulle_op* op, const tulle_tensor* t, bool is_output) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  switch (table[op->kind].layout) {
    case LAYOUT_CHW:
      return tulle_is_chw(t) || tulle_plan_fail(planner, "'%s' must be chw", t->name);
    case LAYOUT_IMAGE:  // which plain inputs can be read depends on the kernel
      return !is_output || tulle_is_chw(t) || tulle_plan_fail(planner, "its output must be chw");
    case LAYOUT_PLAIN:
      return tulle_is_plain(t) || tulle_plan_fail(planner, "'%s' must be plain", t->name);
    case LAYOUT_SAME:
      // An operand of a lower rank, such as one number per channel, has no layout to differ in.
      if ((tulle_is_plain(t) || tulle_is_chw(y)) && (tulle_is_plain(y) || t->rank != 4 || tulle_is_chw(t))) return true;
      return tulle_plan_fail(planner, "'%s' is not in the layout of the output", t->name);
    case LAYOUT_REDUCED:
      return !is_output || tulle_is_plain(t) || tulle_plan_fail(planner, "its output must be plain");
    case LAYOUT_TO_PLAIN:
    case LAYOUT_TO_CHW:
      break;
  }
  return true;
}

static bool check_layouts(tulle_planner* planner, const tulle_op* op) {
  const layout_rule rule = table[op->kind].layout;
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  const bool free_of_cost = tulle_op_is_free(planner->net, op);
  if (rule == LAYOUT_TO_PLAIN || rule == LAYOUT_TO_CHW) {
    if (!tulle_same_shape(x, y)) return tulle_plan_fail(planner, "input and output differ in shape");
    if (!free_of_cost && (x->chw != (rule == LAYOUT_TO_PLAIN) || y->chw != (rule == LAYOUT_TO_CHW)))
      return tulle_plan_fail(planner, "the layouts do not change");
    return true;
  }
  if (!check_tensor_layout(planner, op, y, true)) return false;
  for (uint32_t i = 0; i < (has(op, WEIGHT) ? 1 : op->input_count); i++) {
    const tulle_tensor* t = tulle_plan_input(planner, op, i);
    if (t && !t->is_constant && !check_tensor_layout(planner, op, t, false)) return false;
  }
  if (free_of_cost && x->elements != y->elements)
    return tulle_plan_fail(planner, "%u elements cannot become %u", x->elements, y->elements);
  return true;
}

bool tulle_check_op(tulle_planner* planner, const tulle_op* op) {
  return check_inputs(planner, op) && check_layouts(planner, op);
}

// ---- fused activations ------------------------------------------------------------------------------------

bool tulle_clamps(const tulle_op* op) {
  return op->activation == TULLE_ACT_NONE || op->activation == TULLE_ACT_RELU || op->activation == TULLE_ACT_RELU6 ||
         op->activation == TULLE_ACT_RELU_N1_TO_1;
}

void tulle_clamp_of(const tulle_op* op, tulle_epilogue* epilogue) {
  *epilogue = (tulle_epilogue){.low = -INFINITY, .high = INFINITY, .kind = TULLE_ACT_NONE, .alpha = op->alpha};
  if (op->activation == TULLE_ACT_RELU) epilogue->low = 0;
  if (op->activation == TULLE_ACT_RELU6) epilogue->low = 0, epilogue->high = 6;
  if (op->activation == TULLE_ACT_RELU_N1_TO_1) epilogue->low = -1, epilogue->high = 1;
}

bool tulle_plan_epilogue(tulle_planner* planner, const tulle_op* op, uint32_t channels, tulle_epilogue* epilogue) {
  tulle_clamp_of(op, epilogue);
  if (tulle_clamps(op)) return true;
  epilogue->kind = (tulle_activation)op->activation;
  if (epilogue->kind != TULLE_ACT_PRELU) return true;
  const uint32_t index = table[op->kind].most;
  const tulle_tensor* alpha = tulle_plan_input(planner, op, index);
  if (!alpha) return tulle_plan_fail(planner, "prelu without its alpha as input %u", index);
  if (alpha->elements != channels && alpha->elements != 1)
    return tulle_plan_fail(planner, "prelu's alpha '%s' has %u values for %u channels", alpha->name, alpha->elements,
                           channels);
  float* values = tulle_plan_constant(planner, op->inputs[index], alpha->elements == 1 ? channels : 0);
  if (!values) return false;
  if (alpha->elements == 1)
    for (uint32_t c = 1; c < channels; c++) values[c] = values[0];
  epilogue->prelu = values;
  return true;
}
