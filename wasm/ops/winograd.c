// Convolutions with a kernel of 3x3, 1x3 or 3x1 and stride 1 by Winograd's minimal filtering (kernels.h), where that
// is expected to be faster than spatial.c: it multiplies 4 times less, or twice in one direction, transforms input and
// output, and reads 4 times, or twice, as many weights.
//
// A strip of the output at a time: its input is transformed into scratch memory that fits L2; then for each block of
// output channels the products of all points go to scratch memory, and from there, transformed back, to the output.

#include <stdlib.h>
#include <string.h>

#include "ops/convolution.h"

// Transformed input of a strip.
#define STRIP_BYTES (384 * 1024)
// Tiles of a strip at most.
#define STRIP_TILES 256
// Transformed weights of a layer at most, and scratch memory of a thread.
#define WEIGHT_BYTES (40u << 20)
#define SCRATCH_BYTES (16u << 20)
// Fewer channels than this are not worth transforming.
#define LEAST_INPUTS 6
#define LEAST_OUTPUTS 4
// How much of the direct product's time it may be expected to take.
#define WORTH 0.9

// How a layer is cut into tiles, and tiles into strips.
typedef struct {
  uint32_t points;                   // matrices
  uint32_t tile_h, tile_w;           // outputs of a tile
  uint32_t tile_rows, tile_columns;  // tiles of the output
  uint32_t row_strips, column_strips;
  uint32_t strip_tiles;  // of the largest strip
  double cycles;         // expected of a run
} tiling;

typedef struct {
  tulle_dense dense;  // weights: [blocks][points][channels][TULLE_GEMM_ROWS]
  tulle_winograd transform;
  tiling tiles;
  uint32_t channels, out_height;
  size_t row_stride;       // floats from row to row of the transformed input, and of the products
  size_t products, lines;  // where these begin in scratch memory, in floats
  const float* no_bias;    // TULLE_GEMM_ROWS zeros
  uint32_t strip_tasks;
} winograd_args;

// ---- what it costs --------------------------------------------------------------------------------------------
//
// Cycles of a 3.76 GHz Zen 5 in Chromium, fitted to the times of 226 layers of 4 to 512 channels and 4x4 to 256x256
// pixels, and within 11 % of them (root mean square). Only their ratio matters: docs/performance.md.

// The gemm kernel over `taps` and `count` pixels, all output channels.
static double gemm_cycles(uint32_t channels, uint32_t taps, uint32_t count) {
  const uint32_t blocks = (channels + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS, rest = count % 8;
  const double tiles = count / 8 + (rest > 4 ? 1 : rest > 0 ? 0.65 : 0);
  return blocks * (tiles * (taps * (TULLE_GEMM_ROWS == 6 ? 4.9 : 3.8) + 12) + 15);
}

// The share of the taps for which a block of output channels has a weight: spatial.c leaves out the others, which a
// convolution in groups has many of.
static double share_of_taps(const tulle_tensor* w) {
  if (!w->is_constant || tulle_constant_nonzeros(w) > w->elements / 2) return 1;
  float* weights = malloc((size_t)w->elements * sizeof *weights);
  if (!weights) return 1;
  tulle_constant_decode(w, weights);
  const uint32_t rows = w->shape[0], taps = w->elements / rows;
  uint32_t kept = 0, all = 0;
  for (uint32_t first = 0; first < rows; first += TULLE_GEMM_ROWS) {
    const uint32_t end = rows - first < TULLE_GEMM_ROWS ? rows : first + TULLE_GEMM_ROWS;
    for (uint32_t t = 0; t < taps; t++, all++) {
      uint32_t row = first;
      while (row < end && weights[(size_t)row * taps + t] == 0) row++;
      kept += row < end;
    }
  }
  free(weights);
  return (double)kept / all;
}

static double direct_cycles(const tulle_tensor* w, const tulle_tensor* y) {
  const uint32_t taps = w->shape[1] * w->shape[2] * w->shape[3];
  return y->shape[1] * (gemm_cycles(w->shape[0], taps, y->shape[2]) * share_of_taps(w) + 15.0 * w->shape[3]);
}

static double winograd_cycles(const tiling* t, const tulle_tensor* w) {
  const uint32_t inputs = w->shape[3], outputs = w->shape[0];
  const double strips = (double)t->row_strips * t->column_strips, bytes = 4.0 * t->points * inputs * outputs;
  const double vectors = (double)t->tile_rows * t->column_strips * ((t->tile_columns / t->column_strips + 3) / 4);
  const double transforms = vectors * ((double)inputs + outputs) * (t->points == 36 ? 90 : 17);
  // Weights are read from L2, L3, or beyond.
  const double reading = bytes * (bytes < 512e3 ? 0.02 : bytes < 16e6 ? 0.06 : 0.25);
  return strips * (t->points * gemm_cycles(outputs, inputs, t->strip_tiles) + reading + 3000) + transforms;
}

// Whether the op can be run like this at all. Its shapes are not checked yet.
static bool fits(const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w, const tulle_tensor* y) {
  if (w->rank != 4 || x->rank != 4 || y->rank != 4 || !x->chw || !y->chw || op->kind != TULLE_OP_CONV2D) return false;
  const uint32_t h = w->shape[1], width = w->shape[2];
  if (!((h == 3 && (width == 3 || width == 1)) || (h == 1 && width == 3))) return false;
  // Every window has a pixel of the input: one without would take rounding errors from its neighbours.
  return op->stride_h == 1 && op->stride_w == 1 && op->dilation_h == 1 && op->dilation_w == 1 && op->pad_top < h &&
         op->pad_bottom < h && op->pad_left < width && op->pad_right < width && w->shape[3] >= LEAST_INPUTS &&
         w->shape[0] >= LEAST_OUTPUTS && y->shape[1] && y->shape[2];
}

// The strips that are expected to be fastest.
static tiling tiling_of(const tulle_tensor* w, const tulle_tensor* y) {
  const bool down = w->shape[1] == 3, across = w->shape[2] == 3;
  tiling t = {.points = (down ? 6 : 1) * (across ? 6 : 1), .tile_h = down ? 4 : 1, .tile_w = across ? 4 : 1};
  t.tile_rows = (y->shape[1] + t.tile_h - 1) / t.tile_h;
  t.tile_columns = (y->shape[2] + t.tile_w - 1) / t.tile_w;
  const uint64_t tile_bytes = 4ull * t.points * w->shape[3];
  uint64_t most = STRIP_BYTES / tile_bytes;
  if (most < 16) most = 16;
  if (most > STRIP_TILES) most = STRIP_TILES;
  t.column_strips = (uint32_t)((t.tile_columns + most - 1) / most);
  const uint32_t columns = (t.tile_columns + t.column_strips - 1) / t.column_strips;
  tiling best = t;
  for (uint32_t rows = 1; rows <= t.tile_rows && (rows == 1 || rows * columns <= most); rows++) {
    t.row_strips = (t.tile_rows + rows - 1) / rows;
    t.strip_tiles = rows * columns;
    t.cycles = winograd_cycles(&t, w);
    if (rows == 1 || t.cycles < best.cycles) best = t;
  }
  return best;
}

static uint64_t weight_bytes(const tiling* t, const tulle_tensor* w) {
  return 4ull * t->points * w->shape[3] * tulle_round_up(w->shape[0], TULLE_GEMM_ROWS);
}

// Of a thread, about: transformed input and products.
static uint64_t scratch_bytes(const tiling* t, const tulle_tensor* w) {
  return 4ull * t->points * (w->shape[3] + TULLE_GEMM_ROWS) * (t->strip_tiles + 16);
}

bool tulle_prefers_winograd(const tulle_net* net, const tulle_op* op) {
  if (op->kind != TULLE_OP_CONV2D || op->inputs[0] < 0 || op->inputs[1] < 0) return false;
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *w = &net->tensors[op->inputs[1]];
  const tulle_tensor* y = &net->tensors[op->output];
  if (!fits(op, x, w, y)) return false;
  const tiling t = tiling_of(w, y);
  return weight_bytes(&t, w) <= WEIGHT_BYTES && scratch_bytes(&t, w) <= SCRATCH_BYTES &&
         t.cycles < WORTH * direct_cycles(w, y);
}

bool tulle_takes_winograd(const tulle_planner* planner, const tulle_op* op) {
  if (!tulle_prefers_winograd(planner->net, op)) return false;
  const tulle_tensor* w = tulle_plan_input(planner, op, 1);
  const tiling t = tiling_of(w, tulle_plan_output(planner, op));
  return weight_bytes(&t, w) + planner->threads * scratch_bytes(&t, w) <= planner->spare_bytes;
}

// ---- running --------------------------------------------------------------------------------------------------

// A strip: rows [top, bottom) and columns [left, right) of the tiles.
typedef struct {
  uint32_t top, bottom, left, right;
} strip;

static void transform_input(const winograd_args* args, strip s, float* scratch) {
  float* lines = scratch + args->lines;
  const uint32_t columns = s.right - s.left;
  tulle_f32_zero(lines, 7 * (size_t)args->transform.line_floats);
  for (uint32_t c = 0; c < args->channels; c++) {
    const float* channel = args->dense.input + c * args->dense.input_stride;
    tulle_f32_winograd_input(&args->transform, channel, s.top, s.bottom, s.left, columns, lines,
                             scratch + c * args->row_stride);
  }
}

static void multiply(const winograd_args* args, tulle_gemm gemm, uint32_t tiles, const float* input, float* products) {
  for (uint32_t p = 0; p < args->tiles.points; p++) {
    tulle_f32_gemm(&gemm, input, products, NULL, tiles, false);
    gemm.weights += (size_t)gemm.taps * TULLE_GEMM_ROWS;
    input += args->transform.matrix_stride;
    products += args->transform.product_stride;
  }
}

static void transform_output(const winograd_args* args, const tulle_gemm* gemm, strip s, const float* products) {
  const tulle_dense* dense = &args->dense;
  const uint32_t tile_h = args->tiles.tile_h, tile_w = args->tiles.tile_w, width = args->transform.out_width;
  const uint32_t left = s.left * tile_w, top = s.top * tile_h;
  const uint32_t columns = (s.right * tile_w < width ? s.right * tile_w : width) - left;
  const uint32_t rows = (s.bottom * tile_h < args->out_height ? s.bottom * tile_h : args->out_height) - top;
  const size_t pixel = (size_t)top * width + left;
  for (uint32_t r = 0; r < gemm->rows; r++) {
    const uint32_t channel = gemm->channel + r;
    float* output = dense->output + channel * dense->output_stride + pixel;
    const float* residual = dense->residual ? dense->residual + channel * dense->residual_stride + pixel : NULL;
    tulle_f32_winograd_output(&args->transform, products + r * args->row_stride, dense->bias[channel], residual, output,
                              rows, columns, &dense->epilogue);
    for (uint32_t i = 0; dense->epilogue.kind != TULLE_ACT_NONE && i < rows; i++)
      tulle_f32_activate(output + (size_t)i * width, columns, &dense->epilogue, channel);
  }
}

static void run_winograd(const void* pointer, uint32_t task, uint32_t next, char* memory) {
  (void)next;
  const winograd_args* args = pointer;
  const tulle_dense* dense = &args->dense;
  const tiling* t = &args->tiles;
  float *scratch = (float*)memory, *products = scratch + args->products;
  uint32_t number, end, first_block, block_end;
  tulle_piece(t->row_strips * t->column_strips, args->strip_tasks, task % args->strip_tasks, &number, &end);
  tulle_piece(dense->blocks, dense->block_tasks, task / args->strip_tasks, &first_block, &block_end);
  for (; number < end; number++) {
    strip s;
    tulle_piece(t->tile_rows, t->row_strips, number / t->column_strips, &s.top, &s.bottom);
    tulle_piece(t->tile_columns, t->column_strips, number % t->column_strips, &s.left, &s.right);
    transform_input(args, s, scratch);
    for (uint32_t block = first_block; block < block_end; block++) {
      tulle_gemm gemm = tulle_gemm_block(dense, block, 0, dense->taps);
      gemm.weights = dense->weights + (size_t)block * t->points * gemm.taps * TULLE_GEMM_ROWS;
      gemm.bias = args->no_bias;
      gemm.finish = false;
      gemm.output_stride = args->row_stride;
      multiply(args, gemm, (s.bottom - s.top) * (s.right - s.left), scratch, products);
      transform_output(args, &gemm, s, products);
    }
  }
}

// ---- planning -------------------------------------------------------------------------------------------------

// The kernels of output channel `row` at all points, into its column of its block.
static void pack_row(const tulle_tensor* w, uint32_t points, const float* weights, uint32_t row, float* packed) {
  const uint32_t channels = w->shape[3], taps = w->shape[1] * w->shape[2];
  float* out = packed + (size_t)(row / TULLE_GEMM_ROWS) * points * channels * TULLE_GEMM_ROWS + row % TULLE_GEMM_ROWS;
  weights += (size_t)row * taps * channels;
  for (uint32_t c = 0; c < channels; c += 4) {
    if (c + 4 > channels) c = channels - 4;
    v4 at[36];
    tulle_f32_winograd_weights(w->shape[1], w->shape[2], weights + c, channels, at);
    for (uint32_t p = 0; p < points; p++) {
      float lanes[4];
      v4_store(lanes, at[p]);
      for (uint32_t i = 0; i < 4; i++) out[((size_t)p * channels + c + i) * TULLE_GEMM_ROWS] = lanes[i];
    }
  }
}

bool tulle_plan_winograd(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  winograd_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const tiling t = args->tiles = tiling_of(w, y);
  tulle_dense* dense = &args->dense;
  if (!tulle_plan_operands(planner, op, dense)) return false;
  dense->taps = args->channels = x->shape[3];
  args->out_height = y->shape[1];

  const uint64_t bytes = weight_bytes(&t, w);
  float *packed = tulle_plan_alloc(planner, (size_t)bytes), *weights = packed ? tulle_plan_decode(planner, w) : NULL;
  if (!weights) return false;
  planner->weight_bytes += bytes;
  planner->spare_bytes -= bytes;
  for (uint32_t row = 0; row < dense->rows; row++) pack_row(w, t.points, weights, row, packed);
  free(weights);
  dense->weights = packed;

  // Rows of tiles, and matrices an odd number of cache lines apart: powers of two would share a few sets of L1.
  args->row_stride = tulle_round_up(t.strip_tiles + 3, 8);
  tulle_winograd* transform = &args->transform;
  *transform = (tulle_winograd){.kernel_h = w->shape[1],
                                .kernel_w = w->shape[2],
                                .height = x->shape[1],
                                .width = x->shape[2],
                                .out_width = y->shape[2],
                                .pad_top = (int32_t)op->pad_top,
                                .pad_left = (int32_t)op->pad_left};
  const uint32_t columns = (t.tile_columns + t.column_strips - 1) / t.column_strips;
  transform->line_floats = tulle_round_up(columns, 4) * t.tile_w + 16;
  transform->matrix_stride = 16 * (((args->channels * args->row_stride + 15) / 16) | 1);
  transform->product_stride = TULLE_GEMM_ROWS * args->row_stride;
  args->products = t.points * transform->matrix_stride;
  args->lines = args->products + t.points * transform->product_stride + 16;
  const uint64_t scratch = args->lines + 7ull * transform->line_floats;

  int32_t* offsets = tulle_plan_alloc(planner, args->channels * sizeof *offsets);
  args->no_bias = tulle_plan_alloc(planner, TULLE_GEMM_ROWS * sizeof(float));
  if (!offsets || !args->no_bias) return false;
  for (uint32_t c = 0; c < args->channels; c++) offsets[c] = (int32_t)(c * args->row_stride * sizeof(float));
  dense->offsets = offsets;

  // Strips are large: where there are few, threads share the output channels of each, and transform its input each for
  // itself.
  const uint32_t strips = t.row_strips * t.column_strips;
  args->strip_tasks = tulle_plan_tasks(planner, strips);
  dense->block_tasks = strips % planner->threads == 0 || strips >= 4 * planner->threads ? 1
                       : dense->blocks < planner->threads                               ? dense->blocks
                                                                                        : planner->threads;
  *work = (tulle_work){.run = run_winograd,
                       .args = args,
                       .tasks = args->strip_tasks * dense->block_tasks,
                       .kernel = TULLE_KERNEL_WINOGRAD,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * y->shape[1] * y->shape[2],
                       .scratch = scratch * sizeof(float)};
  return true;
}
