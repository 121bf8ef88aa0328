// Sparse 1x1 convolutions: streams of nonzeros, and how their work is split.

#include <stdlib.h>

#include "runtime/plan_conv.h"

// Input channels of a sparse 1x1 convolution that one pass over the output channels reads: their part of a tile, up to
// 4 cache lines each, stays in a 48 KB L1. Measured: 672 -> 112 channels at 14x14 run at 22 instead of 18 GMAC/s.
#define SPMM_CHANNELS 192

typedef struct {
  tulle_spmm spmm;
  uint32_t vectors, tiles;  // of the whole map; vectors are shared out evenly among the tiles
  uint32_t tile_tasks, row_tasks;
  const uint32_t* rows;       // where each task's output channels begin
  const uint32_t* row_start;  // [pass][output channel], one more a pass
  uint32_t passes, outputs;
  uint32_t width;
} sparse_args;

// Output channels [row, row_end) of a tile.
static void run_tile(const sparse_args* args, tulle_spmm* spmm, uint32_t row, uint32_t row_end, size_t pixel,
                     uint32_t vectors) {
  for (uint32_t pass = 0; pass < args->passes; pass++) {
    spmm->row_start = args->row_start + (size_t)pass * (args->outputs + 1);
    spmm->accumulate = pass > 0;
    spmm->finish = pass + 1 == args->passes;
    tulle_f32_spmm(spmm, row, row_end, pixel, vectors);
  }
}

static void run_sparse(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const sparse_args* args = step->args;
  const uint32_t row_task = task / args->tile_tasks;
  uint32_t tile, tile_end;
  tulle_piece(args->tiles, args->tile_tasks, task % args->tile_tasks, &tile, &tile_end);
  for (; tile < tile_end; tile++) {
    uint32_t begin, end;
    tulle_piece(args->vectors, args->tiles, tile, &begin, &end);
    tulle_spmm spmm = args->spmm;
    run_tile(args, &spmm, args->rows[row_task], args->rows[row_task + 1], 4 * (size_t)begin, end - begin);
  }
}

static void sparse_rows(const void* pointer, const float* input, float* output, uint32_t top, uint32_t rows,
                        char* scratch) {
  (void)scratch;
  const sparse_args* args = pointer;
  tulle_spmm spmm = args->spmm;
  spmm.input = input;
  spmm.output = output;
  const uint32_t vectors = rows * args->width / 4;
  const uint32_t tiles = (vectors + TULLE_SPMM_MAX_VECTORS - 1) / TULLE_SPMM_MAX_VECTORS;
  for (uint32_t tile = 0; tile < tiles; tile++) {
    uint32_t begin, end;
    tulle_piece(vectors, tiles, tile, &begin, &end);
    run_tile(args, &spmm, 0, args->outputs, (size_t)top * args->width + 4 * begin, end - begin);
  }
}

bool tulle_pack_nonzeros(tulle_planner* planner, const float* weights, uint32_t count, uint32_t rows, uint32_t columns,
                         uint32_t passes, size_t column_bytes, const tulle_nonzero** nonzeros,
                         const uint32_t** row_start) {
  const size_t starts = (size_t)passes * (rows + 1);
  tulle_nonzero* next = tulle_plan_alloc(planner, ((size_t)count + 1) * sizeof *next);
  uint32_t* start = tulle_plan_alloc(planner, starts * sizeof *start);
  if (!next || !start) return false;
  *nonzeros = next;
  *row_start = start;
  planner->model->weight_bytes += (uint64_t)count * sizeof *next + starts * sizeof *start;
  uint32_t n = 0;
  for (uint32_t pass = 0; pass < passes; pass++) {
    uint32_t column, end;
    tulle_piece(columns, passes, pass, &column, &end);
    *start++ = n;
    for (uint32_t r = 0; r < rows; r++) {
      for (uint32_t c = column; c < end; c++) {
        const float value = weights[(size_t)r * columns + c];
        if (value != 0) next[n++] = (tulle_nonzero){value, (int32_t)(c * column_bytes)};
      }
      *start++ = n;
    }
  }
  return true;
}

// Nonzeros in rows [0, row), all passes.
static uint64_t nonzeros_before(const sparse_args* args, uint32_t row) {
  uint64_t count = 0;
  for (uint32_t pass = 0; pass < args->passes; pass++) {
    const uint32_t* start = args->row_start + (size_t)pass * (args->outputs + 1);
    count += start[row] - start[0];
  }
  return count;
}

// Cuts the rows into pieces of about the same work: their nonzeros, and storing a row costs about as much as 4 more.
static uint32_t* split_rows(tulle_planner* planner, const sparse_args* args, uint32_t pieces) {
  uint32_t* bounds = tulle_plan_alloc(planner, ((size_t)pieces + 1) * sizeof *bounds);
  if (!bounds) return NULL;
  const uint64_t total = nonzeros_before(args, args->outputs) + 4 * (uint64_t)args->outputs;
  for (uint32_t p = 1, r = 0; p < pieces; p++) {
    while (r < args->outputs && nonzeros_before(args, r) + 4 * (uint64_t)r < total * p / pieces) r++;
    bounds[p] = r;
  }
  bounds[pieces] = args->outputs;
  return bounds;
}

bool tulle_plan_sparse(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t pixels) {
  const tulle_place *x = &planner->places[op->inputs[0]], *y = &planner->places[op->output];
  const uint32_t rows = w->shape[0], columns = w->shape[3];
  sparse_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_spmm* s = &args->spmm;
  s->input = x->data;
  s->output = y->data;
  s->output_stride = y->stride;
  if (tulle_plan_input(planner, op, 3)) {
    s->residual = planner->places[op->inputs[3]].data;
    s->residual_stride = planner->places[op->inputs[3]].stride;
  }
  if (!(s->bias = tulle_plan_bias(planner, op, 2, rows, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, 4, rows, &s->epilogue)) return false;
  float* weights = tulle_plan_unpack(planner, w);
  args->outputs = rows;
  args->width = planner->net->tensors[op->output].shape[2];
  args->passes = (columns + SPMM_CHANNELS - 1) / SPMM_CHANNELS;
  const bool packed =
      weights && tulle_pack_nonzeros(planner, weights, tulle_constant_nonzeros(w), rows, columns, args->passes,
                                     x->stride * sizeof(float), &s->nonzeros, &args->row_start);
  free(weights);
  if (!packed) return false;

  args->vectors = (pixels + 3) / 4;
  args->tiles = (args->vectors + TULLE_SPMM_MAX_VECTORS - 1) / TULLE_SPMM_MAX_VECTORS;
  // Pixels first: a task that has all output channels of a tile reads its inputs once. Channels where a map is too
  // small.
  args->tile_tasks = tulle_plan_tasks(planner, args->tiles);
  const uint32_t wanted = planner->threads == 1 ? 1 : 4 * planner->threads;
  args->row_tasks = (wanted + args->tile_tasks - 1) / args->tile_tasks;
  if (args->row_tasks > (rows + 7) / 8) args->row_tasks = (rows + 7) / 8;
  if (!(args->rows = split_rows(planner, args, args->row_tasks))) return false;
  tulle_step* step = tulle_plan_step(planner, run_sparse, args, args->tile_tasks * args->row_tasks, "f32_spmm_52x1");
  if (!step) return false;
  step->rows = sparse_rows;
  step->nonzeros = (uint32_t)nonzeros_before(args, rows);
  step->weights = w->elements;
  step->macs = (uint64_t)step->nonzeros * pixels;
  return true;
}
