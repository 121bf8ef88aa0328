// Ops that only move values: concat, pad, transpose, slice, changes of layout, depth and space.

#include <string.h>

#include "runtime/plan.h"

#define MAX_LOOPS (2 * TULLE_MAX_RANK)

// A nest of loops over equal shapes: `sizes` outermost first, steps in floats.
typedef struct {
  const float* input;
  float* output;
  uint32_t loops;
  uint32_t sizes[MAX_LOOPS];
  int64_t in_step[MAX_LOOPS], out_step[MAX_LOOPS];
} copy;

typedef struct {
  const copy* copies;
  uint32_t count, tasks;  // tasks a copy: pieces of its outermost loop
} copy_args;

static void copy_loop(const copy* c, uint32_t loop, const float* input, float* output, uint32_t begin, uint32_t end) {
  const int64_t in_step = c->in_step[loop], out_step = c->out_step[loop];
  input += begin * in_step;
  output += begin * out_step;
  if (loop + 1 < c->loops) {
    for (uint32_t i = begin; i < end; i++, input += in_step, output += out_step)
      copy_loop(c, loop + 1, input, output, 0, c->sizes[loop + 1]);
  } else if (in_step == 1 && out_step == 1) {
    memcpy(output, input, (end - begin) * sizeof(float));
  } else {
    for (uint32_t i = begin; i < end; i++, input += in_step, output += out_step) *output = *input;
  }
}

static void run_copy(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const copy_args* args = step->args;
  const copy* c = &args->copies[task / args->tasks];
  uint32_t begin, end;
  tulle_piece(c->sizes[0], args->tasks, task % args->tasks, &begin, &end);
  copy_loop(c, 0, c->input, c->output, begin, end);
}

static bool plan_copies(tulle_planner* planner, const copy* copies, uint32_t count, uint64_t elements) {
  copy_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->copies = copies;
  args->count = count;
  uint32_t least = UINT32_MAX;
  for (uint32_t i = 0; i < count; i++)
    if (copies[i].sizes[0] < least) least = copies[i].sizes[0];
  args->tasks = tulle_plan_light_tasks(planner, elements, least);
  return tulle_plan_step(planner, run_copy, args, count * args->tasks, "f32_copy") != NULL;
}

static void add_loop(copy* c, uint32_t size, int64_t in_step, int64_t out_step) {
  c->sizes[c->loops] = size;
  c->in_step[c->loops] = in_step;
  c->out_step[c->loops++] = out_step;
}

// How far apart a tensor's elements lie along each of its dimensions, in floats.
static void steps_of(const tulle_planner* planner, int32_t index, int64_t steps[TULLE_MAX_RANK]) {
  const tulle_tensor* t = &planner->net->tensors[index];
  if (t->chw) {
    steps[0] = 0;
    steps[1] = t->shape[2];
    steps[2] = 1;
    steps[3] = (int64_t)planner->places[index].stride;
    return;
  }
  int64_t step = 1;
  for (uint32_t d = t->rank; d-- > 0; step *= t->shape[d]) steps[d] = step;
}

// The order in which a tensor's dimensions are best looped over: as they lie in memory, the smallest step last.
static void loop_order(const tulle_tensor* t, uint32_t order[TULLE_MAX_RANK]) {
  for (uint32_t d = 0; d < t->rank; d++) order[d] = d;
  if (t->chw) order[0] = 3, order[1] = 0, order[2] = 1, order[3] = 2;
}

bool tulle_plan_concat(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor* y = &planner->net->tensors[op->output];
  if (op->axis < 0 || op->axis >= (int32_t)y->rank) return tulle_plan_fail(planner, "axis %d of %u", op->axis, y->rank);
  const uint32_t axis = (uint32_t)op->axis;
  copy* copies = tulle_plan_alloc(planner, op->input_count * sizeof *copies);
  if (!copies) return false;
  int64_t out_steps[TULLE_MAX_RANK], in_steps[TULLE_MAX_RANK];
  uint32_t order[TULLE_MAX_RANK];
  steps_of(planner, op->output, out_steps);
  loop_order(y, order);
  uint64_t at = 0;
  for (uint32_t i = 0; i < op->input_count; i++) {
    const tulle_tensor* x = tulle_plan_input(planner, op, i);
    if (!x || x->rank != y->rank) return tulle_plan_fail(planner, "input %u does not have the output's rank", i);
    for (uint32_t d = 0; d < y->rank; d++)
      if (d != axis && x->shape[d] != y->shape[d])
        return tulle_plan_fail(planner, "'%s' differs in dimension %u", x->name, d);
    const float* data = planner->places[op->inputs[i]].data;
    if (x->is_constant && !(data = tulle_plan_constant(planner, op->inputs[i], 0))) return false;
    steps_of(planner, op->inputs[i], in_steps);
    copies[i].input = data;
    copies[i].output = planner->places[op->output].data + at * (uint64_t)out_steps[axis];
    for (uint32_t d = 0; d < y->rank; d++)
      add_loop(&copies[i], x->shape[order[d]], in_steps[order[d]], out_steps[order[d]]);
    at += x->shape[axis];
  }
  if (at != y->shape[axis])
    return tulle_plan_fail(planner, "its inputs make %u along axis %u, not %u", (unsigned)at, axis, y->shape[axis]);
  if (op->activation) return tulle_plan_fail(planner, "an activation on concat is not possible");
  return plan_copies(planner, copies, op->input_count, y->elements);
}

bool tulle_plan_copy(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  copy* c = tulle_plan_alloc(planner, sizeof *c);
  if (!c) return false;
  c->input = planner->places[op->inputs[0]].data;
  c->output = planner->places[op->output].data;
  int64_t in_steps[TULLE_MAX_RANK], out_steps[TULLE_MAX_RANK];
  uint32_t order[TULLE_MAX_RANK];
  steps_of(planner, op->inputs[0], in_steps);
  steps_of(planner, op->output, out_steps);
  loop_order(y, order);
  if (op->kind == TULLE_OP_TO_PLAIN || op->kind == TULLE_OP_TO_CHW) {
    if (x->rank != y->rank || memcmp(x->shape, y->shape, x->rank * sizeof x->shape[0]))
      return tulle_plan_fail(planner, "input and output differ in shape");
    if (x->chw != (op->kind == TULLE_OP_TO_PLAIN) || y->chw == x->chw)
      return tulle_plan_fail(planner, "the layouts do not change");
    for (uint32_t d = 0; d < y->rank; d++) add_loop(c, y->shape[order[d]], in_steps[order[d]], out_steps[order[d]]);
    return plan_copies(planner, c, 1, y->elements);
  }
  if (x->chw != y->chw) return tulle_plan_fail(planner, "input and output differ in layout");
  if (op->kind == TULLE_OP_TRANSPOSE) {
    if (x->chw) return tulle_plan_fail(planner, "needs plain tensors");
    if (op->list_count != x->rank || y->rank != x->rank)
      return tulle_plan_fail(planner, "its permutation does not have %u axes", x->rank);
    bool seen[TULLE_MAX_RANK] = {false};
    for (uint32_t d = 0; d < y->rank; d++) {
      const int32_t from = op->list[d];
      if (from < 0 || from >= (int32_t)x->rank || seen[from] || y->shape[d] != x->shape[from])
        return tulle_plan_fail(planner, "its permutation does not lead to the output's shape");
      seen[from] = true;
      add_loop(c, y->shape[d], in_steps[from], out_steps[d]);
    }
  } else if (op->kind == TULLE_OP_SLICE) {
    if (op->list_count != x->rank || op->strides_count != x->rank || y->rank != x->rank)
      return tulle_plan_fail(planner, "needs begin and strides for %u dimensions", x->rank);
    for (uint32_t d = 0; d < y->rank; d++) {
      const int64_t first = op->list[d], last = first + (int64_t)(y->shape[d] - 1) * op->strides[d];
      if (first < 0 || first >= x->shape[d] || last < 0 || last >= x->shape[d])
        return tulle_plan_fail(planner, "reads [%d..%d] of dimension %u, which has %u", (int)first, (int)last, d,
                               x->shape[d]);
      c->input += first * in_steps[d];
    }
    for (uint32_t i = 0; i < y->rank; i++) {
      const uint32_t d = order[i];
      add_loop(c, y->shape[d], in_steps[d] * op->strides[d], out_steps[d]);
    }
  } else {
    // [1, H, W, C] and [1, H * b, W * b, C / (b * b)]: loops over the finer tensor's (row, i, column, j, channel), the
    // channel first in chw.
    const bool to_space = op->kind == TULLE_OP_DEPTH_TO_SPACE;
    const tulle_tensor *deep = to_space ? x : y, *wide = to_space ? y : x;
    const uint32_t b = op->block;
    if (x->rank != 4 || y->rank != 4 || !b || b > 256 || deep->shape[0] != wide->shape[0] ||
        (uint64_t)deep->shape[1] * b != wide->shape[1] || (uint64_t)deep->shape[2] * b != wide->shape[2] ||
        (uint64_t)wide->shape[3] * b * b != deep->shape[3])
      return tulle_plan_fail(planner, "a block of %u does not lead to the output's shape", b);
    const int64_t *d = to_space ? in_steps : out_steps, *w = to_space ? out_steps : in_steps;
    const int64_t block_step = wide->shape[3] * d[3];
    const uint32_t sizes[] = {deep->shape[0], deep->shape[1], b, deep->shape[2], b, wide->shape[3]};
    const int64_t deep_steps[] = {d[0], d[1], b * block_step, d[2], block_step, d[3]},
                  wide_steps[] = {w[0], b * w[1], w[1], b * w[2], w[2], w[3]};
    for (uint32_t loop = 0; loop < 6; loop++) {
      const uint32_t i = y->chw ? (loop + 5) % 6 : loop;
      add_loop(c, sizes[i], to_space ? deep_steps[i] : wide_steps[i], to_space ? wide_steps[i] : deep_steps[i]);
    }
  }
  if (c->loops == 0) add_loop(c, 1, 1, 1);
  return plan_copies(planner, c, 1, y->elements);
}

// ---- pad ------------------------------------------------------------------------------------------------------

typedef struct {
  const float* input;
  float* output;
  uint32_t loops, tasks;
  uint32_t sizes[TULLE_MAX_RANK];
  int64_t out_step[TULLE_MAX_RANK];
  const int32_t* from[TULLE_MAX_RANK];  // output index -> floats from the input's beginning, -1: outside
  float value;
} pad_args;

static void pad_loop(const pad_args* args, uint32_t loop, int64_t input, float* output, uint32_t begin, uint32_t end) {
  output += begin * args->out_step[loop];
  for (uint32_t i = begin; i < end; i++, output += args->out_step[loop]) {
    const int32_t step = args->from[loop][i];
    const int64_t at = input < 0 || step < 0 ? -1 : input + step;
    if (loop + 1 < args->loops) {
      pad_loop(args, loop + 1, at, output, 0, args->sizes[loop + 1]);
    } else {
      *output = at < 0 ? args->value : args->input[at];
    }
  }
}

static void run_pad(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const pad_args* args = step->args;
  uint32_t begin, end;
  tulle_piece(args->sizes[0], args->tasks, task, &begin, &end);
  pad_loop(args, 0, 0, args->output, begin, end);
}

// Input index for output index i, -1 for the constant.
static int64_t pad_source(const tulle_op* op, int64_t i, int64_t size) {
  if (i >= 0 && i < size) return i;
  if (op->pad_mode == 0) return -1;
  const int64_t edge = op->pad_mode == 1 ? 0 : 1;  // symmetric repeats the border, reflect does not
  return i < 0 ? -i - edge : 2 * size - 2 + edge - i;
}

bool tulle_plan_pad(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  if (x->rank != y->rank || x->rank == 0 || op->list_count != 2 * x->rank)
    return tulle_plan_fail(planner, "needs two pads a dimension");
  pad_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->input = planner->places[op->inputs[0]].data;
  args->output = planner->places[op->output].data;
  args->value = op->pad_value;
  int64_t in_steps[TULLE_MAX_RANK], out_steps[TULLE_MAX_RANK];
  uint32_t order[TULLE_MAX_RANK];
  steps_of(planner, op->inputs[0], in_steps);
  steps_of(planner, op->output, out_steps);
  loop_order(y, order);
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
      if (source >= size || (source < 0 && op->pad_mode))
        return tulle_plan_fail(planner, "mirrors more than dimension %u has", d);
      from[o] = source < 0 ? -1 : (int32_t)(source * in_steps[d]);
    }
    args->sizes[i] = y->shape[d];
    args->out_step[i] = out_steps[d];
    args->from[i] = from;
  }
  args->loops = y->rank;
  args->tasks = tulle_plan_light_tasks(planner, y->elements, args->sizes[0]);
  return tulle_plan_step(planner, run_pad, args, args->tasks, "f32_pad") != NULL;
}
