// Binary ops, activations, pools, reductions, argmax and softmax.

#include <math.h>
#include <string.h>

#include "runtime/plan.h"

static bool same_shape(const tulle_tensor* a, const tulle_tensor* b) {
  return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) == 0;
}

// ---- binary ops and activations -------------------------------------------------------------------------

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
  uint32_t rows, row_floats, tasks;
  uint32_t rank;  // of a plain broadcast, else 0
  uint32_t shape[TULLE_MAX_RANK];
  bool exact;  // rows touch each other
  tulle_epilogue epilogue;
} binary_args;

// Where row r of a broadcast operand begins: r counts the output's rows in order.
static size_t row_offset(const binary_args* args, const operand* o, uint32_t r) {
  if (!args->rank) return r * o->row_step;
  size_t offset = 0;
  for (uint32_t d = args->rank - 1; d-- > 0; r /= args->shape[d]) offset += (size_t)(r % args->shape[d]) * o->dims[d];
  return offset;
}

static void run_binary(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const binary_args* args = step->args;
  uint32_t r, end;
  tulle_piece(args->rows, args->tasks, task, &r, &end);
  for (; r < end; r++)
    tulle_f32_binary(args->op, args->a.data + row_offset(args, &args->a, r), args->a.step,
                     args->b.data + row_offset(args, &args->b, r), args->b.step, args->output + r * args->row_step,
                     args->row_floats, &args->epilogue, r, args->exact);
}

// prelu over the last dimension of a plain tensor, in place.
static void run_plain_prelu(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const binary_args* args = step->args;
  uint32_t r, end;
  tulle_piece(args->rows, args->tasks, task, &r, &end);
  const uint32_t channels = args->row_floats;
  for (; r < end; r++) {
    float* row = args->output + (size_t)r * channels;
    for (uint32_t c = 0; c < channels; c++)
      if (row[c] < 0) row[c] *= args->epilogue.prelu[c];
  }
}

// An operand of a CHW result: of the same shape, one value a channel, or one value.
static bool chw_operand(tulle_planner* planner, int32_t index, const tulle_tensor* y, operand* o) {
  const tulle_tensor* t = &planner->net->tensors[index];
  const uint32_t pixels = y->shape[1] * y->shape[2], channels = y->shape[3];
  const size_t stride = tulle_round_up(pixels, 4);
  if (!t->is_constant) o->data = planner->places[index].data;
  if (t->is_constant && !(o->data = tulle_plan_constant(planner, index, 0))) return false;
  if (t->elements == 1) return true;
  if (t->elements == channels && t->shape[t->rank - 1] == channels && tulle_is_plain(t)) {
    o->row_step = 1;
    return true;
  }
  if (t->rank == 4 && t->elements == pixels && t->shape[1] == y->shape[1] && t->shape[2] == y->shape[2]) {
    o->step = 1;  // the same slice for every channel
    return true;
  }
  if (!same_shape(t, y) || !(t->is_constant || tulle_is_chw(t)))
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
  if (!t->is_constant) o->data = planner->places[index].data;
  if (t->is_constant && !(o->data = tulle_plan_constant(planner, index, 0))) return false;
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
                        uint32_t alpha_input) {
  const tulle_tensor* y = &planner->net->tensors[op->output];
  const bool chw = y->chw && !tulle_is_plain(y);
  binary_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->op = binary;
  args->output = planner->places[op->output].data;
  const uint32_t last = y->rank ? y->shape[y->rank - 1] : 1;
  const uint32_t channels = chw ? y->shape[3] : last;
  if (!tulle_plan_epilogue(planner, op, alpha_input, channels, &args->epilogue)) return false;
  const tulle_epilogue epilogue = args->epilogue;
  if (b < 0 && !(args->b.data = tulle_plan_alloc(planner, 64))) return false;  // a zero to add
  if (chw) {
    if (!chw_operand(planner, a, y, &args->a) || (b >= 0 && !chw_operand(planner, b, y, &args->b))) return false;
    args->rows = channels;
    args->row_floats = y->shape[1] * y->shape[2];
    args->row_step = planner->places[op->output].stride;
  } else {
    if (!plain_operand(planner, a, y, &args->a) || (b >= 0 && !plain_operand(planner, b, y, &args->b))) return false;
    args->exact = true;
    const tulle_tensor *ta = &planner->net->tensors[a], *tb = b < 0 ? ta : &planner->net->tensors[b];
    const bool flat = (ta->elements == y->elements || ta->elements == 1) &&
                      (b < 0 || tb->elements == y->elements || tb->elements == 1);
    if (flat) {
      args->rows = 1;
      args->row_floats = y->elements;
      args->a.step = ta->elements == y->elements && y->elements > 1;
      args->b.step = b >= 0 && tb->elements == y->elements && y->elements > 1;
    } else {
      args->rows = y->elements / last;
      args->row_floats = last;
      args->row_step = last;
      args->rank = y->rank;
      memcpy(args->shape, y->shape, sizeof args->shape);
    }
    if (args->epilogue.kind == TULLE_ACT_PRELU) args->epilogue.kind = TULLE_ACT_NONE;
  }
  args->tasks = tulle_plan_light_tasks(planner, y->elements, args->rows);
  if (!tulle_plan_step(planner, run_binary, args, args->tasks, "f32_binary")) return false;
  if (chw || epilogue.kind != TULLE_ACT_PRELU) return true;
  binary_args* prelu = tulle_plan_alloc(planner, sizeof *prelu);
  if (!prelu) return false;
  *prelu = (binary_args){
      .output = args->output, .rows = y->elements / last, .row_floats = last, .tasks = 1, .epilogue = epilogue};
  return tulle_plan_step(planner, run_plain_prelu, prelu, 1, "f32_prelu") != NULL;
}

bool tulle_plan_binary(tulle_planner* planner, const tulle_op* op) {
  if (!tulle_plan_input(planner, op, 1)) return tulle_plan_fail(planner, "needs two operands");
  const bool first = op->kind <= TULLE_OP_MINIMUM;  // the others came later
  const uint32_t binary = first ? op->kind - TULLE_OP_ADD : TULLE_GREATER + op->kind - TULLE_OP_GREATER;
  return plan_binary(planner, op, (tulle_binary_op)binary, op->inputs[0], op->inputs[1], 2);
}

bool tulle_plan_activation(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  if (x->elements != y->elements || x->chw != y->chw || (x->chw && !same_shape(x, y)))
    return tulle_plan_fail(planner, "input and output differ in shape or layout");
  return plan_binary(planner, op, TULLE_ADD, op->inputs[0], -1, 1);
}

// ---- pools -----------------------------------------------------------------------------------------------

typedef struct {
  tulle_pool pool;
  void (*kernel)(const tulle_pool* args, const float* input, float* output);
  const float* input;
  float* output;
  size_t input_stride, output_stride;
  uint32_t channels, tasks;
  tulle_epilogue epilogue;
} pool_args;

static void run_pool(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const pool_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++) {
    float* output = args->output + c * args->output_stride;
    args->kernel(&args->pool, args->input + c * args->input_stride, output);
    tulle_f32_finish(output, (size_t)args->pool.out_height * args->pool.out_width, &args->epilogue, c);
  }
}

// An average over the whole map, as squeeze-and-excitation has it, is a sum.
static void average_all(const tulle_pool* p, const float* input, float* output) {
  const uint32_t pixels = p->height * p->width;
  *output = tulle_f32_sum(input, pixels) / (float)pixels;
}

bool tulle_plan_pool(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  if (x->rank != 4 || y->rank != 4 || !tulle_is_chw(x) || !tulle_is_chw(y) || x->shape[3] != y->shape[3])
    return tulle_plan_fail(planner, "needs chw tensors with the same number of channels");
  const uint64_t height = (uint64_t)x->shape[1] + op->pad_top + op->pad_bottom,
                 width = (uint64_t)x->shape[2] + op->pad_left + op->pad_right;
  if (op->dilation_h != 1 || op->dilation_w != 1 || height < op->kernel_h || width < op->kernel_w ||
      (height - op->kernel_h) / op->stride_h + 1 != y->shape[1] ||
      (width - op->kernel_w) / op->stride_w + 1 != y->shape[2])
    return tulle_plan_fail(planner, "its window, stride and padding do not make a %ux%u output", y->shape[1],
                           y->shape[2]);
  pool_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->pool = (tulle_pool){x->shape[1],  x->shape[2],  y->shape[1],  y->shape[2], op->kernel_h,
                            op->kernel_w, op->stride_h, op->stride_w, op->pad_top, op->pad_left};
  const bool whole = op->kernel_h == x->shape[1] && op->kernel_w == x->shape[2] && !op->pad_top && !op->pad_left &&
                     y->shape[1] * y->shape[2] == 1;
  args->kernel = op->kind == TULLE_OP_MAX_POOL2D          ? tulle_f32_max_pool
                 : op->kind == TULLE_OP_MAX_POOL2D_ARGMAX ? tulle_f32_max_pool_argmax
                 : whole                                  ? average_all
                                                          : tulle_f32_average_pool;
  args->input = planner->places[op->inputs[0]].data;
  args->input_stride = planner->places[op->inputs[0]].stride;
  args->output = planner->places[op->output].data;
  args->output_stride = planner->places[op->output].stride;
  args->channels = x->shape[3];
  if (!tulle_plan_epilogue(planner, op, 1, args->channels, &args->epilogue)) return false;
  args->tasks = tulle_plan_tasks(planner, args->channels);
  return tulle_plan_step(planner, run_pool, args, args->tasks, "f32_pool") != NULL;
}

// ---- reductions ----------------------------------------------------------------------------------------------

typedef struct {
  tulle_op_kind kind;
  const float* input;
  float* output;
  size_t input_stride;
  uint32_t channels, pixels, tasks;
  uint32_t rank, shape[TULLE_MAX_RANK], out_step[TULLE_MAX_RANK], out_elements;
  float scale;
} reduce_args;

static void run_spatial_reduce(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const reduce_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++) {
    const float* input = args->input + c * args->input_stride;
    args->output[c] = args->kind == TULLE_OP_REDUCE_MAX   ? tulle_f32_max(input, args->pixels)
                      : args->kind == TULLE_OP_REDUCE_MIN ? tulle_f32_min(input, args->pixels)
                                                          : tulle_f32_sum(input, args->pixels) * args->scale;
  }
}

static float reduce(tulle_op_kind kind, float total, float x) {
  if (kind == TULLE_OP_REDUCE_MAX) return x > total ? x : total;
  if (kind == TULLE_OP_REDUCE_MIN) return x < total ? x : total;
  return total + x;
}

// Over the channels of a CHW tensor, slice by slice.
static void run_channel_reduce(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const reduce_args* args = step->args;
  uint32_t begin, end;
  tulle_piece(args->pixels, args->tasks, task, &begin, &end);
  float* output = args->output;
  for (uint32_t p = begin; p < end; p++) output[p] = args->input[p];
  for (uint32_t c = 1; c < args->channels; c++) {
    const float* slice = args->input + c * args->input_stride;
    for (uint32_t p = begin; p < end; p++) output[p] = reduce(args->kind, output[p], slice[p]);
  }
  for (uint32_t p = begin; p < end; p++) output[p] *= args->scale;
}

// Any axes of a plain tensor: every input element goes into the output element it belongs to.
static void run_reduce(const tulle_step* step, uint32_t task, char* scratch) {
  (void)task, (void)scratch;
  const reduce_args* args = step->args;
  const float start = args->kind == TULLE_OP_REDUCE_MAX ? -INFINITY : args->kind == TULLE_OP_REDUCE_MIN ? INFINITY : 0;
  for (uint32_t i = 0; i < args->out_elements; i++) args->output[i] = start;
  uint32_t index[TULLE_MAX_RANK] = {0};
  uint32_t out = 0;
  for (const float* x = args->input;; x++) {
    args->output[out] = reduce(args->kind, args->output[out], *x);
    uint32_t d = args->rank;
    while (d > 0) {
      d--;
      out += args->out_step[d];
      if (++index[d] < args->shape[d]) break;
      out -= args->shape[d] * args->out_step[d];
      index[d] = 0;
      if (d == 0) d = TULLE_MAX_RANK + 1;
      if (d > TULLE_MAX_RANK) break;
    }
    if (d > TULLE_MAX_RANK || args->rank == 0) break;
  }
  for (uint32_t i = 0; i < args->out_elements; i++) args->output[i] *= args->scale;
}

bool tulle_plan_reduce(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  bool reduced[TULLE_MAX_RANK] = {false};
  for (uint32_t i = 0; i < op->list_count; i++) {
    if (op->list[i] < 0 || op->list[i] >= (int32_t)x->rank)
      return tulle_plan_fail(planner, "axis %d of %u", op->list[i], x->rank);
    reduced[op->list[i]] = true;
  }
  reduce_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->kind = op->kind;
  args->input = planner->places[op->inputs[0]].data;
  args->output = planner->places[op->output].data;
  args->rank = x->rank;
  args->out_elements = 1;
  uint32_t count = 1;
  for (uint32_t d = x->rank; d-- > 0;) {
    args->shape[d] = x->shape[d];
    args->out_step[d] = reduced[d] ? 0 : args->out_elements;
    *(reduced[d] ? &count : &args->out_elements) *= x->shape[d];
  }
  args->scale = op->kind == TULLE_OP_MEAN ? 1.0f / (float)count : 1.0f;
  if (args->out_elements != y->elements)
    return tulle_plan_fail(planner, "makes %u values, its output has %u", args->out_elements, y->elements);
  if (!tulle_is_plain(y)) return tulle_plan_fail(planner, "its output must be plain");
  if (tulle_is_chw(x) && reduced[1] && reduced[2] && !reduced[3]) {
    args->input_stride = planner->places[op->inputs[0]].stride;
    args->channels = x->shape[3];
    args->pixels = x->shape[1] * x->shape[2];
    args->tasks = tulle_plan_light_tasks(planner, x->elements, args->channels);
    return tulle_plan_step(planner, run_spatial_reduce, args, args->tasks, "f32_global_pool") != NULL;
  }
  if (!tulle_is_plain(x) && reduced[3] && !reduced[1] && !reduced[2]) {
    args->input_stride = planner->places[op->inputs[0]].stride;
    args->channels = x->shape[3];
    args->pixels = x->shape[1] * x->shape[2];
    args->tasks = tulle_plan_light_tasks(planner, x->elements, args->pixels);
    return tulle_plan_step(planner, run_channel_reduce, args, args->tasks, "f32_reduce") != NULL;
  }
  if (!tulle_is_plain(x))
    return tulle_plan_fail(planner, "needs a plain tensor unless it reduces height and width, or the channels");
  return tulle_plan_step(planner, run_reduce, args, 1, "f32_reduce") != NULL;
}

typedef struct {
  const float* input;
  float* output;
  uint32_t outer, size, inner;
} argmax_args;

static void run_argmax(const tulle_step* step, uint32_t task, char* scratch) {
  (void)task, (void)scratch;
  const argmax_args* args = step->args;
  for (uint32_t i = 0; i < args->outer * args->inner; i++) {
    const float* x = args->input + (size_t)(i / args->inner) * args->size * args->inner + i % args->inner;
    uint32_t best = 0;
    for (uint32_t j = 1; j < args->size; j++)
      if (x[(size_t)j * args->inner] > x[(size_t)best * args->inner]) best = j;
    args->output[i] = (float)best;
  }
}

bool tulle_plan_argmax(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  if (op->axis < 0 || op->axis >= (int32_t)x->rank) return tulle_plan_fail(planner, "axis %d of %u", op->axis, x->rank);
  argmax_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args =
      (argmax_args){planner->places[op->inputs[0]].data, planner->places[op->output].data, 1, x->shape[op->axis], 1};
  for (int32_t d = 0; d < (int32_t)x->rank; d++)
    if (d != op->axis) *(d < op->axis ? &args->outer : &args->inner) *= x->shape[d];
  if (!tulle_is_plain(x) || !tulle_is_plain(y) || args->outer * args->inner != y->elements)
    return tulle_plan_fail(planner, "needs plain tensors, the output one value for every %u of the input", args->size);
  return tulle_plan_step(planner, run_argmax, args, 1, "f32_argmax") != NULL;
}

// ---- softmax -----------------------------------------------------------------------------------------------------

typedef struct {
  const float* input;
  float* output;
  uint32_t rows, row_floats;
  float beta;
} softmax_args;

static void run_softmax(const tulle_step* step, uint32_t task, char* scratch) {
  (void)task, (void)scratch;
  const softmax_args* args = step->args;
  for (uint32_t r = 0; r < args->rows; r++)
    tulle_f32_softmax(args->input + (size_t)r * args->row_floats, args->output + (size_t)r * args->row_floats,
                      args->row_floats, args->beta);
}

bool tulle_plan_softmax(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  if (!tulle_is_plain(x) || !tulle_is_plain(y) || x->elements != y->elements)
    return tulle_plan_fail(planner, "needs plain tensors of one size");
  softmax_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const uint32_t last = x->rank ? x->shape[x->rank - 1] : 1;
  *args = (softmax_args){planner->places[op->inputs[0]].data, planner->places[op->output].data, x->elements / last,
                         last, op->beta};
  return tulle_plan_step(planner, run_softmax, args, 1, "f32_softmax") != NULL;
}
