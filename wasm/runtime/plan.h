// The planner: from a verified net to steps with their kernels, strides, work split and places in memory.

#ifndef TULLE_RUNTIME_PLAN_H_
#define TULLE_RUNTIME_PLAN_H_

#include "runtime/model.h"

// Fills model->steps and the rest. On failure the engine's error is set; free the model either way.
bool tulle_plan(tulle_model* model, const tulle_net* net);

#endif  // TULLE_RUNTIME_PLAN_H_
