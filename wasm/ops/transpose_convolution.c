// Transposed convolutions.

#include "ops/convolution.h"

typedef struct {
  tulle_transpose_conv conv;
  tulle_place x, y;
  const float *weights, *bias;
  tulle_epilogue epilogue;
} transpose_args;

// A unit is a row of an output channel.
static void run_transpose_conv(const void* pointer, uint32_t row, uint32_t end, char* scratch) {
  const transpose_args* args = pointer;
  const tulle_transpose_conv* t = &args->conv;
  const size_t kernel = (size_t)t->kernel_h * t->kernel_w * t->in_channels;
  for (; row < end; row++) {
    const uint32_t o = row / t->out_height, y = row % t->out_height;
    float* output = tulle_channel(&args->y, o) + (size_t)y * t->out_width;
    tulle_f32_transpose_conv_row(t, args->x.data, args->weights + o * kernel, args->bias[o], y, output,
                                 (float*)scratch);
    tulle_f32_finish(output, t->out_width, &args->epilogue, o);
  }
}

// Where kernel and stride are equal, every output comes from a single input pixel: each position in the kernel is a 1x1
// convolution of its own, and their results are interleaved. Row (channel, ky, kx) of this product is one of them.
typedef struct {
  tulle_dense dense;
  uint32_t width, kernel_h, kernel_w, channels;
  size_t row_floats;  // of a row of results in scratch
} upsample_args;

static void run_upsample(const void* pointer, uint32_t y, uint32_t end, char* scratch) {
  const upsample_args* args = pointer;
  const tulle_dense* dense = &args->dense;
  float* results = (float*)scratch;
  const size_t row_floats = args->row_floats;
  const uint32_t out_width = args->width * args->kernel_w;
  for (; y < end; y++) {
    for (uint32_t block = 0; block < dense->blocks; block++) {
      tulle_gemm gemm = tulle_gemm_block(dense, block, 0, dense->taps);
      gemm.output_stride = row_floats;
      float* output = results + TULLE_GEMM_ROWS * block * row_floats;
      tulle_f32_gemm(&gemm, dense->input + (size_t)y * args->width, output, NULL, args->width, false);
      tulle_activate_block(&gemm, output, args->width);
    }
    for (uint32_t row = 0; row < args->channels * args->kernel_h; row++) {
      const size_t out_row = (size_t)y * args->kernel_h + row % args->kernel_h;
      tulle_f32_interleave(results + row * args->kernel_w * row_floats, row_floats, args->kernel_w, args->width,
                           dense->output + row / args->kernel_h * dense->output_stride + out_row * out_width);
    }
  }
}

static bool plan_upsample(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_place *in = tulle_place_of_input(planner, op, 0), *out = tulle_place_of_output(planner, op);
  upsample_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_dense* dense = &args->dense;
  const uint32_t kernel = w->shape[1] * w->shape[2];
  args->width = x->shape[2];
  args->kernel_h = w->shape[1];
  args->kernel_w = w->shape[2];
  args->channels = w->shape[0];
  dense->input = in->data;
  dense->output = out->data;
  dense->output_stride = out->stride;
  dense->rows = args->channels * kernel;
  dense->taps = w->shape[3];
  dense->blocks = (dense->rows + TULLE_GEMM_ROWS - 1) / TULLE_GEMM_ROWS;
  if (!tulle_plan_epilogue(planner, op, args->channels, &dense->epilogue)) return false;
  const float* channel_bias = tulle_plan_bias(planner, op, args->channels, 0);
  float* bias = tulle_plan_alloc(planner, ((size_t)dense->rows + TULLE_GEMM_ROWS) * sizeof *bias);
  int32_t* offsets = tulle_plan_alloc(planner, dense->taps * sizeof *offsets);
  if (!channel_bias || !bias || !offsets) return false;
  for (uint32_t r = 0; r < dense->rows; r++) bias[r] = channel_bias[r / kernel];
  if (dense->epilogue.prelu) {
    float* slopes = tulle_plan_alloc(planner, dense->rows * sizeof *slopes);
    if (!slopes) return false;
    for (uint32_t r = 0; r < dense->rows; r++) slopes[r] = dense->epilogue.prelu[r / kernel];
    dense->epilogue.prelu = slopes;
  }
  for (uint32_t t = 0; t < dense->taps; t++) offsets[t] = (int32_t)(t * in->stride * sizeof(float));
  dense->bias = bias;
  dense->offsets = offsets;
  if (!(dense->weights = tulle_pack_blocks(planner, w, dense->rows, TULLE_GEMM_ROWS, NULL))) return false;
  args->row_floats = tulle_round_up(args->width, 8);
  *work = (tulle_work){.run = run_upsample,
                       .args = args,
                       .units = x->shape[1],
                       .tasks = tulle_plan_tasks(planner, x->shape[1]),
                       .kernel = TULLE_KERNEL_UPSAMPLE_CONV,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * x->shape[1] * x->shape[2],
                       .scratch = (uint64_t)dense->blocks * TULLE_GEMM_ROWS * args->row_floats * sizeof(float)};
  return true;
}

bool tulle_plan_transpose_conv(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  // It is the gradient of a convolution from y to x, and fits where that one does.
  if (!tulle_check_conv(planner, op, y, w, x)) return false;
  if (op->dilation_h != 1 || op->dilation_w != 1) return tulle_plan_fail(planner, "dilation is not possible");
  if (w->shape[0] != y->shape[3] || w->shape[3] != x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u input and %u output channels, tensors with %u and %u", w->shape[3],
                           w->shape[0], x->shape[3], y->shape[3]);
  const bool apart = w->shape[1] == op->stride_h && w->shape[2] == op->stride_w && !op->pad_top && !op->pad_left &&
                     y->shape[1] == x->shape[1] * op->stride_h && y->shape[2] == x->shape[2] * op->stride_w;
  if (apart) return plan_upsample(planner, op, work);
  transpose_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->x = *tulle_place_of_input(planner, op, 0);
  args->y = *tulle_place_of_output(planner, op);
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
                                      .in_stride = args->x.stride};
  const uint64_t rows = (uint64_t)y->shape[3] * y->shape[1];
  if (rows > UINT32_MAX) return tulle_plan_fail(planner, "is too large");
  if (!(args->weights = tulle_plan_constant(planner, op->inputs[1], 0))) return false;
  if (!(args->bias = tulle_plan_bias(planner, op, y->shape[3], 0))) return false;
  if (!tulle_plan_epilogue(planner, op, y->shape[3], &args->epilogue)) return false;
  *work = (tulle_work){.run = run_transpose_conv,
                       .args = args,
                       .units = (uint32_t)rows,
                       .tasks = tulle_plan_tasks(planner, (uint32_t)rows),
                       .kernel = TULLE_KERNEL_TRANSPOSE_CONV,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * x->shape[1] * x->shape[2],
                       .scratch = ((uint64_t)y->shape[2] / op->stride_w + 8) * op->stride_w * sizeof(float) + 64};
  return true;
}
