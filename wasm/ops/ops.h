// The table of ops (ops.inc) and the checks that are the same for all of them.

#ifndef TULLE_OPS_OPS_H_
#define TULLE_OPS_OPS_H_

#include "runtime/planner.h"

// Describes how planner->op is computed. False (error set) if it cannot be. Called after tulle_check_op.
typedef bool tulle_plan_function(tulle_planner* planner, const tulle_op* op, tulle_work* work);

// Whether the op can add a map of its output's shape, in CHW order, to its result as it stores it (see planner->sum);
// `gated`: that map times one number per channel. Asked before any memory is placed.
typedef bool tulle_sum_function(const tulle_net* net, const tulle_op* op, bool gated);

// The functions that ops.inc names.
#define OP(c_name, name, least, most, layout, flags, takes_sum, plan) \
  tulle_sum_function takes_sum;                                       \
  tulle_plan_function plan;
#include "ops/ops.inc"
#undef OP

// What every op must meet: number of inputs, constants, fused activation, layouts. Sets the error if it does not.
bool tulle_check_op(tulle_planner* planner, const tulle_op* op);

// Whether the op moves no byte: its output is its input under another shape or layout.
bool tulle_op_is_free(const tulle_net* net, const tulle_op* op);

bool tulle_op_runs_by_rows(const tulle_net* net, const tulle_op* op);

// Whether a convolution is faster by Winograd's minimal filtering. It does not run by rows then: a result would depend
// on which rows it is computed with.
bool tulle_prefers_winograd(const tulle_net* net, const tulle_op* op);

bool tulle_op_takes_sum(const tulle_net* net, const tulle_op* op, bool gated);

bool tulle_plan_op(tulle_planner* planner, const tulle_op* op, tulle_work* work);

// The epilogue of the op's fused activation over so many channels. False (error set) if its prelu has no fitting alpha.
bool tulle_plan_epilogue(tulle_planner* planner, const tulle_op* op, uint32_t channels, tulle_epilogue* epilogue);

// Whether the op's fused activation is a clamp, if any; and its low and high.
bool tulle_clamps(const tulle_op* op);
void tulle_clamp_of(const tulle_op* op, tulle_epilogue* epilogue);

// Multiply-adds of one run, as if no weight were zero, and numbers read and written beside them: no less than the op
// does. Called after tulle_check_op.
double tulle_op_work(const tulle_net* net, const tulle_op* op);

// Where each output row, or column, of a resize reads: of `in` ones to `out`. NULL (error set) when out of memory.
tulle_lerp* tulle_plan_lerps(tulle_planner* planner, const tulle_op* op, uint32_t in, uint32_t out);

// The windows of a pool's op over the image `large`, which make `small`.
tulle_pool tulle_pool_of(const tulle_op* op, const tulle_tensor* large, const tulle_tensor* small);

bool tulle_same_shape(const tulle_tensor* a, const tulle_tensor* b);

#endif  // TULLE_OPS_OPS_H_
