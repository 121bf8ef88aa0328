// How much a model computes, before anything is planned: a few bytes of shapes, strides and paddings can ask for days.

#include "ops/convolution.h"

// Numbers that a k x k convolution copies to padded rows, from which it then computes; a row of outputs at a time at
// worst, and never fewer than it reads.
static double padded_numbers(const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w, const tulle_tensor* y) {
  const double width = (y->shape[2] + 7.0) * tulle_column_stride(op, y) + (double)w->shape[2] * op->dilation_w;
  const double rows = (y->shape[1] > 1 ? op->stride_h : 0) + (double)w->shape[1] * op->dilation_h;
  return rows * width * y->shape[1] * x->shape[3];
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

double tulle_op_work(const tulle_net* net, const tulle_op* op) {
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *y = &net->tensors[op->output];
  const tulle_tensor* w = op->input_count > 1 && op->inputs[1] >= 0 ? &net->tensors[op->inputs[1]] : x;
  double moved = y->elements;
  for (uint32_t i = 0; i < op->input_count; i++)
    if (op->inputs[i] >= 0) moved += net->tensors[op->inputs[i]].elements;
  // Shapes are not checked yet: dimensions that a tensor does not have are 0 here.
  switch (op->kind) {
    case TULLE_OP_CONV2D:
      return moved + padded_numbers(op, x, w, y) + (double)w->elements * y->shape[1] * y->shape[2];
    case TULLE_OP_DEPTHWISE_CONV2D:
      return moved + padded_numbers(op, x, w, y) + (double)y->elements * w->shape[1] * w->shape[2];
    case TULLE_OP_TRANSPOSE_CONV2D:  // every row of the output looks at all of the kernel
      return moved + (double)w->elements * x->shape[1] * x->shape[2] +
             (double)y->shape[3] * y->shape[1] * w->shape[1] * w->shape[2];
    case TULLE_OP_FULLY_CONNECTED:
      return moved + (double)y->elements * w->shape[1];
    case TULLE_OP_MATMUL:
      return moved + (x->rank ? (double)y->elements * x->shape[x->rank - 1] : 0);
    case TULLE_OP_AVERAGE_POOL2D:
    case TULLE_OP_MAX_POOL2D:
    case TULLE_OP_MAX_POOL2D_ARGMAX:
      return moved + (double)y->elements * smaller(op->kernel_h, x->shape[1]) * smaller(op->kernel_w, x->shape[2]);
    case TULLE_OP_RESIZE_BILINEAR:  // a row of the input is blended for every row of the output
      return moved + (double)y->shape[1] * x->shape[2] * x->shape[3];
    default:
      return moved;
  }
}
