// Sparse 1x1 convolutions: streams of nonzeros, and how their work is split.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/convolution.h"

// Input channels of one pass over the output channels: their part of a tile, up to 4 cache lines each, stays in an L1
// of 32 KB with room for the stream of nonzeros. Measured in docs/performance.md.
#define SPMM_CHANNELS 112

// The nonzeros that one kernel reads: of single rows or of pairs.
typedef struct {
  uint32_t units;         // rows or pairs
  const uint32_t* start;  // [pass][unit] -> first nonzero, and the end of each pass
  const uint32_t* cuts;   // where the units of each row task begin
} stream;

typedef struct {
  tulle_spmm spmm;
  stream singles, pairs;
  uint32_t passes;
  uint32_t vectors, tiles;  // of the whole map; the tiles get nearly the same number of vectors
  uint32_t tile_vectors;    // at most in a tile
  uint32_t tile_tasks, row_tasks;
  uint32_t width;
} sparse_args;

// The output channels of a row task over vectors [begin, end) of pixels.
static void run_rows(const sparse_args* args, const tulle_spmm* given, uint32_t row_task, uint32_t begin,
                     uint32_t end) {
  const uint32_t tiles = (end - begin + args->tile_vectors - 1) / args->tile_vectors;
  const stream *singles = &args->singles, *pairs = &args->pairs;
  const tulle_epilogue no_epilogue = {.low = -INFINITY, .high = INFINITY};
  for (uint32_t tile = 0; tile < tiles; tile++) {
    uint32_t first, last;
    tulle_piece(end - begin, tiles, tile, &first, &last);
    const uint32_t vectors = last - first;
    const uint32_t pieces =
        !pairs->units ? 0 : (vectors + TULLE_SPMM_PAIR_MAX_VECTORS - 1) / TULLE_SPMM_PAIR_MAX_VECTORS;
    const size_t pixel = 4 * ((size_t)begin + first);
    tulle_spmm spmm = *given;
    for (uint32_t pass = 0; pass < args->passes; pass++) {
      if (pass > 0) {
        spmm.added = spmm.output;
        spmm.added_stride = spmm.output_stride;
        spmm.bias = NULL;
      }
      spmm.epilogue = pass + 1 == args->passes ? given->epilogue : no_epilogue;
      spmm.row_start = singles->start + (size_t)pass * (singles->units + 1);
      spmm.pair_start = pairs->start + (size_t)pass * (pairs->units + 1);
      for (uint32_t piece = 0; piece < pieces; piece++) {
        uint32_t from, to;
        tulle_piece(vectors, pieces, piece, &from, &to);
        tulle_f32_spmm_pairs(&spmm, pairs->cuts[row_task], pairs->cuts[row_task + 1], pixel + 4 * (size_t)from,
                             to - from);
      }
      if (singles->units) tulle_f32_spmm(&spmm, singles->cuts[row_task], singles->cuts[row_task + 1], pixel, vectors);
    }
  }
}

static void run_sparse(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next, (void)scratch;
  const sparse_args* args = pointer;
  uint32_t tile, tile_end, begin, end, ignored;
  tulle_piece(args->tiles, args->tile_tasks, task % args->tile_tasks, &tile, &tile_end);
  tulle_piece(args->vectors, args->tiles, tile, &begin, &ignored);
  tulle_piece(args->vectors, args->tiles, tile_end, &end, &ignored);
  run_rows(args, &args->spmm, task / args->tile_tasks, begin, end);
}

static void sparse_rows(const void* pointer, const float* input, float* output, uint32_t top, uint32_t rows,
                        char* scratch) {
  (void)scratch;
  const sparse_args* args = pointer;
  tulle_spmm spmm = args->spmm;
  spmm.input = input;
  spmm.output = output;
  for (uint32_t row_task = 0; row_task < args->row_tasks; row_task++)
    run_rows(args, &spmm, row_task, top * args->width / 4, (top + rows) * args->width / 4);
}

// The element of a stream of nonzeros: an entry is one value for each row of its unit, then the offset.
typedef union {
  float value;
  int32_t offset;
} cell;
_Static_assert(sizeof(tulle_nonzero) == 2 * sizeof(cell) && sizeof(tulle_nonzero_pair) == 3 * sizeof(cell),
               "entries of one and of two rows");

// One pass over a row: the nonzeros of columns below `end` that are not packed yet.
static cell* pack_row(const tulle_sparse* rows, uint32_t row, uint32_t end, size_t column_bytes, uint32_t* packed,
                      cell* next) {
  uint32_t i = packed[row];
  for (; i < rows->start[row + 1] && rows->column[i] < end; i++) {
    (next++)->value = rows->value[i];
    (next++)->offset = (int32_t)(rows->column[i] * column_bytes);
  }
  packed[row] = i;
  return next;
}

// The same of two rows.
static cell* pack_pair(const tulle_sparse* rows, const uint32_t* pair, uint32_t end, size_t column_bytes,
                       uint32_t* packed, cell* next) {
  for (;;) {
    uint32_t columns[2], *at[2];
    for (int k = 0; k < 2; k++) {
      at[k] = &packed[pair[k]];
      columns[k] = *at[k] < rows->start[pair[k] + 1] ? rows->column[*at[k]] : UINT32_MAX;
    }
    const uint32_t column = columns[0] < columns[1] ? columns[0] : columns[1];
    if (column >= end) return next;
    for (int k = 0; k < 2; k++) (next++)->value = columns[k] == column ? rows->value[(*at[k])++] : 0;
    (next++)->offset = (int32_t)(column * column_bytes);
  }
}

// How many entries a stream has.
static uint32_t entries(const tulle_sparse* rows, const uint32_t* order, uint32_t units, uint32_t group) {
  uint32_t count = 0;
  for (uint32_t unit = 0; unit < units; unit++) {
    const uint32_t row = order ? order[unit * group] : unit * group;
    count += rows->start[row + 1] - rows->start[row];
    if (group == 2) count += tulle_other_columns(rows, row, order[unit * group + 1]);
  }
  return count;
}

const void* tulle_pack_nonzeros(tulle_planner* planner, const tulle_sparse* rows, const uint32_t* order, uint32_t units,
                                uint32_t group, uint32_t passes, size_t column_bytes, const uint32_t** unit_start) {
  const uint32_t count = entries(rows, order, units, group);
  const size_t starts = (size_t)passes * (units + 1), entry_bytes = (group + 1) * sizeof(cell);
  cell* cells = tulle_plan_alloc(planner, ((size_t)count + 1) * entry_bytes);
  uint32_t* start = tulle_plan_alloc(planner, starts * sizeof *start);
  if (!cells || !start) return NULL;
  uint32_t* packed = malloc(rows->rows * sizeof *packed);
  if (!packed) {
    tulle_plan_fail(planner, "out of memory");
    return NULL;
  }
  memcpy(packed, rows->start, rows->rows * sizeof *packed);
  *unit_start = start;
  planner->weight_bytes += (uint64_t)count * entry_bytes + starts * sizeof *start;
  cell* next = cells;
  for (uint32_t pass = 0; pass < passes; pass++) {
    uint32_t begin, end;
    tulle_piece(rows->columns, passes, pass, &begin, &end);
    for (uint32_t unit = 0; unit <= units; unit++) {
      *start++ = (uint32_t)(next - cells) / (group + 1);
      if (unit == units) break;
      next = group == 2 ? pack_pair(rows, order + 2 * (size_t)unit, end, column_bytes, packed, next)
                        : pack_row(rows, order ? order[unit] : unit, end, column_bytes, packed, next);
    }
  }
  free(packed);
  return cells;
}

// Nonzeros in units [0, unit), all passes.
static uint64_t nonzeros_before(const stream* s, uint32_t passes, uint32_t unit) {
  uint64_t count = 0;
  for (uint32_t pass = 0; pass < passes; pass++) {
    const uint32_t* start = s->start + (size_t)pass * (s->units + 1);
    count += start[unit] - start[0];
  }
  return count;
}

// Cuts the units into pieces of about the same work: the nonzeros, where storing a unit counts as 4 more.
static bool cut(tulle_planner* planner, stream* s, uint32_t passes, uint32_t pieces) {
  uint32_t* cuts = tulle_plan_alloc(planner, ((size_t)pieces + 1) * sizeof *cuts);
  if (!cuts) return false;
  const uint64_t total = nonzeros_before(s, passes, s->units) + 4 * (uint64_t)s->units;
  for (uint32_t p = 1, u = 0; p < pieces; p++) {
    while (u < s->units && nonzeros_before(s, passes, u) + 4 * (uint64_t)u < total * p / pieces) u++;
    cuts[p] = u;
  }
  cuts[pieces] = s->units;
  s->cuts = cuts;
  return true;
}

// Packs the weights into both streams.
static bool pack_streams(tulle_planner* planner, sparse_args* args, const tulle_sparse* rows, size_t column_bytes) {
  uint32_t* order = tulle_plan_alloc(planner, (size_t)rows->rows * sizeof *order);
  if (!order) return false;
  // Through a pointer: Binaryen would make it part of the function that plans convolutions, and V8 would compile that.
  uint32_t (*pair_rows)(tulle_planner*, const tulle_sparse*, uint32_t*) = tulle_pair_rows;
  __asm__("" : "+r"(pair_rows));
  const uint32_t pairs = pair_rows(planner, rows, order);
  if (pairs == UINT32_MAX) return false;
  tulle_spmm* s = &args->spmm;
  s->pair_rows = order;
  s->rows = order + 2 * (size_t)pairs;
  args->pairs.units = pairs;
  args->singles.units = rows->rows - 2 * pairs;
  s->pairs = tulle_pack_nonzeros(planner, rows, order, pairs, 2, args->passes, column_bytes, &args->pairs.start);
  s->nonzeros = s->pairs ? tulle_pack_nonzeros(planner, rows, s->rows, args->singles.units, 1, args->passes,
                                               column_bytes, &args->singles.start)
                         : NULL;
  return s->nonzeros != NULL;
}

// How many tiles of pairs a map takes if it is cut into tiles of at most `tile_vectors`.
static uint32_t pair_tiles(uint32_t vectors, uint32_t tile_vectors) {
  const uint32_t tiles = (vectors + tile_vectors - 1) / tile_vectors;
  uint32_t count = 0;
  for (uint32_t tile = 0; tile < tiles; tile++) {
    uint32_t begin, end;
    tulle_piece(vectors, tiles, tile, &begin, &end);
    count += (end - begin + TULLE_SPMM_PAIR_MAX_VECTORS - 1) / TULLE_SPMM_PAIR_MAX_VECTORS;
  }
  return count;
}

bool tulle_plan_pointwise_sparse(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *w = tulle_plan_input(planner, op, 1), *output = tulle_plan_output(planner, op);
  const tulle_place *x = tulle_place_of_input(planner, op, 0), *y = tulle_place_of_output(planner, op);
  const uint32_t rows = w->shape[0], columns = w->shape[3], pixels = output->shape[1] * output->shape[2];
  sparse_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_spmm* s = &args->spmm;
  s->input = x->data;
  s->output = y->data;
  s->output_stride = y->stride;
  if (tulle_plan_input(planner, op, 3)) {
    s->added = tulle_place_of_input(planner, op, 3)->data;
    s->added_stride = tulle_place_of_input(planner, op, 3)->stride;
  }
  if (!(s->bias = tulle_plan_bias(planner, op, rows, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, rows, &s->epilogue)) return false;
  args->width = output->shape[2];
  args->passes = (columns + SPMM_CHANNELS - 1) / SPMM_CHANNELS;
  tulle_sparse weights;
  if (!tulle_read_sparse(planner, w, &weights)) return false;
  const uint32_t nonzeros = weights.count;
  const bool packed = pack_streams(planner, args, &weights, x->stride * sizeof(float));
  tulle_free_sparse(&weights);
  if (!packed) return false;
  const uint64_t single = nonzeros_before(&args->singles, args->passes, args->singles.units);
  const uint64_t paired = 2 * nonzeros_before(&args->pairs, args->passes, args->pairs.units);

  args->vectors = (pixels + 3) / 4;
  args->tile_vectors = planner->sparse_tile;
  // A tile of 13 vectors makes two full tiles of pairs and a poor third one.
  const uint32_t whole = args->tile_vectors / TULLE_SPMM_PAIR_MAX_VECTORS * TULLE_SPMM_PAIR_MAX_VECTORS;
  if (whole && paired > single && pair_tiles(args->vectors, whole) < pair_tiles(args->vectors, args->tile_vectors))
    args->tile_vectors = whole;
  args->tiles = (args->vectors + args->tile_vectors - 1) / args->tile_vectors;
  // Cut by pixels first: a task with all output channels of a tile reads its inputs once. By channels too where the map
  // is too small.
  args->tile_tasks = tulle_plan_tasks(planner, args->tiles);
  args->row_tasks = tulle_plan_more_tasks(planner, args->tile_tasks, (rows + 7) / 8);
  if (!cut(planner, &args->singles, args->passes, args->row_tasks) ||
      !cut(planner, &args->pairs, args->passes, args->row_tasks))
    return false;
  *work = (tulle_work){.run = run_sparse,
                       .run_rows = sparse_rows,
                       .args = args,
                       .tasks = args->tile_tasks * args->row_tasks,
                       .kernel = paired > single                                ? TULLE_KERNEL_SPMM_PAIRS
                                 : args->tile_vectors == TULLE_SPMM_MAX_VECTORS ? TULLE_KERNEL_SPMM_WIDE
                                                                                : TULLE_KERNEL_SPMM,
                       .weights = w->elements,
                       .nonzeros = nonzeros,
                       .macs = (single + paired) * pixels};
  return true;
}
