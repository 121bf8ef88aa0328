// Bands: convolutions in a row that run together, some rows of the map at a time.
//
// An expansion of a large map writes megabytes that the depthwise convolution after it reads once: through L3, for want
// of room in L2. In a band each op computes only the rows that the next one needs now, into a window of a few rows that
// belongs to the thread. From one strip to the next a window keeps the rows that are needed again, so nothing is
// computed twice but around the borders between tasks.

#include <stdlib.h>
#include <string.h>

#include "runtime/plan.h"
#include "runtime/platform.h"

// All windows of a band together: they share a 1 MB L2 with weights, the band's input and its output.
#define BAND_BYTES (640 * 1024)
// What lies between two ops is worth keeping in L2 if it is larger than this.
#define TENSOR_BYTES (500 * 1024)
// Rows of the last op's output at a time: a multiple of this, since depthwise kernels make 8 rows at once.
#define STRIP_ROWS 8
#define MAX_OPS 8
#define SLACK_FLOATS 32  // for whole-vector loads over a window's end

// Output row y reads input rows [y * stride - pad, y * stride - pad + reach) where they exist.
typedef struct {
  uint32_t stride, pad, reach;
} row_window;

typedef struct {
  tulle_rows run;
  const void* args;
  row_window reads;
  uint32_t in_height;
  // The window that takes its output, unless it is the last op.
  uint32_t channels, width;
  size_t offset, stride;  // floats: from the first window to this, and from channel to channel
} band_op;

typedef struct {
  const tulle_engine* engine;
  uint32_t first_step, count;
  uint32_t height, rows, tasks;  // of the last op's output; rows at a time
  size_t windows;                // where they begin in scratch, in bytes
  const float* input;
  float* output;
  band_op ops[MAX_OPS];
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

static void run_band(const tulle_step* step, uint32_t task, char* scratch) {
  const band_args* band = step->args;
  const uint32_t last = band->count - 1;
  float* windows = (float*)(scratch + band->windows);
  // Only the thread that called keeps time.
  double* profile = scratch == band->engine->scratch ? band->engine->profile : NULL;
  span held[MAX_OPS] = {0}, made[MAX_OPS];  // rows that an op's window holds, and those to be computed now
  uint32_t top, end;
  tulle_piece(band->height, band->tasks, task, &top, &end);
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

// ---- finding them -----------------------------------------------------------------------------------------

const tulle_band* tulle_band_of(const tulle_planner* planner, uint32_t op) {
  for (uint32_t b = 0; b < planner->band_count; b++)
    if (planner->bands[b].first <= op && op <= planner->bands[b].last) return &planner->bands[b];
  return NULL;
}

static row_window window_of(const tulle_net* net, const tulle_op* op) {
  const uint32_t kernel = net->tensors[op->inputs[1]].shape[1];
  return (row_window){op->stride_h, op->pad_top, (kernel - 1) * op->dilation_h + 1};
}

// Whether the op can be run for some rows at a time. Rows have to be whole vectors, since vectors that reach over the
// end of a row would write into one that another thread, or an earlier strip, has made.
static bool runs_by_rows(const tulle_net* net, uint32_t index) {
  const tulle_op* op = &net->ops[index];
  if ((op->kind != TULLE_OP_CONV2D && op->kind != TULLE_OP_DEPTHWISE_CONV2D) || op->input_count < 2 ||
      op->inputs[0] < 0 || op->inputs[1] < 0)
    return false;
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *w = &net->tensors[op->inputs[1]],
                     *y = &net->tensors[op->output];
  return x->rank == 4 && w->rank == 4 && y->rank == 4 && y->chw && y->shape[2] % 4 == 0 && x->shape[1] > 1 &&
         y->shape[1] > 1 && y->shape[3] > 1 && w->shape[1] && w->shape[1] <= 64 && op->stride_h && op->stride_h <= 64 &&
         op->dilation_h <= 64;
}

// Whether nobody but the next op reads this one's output.
static bool leads_on(const tulle_net* net, const uint32_t* readers, uint32_t index) {
  const int32_t output = net->ops[index].output;
  return index + 1 < net->op_count && net->ops[index + 1].inputs[0] == output && readers[output] == 1 &&
         net->tensors[output].chw && runs_by_rows(net, index + 1);
}

// How many input rows the op reads to make so many rows: what the window before it has to hold.
static uint32_t rows_held(const tulle_net* net, const tulle_op* op, uint32_t rows) {
  const row_window reads = window_of(net, op);
  const uint64_t held = (uint64_t)(rows - 1) * reads.stride + reads.reach;
  const uint32_t height = net->tensors[op->inputs[0]].shape[1];
  return held < height ? (uint32_t)held : height;
}

// Bytes of all windows if the last op makes so many rows at a time.
static uint64_t window_bytes(const tulle_net* net, uint32_t first, uint32_t last, uint32_t rows) {
  uint64_t bytes = 0;
  for (uint32_t o = last; o > first; o--) {
    const tulle_tensor* x = &net->tensors[net->ops[o].inputs[0]];
    rows = rows_held(net, &net->ops[o], rows);
    bytes += (uint64_t)tulle_plan_stride(rows, x->shape[2]) * x->shape[3] * sizeof(float);
  }
  return bytes;
}

static uint64_t map_bytes(const tulle_net* net, uint32_t op) {
  return (uint64_t)net->tensors[net->ops[op].output].elements * sizeof(float);
}

// Cuts ops [begin, end), which lead on to each other, into bands and single ops so that most bytes stay in windows.
// saved[o]: those from op o on; lengths[o]: of the band that begins with it.
static void cut(tulle_planner* planner, uint32_t begin, uint32_t end, uint64_t* saved, uint32_t* lengths) {
  const tulle_net* net = planner->net;
  saved[end] = 0;
  for (uint32_t o = end; o-- > begin;) {
    saved[o] = saved[o + 1];
    lengths[o] = 1;
    uint64_t inside = 0;
    for (uint32_t last = o + 1; last < end && last - o < MAX_OPS; last++) {
      const uint64_t bytes = map_bytes(net, last - 1);
      if (bytes > TENSOR_BYTES) inside += bytes;
      if (inside + saved[last + 1] <= saved[o] || window_bytes(net, o, last, STRIP_ROWS) > BAND_BYTES) continue;
      saved[o] = inside + saved[last + 1];
      lengths[o] = last - o + 1;
    }
  }
  for (uint32_t o = begin; o < end; o += lengths[o]) {
    if (lengths[o] == 1) continue;
    const uint32_t last = o + lengths[o] - 1, height = net->tensors[net->ops[last].output].shape[1];
    uint32_t rows = STRIP_ROWS;
    while (rows < height && window_bytes(net, o, last, rows + STRIP_ROWS) <= BAND_BYTES) rows += STRIP_ROWS;
    planner->bands[planner->band_count++] = (tulle_band){o, last, rows};
  }
}

bool tulle_find_bands(tulle_planner* planner) {
  const tulle_net* net = planner->net;
  uint32_t* readers = calloc(net->tensor_count + 1, sizeof *readers);
  uint64_t* saved = calloc(net->op_count + 1, sizeof *saved);
  uint32_t* lengths = malloc((net->op_count + 1) * sizeof *lengths);
  planner->bands = malloc((net->op_count + 1) * sizeof *planner->bands);
  if (!readers || !saved || !lengths || !planner->bands) {
    free(readers);
    free(saved);
    free(lengths);
    tulle_engine_fail(planner->model->engine, "out of memory");
    return false;
  }
  for (uint32_t o = 0; o < net->op_count; o++)
    for (uint32_t i = 0; i < net->ops[o].input_count; i++)
      if (net->ops[o].inputs[i] >= 0) readers[net->ops[o].inputs[i]]++;
  for (uint32_t i = 0; i < net->output_count; i++) readers[net->outputs[i]]++;
  for (uint32_t begin = 0; begin < net->op_count; begin++) {
    uint32_t end = begin + 1;
    if (runs_by_rows(net, begin)) {
      while (leads_on(net, readers, end - 1)) end++;  // of the ops that lead on to each other
      cut(planner, begin, end, saved, lengths);
    }
    begin = end - 1;
    const uint32_t last = tulle_find_sum(net, readers, begin);
    if (last == begin || tulle_band_of(planner, begin)) continue;
    planner->bands[planner->band_count++] = (tulle_band){begin, last, 0};
    begin = last;
  }
  free(saved);
  free(lengths);
  free(readers);
  return true;
}

// ---- planning ---------------------------------------------------------------------------------------------

bool tulle_plan_band(tulle_planner* planner, const tulle_band* band) {
  const tulle_net* net = planner->net;
  tulle_model* model = planner->model;
  band_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->engine = model->engine;
  args->first_step = model->step_count;
  args->count = band->last - band->first + 1;
  args->rows = band->rows;
  args->height = net->tensors[net->ops[band->last].output].shape[1];
  args->tasks = planner->threads == 1 ? 1 : 2 * planner->threads;
  if (args->tasks > args->height) args->tasks = args->height;
  // Windows from the last to the first, as the rows they hold follow from each other.
  uint64_t floats = 0;
  for (uint32_t o = band->last, rows = band->rows; o > band->first; o--) {
    const tulle_tensor* x = &net->tensors[net->ops[o].inputs[0]];
    rows = rows_held(net, &net->ops[o], rows);
    band_op* maker = &args->ops[o - band->first - 1];
    maker->channels = x->shape[3];
    maker->width = x->shape[2];
    maker->stride = tulle_plan_stride(rows, x->shape[2]);
    maker->offset = (size_t)floats;
    floats += maker->stride * maker->channels + SLACK_FLOATS;
    planner->places[net->ops[o].inputs[0]] = (tulle_place){NULL, maker->stride};
  }
  // What the ops need as scratch lies before the windows.
  const size_t scratch = model->scratch_bytes;
  model->scratch_bytes = 0;
  for (uint32_t o = band->first; o <= band->last; o++) {
    planner->op = o;
    if (!tulle_plan_op(planner)) return false;
    const tulle_op* op = &net->ops[o];
    const tulle_step* step = &model->steps[model->step_count - 1];
    band_op* made = &args->ops[o - band->first];
    made->run = step->rows;
    made->args = step->args;
    made->reads = window_of(net, op);
    made->in_height = net->tensors[op->inputs[0]].shape[1];
  }
  args->windows = model->scratch_bytes;
  tulle_plan_scratch(planner, args->windows + floats * sizeof(float));
  if (scratch > model->scratch_bytes) model->scratch_bytes = scratch;
  args->input = planner->places[net->ops[band->first].inputs[0]].data;
  args->output = planner->places[net->ops[band->last].output].data;
  tulle_step* step = &model->steps[args->first_step];
  step->run = run_band;
  step->args = args;
  step->tasks = args->tasks;
  step->inside = args->count - 1;
  return true;
}
