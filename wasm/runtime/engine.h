// The engine: a pool of threads that run a model's steps together.
//
// All threads walk the same list of steps. Within a step they take tasks off shared counters until none is left, then
// wait until every task is done, since the next step may read any of its results. A task gives the same result on any
// thread, so the results are the same for every number of threads.

#ifndef TULLE_RUNTIME_ENGINE_H_
#define TULLE_RUNTIME_ENGINE_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/u8.h"
#include "runtime/memory.h"
#include "runtime/step.h"
#include "tulle.h"

#define TULLE_ERROR_BYTES 2048

// Counters of one step in one run, on cache lines of their own. A thread takes the tasks of its own share first and
// then those that others have left: this way more of its inputs are in its own cache from the step before.
typedef struct {
  _Alignas(TULLE_ALIGNMENT) _Atomic uint32_t next[TULLE_MAX_THREADS];
  _Alignas(TULLE_ALIGNMENT) _Atomic uint32_t done;
} tulle_progress;

struct tulle_engine {
  uint32_t threads;
  bool never_wait;       // of the thread that calls tulle_engine_run: it spins
  uint32_t sparse_tile;  // vectors
  bool integers;         // models may compute with their levels
  tulle_dot dot;         // of this processor
  // Bumped at the start of every run; parked workers wait on it.
  _Alignas(TULLE_ALIGNMENT) _Atomic uint32_t run;
  // Workers inside the current run, or TULLE_GATE_CLOSED. Counters and steps change only while the gate is closed.
  _Alignas(TULLE_ALIGNMENT) _Atomic int32_t gate;
  _Atomic bool quit;
  _Atomic bool failed;  // a worker has, see tulle_engine_worker_failed
  const tulle_step* steps;
  uint32_t step_count;
  double* profile;  // of the current run, or NULL
  tulle_progress* progress;
  char* scratch;
  size_t scratch_bytes;  // a thread
  char* stacks;
  uint32_t limits[TULLE_LIMITS];
  char error[TULLE_ERROR_BYTES];
};

#define TULLE_GATE_CLOSED (-1)

// Runs the steps on all threads; milliseconds each took go to `profile` if it is not NULL.
void tulle_engine_run(tulle_engine* engine, const tulle_step* steps, uint32_t step_count, tulle_progress* progress,
                      char* scratch, size_t scratch_bytes, double* profile);

// Sets the message of tulle_engine_error.
__attribute__((format(printf, 2, 3))) void tulle_engine_fail(tulle_engine* engine, const char* format, ...);

#endif  // TULLE_RUNTIME_ENGINE_H_
