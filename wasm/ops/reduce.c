// Reductions, argmax and cumulative sums.

#include "ops/ops.h"

typedef struct {
  tulle_reduce reduce;  // its reduction and scale hold for every way to run the op
  const float* input;
  float* output;
  // `outer` times [channels, pixels], `input_stride` floats apart, reduced over one or the other.
  size_t input_stride;
  uint32_t outer, channels, pixels;
} reduce_args;

// Over the pixels.
static void run_spatial_reduce(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  (void)scratch;
  const reduce_args* args = pointer;
  for (; c < end; c++) {
    const float* input = args->input + c * args->input_stride;
    args->output[c] = args->reduce.reduction == TULLE_REDUCE_MAX ? tulle_f32_max(input, args->pixels)
                      : args->reduce.reduction == TULLE_REDUCE_MIN
                          ? tulle_f32_min(input, args->pixels)
                          : tulle_f32_sum(input, args->pixels) * args->reduce.scale;
  }
}

// Over the channels: some of the pixels, or all of them some of the times.
static void run_channel_reduce(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const reduce_args* args = pointer;
  if (args->outer > 1) {
    for (; begin < end; begin++)
      tulle_f32_reduce_channels(args->reduce.reduction, args->reduce.scale,
                                args->input + (size_t)begin * args->channels * args->input_stride, args->input_stride,
                                args->channels, 0, args->pixels, args->output + (size_t)begin * args->pixels);
    return;
  }
  tulle_f32_reduce_channels(args->reduce.reduction, args->reduce.scale, args->input, args->input_stride, args->channels,
                            begin, end, args->output);
}

static void run_reduce(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)begin, (void)end, (void)scratch;
  const reduce_args* args = pointer;
  tulle_f32_reduce(&args->reduce, args->input, args->output);
}

// Whether the reduced axes of a row-major tensor lie next to each other: then it is [outer, channels, pixels], reduced
// over the channels.
static bool axes_in_a_row(const tulle_tensor* x, const bool* reduced, reduce_args* args) {
  args->outer = args->channels = args->pixels = 1;
  for (uint32_t d = 0; d < x->rank; d++) {
    if (reduced[d]) {
      if (args->pixels > 1) return false;
      args->channels *= x->shape[d];
    } else {
      *(args->channels > 1 ? &args->pixels : &args->outer) *= x->shape[d];
    }
  }
  return true;
}

bool tulle_plan_reduce(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  bool reduced[TULLE_MAX_RANK] = {false};
  for (uint32_t i = 0; i < op->list_count; i++) {
    if (op->list[i] < 0 || op->list[i] >= (int32_t)x->rank)
      return tulle_plan_fail(planner, "axis %d of %u", op->list[i], x->rank);
    reduced[op->list[i]] = true;
  }
  reduce_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_reduce* reduce = &args->reduce;
  reduce->reduction = op->kind == TULLE_OP_REDUCE_MAX   ? TULLE_REDUCE_MAX
                      : op->kind == TULLE_OP_REDUCE_MIN ? TULLE_REDUCE_MIN
                                                        : TULLE_REDUCE_SUM;
  reduce->rank = x->rank;
  reduce->out_elements = 1;
  uint32_t count = 1;
  for (uint32_t d = x->rank; d-- > 0;) {
    reduce->shape[d] = x->shape[d];
    reduce->out_step[d] = reduced[d] ? 0 : reduce->out_elements;
    *(reduced[d] ? &count : &reduce->out_elements) *= x->shape[d];
  }
  reduce->scale = op->kind == TULLE_OP_MEAN ? 1.0f / (float)count : 1.0f;
  if (reduce->out_elements != y->elements)
    return tulle_plan_fail(planner, "makes %u values, its output has %u", reduce->out_elements, y->elements);
  args->input = tulle_place_of_input(planner, op, 0)->data;
  args->output = tulle_place_of_output(planner, op)->data;
  bool spatial = tulle_is_chw(x) && reduced[1] && reduced[2] && !reduced[3];
  bool channels = !tulle_is_plain(x) && reduced[3] && !reduced[1] && !reduced[2];
  args->outer = 1;
  if (spatial || channels) {
    args->input_stride = tulle_place_of_input(planner, op, 0)->stride;
    args->channels = x->shape[3];
    args->pixels = x->shape[1] * x->shape[2];
  } else if (tulle_is_plain(x) && axes_in_a_row(x, reduced, args)) {
    spatial = args->pixels == 1;
    channels = !spatial;
    if (spatial) {  // the last axes: every row of them is a channel
      args->pixels = args->channels;
      args->channels = args->outer;
    }
    args->input_stride = args->pixels;
  }
  if (spatial || channels) {
    const uint32_t units = spatial ? args->channels : args->outer > 1 ? args->outer : args->pixels;
    *work = (tulle_work){.run = spatial ? run_spatial_reduce : run_channel_reduce,
                         .args = args,
                         .units = units,
                         .tasks = tulle_plan_light_tasks(planner, x->elements, units),
                         .kernel = spatial ? TULLE_KERNEL_GLOBAL_POOL : TULLE_KERNEL_REDUCE};
    return true;
  }
  if (!tulle_is_plain(x))
    return tulle_plan_fail(planner, "needs a plain tensor unless it reduces height and width, or the channels");
  *work = (tulle_work){.run = run_reduce, .args = args, .tasks = 1, .kernel = TULLE_KERNEL_REDUCE};
  return true;
}

// ---- argmax -------------------------------------------------------------------------------------------------

typedef struct {
  const float* input;
  float* output;
  uint32_t size, inner;
} argmax_args;

static void run_argmax(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const argmax_args* args = pointer;
  tulle_f32_argmax(args->input, args->size, args->inner, begin, end, args->output);
}

bool tulle_plan_argmax(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (op->axis < 0 || op->axis >= (int32_t)x->rank) return tulle_plan_fail(planner, "axis %d of %u", op->axis, x->rank);
  argmax_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (argmax_args){tulle_place_of_input(planner, op, 0)->data, tulle_place_of_output(planner, op)->data,
                        x->shape[op->axis], 1};
  uint32_t outer = 1;
  for (int32_t d = 0; d < (int32_t)x->rank; d++)
    if (d != op->axis) *(d < op->axis ? &outer : &args->inner) *= x->shape[d];
  if (outer * args->inner != y->elements)
    return tulle_plan_fail(planner, "its output must have one value for every %u of the input", args->size);
  *work = (tulle_work){.run = run_argmax,
                       .args = args,
                       .units = y->elements,
                       .tasks = tulle_plan_light_tasks(planner, x->elements, y->elements)};
  return true;
}

// ---- cumsum -------------------------------------------------------------------------------------------------

typedef struct {
  tulle_cumsum sums;
  const float* input;
  float* output;
  // The tensor is channels [rows, size, inner], so many floats apart.
  size_t in_stride, out_stride;
  uint32_t channels, rows, inner;
} cumsum_args;

// Rows of all channels; where there is only one row, its columns.
static void run_cumsum(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const cumsum_args* args = pointer;
  if (args->channels * args->rows == 1) {
    tulle_f32_cumsum(&args->sums, args->input + begin, args->output + begin, end - begin);
    return;
  }
  const size_t row_floats = (size_t)args->sums.size * args->inner;
  for (; begin < end; begin++) {
    const size_t channel = begin / args->rows, row = begin % args->rows * row_floats;
    tulle_f32_cumsum(&args->sums, args->input + channel * args->in_stride + row,
                     args->output + channel * args->out_stride + row, args->inner);
  }
}

bool tulle_plan_cumsum(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  const int32_t rank = (int32_t)x->rank;
  if (op->axis < 0 || op->axis >= rank) return tulle_plan_fail(planner, "axis %d of %u", op->axis, x->rank);
  if (!tulle_same_shape(x, y)) return tulle_plan_fail(planner, "input and output differ in shape");
  cumsum_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const tulle_place *from = tulle_place_of_input(planner, op, 0), *to = tulle_place_of_output(planner, op);
  *args = (cumsum_args){.input = from->data, .output = to->data, .channels = 1, .rows = 1, .inner = 1};
  tulle_cumsum* sums = &args->sums;
  *sums = (tulle_cumsum){.size = x->shape[op->axis], .exclusive = op->exclusive, .reverse = op->reverse};
  const bool plain = tulle_is_plain(x);
  for (int32_t d = 0; d < (plain ? rank : 3); d++)
    if (d != op->axis) *(d < op->axis ? &args->rows : &args->inner) *= x->shape[d];
  sums->in_step = sums->out_step = args->inner;
  if (!plain && op->axis == 3) {
    args->inner = args->rows, args->rows = 1;
    sums->in_step = from->stride, sums->out_step = to->stride;
  } else if (!plain) {
    args->channels = x->shape[3];
    args->in_stride = from->stride, args->out_stride = to->stride;
  }
  const uint32_t rows = args->channels * args->rows, units = rows > 1 ? rows : args->inner;
  *work = (tulle_work){
      .run = run_cumsum, .args = args, .tasks = tulle_plan_light_tasks(planner, x->elements, units), .units = units};
  return true;
}
