// Ops that only move values: transpose, slice, changes of layout, depth and space.

#include "ops/copy.h"

typedef struct {
  const tulle_copy* copies;
  uint32_t pieces;  // of the outermost loop of each copy
} copy_args;

static void run_copy(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next, (void)scratch;
  const copy_args* args = pointer;
  const tulle_copy* c = &args->copies[task / args->pieces];
  uint32_t begin, end;
  tulle_piece(c->sizes[0], args->pieces, task % args->pieces, &begin, &end);
  tulle_f32_copy(c, begin, end);
}

// Leaves out loops of one step, and makes one loop of two that go through neighbouring elements: what remains is
// longer, and more can be shared out among threads.
static void join_loops(tulle_copy* copy) {
  uint32_t kept = 0;
  for (uint32_t loop = 0; loop < copy->loops; loop++) {
    const uint32_t size = copy->sizes[loop];
    const int64_t in_step = copy->in_step[loop], out_step = copy->out_step[loop];
    if (size == 1) continue;
    if (kept && copy->in_step[kept - 1] == size * in_step && copy->out_step[kept - 1] == size * out_step &&
        (uint64_t)copy->sizes[kept - 1] * size <= UINT32_MAX) {
      copy->sizes[kept - 1] *= size;
      copy->in_step[kept - 1] = in_step;
      copy->out_step[kept - 1] = out_step;
      continue;
    }
    copy->sizes[kept] = size;
    copy->in_step[kept] = in_step;
    copy->out_step[kept++] = out_step;
  }
  copy->loops = kept;
  if (kept == 0) tulle_add_loop(copy, 1, 1, 1);
}

bool tulle_plan_copies(tulle_planner* planner, tulle_copy* copies, uint32_t count, uint64_t elements,
                       tulle_work* work) {
  copy_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  uint32_t least = UINT32_MAX;
  for (uint32_t i = 0; i < count; i++) {
    join_loops(&copies[i]);
    if (copies[i].sizes[0] < least) least = copies[i].sizes[0];
  }
  *args = (copy_args){copies, tulle_plan_light_tasks(planner, elements, least)};
  *work = (tulle_work){.run = run_copy, .args = args, .tasks = count * args->pieces, .kernel = TULLE_KERNEL_COPY};
  return true;
}

void tulle_add_loop(tulle_copy* copy, uint32_t size, int64_t in_step, int64_t out_step) {
  copy->sizes[copy->loops] = size;
  copy->in_step[copy->loops] = in_step;
  copy->out_step[copy->loops++] = out_step;
}

void tulle_steps_of(const tulle_planner* planner, int32_t tensor, int64_t steps[TULLE_MAX_RANK]) {
  const tulle_tensor* t = &planner->net->tensors[tensor];
  if (t->chw) {
    steps[0] = 0;
    steps[1] = t->shape[2];
    steps[2] = 1;
    steps[3] = (int64_t)planner->places[tensor].stride;
    return;
  }
  int64_t step = 1;
  for (uint32_t d = t->rank; d-- > 0; step *= t->shape[d]) steps[d] = step;
}

void tulle_loop_order(const tulle_tensor* t, uint32_t order[TULLE_MAX_RANK]) {
  for (uint32_t d = 0; d < t->rank; d++) order[d] = d;
  if (t->chw) order[0] = 3, order[1] = 0, order[2] = 1, order[3] = 2;
}

// ---- single copies ------------------------------------------------------------------------------------------

// A copy from input to output without its loops, and the steps of both tensors.
typedef struct {
  const tulle_tensor *x, *y;
  int64_t in_steps[TULLE_MAX_RANK], out_steps[TULLE_MAX_RANK];
  uint32_t order[TULLE_MAX_RANK];  // of the output's dimensions
  tulle_copy* copy;
} move;

// Not inlined, as this and finish_move run once at load.
__attribute__((noinline)) static bool start_move(tulle_planner* planner, const tulle_op* op, move* m) {
  m->x = tulle_plan_input(planner, op, 0);
  m->y = tulle_plan_output(planner, op);
  tulle_steps_of(planner, op->inputs[0], m->in_steps);
  tulle_steps_of(planner, op->output, m->out_steps);
  tulle_loop_order(m->y, m->order);
  if (!(m->copy = tulle_plan_alloc(planner, sizeof *m->copy))) return false;
  m->copy->input = tulle_place_of_input(planner, op, 0)->data;
  m->copy->output = tulle_place_of_output(planner, op)->data;
  return true;
}

__attribute__((noinline)) static bool finish_move(tulle_planner* planner, const move* m, tulle_work* work) {
  return tulle_plan_copies(planner, m->copy, 1, m->y->elements, work);
}

bool tulle_plan_change_layout(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  move m;
  if (!start_move(planner, op, &m)) return false;
  for (uint32_t i = 0; i < m.y->rank; i++) {
    const uint32_t d = m.order[i];
    tulle_add_loop(m.copy, m.y->shape[d], m.in_steps[d], m.out_steps[d]);
  }
  return finish_move(planner, &m, work);
}

bool tulle_plan_transpose(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  move m;
  if (!start_move(planner, op, &m)) return false;
  if (op->list_count != m.x->rank || m.y->rank != m.x->rank)
    return tulle_plan_fail(planner, "its permutation does not have %u axes", m.x->rank);
  bool seen[TULLE_MAX_RANK] = {false};
  for (uint32_t d = 0; d < m.y->rank; d++) {
    const int32_t from = op->list[d];
    if (from < 0 || from >= (int32_t)m.x->rank || seen[from] || m.y->shape[d] != m.x->shape[from])
      return tulle_plan_fail(planner, "its permutation does not lead to the output's shape");
    seen[from] = true;
    tulle_add_loop(m.copy, m.y->shape[d], m.in_steps[from], m.out_steps[d]);
  }
  return finish_move(planner, &m, work);
}

bool tulle_plan_slice(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  move m;
  if (!start_move(planner, op, &m)) return false;
  const tulle_tensor *x = m.x, *y = m.y;
  if (op->list_count != x->rank || op->strides_count != x->rank || y->rank != x->rank)
    return tulle_plan_fail(planner, "needs begin and strides for %u dimensions", x->rank);
  for (uint32_t d = 0; d < y->rank; d++) {
    const int64_t first = op->list[d], last = first + (int64_t)(y->shape[d] - 1) * op->strides[d];
    if (first < 0 || first >= x->shape[d] || last < 0 || last >= x->shape[d])
      return tulle_plan_fail(planner, "reads [%d..%d] of dimension %u, which has %u", (int)first, (int)last, d,
                             x->shape[d]);
    m.copy->input += first * m.in_steps[d];
  }
  for (uint32_t i = 0; i < y->rank; i++) {
    const uint32_t d = m.order[i];
    tulle_add_loop(m.copy, y->shape[d], m.in_steps[d] * op->strides[d], m.out_steps[d]);
  }
  return finish_move(planner, &m, work);
}

// [1, H, W, C] and [1, H * b, W * b, C / (b * b)]: loops over the wider tensor's (row, i, column, j, channel), with the
// channel first in chw.
bool tulle_plan_depth_space(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  move m;
  if (!start_move(planner, op, &m)) return false;
  const tulle_tensor *x = m.x, *y = m.y;
  const bool to_space = op->kind == TULLE_OP_DEPTH_TO_SPACE;
  const tulle_tensor *deep = to_space ? x : y, *wide = to_space ? y : x;
  const uint32_t b = op->block;
  if (x->rank != 4 || y->rank != 4 || !b || b > 256 || deep->shape[0] != wide->shape[0] ||
      (uint64_t)deep->shape[1] * b != wide->shape[1] || (uint64_t)deep->shape[2] * b != wide->shape[2] ||
      (uint64_t)wide->shape[3] * b * b != deep->shape[3])
    return tulle_plan_fail(planner, "a block of %u does not lead to the output's shape", b);
  enum { LOOPS = 6 };
  _Static_assert(LOOPS <= TULLE_MAX_LOOPS, "");
  const int64_t *d = to_space ? m.in_steps : m.out_steps, *w = to_space ? m.out_steps : m.in_steps;
  const int64_t block_step = wide->shape[3] * d[3];
  const uint32_t sizes[LOOPS] = {deep->shape[0], deep->shape[1], b, deep->shape[2], b, wide->shape[3]};
  const int64_t deep_steps[LOOPS] = {d[0], d[1], b * block_step, d[2], block_step, d[3]},
                wide_steps[LOOPS] = {w[0], b * w[1], w[1], b * w[2], w[2], w[3]};
  for (uint32_t loop = 0; loop < LOOPS; loop++) {
    const uint32_t i = y->chw ? (loop + LOOPS - 1) % LOOPS : loop;
    tulle_add_loop(m.copy, sizes[i], to_space ? deep_steps[i] : wide_steps[i],
                   to_space ? wide_steps[i] : deep_steps[i]);
  }
  return finish_move(planner, &m, work);
}
