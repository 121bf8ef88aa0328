// What the ops that only move values share.

#ifndef TULLE_OPS_COPY_H_
#define TULLE_OPS_COPY_H_

#include "ops/ops.h"

// How far apart a tensor's elements lie along each of its dimensions, in floats.
void tulle_steps_of(const tulle_planner* planner, int32_t tensor, int64_t steps[TULLE_MAX_RANK]);

// A tensor's dimensions in the order in which they lie in memory, the one with the smallest step last.
void tulle_loop_order(const tulle_tensor* t, uint32_t order[TULLE_MAX_RANK]);

void tulle_add_loop(tulle_copy* copy, uint32_t size, int64_t in_step, int64_t out_step);

// Runs `count` copies, of so many elements together.
bool tulle_plan_copies(tulle_planner* planner, tulle_copy* copies, uint32_t count, uint64_t elements, tulle_work* work);

#endif  // TULLE_OPS_COPY_H_
