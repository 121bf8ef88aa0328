// Convolutions and matrix-vector products: choosing the kernel, packing weights, splitting work.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/plan.h"

// Taps of a dense 1x1 convolution that one pass sums: keeps the packed pixels (32 bytes a tap) in half of a 32 KB L1.
#define GEMM_TAPS 512
// Input channels of a sparse 1x1 convolution that one pass over the output channels reads: their part of a tile, up to
// 4 cache lines each, stays in a 48 KB L1. Measured: 672 -> 112 channels at 14x14 run at 22 instead of 18 GMAC/s.
#define SPMM_CHANNELS 192
// Below this many output channels, copying pixels into a packed panel costs more than it saves.
#define GEMM_PACK_CHANNELS 24
// Padded input that one task works on at a time.
#define STRIP_BYTES (32 * 1024)

// ---- checks -------------------------------------------------------------------------------------------

// Whether `out` is what a window of the op's stride, dilation and padding makes of `in`.
static bool fits(uint32_t in, uint32_t pad_before, uint32_t pad_after, uint32_t kernel, uint32_t stride,
                 uint32_t dilation, uint32_t out) {
  const uint64_t padded = (uint64_t)in + pad_before + pad_after, extent = (uint64_t)(kernel - 1) * dilation + 1;
  return padded >= extent && (padded - extent) / stride + 1 == out;
}

// Input, weight and output of a convolution, with `kernel` dimensions 1 and 2 of a weight of rank 4.
static bool check_conv(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
                       const tulle_tensor* y) {
  if (!w || w->rank != 4 || x->rank != 4 || y->rank != 4 || x->shape[0] != 1 || y->shape[0] != 1)
    return tulle_plan_fail(planner, "input, weight and output must have 4 dimensions and a batch of 1");
  if (w->shape[1] > 1024 || w->shape[2] > 1024) return tulle_plan_fail(planner, "kernel sizes up to 1024 are possible");
  if (!fits(x->shape[1], op->pad_top, op->pad_bottom, w->shape[1], op->stride_h, op->dilation_h, y->shape[1]) ||
      !fits(x->shape[2], op->pad_left, op->pad_right, w->shape[2], op->stride_w, op->dilation_w, y->shape[2]))
    return tulle_plan_fail(planner,
                           "a %ux%u input, %ux%u kernel and the op's stride and padding do not make a %ux%u output",
                           x->shape[1], x->shape[2], w->shape[1], w->shape[2], y->shape[1], y->shape[2]);
  return true;
}

// The bias as `channels` floats and `extra` zeros; zeros if it is left out.
static float* plan_bias(tulle_planner* planner, const tulle_op* op, uint32_t index, uint32_t channels, uint32_t extra) {
  const tulle_tensor* bias = tulle_plan_input(planner, op, index);
  if (!bias) return tulle_plan_alloc(planner, (channels + extra) * sizeof(float));
  if (bias->elements != channels) {
    tulle_plan_fail(planner, "its bias '%s' has %u values for %u channels", bias->name, bias->elements, channels);
    return NULL;
  }
  return tulle_plan_constant(planner, op->inputs[index], extra);
}

// A constant unpacked for the time of planning only; the caller frees it.
static float* unpack(tulle_planner* planner, const tulle_tensor* tensor) {
  if (!tensor->is_constant) {
    tulle_plan_fail(planner, "its weight '%s' must be constant", tensor->name);
    return NULL;
  }
  float* values = malloc((size_t)tensor->elements * sizeof *values);
  if (values) {
    tulle_constant_decode(tensor, values);
  } else {
    tulle_plan_fail(planner, "out of memory");
  }
  return values;
}

// ---- sparse 1x1 -------------------------------------------------------------------------------------------

typedef struct {
  tulle_spmm spmm;
  uint32_t vectors, tiles;  // of the whole map; vectors are shared out evenly among the tiles
  uint32_t tile_tasks, row_tasks;
  const uint32_t* rows;       // where each task's output channels begin
  const uint32_t* row_start;  // [pass][output channel], one more a pass
  uint32_t passes, outputs;
} sparse_args;

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
    for (uint32_t pass = 0; pass < args->passes; pass++) {
      spmm.row_start = args->row_start + (size_t)pass * (args->outputs + 1);
      spmm.accumulate = pass > 0;
      spmm.finish = pass + 1 == args->passes;
      tulle_f32_spmm(&spmm, args->rows[row_task], args->rows[row_task + 1], 4 * (size_t)begin, end - begin);
    }
  }
}

// The nonzeros of a [rows][columns] matrix, `passes` pieces of the columns one after the other; a column's offset is
// column * column_bytes. There are at most `count`. row_start: [passes][rows + 1].
static bool pack_nonzeros(tulle_planner* planner, const float* weights, uint32_t count, uint32_t rows, uint32_t columns,
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

static bool plan_sparse(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t pixels) {
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
  if (!(s->bias = plan_bias(planner, op, 2, rows, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, 4, rows, &s->epilogue)) return false;
  float* weights = unpack(planner, w);
  args->outputs = rows;
  args->passes = (columns + SPMM_CHANNELS - 1) / SPMM_CHANNELS;
  const bool packed = weights && pack_nonzeros(planner, weights, tulle_constant_nonzeros(w), rows, columns,
                                               args->passes, x->stride * sizeof(float), &s->nonzeros, &args->row_start);
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
  step->nonzeros = (uint32_t)nonzeros_before(args, rows);
  step->weights = w->elements;
  step->macs = (uint64_t)step->nonzeros * pixels;
  return true;
}

// ---- dense 1x1 ----------------------------------------------------------------------------------------------

typedef struct {
  const float *input, *weights, *bias, *residual;
  float* output;
  size_t input_stride, output_stride, residual_stride;
  const int32_t* offsets;
  uint32_t rows, taps, blocks;  // output channels, input channels, blocks of TULLE_GEMM_ROWS output channels
  uint32_t pixels, vectors, tiles;
  uint32_t tile_tasks, block_tasks;
  bool pack;
  tulle_epilogue epilogue;
} dense_args;

static tulle_gemm gemm_block(const dense_args* args, uint32_t block, uint32_t tap, uint32_t tap_end) {
  const uint32_t row = block * TULLE_GEMM_ROWS, left = args->rows - row;
  return (tulle_gemm){.weights = args->weights + ((size_t)block * args->taps + tap) * TULLE_GEMM_ROWS,
                      .bias = args->bias + row,
                      .offsets = args->offsets + tap,
                      .taps = tap_end - tap,
                      .rows = left < TULLE_GEMM_ROWS ? left : TULLE_GEMM_ROWS,
                      .channel = row,
                      .accumulate = tap > 0,
                      .finish = tap_end == args->taps,
                      .output_stride = args->output_stride,
                      .residual_stride = args->residual_stride,
                      .epilogue = &args->epilogue};
}

// The activations that are not clamps, over what a block has just written.
static void activate_block(const tulle_gemm* gemm, float* output, uint32_t count) {
  if (!gemm->finish || gemm->epilogue->kind == TULLE_ACT_NONE) return;
  for (uint32_t r = 0; r < gemm->rows; r++)
    tulle_f32_activate(output + r * gemm->output_stride, count, gemm->epilogue, gemm->channel + r);
}

// Copies 4 * vectors pixels of every channel next to each other.
static void pack_panel(const dense_args* args, size_t pixel, uint32_t vectors, float* panel) {
  const float* input = args->input + pixel;
  for (uint32_t c = 0; c < args->taps; c++, input += args->input_stride, panel += 4 * TULLE_GEMM_MAX_VECTORS)
    memcpy(panel, input, (vectors == 2 ? 8 : 4) * sizeof *panel);
}

static void run_dense(const tulle_step* step, uint32_t task, char* scratch) {
  const dense_args* args = step->args;
  uint32_t tile, tile_end, first_block, block_end;
  tulle_piece(args->tiles, args->tile_tasks, task % args->tile_tasks, &tile, &tile_end);
  tulle_piece(args->blocks, args->block_tasks, task / args->tile_tasks, &first_block, &block_end);
  for (; tile < tile_end; tile++) {
    uint32_t begin, end;
    tulle_piece(args->vectors, args->tiles, tile, &begin, &end);
    const size_t pixel = 4 * (size_t)begin;
    const uint32_t count = 4 * (end - begin);
    const float* input = args->input + pixel;
    if (args->pack) {
      pack_panel(args, pixel, end - begin, (float*)scratch);
      input = (const float*)scratch;
    }
    const uint32_t passes = (args->taps + GEMM_TAPS - 1) / GEMM_TAPS;
    for (uint32_t pass = 0; pass < passes; pass++) {
      uint32_t tap, tap_end;
      tulle_piece(args->taps, passes, pass, &tap, &tap_end);
      for (uint32_t block = first_block; block < block_end; block++) {
        const tulle_gemm gemm = gemm_block(args, block, tap, tap_end);
        float* output = args->output + block * TULLE_GEMM_ROWS * args->output_stride + pixel;
        const float* residual =
            args->residual ? args->residual + block * TULLE_GEMM_ROWS * args->residual_stride + pixel : NULL;
        tulle_f32_gemm_6x8(&gemm, input, output, residual, count, false);
        activate_block(&gemm, output, count);
      }
    }
  }
}

// Weights [rows][taps] as [rows / 6][taps][6], missing rows zero. tap_order[t] is the column of tap t, NULL for t
// itself.
static float* pack_blocks(tulle_planner* planner, const float* weights, uint32_t rows, uint32_t taps,
                          const uint32_t* tap_order) {
  const uint32_t blocks = (rows + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS;
  const uint64_t bytes = (uint64_t)blocks * taps * TULLE_GEMM_ROWS * sizeof(float);
  if (bytes > INT32_MAX) {
    tulle_plan_fail(planner, "its weights would take %.0f MB", (double)bytes / 1e6);
    return NULL;
  }
  float* packed = tulle_plan_alloc(planner, (size_t)bytes);
  if (!packed) return NULL;
  planner->model->weight_bytes += bytes;
  for (uint32_t row = 0; row < rows; row++) {
    float* out = packed + (size_t)(row / TULLE_GEMM_ROWS) * taps * TULLE_GEMM_ROWS + row % TULLE_GEMM_ROWS;
    for (uint32_t t = 0; t < taps; t++)
      out[(size_t)t * TULLE_GEMM_ROWS] = weights[(size_t)row * taps + (tap_order ? tap_order[t] : t)];
  }
  return packed;
}

static bool plan_dense(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t pixels) {
  const tulle_place *x = &planner->places[op->inputs[0]], *y = &planner->places[op->output];
  dense_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->input = x->data;
  args->input_stride = x->stride;
  args->output = y->data;
  args->output_stride = y->stride;
  if (tulle_plan_input(planner, op, 3)) {
    args->residual = planner->places[op->inputs[3]].data;
    args->residual_stride = planner->places[op->inputs[3]].stride;
  }
  args->rows = w->shape[0];
  args->taps = w->shape[3];
  args->blocks = (args->rows + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS;
  args->pixels = pixels;
  args->vectors = (pixels + 3) / 4;
  args->tiles = (args->vectors + TULLE_GEMM_MAX_VECTORS - 1) / TULLE_GEMM_MAX_VECTORS;
  args->pack = args->rows >= GEMM_PACK_CHANNELS;
  if (args->pack) tulle_plan_scratch(planner, (uint64_t)args->taps * 4 * TULLE_GEMM_MAX_VECTORS * sizeof(float));
  if (!(args->bias = plan_bias(planner, op, 2, args->rows, TULLE_GEMM_ROWS))) return false;
  if (!tulle_plan_epilogue(planner, op, 4, args->rows, &args->epilogue)) return false;
  int32_t* offsets = tulle_plan_alloc(planner, args->taps * sizeof *offsets);
  if (!offsets) return false;
  for (uint32_t t = 0; t < args->taps; t++)
    offsets[t] = (int32_t)(t * (args->pack ? 4 * TULLE_GEMM_MAX_VECTORS : x->stride) * sizeof(float));
  args->offsets = offsets;
  float* weights = unpack(planner, w);
  if (!weights) return false;
  const uint32_t nonzeros = tulle_constant_nonzeros(w);
  args->weights = pack_blocks(planner, weights, args->rows, args->taps, NULL);
  free(weights);
  if (!args->weights) return false;

  args->tile_tasks = tulle_plan_tasks(planner, args->tiles);
  const uint32_t wanted = planner->threads == 1 ? 1 : 4 * planner->threads;
  args->block_tasks = (wanted + args->tile_tasks - 1) / args->tile_tasks;
  if (args->block_tasks > args->blocks) args->block_tasks = args->blocks;
  tulle_step* step = tulle_plan_step(planner, run_dense, args, args->tile_tasks * args->block_tasks, "f32_gemm_6x8");
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = nonzeros;
  step->macs = (uint64_t)w->elements * pixels;
  return true;
}

// ---- k x k ------------------------------------------------------------------------------------------------------

typedef struct {
  dense_args dense;  // weights, bias, epilogue, output; offsets into the padded planes
  tulle_plane plane;
  const struct tulle_input* image;  // the model input it reads, or NULL for a CHW tensor
  uint32_t channels, out_height, out_width, stride_h, kernel_rows, pad_top;
  uint32_t strip_rows, strips, strip_tasks;
  size_t plane_stride;  // floats
} conv_args;

static void run_conv(const tulle_step* step, uint32_t task, char* scratch) {
  const conv_args* args = step->args;
  const dense_args* dense = &args->dense;
  float *planes = (float*)scratch, *line = planes + args->channels * args->plane_stride;
  const uint32_t row_floats = args->plane.stride * args->plane.phase_width;
  tulle_f32_zero(planes, args->channels * args->plane_stride);
  uint32_t strip, strip_end, first_block, block_end;
  tulle_piece(args->strips, args->strip_tasks, task % args->strip_tasks, &strip, &strip_end);
  tulle_piece(dense->blocks, dense->block_tasks, task / args->strip_tasks, &first_block, &block_end);
  for (; strip < strip_end; strip++) {
    const uint32_t top = strip * args->strip_rows;
    const uint32_t rows = args->out_height - top < args->strip_rows ? args->out_height - top : args->strip_rows;
    const int32_t in_row = (int32_t)(top * args->stride_h) - (int32_t)args->pad_top;
    const uint32_t in_rows = (rows - 1) * args->stride_h + args->kernel_rows;
    if (!args->image) {
      for (uint32_t c = 0; c < args->channels; c++)
        tulle_f32_pad_chw(&args->plane, dense->input + c * dense->input_stride, in_row, in_rows,
                          planes + c * args->plane_stride);
    } else if (args->image->is_rgba8) {
      tulle_f32_pad_rgba8(&args->plane, args->image->pixels, args->image->scale, args->image->shift, in_row, in_rows,
                          planes, args->plane_stride, line);
    } else {
      tulle_f32_pad_hwc(&args->plane, dense->input, args->channels, in_row, in_rows, planes, args->plane_stride, line);
    }
    for (uint32_t block = first_block; block < block_end; block++) {
      const tulle_gemm gemm = gemm_block(dense, block, 0, dense->taps);
      const size_t row = block * TULLE_GEMM_ROWS;
      for (uint32_t y = 0; y < rows; y++) {
        const size_t pixel = (size_t)(top + y) * args->out_width;
        const float* input = planes + (size_t)y * args->stride_h * row_floats;
        for (uint32_t x = 0; x < args->out_width; x += 4 * TULLE_GEMM_MAX_VECTORS) {
          uint32_t count = args->out_width - x;
          if (count > 4 * TULLE_GEMM_MAX_VECTORS) count = 4 * TULLE_GEMM_MAX_VECTORS;
          float* output = dense->output + row * dense->output_stride + pixel + x;
          const float* residual = dense->residual ? dense->residual + row * dense->residual_stride + pixel + x : NULL;
          tulle_f32_gemm_6x8(&gemm, input + x, output, residual, count, true);
          activate_block(&gemm, output, count);
        }
      }
    }
  }
}

// Floats one phase of a padded row needs for outputs of `out_width`, whole vectors read.
static uint64_t phase_width(uint32_t out_width, uint32_t kernel_w, uint32_t dilation_w, uint32_t stride_w) {
  const uint64_t reach = (uint64_t)tulle_round_up(out_width, 4) + (uint64_t)(kernel_w - 1) * dilation_w / stride_w;
  return (reach + 3) / 4 * 4;
}

static bool plan_general(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
                         const tulle_tensor* y) {
  const tulle_place *in = &planner->places[op->inputs[0]], *out = &planner->places[op->output];
  const uint32_t kernel_h = w->shape[1], kernel_w = w->shape[2];
  conv_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  dense_args* dense = &args->dense;
  if (!x->chw && x->shape[1] * x->shape[2] > 1 && x->shape[3] > 1) {
    for (uint32_t i = 0; i < planner->model->input_count; i++)
      if (planner->model->inputs[i].data == in->data) args->image = &planner->model->inputs[i];
    if (!args->image || x->shape[3] > 4)
      return tulle_plan_fail(planner, "reads '%s', which is neither chw nor a model input of at most 4 channels",
                             x->name);
  }
  args->channels = x->shape[3];
  args->out_height = y->shape[1];
  args->out_width = y->shape[2];
  args->stride_h = op->stride_h;
  args->pad_top = op->pad_top;
  const uint64_t phase = phase_width(y->shape[2], kernel_w, op->dilation_w, op->stride_w);
  const uint64_t row_floats = phase * op->stride_w, kernel_rows = (uint64_t)(kernel_h - 1) * op->dilation_h + 1;
  const uint64_t row_bytes = row_floats * args->channels * sizeof(float);
  // As many output rows a strip as fit, and at least one.
  uint64_t strip = 1;
  while (strip < y->shape[1] && (strip * op->stride_h + kernel_rows) * row_bytes <= STRIP_BYTES) strip++;
  const uint64_t in_rows = (strip - 1) * op->stride_h + kernel_rows, plane_stride = row_floats * in_rows + 16;
  const uint64_t bytes = (plane_stride * args->channels + (uint64_t)args->channels * (x->shape[2] + 8)) * sizeof(float);
  if (bytes > INT32_MAX) return tulle_plan_fail(planner, "its padded input would take %.0f MB", (double)bytes / 1e6);
  tulle_plan_scratch(planner, bytes);
  args->plane = (tulle_plane){x->shape[1], x->shape[2], op->stride_w, op->pad_left, (uint32_t)phase};
  args->kernel_rows = (uint32_t)kernel_rows;
  args->plane_stride = (size_t)plane_stride;
  args->strip_rows = (uint32_t)strip;
  args->strips = (uint32_t)((y->shape[1] + strip - 1) / strip);

  dense->input = in->data;
  dense->input_stride = in->stride;
  dense->output = out->data;
  dense->output_stride = out->stride;
  if (tulle_plan_input(planner, op, 3)) {
    dense->residual = planner->places[op->inputs[3]].data;
    dense->residual_stride = planner->places[op->inputs[3]].stride;
  }
  dense->rows = w->shape[0];
  dense->taps = kernel_h * kernel_w * args->channels;
  dense->blocks = (dense->rows + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS;
  if (!(dense->bias = plan_bias(planner, op, 2, dense->rows, TULLE_GEMM_ROWS))) return false;
  if (!tulle_plan_epilogue(planner, op, 4, dense->rows, &dense->epilogue)) return false;

  // A file's weights are [out][ky][kx][in]; taps run channel by channel, since a channel's rows lie together.
  int32_t* offsets = tulle_plan_alloc(planner, dense->taps * sizeof *offsets);
  uint32_t* order = malloc(dense->taps * sizeof *order);
  float* weights = unpack(planner, w);
  const bool ok = offsets && order && weights;
  if (ok) {
    uint32_t t = 0;
    for (uint32_t c = 0; c < args->channels; c++) {
      for (uint32_t ky = 0; ky < kernel_h; ky++) {
        for (uint32_t kx = 0; kx < kernel_w; kx++, t++) {
          const uint32_t column = kx * op->dilation_w;
          offsets[t] = (int32_t)((c * plane_stride + (uint64_t)ky * op->dilation_h * row_floats +
                                  column % op->stride_w * phase + column / op->stride_w) *
                                 sizeof(float));
          order[t] = (ky * kernel_w + kx) * args->channels + c;
        }
      }
    }
    dense->offsets = offsets;
    dense->weights = pack_blocks(planner, weights, dense->rows, dense->taps, order);
  }
  const uint32_t nonzeros = tulle_constant_nonzeros(w);
  free(order);
  free(weights);
  if (!ok || !dense->weights) return false;

  args->strip_tasks = tulle_plan_tasks(planner, args->strips);
  const uint32_t wanted = planner->threads == 1 ? 1 : 4 * planner->threads;
  dense->block_tasks = (wanted + args->strip_tasks - 1) / args->strip_tasks;
  if (dense->block_tasks > dense->blocks) dense->block_tasks = dense->blocks;
  tulle_step* step = tulle_plan_step(planner, run_conv, args, args->strip_tasks * dense->block_tasks,
                                     args->image ? "f32_conv_hwc_6x8" : "f32_conv_6x8");
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = nonzeros;
  step->macs = (uint64_t)w->elements * y->shape[1] * y->shape[2];
  return true;
}

// ---- fully connected ------------------------------------------------------------------------------------------------

typedef struct {
  const float *input, *weights, *bias, *residual;
  float* output;
  const tulle_nonzero* nonzeros;  // NULL: dense
  const uint32_t* row_start;
  uint32_t batch, inputs, outputs, tasks;
  tulle_epilogue epilogue;
} vector_args;

static float sparse_dot(const tulle_nonzero* next, const tulle_nonzero* end, const float* x) {
  float even = 0, odd = 0;
  for (; next + 2 <= end; next += 2) {
    even += next[0].value * *(const float*)((const char*)x + next[0].offset);
    odd += next[1].value * *(const float*)((const char*)x + next[1].offset);
  }
  if (next < end) even += next->value * *(const float*)((const char*)x + next->offset);
  return even + odd;
}

static void run_vector(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const vector_args* args = step->args;
  uint32_t begin, end;
  tulle_piece(args->outputs, args->tasks, task, &begin, &end);
  for (uint32_t n = 0; n < args->batch; n++) {
    const float* x = args->input + (size_t)n * args->inputs;
    float* y = args->output + (size_t)n * args->outputs;
    for (uint32_t o = begin; o < end; o++) {
      float sum = args->nonzeros
                      ? sparse_dot(args->nonzeros + args->row_start[o], args->nonzeros + args->row_start[o + 1], x)
                      : tulle_f32_dot(args->weights + (size_t)o * args->inputs, x, args->inputs);
      sum += args->bias[o];
      if (args->residual) sum += args->residual[(size_t)n * args->outputs + o];
      y[o] = sum;
      tulle_f32_finish(y + o, 1, &args->epilogue, o);
    }
  }
}

static bool plan_vector(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t batch,
                        uint32_t inputs, uint32_t alpha_input, int32_t residual) {
  vector_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->input = planner->places[op->inputs[0]].data;
  args->output = planner->places[op->output].data;
  args->residual = residual < 0 ? NULL : planner->places[residual].data;
  args->batch = batch;
  args->inputs = inputs;
  args->outputs = w->shape[0];
  if (!(args->bias = plan_bias(planner, op, 2, args->outputs, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, alpha_input, args->outputs, &args->epilogue)) return false;
  uint32_t nonzeros;
  if (op->sparse) {
    float* weights = unpack(planner, w);
    const bool packed = weights && pack_nonzeros(planner, weights, tulle_constant_nonzeros(w), args->outputs, inputs, 1,
                                                 sizeof(float), &args->nonzeros, &args->row_start);
    free(weights);
    if (!packed) return false;
    nonzeros = args->row_start[args->outputs];
  } else {
    if (!(args->weights = tulle_plan_constant(planner, op->inputs[1], 0))) return false;
    nonzeros = tulle_constant_nonzeros(w);
  }
  // A few thousand multiply-adds are done before another thread has heard of them.
  args->tasks = (uint64_t)w->elements * batch < 32768 ? 1 : tulle_plan_tasks(planner, args->outputs);
  tulle_step* step = tulle_plan_step(planner, run_vector, args, args->tasks, op->sparse ? "f32_spmv" : "f32_dot");
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = nonzeros;
  step->macs = (uint64_t)(op->sparse ? nonzeros : w->elements) * batch;
  return true;
}

bool tulle_plan_fully_connected(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = &planner->net->tensors[op->output];
  if (!w || w->rank != 2) return tulle_plan_fail(planner, "its weight must have 2 dimensions");
  const uint32_t inputs = w->shape[1], batch = x->elements / inputs;
  if ((uint64_t)batch * inputs != x->elements || (uint64_t)batch * w->shape[0] != y->elements)
    return tulle_plan_fail(planner, "%u inputs, %u outputs and a %ux%u weight do not fit", x->elements, y->elements,
                           w->shape[0], inputs);
  if ((x->chw && x->shape[1] * x->shape[2] > 1) || (y->chw && y->shape[1] * y->shape[2] > 1))
    return tulle_plan_fail(planner, "needs plain tensors");
  return plan_vector(planner, op, w, batch, inputs, 3, -1);
}

bool tulle_plan_conv2d(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor *y = &planner->net->tensors[op->output], *residual = tulle_plan_input(planner, op, 3);
  if (!check_conv(planner, op, x, w, y)) return false;
  if (w->shape[0] != y->shape[3] || w->shape[3] != x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u input and %u output channels, tensors with %u and %u", w->shape[3],
                           w->shape[0], x->shape[3], y->shape[3]);
  const uint32_t pixels = y->shape[1] * y->shape[2];
  if (!y->chw && pixels > 1 && y->shape[3] > 1) return tulle_plan_fail(planner, "its output must be chw");
  if (residual &&
      (residual->elements != y->elements || residual->rank != 4 || residual->shape[3] != y->shape[3] ||
       residual->shape[1] != y->shape[1] || residual->is_constant || (!residual->chw && pixels > 1 && y->shape[3] > 1)))
    return tulle_plan_fail(planner, "its residual '%s' must be chw and of the output's shape", residual->name);
  const bool pointwise = w->shape[1] == 1 && w->shape[2] == 1 && op->stride_h == 1 && op->stride_w == 1 &&
                         !op->pad_top && !op->pad_left && !op->pad_bottom && !op->pad_right;
  if (pointwise && pixels == 1) return plan_vector(planner, op, w, 1, x->shape[3], 4, residual ? op->inputs[3] : -1);
  if (pointwise && x->chw && y->chw)
    return op->sparse ? plan_sparse(planner, op, w, pixels) : plan_dense(planner, op, w, pixels);
  return plan_general(planner, op, x, w, y);
}

// ---- depthwise ------------------------------------------------------------------------------------------------------

typedef struct {
  tulle_depthwise depthwise;  // out_height: of one strip
  tulle_plane plane;
  const float *input, *weights, *bias;
  float* output;
  size_t input_stride, output_stride;
  uint32_t channels, multiplier, out_height, strip_rows, pad_top, kernel_rows, tasks;
  tulle_epilogue epilogue;
} depthwise_args;

static void run_depthwise(const tulle_step* step, uint32_t task, char* scratch) {
  const depthwise_args* args = step->args;
  float* plane = (float*)scratch;
  const uint32_t taps = args->depthwise.kernel_h * args->depthwise.kernel_w, out_width = args->depthwise.out_width;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  tulle_f32_zero(plane, ((args->strip_rows - 1) * args->depthwise.stride_h + args->kernel_rows) *
                            (size_t)args->depthwise.row_floats);
  for (; c < end; c++) {
    for (uint32_t top = 0; top < args->out_height; top += args->strip_rows) {
      tulle_depthwise d = args->depthwise;
      d.out_height = args->out_height - top < args->strip_rows ? args->out_height - top : args->strip_rows;
      tulle_f32_pad_chw(&args->plane, args->input + c * args->input_stride,
                        (int32_t)(top * d.stride_h) - (int32_t)args->pad_top,
                        (d.out_height - 1) * d.stride_h + args->kernel_rows, plane);
      for (uint32_t o = c * args->multiplier; o < (c + 1) * args->multiplier; o++) {
        float single[4];  // a 1x1 map has no room for a whole vector
        float* output =
            args->output_stride == 1 ? single : args->output + o * args->output_stride + (size_t)top * out_width;
        tulle_f32_depthwise(&d, plane, args->weights + (size_t)o * taps, args->bias[o], output, &args->epilogue, o);
        if (output == single) args->output[o] = single[0];
      }
    }
  }
}

bool tulle_plan_depthwise(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = &planner->net->tensors[op->output];
  if (!check_conv(planner, op, x, w, y)) return false;
  const uint32_t outputs = y->shape[3], taps = w->shape[1] * w->shape[2];
  if (w->shape[0] != 1 || w->shape[3] != outputs || outputs % x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u channels, tensors with %u and %u", w->shape[3], x->shape[3],
                           outputs);
  if ((!x->chw && x->shape[1] * x->shape[2] > 1 && x->shape[3] > 1) ||
      (!y->chw && y->shape[1] * y->shape[2] > 1 && outputs > 1))
    return tulle_plan_fail(planner, "needs chw tensors");
  depthwise_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  const tulle_place *in = &planner->places[op->inputs[0]], *out = &planner->places[op->output];
  args->input = in->data;
  args->input_stride = in->stride;
  args->output = out->data;
  args->output_stride = out->stride;
  args->channels = x->shape[3];
  args->multiplier = outputs / x->shape[3];
  args->out_height = y->shape[1];
  args->pad_top = op->pad_top;
  const uint64_t phase = phase_width(y->shape[2], w->shape[2], op->dilation_w, op->stride_w),
                 row_floats = phase * op->stride_w;
  const uint64_t kernel_rows = (uint64_t)(w->shape[1] - 1) * op->dilation_h + 1;
  // Strips of 4 output rows, the height of a block, as many as fit.
  uint64_t strip = 4;
  while (strip < y->shape[1] && ((strip + 3) * op->stride_h + kernel_rows) * row_floats * sizeof(float) <= STRIP_BYTES)
    strip += 4;
  if (strip > y->shape[1]) strip = y->shape[1];
  const uint64_t bytes = (((strip - 1) * op->stride_h + kernel_rows) * row_floats + 16) * sizeof(float);
  if (bytes > INT32_MAX) return tulle_plan_fail(planner, "its padded input would take %.0f MB", (double)bytes / 1e6);
  tulle_plan_scratch(planner, bytes);
  args->strip_rows = (uint32_t)strip;
  args->kernel_rows = (uint32_t)kernel_rows;
  args->plane = (tulle_plane){x->shape[1], x->shape[2], op->stride_w, op->pad_left, (uint32_t)phase};
  args->depthwise = (tulle_depthwise){.kernel_h = w->shape[1],
                                      .kernel_w = w->shape[2],
                                      .stride_h = op->stride_h,
                                      .stride_w = op->stride_w,
                                      .dilation_h = op->dilation_h,
                                      .dilation_w = op->dilation_w,
                                      .out_width = y->shape[2],
                                      .row_floats = (uint32_t)row_floats,
                                      .phase_width = (uint32_t)phase};
  if (!(args->bias = plan_bias(planner, op, 2, outputs, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, 3, outputs, &args->epilogue)) return false;

  // From [ky][kx][channel] to [channel][ky][kx].
  float *packed = tulle_plan_alloc(planner, (size_t)w->elements * sizeof *packed), *weights = unpack(planner, w);
  if (packed && weights) {
    for (uint32_t o = 0; o < outputs; o++)
      for (uint32_t t = 0; t < taps; t++) packed[(size_t)o * taps + t] = weights[(size_t)t * outputs + o];
  }
  const uint32_t nonzeros = tulle_constant_nonzeros(w);
  free(weights);
  if (!packed || !weights) return false;
  args->weights = packed;
  planner->model->weight_bytes += (uint64_t)w->elements * sizeof *packed;

  args->tasks = tulle_plan_tasks(planner, args->channels);
  const bool square =
      w->shape[1] == w->shape[2] && op->stride_h == op->stride_w && op->dilation_h == 1 && op->dilation_w == 1;
  const char* kernel = square && w->shape[1] == 3 && op->stride_h == 1   ? "f32_dwconv3x3_8x4"
                       : square && w->shape[1] == 3 && op->stride_h == 2 ? "f32_dwconv3x3s2_8x4"
                       : square && w->shape[1] == 5 && op->stride_h == 1 ? "f32_dwconv5x5_8x4"
                       : square && w->shape[1] == 5 && op->stride_h == 2 ? "f32_dwconv5x5s2_8x4"
                                                                         : "f32_dwconv_4x1";
  tulle_step* step = tulle_plan_step(planner, run_depthwise, args, args->tasks, kernel);
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = nonzeros;
  step->macs = (uint64_t)w->elements * y->shape[1] * y->shape[2];
  return true;
}

// ---- transposed convolution
// -------------------------------------------------------------------------------------------

typedef struct {
  tulle_transpose_conv conv;
  const float *input, *weights, *bias;
  float* output;
  size_t output_stride;
  uint32_t channels, rows, tasks;  // rows: of all output channels together
  tulle_epilogue epilogue;
} transpose_args;

static void run_transpose_conv(const tulle_step* step, uint32_t task, char* scratch) {
  const transpose_args* args = step->args;
  const tulle_transpose_conv* t = &args->conv;
  const size_t kernel = (size_t)t->kernel_h * t->kernel_w * t->in_channels;
  uint32_t row, end;
  tulle_piece(args->rows, args->tasks, task, &row, &end);
  for (; row < end; row++) {
    const uint32_t o = row / t->out_height, y = row % t->out_height;
    float* output = args->output + o * args->output_stride + (size_t)y * t->out_width;
    tulle_f32_transpose_conv_row(t, args->input, args->weights + o * kernel, args->bias[o], y, output, (float*)scratch);
    tulle_f32_finish(output, t->out_width, &args->epilogue, o);
  }
}

bool tulle_plan_transpose_conv(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = &planner->net->tensors[op->output];
  // It is the gradient of a convolution from y to x, and fits where that one does.
  if (!check_conv(planner, op, y, w, x)) return false;
  if (op->dilation_h != 1 || op->dilation_w != 1) return tulle_plan_fail(planner, "dilation is not possible");
  if (w->shape[0] != y->shape[3] || w->shape[3] != x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u input and %u output channels, tensors with %u and %u", w->shape[3],
                           w->shape[0], x->shape[3], y->shape[3]);
  if ((!x->chw && x->shape[1] * x->shape[2] > 1 && x->shape[3] > 1) ||
      (!y->chw && y->shape[1] * y->shape[2] > 1 && y->shape[3] > 1))
    return tulle_plan_fail(planner, "needs chw tensors");
  transpose_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->conv = (tulle_transpose_conv){.in_channels = x->shape[3],
                                      .height = x->shape[1],
                                      .width = x->shape[2],
                                      .out_height = y->shape[1],
                                      .out_width = y->shape[2],
                                      .kernel_h = w->shape[1],
                                      .kernel_w = w->shape[2],
                                      .stride_h = op->stride_h,
                                      .stride_w = op->stride_w,
                                      .pad_top = op->pad_top,
                                      .pad_left = op->pad_left,
                                      .in_stride = planner->places[op->inputs[0]].stride};
  args->input = planner->places[op->inputs[0]].data;
  args->output = planner->places[op->output].data;
  args->output_stride = planner->places[op->output].stride;
  args->channels = y->shape[3];
  if ((uint64_t)y->shape[3] * y->shape[1] > UINT32_MAX) return tulle_plan_fail(planner, "is too large");
  args->rows = y->shape[3] * y->shape[1];
  if (!(args->weights = tulle_plan_constant(planner, op->inputs[1], 0))) return false;
  if (!(args->bias = plan_bias(planner, op, 2, args->channels, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, 3, args->channels, &args->epilogue)) return false;
  tulle_plan_scratch(planner, ((uint64_t)y->shape[2] / op->stride_w + 8) * op->stride_w * sizeof(float) + 64);
  args->tasks = tulle_plan_tasks(planner, args->rows);
  tulle_step* step = tulle_plan_step(planner, run_transpose_conv, args, args->tasks, "f32_transpose_conv");
  if (!step) return false;
  step->weights = w->elements;
  step->nonzeros = tulle_constant_nonzeros(w);
  step->macs = (uint64_t)w->elements * x->shape[1] * x->shape[2];
  return true;
}
