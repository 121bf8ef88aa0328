// Dense 1x1 convolutions: weights in blocks of output channels, pixels in packed panels. Other convolutions use the
// blocks too.

#include <stdlib.h>

#include "ops/convolution.h"

// Taps of one pass: keeps the packed pixels (32 bytes per tap) in half of a 48 KB L1.
#define GEMM_TAPS 768
// With more input channels than this, the pixels of a tile are copied next to each other if at least so many output
// channels then read the copy. With fewer, a call covers several tiles of the map itself: as many as keep what all
// blocks of output channels read, 32 bytes per tap and tile, in half of a 32 KB L1. Packing those took up to twice as
// long.
#define GEMM_PACK_TAPS 96
#define GEMM_PACK_ROWS 64
#define GEMM_GROUP_TAPS 512
// Where there are several passes, as many panels are packed at once as fit into a part of L2, and the weights of a pass
// stay in L1 for all of them: a pass reads weights in pieces that are too short for the processor to fetch ahead.
#define GEMM_PANEL_BYTES (256 * 1024)
#define GEMM_MAX_GROUP 16

tulle_gemm tulle_gemm_block(const tulle_dense* args, uint32_t block, uint32_t tap, uint32_t tap_end) {
  const uint32_t row = block * TULLE_GEMM_ROWS, left = args->rows - row, *starts = args->starts;
  const size_t first = starts ? starts[block] : (size_t)block * args->taps + tap;
  return (tulle_gemm){.weights = args->weights + first * TULLE_GEMM_ROWS,
                      .bias = args->bias + row,
                      .offsets = args->offsets + (starts ? starts[block] : tap),
                      .taps = starts ? starts[block + 1] - starts[block] : tap_end - tap,
                      .rows = left < TULLE_GEMM_ROWS ? left : TULLE_GEMM_ROWS,
                      .channel = row,
                      .accumulate = tap > 0,
                      .finish = tap_end == args->taps,
                      .output_stride = args->output_stride,
                      .residual_stride = args->residual_stride,
                      .input_step = 8,
                      .epilogue = &args->epilogue};
}

void tulle_activate_block(const tulle_gemm* gemm, float* output, uint32_t count) {
  if (!gemm->finish || tulle_in_gemm_store(gemm->epilogue->kind)) return;
  for (uint32_t r = 0; r < gemm->rows; r++)
    tulle_f32_activate(output + r * gemm->output_stride, count, gemm->epilogue, gemm->channel + r);
}

// Blocks [block, block_end) of output channels at pixels [pixel, end), a multiple of 4 of them.
static void run_pixels(const tulle_dense* args, uint32_t first_block, uint32_t block_end, size_t pixel, size_t end,
                       char* scratch) {
  const uint32_t passes = (args->taps + GEMM_TAPS - 1) / GEMM_TAPS;
  const uint32_t most = 8 * args->group;
  for (; pixel < end; pixel += most) {
    const uint32_t count = end - pixel < most ? (uint32_t)(end - pixel) : most;
    const float* input = args->input + pixel;
    if (args->pack) {
      for (uint32_t i = 0; 8 * i < count; i++)
        tulle_f32_pack_panel(input + 8 * i, args->input_stride, args->taps,
                             (float*)scratch + (size_t)i * 8 * args->taps);
      input = (const float*)scratch;
    }
    for (uint32_t pass = 0; pass < passes; pass++) {
      uint32_t tap, tap_end;
      tulle_piece(args->taps, passes, pass, &tap, &tap_end);
      for (uint32_t block = first_block; block < block_end; block++) {
        tulle_gemm gemm = tulle_gemm_block(args, block, tap, tap_end);
        if (args->pack) gemm.input_step = 8 * args->taps;
        float* output = args->output + block * TULLE_GEMM_ROWS * args->output_stride + pixel;
        const float* residual =
            args->residual ? args->residual + block * TULLE_GEMM_ROWS * args->residual_stride + pixel : NULL;
        tulle_f32_gemm(&gemm, input, output, residual, count, false);
        tulle_activate_block(&gemm, output, count);
      }
    }
  }
}

static void run_dense(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next;
  const tulle_dense* args = pointer;
  uint32_t tile, tile_end, block, block_end;
  tulle_piece(args->tiles, args->tile_tasks, task % args->tile_tasks, &tile, &tile_end);
  tulle_piece(args->blocks, args->block_tasks, task / args->tile_tasks, &block, &block_end);
  const size_t end = tile_end == args->tiles ? 4 * (size_t)args->vectors : 8 * (size_t)tile_end;
  run_pixels(args, block, block_end, 8 * (size_t)tile, end, scratch);
}

static void dense_rows(const void* pointer, const float* input, float* output, uint32_t top, uint32_t rows,
                       char* scratch) {
  tulle_dense args = *(const tulle_dense*)pointer;
  args.input = input;
  args.output = output;
  run_pixels(&args, 0, args.blocks, (size_t)top * args.width, (size_t)(top + rows) * args.width, scratch);
}

float* tulle_pack_blocks(tulle_planner* planner, const tulle_tensor* weight, uint32_t rows, uint32_t block_rows,
                         const uint32_t* tap_order) {
  const uint32_t taps = weight->elements / rows;
  const uint32_t blocks = (rows + block_rows - 1) / block_rows;
  const uint64_t bytes = (uint64_t)blocks * taps * block_rows * sizeof(float);
  if (bytes > INT32_MAX) {
    tulle_plan_fail(planner, "its weights would take %.0f MB", (double)bytes / 1e6);
    return NULL;
  }
  float *packed = tulle_plan_alloc(planner, (size_t)bytes),
        *weights = packed ? tulle_plan_decode(planner, weight) : NULL;
  if (!weights) return NULL;
  planner->weight_bytes += bytes;
  for (uint32_t row = 0; row < rows; row++) {
    float* out = packed + (size_t)(row / block_rows) * taps * block_rows + row % block_rows;
    for (uint32_t t = 0; t < taps; t++)
      out[(size_t)t * block_rows] = weights[(size_t)row * taps + (tap_order ? tap_order[t] : t)];
  }
  free(weights);
  return packed;
}

bool tulle_plan_operands(tulle_planner* planner, const tulle_op* op, tulle_dense* dense) {
  const tulle_tensor* w = tulle_plan_input(planner, op, 1);
  const tulle_place *x = tulle_place_of_input(planner, op, 0), *y = tulle_place_of_output(planner, op);
  dense->input = x->data;
  dense->input_stride = x->stride;
  dense->output = y->data;
  dense->output_stride = y->stride;
  if (tulle_plan_input(planner, op, 3)) {
    dense->residual = tulle_place_of_input(planner, op, 3)->data;
    dense->residual_stride = tulle_place_of_input(planner, op, 3)->stride;
  }
  dense->rows = w->shape[0];
  dense->taps = w->elements / dense->rows;
  dense->blocks = (dense->rows + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS;
  return (dense->bias = tulle_plan_bias(planner, op, dense->rows, TULLE_GEMM_ROWS)) &&
         tulle_plan_epilogue(planner, op, dense->rows, &dense->epilogue);
}

bool tulle_plan_dense(tulle_planner* planner, const tulle_op* op, const uint32_t* tap_order, tulle_dense* dense) {
  return tulle_plan_operands(planner, op, dense) &&
         (dense->weights =
              tulle_pack_blocks(planner, tulle_plan_input(planner, op, 1), dense->rows, TULLE_GEMM_ROWS, tap_order));
}

bool tulle_plan_pointwise_dense(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *w = tulle_plan_input(planner, op, 1), *output = tulle_plan_output(planner, op);
  const uint32_t pixels = output->shape[1] * output->shape[2];
  tulle_dense* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args || !tulle_plan_dense(planner, op, NULL, args)) return false;
  args->width = output->shape[2];
  args->vectors = (pixels + 3) / 4;
  args->tiles = (args->vectors + 1) / 2;
  args->pack = args->taps > GEMM_PACK_TAPS && args->rows >= GEMM_PACK_ROWS;
  args->group = tulle_round_up(GEMM_GROUP_TAPS / args->taps + 1, 2);
  if (args->group > GEMM_MAX_GROUP) args->group = GEMM_MAX_GROUP;
  const bool passes = args->pack && args->taps > GEMM_TAPS;
  if (args->pack) args->group = 1;
  if (passes) {
    const uint32_t most = GEMM_PANEL_BYTES / (args->taps * 8 * (uint32_t)sizeof(float));
    args->group = most < 1 ? 1 : most < args->tiles ? most : args->tiles;
  }
  int32_t* offsets = tulle_plan_alloc(planner, args->taps * sizeof *offsets);
  if (!offsets) return false;
  for (uint32_t t = 0; t < args->taps; t++)
    offsets[t] = (int32_t)(t * (args->pack ? 8 : args->input_stride) * sizeof(float));
  args->offsets = offsets;
  // Threads that share out the output channels read the weights once.
  args->tile_tasks = passes ? 1 : tulle_plan_tasks(planner, args->tiles);
  args->block_tasks = tulle_plan_more_tasks(planner, args->tile_tasks, args->blocks);
  *work = (tulle_work){.run = run_dense,
                       .run_rows = dense_rows,
                       .args = args,
                       .tasks = args->tile_tasks * args->block_tasks,
                       .kernel = TULLE_KERNEL_GEMM,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * pixels,
                       .scratch = args->pack ? (uint64_t)args->group * args->taps * 8 * sizeof(float) : 0};
  return true;
}
