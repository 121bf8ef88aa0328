// The engine: a pool of threads that run a model's steps together.
//
// All threads walk the same list of steps. Within a step they take tasks off shared counters until none is left, then
// wait until every task is done, since the next step may read any of its results. Which thread computes a task never
// changes what it computes, so the results are the same for every number of threads.

#ifndef TULLE_RUNTIME_ENGINE_H_
#define TULLE_RUNTIME_ENGINE_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tulle.h"

#define TULLE_ERROR_BYTES 2048
#define TULLE_ALIGNMENT 64

typedef struct tulle_step tulle_step;

// One piece of a step. `scratch` belongs to the calling thread.
typedef void (*tulle_task)(const tulle_step* step, uint32_t task, char* scratch);

// Computes rows [top, top + rows) of a step's output in all channels. `input` and `output` are where row 0 of their
// first channel lies, or would lie if all rows were there.
typedef void (*tulle_rows)(const void* args, const float* input, float* output, uint32_t top, uint32_t rows,
                           char* scratch);

struct tulle_step {
  tulle_task run;
  tulle_rows rows;  // NULL where a step can only be run whole
  const void* args;
  uint32_t tasks;
  uint32_t inside;  // so many of the steps that follow are part of this one, and not run by themselves
  uint32_t op;      // index into the model's ops, for the profile
  const char* kernel;
  uint64_t macs;  // multiply-adds executed
  uint32_t weights, nonzeros;
};

// Piece `task` of `tasks` of [0, units).
static inline void tulle_piece(uint32_t units, uint32_t tasks, uint32_t task, uint32_t* begin, uint32_t* end) {
  *begin = (uint32_t)((uint64_t)units * task / tasks);
  *end = (uint32_t)((uint64_t)units * (task + 1) / tasks);
}

// Counters of one step in one run, on cache lines of their own. A thread takes the tasks of its own share first, and
// then what others have left: from step to step it finds more of its inputs in its own cache.
typedef struct {
  _Alignas(TULLE_ALIGNMENT) _Atomic uint32_t next[TULLE_MAX_THREADS];
  _Alignas(TULLE_ALIGNMENT) _Atomic uint32_t done;
} tulle_progress;

struct tulle_engine {
  uint32_t threads;
  bool never_wait;       // of the thread that calls tulle_engine_run: it spins
  uint32_t sparse_tile;  // vectors
  // Bumped at the start of every run; parked workers wait on it.
  _Alignas(TULLE_ALIGNMENT) _Atomic uint32_t run;
  // Workers inside the current run, or TULLE_GATE_CLOSED. Counters and steps change only while the gate is closed.
  _Alignas(TULLE_ALIGNMENT) _Atomic int32_t gate;
  _Atomic bool quit;
  const tulle_step* steps;
  uint32_t step_count;
  double* profile;  // of the current run, or NULL
  tulle_progress* progress;
  char* scratch;
  size_t scratch_bytes;  // a thread
  char* stacks;
  char error[TULLE_ERROR_BYTES];
};

#define TULLE_GATE_CLOSED (-1)

// Runs the steps on all threads; milliseconds each took go to `profile` if it is not NULL.
void tulle_engine_run(tulle_engine* engine, const tulle_step* steps, uint32_t step_count, tulle_progress* progress,
                      char* scratch, size_t scratch_bytes, double* profile);

// Sets the message of tulle_engine_error.
__attribute__((format(printf, 2, 3))) void tulle_engine_fail(tulle_engine* engine, const char* format, ...);

#endif  // TULLE_RUNTIME_ENGINE_H_
