// Upsampling and downsampling.

#include <math.h>

#include "ops/ops.h"

typedef struct {
  tulle_place x, y;
  const float *added, *gate;  // see tulle_sum; NULL where there is none
  const tulle_lerp *rows, *columns;
  uint32_t width, out_height, out_width;
  bool doubled;
} resize_args;

static void run_resize_bilinear(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  const resize_args* args = pointer;
  for (; c < end; c++)
    tulle_f32_resize_bilinear(args->rows, args->columns, args->width, args->out_height, args->out_width, args->doubled,
                              tulle_channel(&args->x, c), args->added ? args->added + c * args->y.stride : NULL,
                              args->gate ? args->gate[c] : 1, tulle_channel(&args->y, c), (float*)scratch);
}

static void run_resize_nearest(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  (void)scratch;
  const resize_args* args = pointer;
  for (; c < end; c++)
    tulle_f32_resize_nearest(args->rows, args->columns, args->width, args->out_height, args->out_width,
                             tulle_channel(&args->x, c), tulle_channel(&args->y, c));
}

// Whether it is upsampling to twice the width with half-pixel centers, from rows wide enough for the kernel's loop.
static bool doubles(const tulle_tensor* x, const tulle_tensor* y, const tulle_op* op) {
  return op->half_pixel_centers && !op->align_corners && x->shape[2] >= 4 && y->shape[2] == 2 * x->shape[2];
}

// As in TensorFlow Lite's reference kernels.
tulle_lerp* tulle_plan_lerps(tulle_planner* planner, const tulle_op* op, uint32_t in, uint32_t out) {
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

bool tulle_plan_resize(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (x->shape[3] != y->shape[3]) return tulle_plan_fail(planner, "input and output differ in channels");
  resize_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (resize_args){.x = *tulle_place_of_input(planner, op, 0),
                        .y = *tulle_place_of_output(planner, op),
                        .added = planner->sum.added,
                        .gate = planner->sum.gate,
                        .rows = tulle_plan_lerps(planner, op, x->shape[1], y->shape[1]),
                        .columns = tulle_plan_lerps(planner, op, x->shape[2], y->shape[2]),
                        .width = x->shape[2],
                        .out_height = y->shape[1],
                        .out_width = y->shape[2]};
  if (!args->rows || !args->columns) return false;
  work->args = args;
  work->units = x->shape[3];
  work->tasks = tulle_plan_tasks(planner, x->shape[3]);
  if (op->kind == TULLE_OP_RESIZE_NEAREST) {
    work->run = run_resize_nearest;
    work->kernel = TULLE_KERNEL_RESIZE_NEAREST;
    return true;
  }
  args->doubled = doubles(x, y, op);
  work->run = run_resize_bilinear;
  work->kernel = args->added ? TULLE_KERNEL_RESIZE_SUM : TULLE_KERNEL_RESIZE_BILINEAR;
  work->scratch = ((uint64_t)x->shape[2] + 12) * sizeof(float);
  return true;
}

// Only the loop for twice the width adds.
bool tulle_resize_takes_sum(const tulle_net* net, const tulle_op* op, bool gated) {
  (void)gated;
  return doubles(&net->tensors[op->inputs[0]], &net->tensors[op->output], op);
}
