// Padding with a constant or by mirroring.

#include "ops/copy.h"

static void run_pad(const void* pad, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  tulle_f32_pad(pad, begin, end);
}

// Input index of output index i, which counts from the first element of the input; -1 for the constant.
static int64_t pad_source(const tulle_op* op, int64_t i, int64_t size) {
  if (i >= 0 && i < size) return i;
  if (op->pad_mode == TULLE_PAD_CONSTANT) return -1;
  const int64_t edge = op->pad_mode == TULLE_PAD_REFLECT ? 0 : 1;  // symmetric repeats the border, reflect does not
  return i < 0 ? -i - edge : 2 * size - 2 + edge - i;
}

bool tulle_plan_pad(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (x->rank != y->rank || x->rank == 0 || op->list_count != 2 * x->rank)
    return tulle_plan_fail(planner, "needs two pads a dimension");
  tulle_pad* pad = tulle_plan_alloc(planner, sizeof *pad);
  if (!pad) return false;
  pad->input = tulle_place_of_input(planner, op, 0)->data;
  pad->output = tulle_place_of_output(planner, op)->data;
  pad->value = op->pad_value;
  int64_t in_steps[TULLE_MAX_RANK], out_steps[TULLE_MAX_RANK];
  uint32_t order[TULLE_MAX_RANK];
  tulle_steps_of(planner, op->inputs[0], in_steps);
  tulle_steps_of(planner, op->output, out_steps);
  tulle_loop_order(y, order);
  for (uint32_t i = 0; i < y->rank; i++) {
    const uint32_t d = order[i];
    const int64_t before = op->list[2 * d], after = op->list[2 * d + 1], size = x->shape[d];
    if (before < 0 || after < 0 || before + size + after != y->shape[d])
      return tulle_plan_fail(planner, "pads %d and %d of dimension %u do not lead from %u to %u", (int)before,
                             (int)after, d, x->shape[d], y->shape[d]);
    int32_t* from = tulle_plan_alloc(planner, y->shape[d] * sizeof *from);
    if (!from) return false;
    for (int64_t o = 0; o < y->shape[d]; o++) {
      const int64_t source = pad_source(op, o - before, size);
      if (source >= size || (source < 0 && op->pad_mode != TULLE_PAD_CONSTANT))
        return tulle_plan_fail(planner, "mirrors more than dimension %u has", d);
      from[o] = source < 0 ? -1 : (int32_t)(source * in_steps[d]);
    }
    pad->sizes[i] = y->shape[d];
    pad->out_step[i] = out_steps[d];
    pad->from[i] = from;
  }
  pad->loops = y->rank;
  pad->count = 1;
  // The last dimensions become runs: up to the first, from the inside, that is padded, and with that unless it mirrors.
  while (!pad->before && !pad->after) {
    const uint32_t d = order[pad->loops - 1];
    if (in_steps[d] != (int64_t)pad->count || out_steps[d] != (int64_t)pad->count) break;
    if (op->pad_mode != TULLE_PAD_CONSTANT && (op->list[2 * d] || op->list[2 * d + 1])) {
      pad->run_begin = (uint32_t)op->list[2 * d];
      pad->run = x->shape[d];
      break;
    }
    if (pad->loops == 1) break;
    pad->before = (size_t)op->list[2 * d] * pad->count;
    pad->after = (size_t)op->list[2 * d + 1] * pad->count;
    pad->count *= x->shape[d];
    pad->loops--;
  }
  *work = (tulle_work){.run = run_pad,
                       .args = pad,
                       .units = pad->sizes[0],
                       .tasks = tulle_plan_light_tasks(planner, y->elements, pad->sizes[0]),
                       .kernel = TULLE_KERNEL_PAD};
  return true;
}
