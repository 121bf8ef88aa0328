// A step: what the threads of the engine run together before they go on to the next one.

#ifndef TULLE_RUNTIME_STEP_H_
#define TULLE_RUNTIME_STEP_H_

#include "kernels/kernels.h"

// Does units [begin, end) of a step's work. `scratch` belongs to the calling thread.
typedef void (*tulle_task)(const void* args, uint32_t begin, uint32_t end, char* scratch);

// Computes rows [top, top + rows) of the output in all channels. `input` and `output` are where row 0 of the first
// channel lies, or would lie if all rows were there.
typedef void (*tulle_rows)(const void* args, const float* input, float* output, uint32_t top, uint32_t rows,
                           char* scratch);

// How an op is computed: what its planner fills in. `args` live as long as the model.
typedef struct {
  tulle_task run;
  tulle_rows run_rows;  // NULL where it can only be run as a whole
  const void* args;
  uint32_t tasks;
  uint32_t units;          // that the tasks share; 0: as many as tasks, as where work is cut in two dimensions
  tulle_kernel_id kernel;  // left out: the op's own
  uint32_t weights, nonzeros;
  uint64_t macs;     // multiply-adds executed
  uint64_t scratch;  // bytes, for each thread
} tulle_work;

typedef struct {
  tulle_work work;
  uint32_t op;      // index into the model's ops, for the profile
  uint32_t inside;  // so many of the following steps run inside this one, and not by themselves
} tulle_step;

// Piece `task` of `tasks` of [0, units).
static inline void tulle_piece(uint32_t units, uint32_t tasks, uint32_t task, uint32_t* begin, uint32_t* end) {
  *begin = (uint32_t)((uint64_t)units * task / tasks);
  *end = (uint32_t)((uint64_t)units * (task + 1) / tasks);
}

#endif  // TULLE_RUNTIME_STEP_H_
