// Binary ops and activations.

#include <string.h>

#include "ops/ops.h"

// An operand: value i of row r is data[r * row_step + i * step], rows being channels (CHW) or rows of the last
// dimension.
typedef struct {
  const float* data;
  size_t row_step;
  uint32_t step;
  uint32_t dims[TULLE_MAX_RANK];  // plain broadcasting: floats a step along each dimension, 0 where it is repeated
} operand;

typedef struct {
  tulle_binary_op op;
  operand a, b;
  float* output;
  size_t row_step;  // of the output
  uint32_t row_floats;
  uint32_t rank;  // of a plain broadcast, else 0
  uint32_t shape[TULLE_MAX_RANK];
  bool exact;  // nothing may be written beyond a row
  tulle_epilogue epilogue;
  const float* plain_prelu;  // alpha along the last dimension, of size `last`; NULL unless the op is plain with a prelu
  uint32_t last;
} binary_args;

// Where row r of a broadcast operand begins: r counts the output's rows in order.
static size_t row_offset(const binary_args* args, const operand* o, uint32_t r) {
  if (!args->rank) return r * o->row_step;
  size_t offset = 0;
  for (uint32_t d = args->rank - 1; d-- > 0; r /= args->shape[d]) offset += (size_t)(r % args->shape[d]) * o->dims[d];
  return offset;
}

static void run_binary(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const binary_args* args = pointer;
  for (uint32_t r = begin; r < end; r++)
    tulle_f32_binary(args->op, args->a.data + row_offset(args, &args->a, r), args->a.step,
                     args->b.data + row_offset(args, &args->b, r), args->b.step, args->output + r * args->row_step,
                     args->row_floats, &args->epilogue, r, args->exact);
  if (args->plain_prelu)
    tulle_f32_prelu_rows(args->output + begin * args->row_step, (end - begin) * (size_t)args->row_floats / args->last,
                         args->last, args->plain_prelu);
}

static const float* values_of(tulle_planner* planner, int32_t index) {
  return planner->net->tensors[index].is_constant ? tulle_plan_constant(planner, index, 0)
                                                  : planner->places[index].data;
}

// An operand of a CHW result: of the same shape, one value a channel, or one value.
static bool chw_operand(tulle_planner* planner, int32_t index, const tulle_tensor* y, operand* o) {
  const tulle_tensor* t = &planner->net->tensors[index];
  const uint32_t pixels = y->shape[1] * y->shape[2], channels = y->shape[3];
  const size_t stride = tulle_round_up(pixels, 4);
  if (!(o->data = values_of(planner, index))) return false;
  if (t->elements == 1) return true;
  if (t->elements == channels && t->shape[t->rank - 1] == channels && tulle_is_plain(t)) {
    o->row_step = 1;
    return true;
  }
  if (t->rank == 4 && t->elements == pixels && t->shape[1] == y->shape[1] && t->shape[2] == y->shape[2]) {
    o->step = 1;  // the same slice for every channel
    return true;
  }
  if (!tulle_same_shape(t, y) || !(t->is_constant || tulle_is_chw(t)))
    return tulle_plan_fail(planner, "'%s' is neither of the output's shape nor one value, one a channel or one a pixel",
                           t->name);
  o->step = 1;
  o->row_step = planner->places[index].stride;
  if (t->is_constant) {  // files hold constants in the model's order
    const float* plain = o->data;
    float* data = tulle_plan_alloc(planner, stride * channels * sizeof *data);
    if (!data) return false;
    for (uint32_t c = 0; c < channels; c++)
      for (uint32_t p = 0; p < pixels; p++) data[c * stride + p] = plain[(size_t)p * channels + c];
    o->data = data;
    o->row_step = stride;
  }
  return true;
}

// An operand of a plain result, aligned at the last dimension as NumPy does.
static bool plain_operand(tulle_planner* planner, int32_t index, const tulle_tensor* y, operand* o) {
  const tulle_tensor* t = &planner->net->tensors[index];
  if (!tulle_is_plain(t) || t->rank > y->rank)
    return tulle_plan_fail(planner, "'%s' does not broadcast to its output", t->name);
  if (!(o->data = values_of(planner, index))) return false;
  uint32_t stride = 1;
  for (uint32_t d = t->rank; d-- > 0; stride *= t->shape[d]) {
    const uint32_t at = d + y->rank - t->rank;
    if (t->shape[d] != 1 && t->shape[d] != y->shape[at])
      return tulle_plan_fail(planner, "'%s' does not broadcast to its output", t->name);
    o->dims[at] = t->shape[d] == 1 ? 0 : stride;
  }
  o->step = y->rank ? o->dims[y->rank - 1] : 0;
  return true;
}

// y = a op b; with b = -1, y = activation(a).
static bool plan_binary(tulle_planner* planner, const tulle_op* op, tulle_binary_op binary, int32_t a, int32_t b,
                        tulle_work* work) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const tulle_place* output = tulle_place_of_output(planner, op);
  const bool chw = !tulle_is_plain(y);
  uint32_t rows;
  binary_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->op = binary;
  args->output = output->data;
  args->last = y->rank ? y->shape[y->rank - 1] : 1;
  if (!tulle_plan_epilogue(planner, op, chw ? y->shape[3] : args->last, &args->epilogue)) return false;
  if (b < 0 && !(args->b.data = tulle_plan_alloc(planner, 64))) return false;  // a zero to add
  if (chw) {
    if (!chw_operand(planner, a, y, &args->a) || (b >= 0 && !chw_operand(planner, b, y, &args->b))) return false;
    rows = y->shape[3];
    args->row_floats = y->shape[1] * y->shape[2];
    args->row_step = output->stride;
  } else {
    if (!plain_operand(planner, a, y, &args->a) || (b >= 0 && !plain_operand(planner, b, y, &args->b))) return false;
    args->exact = true;
    const tulle_tensor *ta = &planner->net->tensors[a], *tb = b < 0 ? ta : &planner->net->tensors[b];
    const bool flat = (ta->elements == y->elements || ta->elements == 1) &&
                      (b < 0 || tb->elements == y->elements || tb->elements == 1);
    if (flat) {
      rows = 1;
      args->row_floats = y->elements;
      args->a.step = ta->elements == y->elements && y->elements > 1;
      args->b.step = b >= 0 && tb->elements == y->elements && y->elements > 1;
    } else {
      rows = y->elements / args->last;
      args->row_floats = args->last;
      args->row_step = args->last;
      args->rank = y->rank;
      memcpy(args->shape, y->shape, sizeof args->shape);
    }
    if (args->epilogue.kind == TULLE_ACT_PRELU) {
      args->plain_prelu = args->epilogue.prelu;
      args->epilogue.kind = TULLE_ACT_NONE;
    }
  }
  *work = (tulle_work){.run = run_binary,
                       .args = args,
                       .units = rows,
                       .tasks = tulle_plan_light_tasks(planner, y->elements, rows),
                       .kernel = TULLE_KERNEL_BINARY};
  return true;
}

bool tulle_plan_activation(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (x->elements != y->elements || (y->chw && !tulle_same_shape(x, y)))
    return tulle_plan_fail(planner, "input and output differ in shape");
  return plan_binary(planner, op, TULLE_ADD, op->inputs[0], -1, work);
}

// ---- an addition of a gated map -----------------------------------------------------------------------------

typedef struct {
  const float *a, *gate, *b;
  float* output;
  size_t stride;  // of a, b and the output
  uint32_t pixels;
} gated_args;

static void run_gated_sum(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  (void)scratch;
  const gated_args* args = pointer;
  for (; c < end; c++)
    tulle_f32_gated_sum(args->a + c * args->stride, args->gate[c], args->b + c * args->stride,
                        args->output + c * args->stride, args->pixels);
}

static bool plan_gated_sum(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const uint32_t other = op->inputs[0] == planner->sum.operand ? 1 : 0;
  gated_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (gated_args){.a = planner->sum.added,
                       .gate = planner->sum.gate,
                       .b = tulle_place_of_input(planner, op, other)->data,
                       .output = tulle_place_of_output(planner, op)->data,
                       .stride = tulle_place_of_output(planner, op)->stride,
                       .pixels = y->shape[1] * y->shape[2]};
  *work = (tulle_work){.run = run_gated_sum,
                       .args = args,
                       .units = y->shape[3],
                       .tasks = tulle_plan_light_tasks(planner, y->elements, y->shape[3]),
                       .kernel = TULLE_KERNEL_GATED_SUM};
  return true;
}

bool tulle_add_takes_sum(const tulle_net* net, const tulle_op* op, bool gated) {
  (void)net, (void)op;
  return gated;
}

bool tulle_plan_binary(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  if (planner->sum.added) return plan_gated_sum(planner, op, work);
  // TULLE_OP_ADD to TULLE_OP_MINIMUM, and those that came later.
  const uint32_t binary =
      op->kind <= TULLE_OP_MINIMUM ? op->kind - TULLE_OP_ADD : TULLE_GREATER + op->kind - TULLE_OP_GREATER;
  return plan_binary(planner, op, (tulle_binary_op)binary, op->inputs[0], op->inputs[1], work);
}
