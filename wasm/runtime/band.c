// The expansion of a large map writes megabytes that the depthwise convolution after it reads once: through L3, as L2
// is too small. In a band each op computes only the rows that the next one needs now, into a window of a few rows that
// belongs to the thread. From one strip to the next a window keeps the rows that are needed again, so nothing is
// computed twice except at the borders between tasks.

#include "runtime/band.h"

#include <string.h>

#include "runtime/platform.h"

#define SLACK_FLOATS 32  // for whole-vector loads over a window's end

typedef struct {
  tulle_rows run;
  const void* args;
  tulle_row_window reads;
  uint32_t in_height;
  // The window that takes its output, unless it is the last op.
  uint32_t channels, width;
  size_t offset, stride;  // floats: from the first window to this, and from channel to channel
} band_op;

typedef struct {
  const tulle_engine* engine;
  uint32_t first_step, count;
  uint32_t rows;   // of the last op's output at a time
  size_t windows;  // where they begin in scratch, in bytes
  const float* input;
  float* output;
  band_op ops[TULLE_BAND_MAX_OPS];
} band_args;

typedef struct {
  uint32_t low, high;
} span;

// The input rows that rows [rows.low, rows.high) are made of.
static span rows_read(const band_op* op, span rows) {
  const int64_t low = (int64_t)rows.low * op->reads.stride - op->reads.pad;
  const int64_t high = (int64_t)(rows.high - 1) * op->reads.stride - op->reads.pad + op->reads.reach;
  const int64_t height = op->in_height;
  return (span){(uint32_t)(low < 0        ? 0
                           : low > height ? height
                                          : low),
                (uint32_t)(high < 0        ? 0
                           : high > height ? height
                                           : high)};
}

// Moves the rows that a window keeps to its beginning.
static void slide(const band_op* op, float* window, span held, uint32_t low) {
  if (low >= held.high || low == held.low) return;
  const size_t skipped = (size_t)(low - held.low) * op->width, kept = (size_t)(held.high - low) * op->width;
  for (uint32_t c = 0; c < op->channels; c++, window += op->stride)
    memmove(window, window + skipped, kept * sizeof *window);
}

static void run_band(const void* pointer, uint32_t top, uint32_t end, char* scratch) {
  const band_args* band = pointer;
  const uint32_t last = band->count - 1;
  float* windows = (float*)(scratch + band->windows);
  // Only the thread that called keeps time.
  double* profile = scratch == band->engine->scratch ? band->engine->profile : NULL;
  span held[TULLE_BAND_MAX_OPS] = {0},
       made[TULLE_BAND_MAX_OPS];  // rows that an op's window holds, and those to be computed now
  for (; top < end; top += band->rows) {
    made[last] = (span){top, end - top < band->rows ? end : top + band->rows};
    for (uint32_t i = last; i > 0; i--) {
      const band_op* maker = &band->ops[i - 1];
      span* has = &held[i - 1];
      const span needed = made[i].low < made[i].high ? rows_read(&band->ops[i], made[i]) : (span){has->high, has->high};
      made[i - 1].low = needed.low > has->high ? needed.low : has->high;
      made[i - 1].high = needed.high > made[i - 1].low ? needed.high : made[i - 1].low;
      slide(maker, windows + maker->offset, *has, needed.low);
      *has = (span){needed.low, made[i - 1].high};
    }
    const float* input = band->input;
    for (uint32_t i = 0; i <= last; i++) {
      const band_op* op = &band->ops[i];
      float* output = i == last ? band->output : windows + op->offset - (size_t)held[i].low * op->width;
      const double start = profile ? tulle_now() : 0;
      if (made[i].low < made[i].high)
        op->run(op->args, input, output, made[i].low, made[i].high - made[i].low, scratch);
      if (profile && i) profile[band->first_step + i] += tulle_now() - start;
      input = output;
    }
  }
}

bool tulle_plan_band(tulle_planner* planner, const tulle_engine* engine, const tulle_group* group,
                     const tulle_work* works, uint32_t first_step, tulle_work* band) {
  const tulle_net* net = planner->net;
  band_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->engine = engine;
  args->first_step = first_step;
  args->count = group->last - group->first + 1;
  args->rows = group->by_rows.rows;
  args->input = planner->places[net->ops[group->first].inputs[0]].data;
  args->output = planner->places[net->ops[group->last].output].data;
  uint64_t floats = 0;
  for (uint32_t i = args->count; i-- > 0;) {
    const tulle_op* op = &net->ops[group->first + i];
    const tulle_tensor* y = &net->tensors[op->output];
    args->ops[i] = (band_op){.run = works[i].run_rows,
                             .args = works[i].args,
                             .reads = tulle_row_window_of(net, op),
                             .in_height = net->tensors[op->inputs[0]].shape[1],
                             .channels = y->shape[3],
                             .width = y->shape[2],
                             .offset = (size_t)floats,
                             .stride = planner->places[op->output].stride};
    if (i + 1 < args->count) floats += args->ops[i].stride * args->ops[i].channels + SLACK_FLOATS;
    // The scratch memory of the ops comes before the windows.
    const size_t scratch = tulle_scratch_bytes(works[i].scratch);
    if (scratch > args->windows) args->windows = scratch;
  }
  *band = works[0];
  band->run = run_band;
  band->args = args;
  const uint32_t height = net->tensors[net->ops[group->last].output].shape[1];
  const uint32_t tasks = planner->threads == 1 ? 1 : 2 * planner->threads;
  band->units = height;
  band->tasks = tasks < height ? tasks : height;
  band->scratch = args->windows + floats * sizeof(float);
  return true;
}
