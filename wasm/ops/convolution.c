// What the planners of all convolutions use.

#include "ops/convolution.h"

#include <stdlib.h>

// Whether `out` is what a window of the op's stride, dilation and padding makes of `in`.
static bool fits(uint32_t in, uint32_t pad_before, uint32_t pad_after, uint32_t kernel, uint32_t stride,
                 uint32_t dilation, uint32_t out) {
  const uint64_t padded = (uint64_t)in + pad_before + pad_after, extent = (uint64_t)(kernel - 1) * dilation + 1;
  return padded >= extent && (padded - extent) / stride + 1 == out;
}

bool tulle_windows_fit(const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w, const tulle_tensor* y) {
  return fits(x->shape[1], op->pad_top, op->pad_bottom, w->shape[1], op->stride_h, op->dilation_h, y->shape[1]) &&
         fits(x->shape[2], op->pad_left, op->pad_right, w->shape[2], op->stride_w, op->dilation_w, y->shape[2]);
}

bool tulle_check_conv(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
                      const tulle_tensor* y) {
  if (w->rank != 4 || x->rank != 4 || y->rank != 4 || x->shape[0] != 1 || y->shape[0] != 1)
    return tulle_plan_fail(planner, "input, weight and output must have 4 dimensions and a batch of 1");
  if (w->shape[1] > 1024 || w->shape[2] > 1024) return tulle_plan_fail(planner, "kernel sizes up to 1024 are possible");
  if (!tulle_windows_fit(op, x, w, y))
    return tulle_plan_fail(planner,
                           "a %ux%u input, %ux%u kernel and the op's stride and padding do not make a %ux%u output",
                           x->shape[1], x->shape[2], w->shape[1], w->shape[2], y->shape[1], y->shape[2]);
  return true;
}

float* tulle_plan_bias(tulle_planner* planner, const tulle_op* op, uint32_t channels, uint32_t extra) {
  const tulle_tensor* bias = tulle_plan_input(planner, op, 2);
  if (!bias) return tulle_plan_alloc(planner, (channels + extra) * sizeof(float));
  if (bias->elements != channels) {
    tulle_plan_fail(planner, "its bias '%s' has %u values for %u channels", bias->name, bias->elements, channels);
    return NULL;
  }
  return tulle_plan_constant(planner, op->inputs[2], extra);
}

float* tulle_plan_decode(tulle_planner* planner, const tulle_tensor* tensor) {
  float* values = malloc((size_t)tensor->elements * sizeof *values);
  if (values) {
    tulle_constant_decode(tensor, values);
  } else {
    tulle_plan_fail(planner, "out of memory");
  }
  return values;
}

uint64_t tulle_phase_width(uint32_t out_width, uint32_t kernel_w, uint32_t dilation_w, uint32_t stride_w) {
  const uint64_t reach = (uint64_t)tulle_round_up(out_width, 4) + (uint64_t)(kernel_w - 1) * dilation_w / stride_w;
  return (reach + 3) / 4 * 4;
}
