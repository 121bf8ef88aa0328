// Resizes.

#include <math.h>

#include "runtime/plan.h"

typedef struct {
  const float *input, *added, *gate;  // see tulle_plan_resize_sum; NULL where there is none
  float* output;
  size_t input_stride, output_stride;
  const tulle_lerp *rows, *columns;
  uint32_t width, out_height, out_width, channels, tasks;
  bool doubled;
} resize_args;

static void run_resize_bilinear(const tulle_step* step, uint32_t task, char* scratch) {
  const resize_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++)
    tulle_f32_resize_bilinear(args->rows, args->columns, args->width, args->out_height, args->out_width, args->doubled,
                              args->input + c * args->input_stride,
                              args->added ? args->added + c * args->output_stride : NULL,
                              args->gate ? args->gate[c] : 1, args->output + c * args->output_stride, (float*)scratch);
}

static void run_resize_nearest(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const resize_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++) {
    float* output = args->output + c * args->output_stride;
    for (uint32_t y = 0; y < args->out_height; y++) {
      const float* row = args->input + c * args->input_stride + (size_t)args->rows[y].first * args->width;
      for (uint32_t x = 0; x < args->out_width; x++) *output++ = row[args->columns[x].first];
    }
  }
}

// Whether each row becomes twice as wide, with half-pixel centers, and is wide enough for the loop that does that.
static bool doubles(const tulle_tensor* x, const tulle_tensor* y, const tulle_op* op) {
  return op->half_pixel_centers && !op->align_corners && x->shape[2] >= 4 && y->shape[2] == 2 * x->shape[2];
}

// Where each output index reads, as TensorFlow Lite's reference kernels have it.
static tulle_lerp* plan_lerps(tulle_planner* planner, const tulle_op* op, uint32_t in, uint32_t out) {
  tulle_lerp* lerps = tulle_plan_alloc(planner, out * sizeof *lerps);
  if (!lerps) return NULL;
  const float scale = op->align_corners && out > 1 ? (float)(in - 1) / (float)(out - 1) : (float)in / (float)out;
  for (uint32_t i = 0; i < out; i++) {
    if (op->kind == TULLE_OP_RESIZE_NEAREST) {
      const float at = ((float)i + (op->half_pixel_centers ? 0.5f : 0.0f)) * scale;
      const float index = op->align_corners ? roundf(at) : floorf(at);
      lerps[i].first = index < (float)in ? (uint32_t)index : in - 1;
      if (lerps[i].first >= in) lerps[i].first = in - 1;
      continue;
    }
    const float at = op->half_pixel_centers ? ((float)i + 0.5f) * scale - 0.5f : (float)i * scale;
    const float below = floorf(at);
    lerps[i].first = below < 0 ? 0 : (uint32_t)below;
    if (lerps[i].first >= in) lerps[i].first = in - 1;
    lerps[i].second = lerps[i].first + 1 < in ? lerps[i].first + 1 : in - 1;
    lerps[i].weight = below < 0 ? 0 : at - below;
  }
  return lerps;
}

// added, gate: where they begin, or NULL.
static bool plan_resize(tulle_planner* planner, const tulle_op* op, const float* added, const float* gate) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = &planner->net->tensors[op->output];
  if (x->rank != 4 || y->rank != 4 || !tulle_is_chw(x) || !tulle_is_chw(y) || x->shape[3] != y->shape[3])
    return tulle_plan_fail(planner, "needs chw tensors with the same number of channels");
  resize_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (resize_args){.input = planner->places[op->inputs[0]].data,
                        .added = added,
                        .gate = gate,
                        .output = planner->places[op->output].data,
                        .input_stride = planner->places[op->inputs[0]].stride,
                        .output_stride = planner->places[op->output].stride,
                        .rows = plan_lerps(planner, op, x->shape[1], y->shape[1]),
                        .columns = plan_lerps(planner, op, x->shape[2], y->shape[2]),
                        .width = x->shape[2],
                        .out_height = y->shape[1],
                        .out_width = y->shape[2],
                        .channels = x->shape[3]};
  if (!args->rows || !args->columns) return false;
  args->tasks = tulle_plan_tasks(planner, args->channels);
  if (op->kind == TULLE_OP_RESIZE_NEAREST)
    return tulle_plan_step(planner, run_resize_nearest, args, args->tasks, "f32_resize_nearest") != NULL;
  args->doubled = doubles(x, y, op);
  tulle_plan_scratch(planner, ((uint64_t)x->shape[2] + 12) * sizeof(float));
  const char* kernel = added ? "f32_resize_sum" : "f32_resize_bilinear";
  return tulle_plan_step(planner, run_resize_bilinear, args, args->tasks, kernel) != NULL;
}

bool tulle_plan_resize(tulle_planner* planner, const tulle_op* op) { return plan_resize(planner, op, NULL, NULL); }

bool tulle_resize_takes_sum(const tulle_net* net, const tulle_op* op) {
  if (!op->input_count || op->inputs[0] < 0) return false;
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *y = &net->tensors[op->output];
  return op->kind == TULLE_OP_RESIZE_BILINEAR && x->rank == 4 && y->rank == 4 && doubles(x, y, op);
}

bool tulle_plan_resize_sum(tulle_planner* planner, const tulle_op* op, int32_t added, int32_t gate) {
  return plan_resize(planner, op, planner->places[added].data, gate < 0 ? NULL : planner->places[gate].data);
}
