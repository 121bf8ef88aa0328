// A loaded model. All memory of its plan hangs off it and is freed with it.

#ifndef TULLE_RUNTIME_MODEL_H_
#define TULLE_RUNTIME_MODEL_H_

#include "runtime/engine.h"
#include "runtime/planner.h"

struct tulle_model {
  tulle_engine* engine;
  tulle_step* steps;
  uint32_t step_count, step_capacity;
  tulle_progress* progress;
  double* profile;
  char* scratch;
  size_t scratch_bytes;  // of each thread
  char* info;
  uint32_t input_count, output_count;
  tulle_input* inputs;
  tulle_output* outputs;
  uint32_t output_shape[4];  // of the first output, if it has four dimensions
  tulle_memory memory;
  uint64_t weight_bytes, arena_bytes;
};

#endif  // TULLE_RUNTIME_MODEL_H_
