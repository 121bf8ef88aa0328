// conv2d: its checks, and the choice of how to run it.

#include "ops/convolution.h"

bool tulle_is_pointwise(const tulle_op* op, const tulle_tensor* w) {
  return w->shape[1] == 1 && w->shape[2] == 1 && op->stride_h == 1 && op->stride_w == 1 && !op->pad_top &&
         !op->pad_left && !op->pad_bottom && !op->pad_right;
}

bool tulle_plan_conv2d(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor *y = tulle_plan_output(planner, op), *residual = tulle_plan_input(planner, op, 3);
  if (!tulle_check_conv(planner, op, x, w, y)) return false;
  if (w->shape[0] != y->shape[3] || w->shape[3] != x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u input and %u output channels, tensors with %u and %u", w->shape[3],
                           w->shape[0], x->shape[3], y->shape[3]);
  if (residual && (residual->is_constant || !tulle_same_shape(residual, y) || !tulle_is_chw(residual)))
    return tulle_plan_fail(planner, "its residual '%s' must be chw and of the output's shape", residual->name);
  if (tulle_takes_winograd(planner, op)) return tulle_plan_winograd(planner, op, work);
  if (!tulle_is_pointwise(op, w)) return tulle_plan_spatial(planner, op, work);
  if (y->shape[1] * y->shape[2] == 1)
    return tulle_plan_vector(planner, op, 1, x->shape[3], residual ? tulle_place_of_input(planner, op, 3)->data : NULL,
                             work);
  if (!x->chw || !y->chw) return tulle_plan_spatial(planner, op, work);
  return op->sparse ? tulle_plan_pointwise_sparse(planner, op, work) : tulle_plan_pointwise_dense(planner, op, work);
}
