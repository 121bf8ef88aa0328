// k x k convolutions, from zero-padded copies of a few rows at a time. The first convolution of a network too, which
// reads the model's input as it is.

#include <string.h>

#include "ops/convolution.h"

typedef struct {
  tulle_dense dense;  // weights, bias, epilogue, output; offsets into the padded planes
  tulle_plane plane;
  const tulle_input* image;  // the model input it reads, or NULL for a CHW tensor
  uint32_t channels, out_height, out_width, stride_h, kernel_rows, pad_top;
  uint32_t strip_rows, strips, strip_tasks;
  size_t plane_stride;  // floats
} conv_args;

// Blocks [first_block, block_end) of output channels in output rows [top, end).
static void run_strips(const conv_args* args, const float* input, float* output_rows, uint32_t first_block,
                       uint32_t block_end, uint32_t top, uint32_t end, char* scratch) {
  const tulle_dense* dense = &args->dense;
  float *planes = (float*)scratch, *line = planes + args->channels * args->plane_stride;
  const uint32_t row_floats = args->plane.stride * args->plane.phase_width;
  tulle_f32_zero(planes, args->channels * args->plane_stride);
  for (; top < end; top += args->strip_rows) {
    const uint32_t rows = end - top < args->strip_rows ? end - top : args->strip_rows;
    const int32_t in_row = (int32_t)(top * args->stride_h) - (int32_t)args->pad_top;
    const uint32_t in_rows = (rows - 1) * args->stride_h + args->kernel_rows;
    if (!args->image) {
      for (uint32_t c = 0; c < args->channels; c++)
        tulle_f32_pad_chw(&args->plane, input + c * dense->input_stride, in_row, in_rows,
                          planes + c * args->plane_stride);
    } else if (args->image->is_rgba8) {
      TULLE_APART(tulle_f32_pad_rgba8)(&args->plane, args->image->pixels, args->image->scale, args->image->shift,
                                       in_row, in_rows, planes, args->plane_stride, line);
    } else {
      TULLE_APART(tulle_f32_pad_hwc)(&args->plane, input, args->channels, in_row, in_rows, planes, args->plane_stride,
                                     line);
    }
    for (uint32_t block = first_block; block < block_end; block++) {
      const tulle_gemm gemm = tulle_gemm_block(dense, block, 0, dense->taps);
      const size_t row = block * TULLE_GEMM_ROWS;
      for (uint32_t y = 0; y < rows; y++) {
        const size_t pixel = (size_t)(top + y) * args->out_width;
        const float* taps = planes + (size_t)y * args->stride_h * row_floats;
        float* output = output_rows + row * dense->output_stride + pixel;
        const float* residual = dense->residual ? dense->residual + row * dense->residual_stride + pixel : NULL;
        tulle_f32_gemm(&gemm, taps, output, residual, args->out_width, true);
        tulle_activate_block(&gemm, output, args->out_width);
      }
    }
  }
}

static void run_conv(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next;
  const conv_args* args = pointer;
  uint32_t strip, strip_end, block, block_end;
  tulle_piece(args->strips, args->strip_tasks, task % args->strip_tasks, &strip, &strip_end);
  tulle_piece(args->dense.blocks, args->dense.block_tasks, task / args->strip_tasks, &block, &block_end);
  const uint32_t end = strip_end == args->strips ? args->out_height : strip_end * args->strip_rows;
  run_strips(args, args->dense.input, args->dense.output, block, block_end, strip * args->strip_rows, end, scratch);
}

static void conv_rows(const void* pointer, const float* input, float* output, uint32_t top, uint32_t rows,
                      char* scratch) {
  const conv_args* args = pointer;
  run_strips(args, input, output, 0, args->dense.blocks, top, top + rows, scratch);
}

// The model input that lies at `data`, or NULL.
static const tulle_input* input_at(const tulle_planner* planner, const float* data) {
  for (uint32_t i = 0; i < planner->net->input_count; i++)
    if (planner->inputs[i].data == data) return &planner->inputs[i];
  return NULL;
}

// Whether all weights that a block has for a tap are zero.
static bool is_idle(const float* weights) {
  for (uint32_t r = 0; r < TULLE_GEMM_ROWS; r++)
    if (weights[r] != 0) return false;
  return true;
}

// Leaves out the taps for which a block of output channels has no weight. A convolution in groups has many: its weights
// are zero between the groups.
static bool skip_idle_taps(tulle_planner* planner, tulle_dense* dense) {
  uint32_t kept = 0;
  for (size_t i = 0; i < (size_t)dense->blocks * dense->taps; i++)
    kept += !is_idle(dense->weights + i * TULLE_GEMM_ROWS);
  if (kept > dense->blocks * (uint64_t)dense->taps * 9 / 10) return true;
  uint32_t* starts = tulle_plan_alloc(planner, (dense->blocks + 1) * sizeof *starts);
  int32_t* offsets = tulle_plan_alloc(planner, (kept + 1) * sizeof *offsets);
  if (!starts || !offsets) return false;
  float* packed = (float*)dense->weights;
  const float* weights = packed;
  uint32_t next = 0;
  for (uint32_t block = 0; block < dense->blocks; block++) {
    for (uint32_t t = 0; t < dense->taps; t++, weights += TULLE_GEMM_ROWS) {
      if (is_idle(weights)) continue;
      memmove(packed + (size_t)next * TULLE_GEMM_ROWS, weights, TULLE_GEMM_ROWS * sizeof *weights);
      offsets[next++] = dense->offsets[t];
    }
    starts[block + 1] = next;
  }
  dense->offsets = offsets;
  dense->starts = starts;
  return true;
}

bool tulle_plan_spatial(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const uint32_t kernel_h = w->shape[1], kernel_w = w->shape[2];
  conv_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_dense* dense = &args->dense;
  if (!tulle_is_chw(x)) {
    args->image = input_at(planner, tulle_place_of_input(planner, op, 0)->data);
    if (!args->image || x->shape[3] > 4)
      return tulle_plan_fail(planner, "reads '%s', which is neither chw nor a model input of at most 4 channels",
                             x->name);
  }
  args->channels = x->shape[3];
  args->out_height = y->shape[1];
  args->out_width = y->shape[2];
  args->stride_h = op->stride_h;
  args->pad_top = op->pad_top;
  const uint32_t stride_w = tulle_column_stride(op, y);
  const uint64_t phase = tulle_phase_width(y->shape[2], kernel_w, op->dilation_w, stride_w);
  const uint64_t row_floats = phase * stride_w, kernel_rows = (uint64_t)(kernel_h - 1) * op->dilation_h + 1;
  const uint64_t row_bytes = row_floats * args->channels * sizeof(float);
  // As many output rows a strip as fit, and at least one.
  uint64_t strip = 1;
  while (strip < y->shape[1] && (strip * op->stride_h + kernel_rows) * row_bytes <= TULLE_STRIP_BYTES) strip++;
  const uint64_t in_rows = (strip - 1) * op->stride_h + kernel_rows, plane_stride = row_floats * in_rows + 16;
  const uint64_t bytes = (plane_stride * args->channels + (uint64_t)args->channels * (x->shape[2] + 8)) * sizeof(float);
  if (bytes > INT32_MAX) return tulle_plan_fail(planner, "its padded input would take %.0f MB", (double)bytes / 1e6);
  args->plane = (tulle_plane){x->shape[1], x->shape[2], stride_w, op->pad_left, (uint32_t)phase};
  args->kernel_rows = (uint32_t)kernel_rows;
  args->plane_stride = (size_t)plane_stride;
  args->strip_rows = (uint32_t)strip;
  args->strips = (uint32_t)((y->shape[1] + strip - 1) / strip);

  // The file's weights are [out][ky][kx][in]. The taps run channel by channel, since the rows of a channel lie
  // together.
  const uint32_t taps = kernel_h * kernel_w * args->channels;
  int32_t* offsets = tulle_plan_alloc(planner, taps * sizeof *offsets);
  uint32_t* order = tulle_plan_alloc(planner, taps * sizeof *order);
  if (!offsets || !order) return false;
  uint32_t t = 0;
  for (uint32_t c = 0; c < args->channels; c++) {
    for (uint32_t ky = 0; ky < kernel_h; ky++) {
      for (uint32_t kx = 0; kx < kernel_w; kx++, t++) {
        const uint32_t column = kx * op->dilation_w;
        offsets[t] = (int32_t)((c * plane_stride + (uint64_t)ky * op->dilation_h * row_floats +
                                column % stride_w * phase + column / stride_w) *
                               sizeof(float));
        order[t] = (ky * kernel_w + kx) * args->channels + c;
      }
    }
  }
  dense->offsets = offsets;
  if (!tulle_plan_dense(planner, op, order, dense) || !skip_idle_taps(planner, dense)) return false;
  const uint64_t macs = dense->starts ? (uint64_t)dense->starts[dense->blocks] * TULLE_GEMM_ROWS : w->elements;

  args->strip_tasks = tulle_plan_tasks(planner, args->strips);
  dense->block_tasks = tulle_plan_more_tasks(planner, args->strip_tasks, dense->blocks);
  *work = (tulle_work){.run = run_conv,
                       .run_rows = conv_rows,
                       .args = args,
                       .tasks = args->strip_tasks * dense->block_tasks,
                       .kernel = args->image ? TULLE_KERNEL_CONV_HWC : TULLE_KERNEL_CONV,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = macs * y->shape[1] * y->shape[2],
                       .scratch = bytes};
  return true;
}
