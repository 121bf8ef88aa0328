// Fully connected layers, and 1x1 convolutions over a single pixel: a matrix times a vector, or times many of them.

#include "ops/convolution.h"

// Vectors at a time: while weights of a tile stay in L1. What they make is then still near for the activation.
#define BATCH_ROWS 32

// One thread does a few thousand multiply-adds before another one has woken up.
#define FEW_MACS 32768

// Outputs [first, first + count) of a layer, after the clamp: each has its own slope of a prelu.
static void activate_row(float* y, uint32_t count, const tulle_epilogue* epilogue, uint32_t first) {
  if (epilogue->kind == TULLE_ACT_PRELU) {
    tulle_f32_prelu_rows(y, 1, count, epilogue->prelu + first);
  } else {
    tulle_f32_activate(y, count, epilogue, first);
  }
}

typedef struct {
  const float *input, *weights, *bias, *residual;
  float* output;
  const tulle_nonzero* nonzeros;  // NULL: dense
  const uint32_t* row_start;
  uint32_t batch, inputs, outputs;
  tulle_epilogue epilogue;
} vector_args;

// Blocks [block, block_end) of TULLE_DOT_ROWS outputs.
static void run_vector(const void* pointer, uint32_t block, uint32_t block_end, char* scratch) {
  (void)scratch;
  const vector_args* args = pointer;
  const tulle_epilogue clamp = {.low = args->epilogue.low, .high = args->epilogue.high};
  const uint32_t begin = block * TULLE_DOT_ROWS, last = block_end * TULLE_DOT_ROWS,
                 count = (last < args->outputs ? last : args->outputs) - begin;
  for (uint32_t n = 0; n < args->batch; n++) {
    const float* x = args->input + (size_t)n * args->inputs;
    const size_t first = (size_t)n * args->outputs + begin;
    float* y = args->output + first;
    if (args->nonzeros) {
      const uint32_t* start = args->row_start + begin;
      for (uint32_t o = 0; o < count; o++)
        y[o] = tulle_f32_sparse_dot(args->nonzeros + start[o], args->nonzeros + start[o + 1], x);
    } else {
      tulle_f32_dots(args->weights + (size_t)begin * args->inputs, x, args->inputs, count, y);
    }
    for (uint32_t o = 0; o < count; o++) y[o] += args->bias[begin + o];
    if (args->residual)
      for (uint32_t o = 0; o < count; o++) y[o] += args->residual[first + o];
    tulle_f32_finish(y, count, &clamp, begin);
    activate_row(y, count, &args->epilogue, begin);
  }
}

bool tulle_plan_vector(tulle_planner* planner, const tulle_op* op, uint32_t batch, uint32_t inputs,
                       const float* residual, tulle_work* work) {
  const tulle_tensor* w = tulle_plan_input(planner, op, 1);
  vector_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->input = tulle_place_of_input(planner, op, 0)->data;
  args->output = tulle_place_of_output(planner, op)->data;
  args->residual = residual;
  args->batch = batch;
  args->inputs = inputs;
  args->outputs = w->shape[0];
  if (!(args->bias = tulle_plan_bias(planner, op, args->outputs, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, args->outputs, &args->epilogue)) return false;
  uint32_t nonzeros;
  if (op->sparse) {
    tulle_sparse rows;
    if (!tulle_read_sparse(planner, w, &rows)) return false;
    args->nonzeros = tulle_pack_nonzeros(planner, &rows, NULL, args->outputs, 1, 1, sizeof(float), &args->row_start);
    tulle_free_sparse(&rows);
    if (!args->nonzeros) return false;
    nonzeros = args->row_start[args->outputs];
  } else {
    if (!(args->weights = tulle_plan_constant(planner, op->inputs[1], 0))) return false;
    nonzeros = tulle_constant_nonzeros(w);
  }
  const bool few = (uint64_t)w->elements * batch < FEW_MACS;
  const uint32_t blocks = (args->outputs + TULLE_DOT_ROWS - 1) / TULLE_DOT_ROWS;
  *work = (tulle_work){.run = run_vector,
                       .args = args,
                       .units = blocks,
                       .tasks = few ? 1 : tulle_plan_tasks(planner, blocks),
                       .kernel = op->sparse ? TULLE_KERNEL_SPMV : TULLE_KERNEL_DOT,
                       .weights = w->elements,
                       .nonzeros = nonzeros,
                       .macs = (uint64_t)(op->sparse ? nonzeros : w->elements) * batch};
  return true;
}

typedef struct {
  const float *input, *weights, *bias;  // weights in panels of TULLE_MATMUL_COLUMNS outputs
  float* output;
  uint32_t batch, inputs, outputs, panels;
  uint32_t row_tasks, panel_tasks;
  tulle_epilogue epilogue;
} batch_args;

static void run_batch(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next, (void)scratch;
  const batch_args* args = pointer;
  uint32_t row, row_end, first, panel_end;
  tulle_piece(args->batch, args->row_tasks, task % args->row_tasks, &row, &row_end);
  tulle_piece(args->panels, args->panel_tasks, task / args->row_tasks, &first, &panel_end);
  const uint32_t column = first * TULLE_MATMUL_COLUMNS, end = panel_end * TULLE_MATMUL_COLUMNS,
                 columns = (end < args->outputs ? end : args->outputs) - column;
  for (; row < row_end; row += BATCH_ROWS) {
    const uint32_t rows = row_end - row < BATCH_ROWS ? row_end - row : BATCH_ROWS;
    float* output = args->output + (size_t)row * args->outputs + column;
    for (uint32_t c = 0; c < columns; c += TULLE_MATMUL_COLUMNS) {
      const uint32_t left = columns - c;
      tulle_f32_matmul(&(tulle_matmul){.a = args->input + (size_t)row * args->inputs,
                                       .b = args->weights + (size_t)(column + c) * args->inputs,
                                       .bias = args->bias + column + c,
                                       .y = output + c,
                                       .rows = rows,
                                       .depth = args->inputs,
                                       .columns = left < TULLE_MATMUL_COLUMNS ? left : TULLE_MATMUL_COLUMNS,
                                       .b_step = TULLE_MATMUL_COLUMNS,
                                       .y_step = args->outputs,
                                       .low = args->epilogue.low,
                                       .high = args->epilogue.high});
    }
    if (args->epilogue.kind == TULLE_ACT_NONE) continue;
    for (uint32_t r = 0; r < rows; r++)
      activate_row(output + (size_t)r * args->outputs, columns, &args->epilogue, column);
  }
}

// Many vectors times dense weights.
static bool plan_batch(tulle_planner* planner, const tulle_op* op, uint32_t batch, tulle_work* work) {
  const tulle_tensor* w = tulle_plan_input(planner, op, 1);
  batch_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->input = tulle_place_of_input(planner, op, 0)->data;
  args->output = tulle_place_of_output(planner, op)->data;
  args->batch = batch;
  args->outputs = w->shape[0];
  args->inputs = w->shape[1];
  args->panels = (args->outputs + TULLE_MATMUL_COLUMNS - 1) / TULLE_MATMUL_COLUMNS;
  if (!(args->bias = tulle_plan_bias(planner, op, args->outputs, TULLE_MATMUL_COLUMNS))) return false;
  if (!tulle_plan_epilogue(planner, op, args->outputs, &args->epilogue)) return false;
  if (!(args->weights = tulle_pack_blocks(planner, w, args->outputs, TULLE_MATMUL_COLUMNS, NULL))) return false;
  const uint64_t macs = (uint64_t)w->elements * batch;
  const bool few = macs < FEW_MACS;
  args->row_tasks = few ? 1 : tulle_plan_tasks(planner, (batch + BATCH_ROWS - 1) / BATCH_ROWS);
  args->panel_tasks = few ? 1 : tulle_plan_more_tasks(planner, args->row_tasks, args->panels);
  *work = (tulle_work){.run = run_batch,
                       .args = args,
                       .tasks = args->row_tasks * args->panel_tasks,
                       .kernel = TULLE_KERNEL_BATCH,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = macs};
  return true;
}

bool tulle_plan_fully_connected(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (w->rank != 2) return tulle_plan_fail(planner, "its weight must have 2 dimensions");
  const uint32_t inputs = w->shape[1], batch = x->elements / inputs;
  if ((uint64_t)batch * inputs != x->elements || (uint64_t)batch * w->shape[0] != y->elements)
    return tulle_plan_fail(planner, "%u inputs, %u outputs and a %ux%u weight do not fit", x->elements, y->elements,
                           w->shape[0], inputs);
  if (batch > 1 && !op->sparse) return plan_batch(planner, op, batch, work);
  return tulle_plan_vector(planner, op, batch, inputs, NULL, work);
}
