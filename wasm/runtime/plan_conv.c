// Convolutions: what they have in common, the choice of how to run one, and k x k kernels.

#include <stdlib.h>

#include "runtime/plan_conv.h"

// Whether `out` is what a window of the op's stride, dilation and padding makes of `in`.
static bool fits(uint32_t in, uint32_t pad_before, uint32_t pad_after, uint32_t kernel, uint32_t stride,
                 uint32_t dilation, uint32_t out) {
  const uint64_t padded = (uint64_t)in + pad_before + pad_after, extent = (uint64_t)(kernel - 1) * dilation + 1;
  return padded >= extent && (padded - extent) / stride + 1 == out;
}

bool tulle_check_conv(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
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

float* tulle_plan_bias(tulle_planner* planner, const tulle_op* op, uint32_t index, uint32_t channels, uint32_t extra) {
  const tulle_tensor* bias = tulle_plan_input(planner, op, index);
  if (!bias) return tulle_plan_alloc(planner, (channels + extra) * sizeof(float));
  if (bias->elements != channels) {
    tulle_plan_fail(planner, "its bias '%s' has %u values for %u channels", bias->name, bias->elements, channels);
    return NULL;
  }
  return tulle_plan_constant(planner, op->inputs[index], extra);
}

float* tulle_plan_unpack(tulle_planner* planner, const tulle_tensor* tensor) {
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

typedef struct {
  tulle_dense dense;  // weights, bias, epilogue, output; offsets into the padded planes
  tulle_plane plane;
  const struct tulle_input* image;  // the model input it reads, or NULL for a CHW tensor
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
      tulle_f32_pad_rgba8(&args->plane, args->image->pixels, args->image->scale, args->image->shift, in_row, in_rows,
                          planes, args->plane_stride, line);
    } else {
      tulle_f32_pad_hwc(&args->plane, input, args->channels, in_row, in_rows, planes, args->plane_stride, line);
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

static void run_conv(const tulle_step* step, uint32_t task, char* scratch) {
  const conv_args* args = step->args;
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

uint64_t tulle_phase_width(uint32_t out_width, uint32_t kernel_w, uint32_t dilation_w, uint32_t stride_w) {
  const uint64_t reach = (uint64_t)tulle_round_up(out_width, 4) + (uint64_t)(kernel_w - 1) * dilation_w / stride_w;
  return (reach + 3) / 4 * 4;
}

static bool plan_general(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
                         const tulle_tensor* y) {
  const tulle_place *in = &planner->places[op->inputs[0]], *out = &planner->places[op->output];
  const uint32_t kernel_h = w->shape[1], kernel_w = w->shape[2];
  conv_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_dense* dense = &args->dense;
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
  const uint64_t phase = tulle_phase_width(y->shape[2], kernel_w, op->dilation_w, op->stride_w);
  const uint64_t row_floats = phase * op->stride_w, kernel_rows = (uint64_t)(kernel_h - 1) * op->dilation_h + 1;
  const uint64_t row_bytes = row_floats * args->channels * sizeof(float);
  // As many output rows a strip as fit, and at least one.
  uint64_t strip = 1;
  while (strip < y->shape[1] && (strip * op->stride_h + kernel_rows) * row_bytes <= TULLE_STRIP_BYTES) strip++;
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
  if (!(dense->bias = tulle_plan_bias(planner, op, 2, dense->rows, TULLE_GEMM_ROWS))) return false;
  if (!tulle_plan_epilogue(planner, op, 4, dense->rows, &dense->epilogue)) return false;

  // A file's weights are [out][ky][kx][in]; taps run channel by channel, since a channel's rows lie together.
  int32_t* offsets = tulle_plan_alloc(planner, dense->taps * sizeof *offsets);
  uint32_t* order = malloc(dense->taps * sizeof *order);
  float* weights = tulle_plan_unpack(planner, w);
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
    dense->weights = tulle_pack_blocks(planner, weights, dense->rows, dense->taps, order);
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
                                     args->image ? "f32_conv_hwc_" TULLE_GEMM_TILE : "f32_conv_" TULLE_GEMM_TILE);
  if (!step) return false;
  step->rows = conv_rows;
  step->weights = w->elements;
  step->nonzeros = nonzeros;
  step->macs = (uint64_t)w->elements * y->shape[1] * y->shape[2];
  return true;
}

bool tulle_plan_conv2d(tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor *y = &planner->net->tensors[op->output], *residual = tulle_plan_input(planner, op, 3);
  if (!tulle_check_conv(planner, op, x, w, y)) return false;
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
  if (pointwise && pixels == 1)
    return tulle_plan_vector(planner, op, w, 1, x->shape[3], 4, residual ? op->inputs[3] : -1);
  if (pointwise && x->chw && y->chw)
    return op->sparse ? tulle_plan_sparse(planner, op, w, pixels) : tulle_plan_dense(planner, op, w, pixels);
  return plan_general(planner, op, x, w, y);
}
