// The thread pool (see engine.h). Without wasm threads the same code runs with one thread.

#include "runtime/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/platform.h"
#include "runtime/warm_up.h"

#define WORKER_STACK_BYTES (256 * 1024)
// How often a thread checks at the end of a step whether it is done before it gives up the processor for a moment.
#define SPINS_BEFORE_WAIT 100000
#define WAIT_NANOSECONDS 50000
// How long a caller that must not wait spins for a worker. One that takes longer hangs.
#define MOST_MILLISECONDS 10000.0
// How long a worker stays awake after a run, or after the bell. A sleeping thread is often woken on the core of the one
// that wakes it, and waits there for milliseconds while that one works; a run should find its threads awake.
#define AWAKE_MILLISECONDS 1.0

tulle_engine* tulle_engine_create(uint32_t threads) {
  if (threads < 1 || !TULLE_HAS_THREADS) threads = 1;
  if (threads > TULLE_MAX_THREADS) threads = TULLE_MAX_THREADS;
  tulle_engine* engine = tulle_alloc(sizeof *engine);
  if (!engine) return NULL;
  memset(engine, 0, sizeof *engine);
  engine->threads = threads;
  engine->gate = TULLE_GATE_CLOSED;
  engine->sparse_tile = TULLE_SPMM_MAX_VECTORS;
  engine->integers = true;
  engine->dot = tulle_u8_probe();
  for (uint32_t i = 0; i < TULLE_LIMITS; i++) engine->limits[i] = UINT32_MAX;
  tulle_warm_up();
  if (threads > 1) {
    engine->stacks = tulle_alloc((size_t)(threads - 1) * WORKER_STACK_BYTES);
    if (!engine->stacks) {
      tulle_free(engine);
      return NULL;
    }
  }
  return engine;
}

uint32_t tulle_engine_threads(const tulle_engine* engine) { return engine->threads; }

const char* tulle_engine_error(const tulle_engine* engine) { return engine->error; }

void* tulle_engine_worker_stack(const tulle_engine* engine, uint32_t index) {
  return index < 1 || index >= engine->threads ? NULL : engine->stacks + (size_t)index * WORKER_STACK_BYTES;
}

void* tulle_engine_bell(tulle_engine* engine) { return &engine->run; }

void tulle_engine_fail(tulle_engine* engine, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(engine->error, sizeof engine->error, format, args);
  va_end(args);
}

void tulle_engine_set_sparse_tile(tulle_engine* engine, uint32_t vectors) {
  if (vectors >= 1 && vectors <= TULLE_SPMM_MAX_VECTORS) engine->sparse_tile = vectors;
}

void tulle_engine_set_integers(tulle_engine* engine, uint32_t allowed) { engine->integers = allowed != 0; }

void tulle_engine_set_limit(tulle_engine* engine, uint32_t limit, uint32_t most) {
  if (limit < TULLE_LIMITS) engine->limits[limit] = most;
}

void tulle_engine_never_wait(tulle_engine* engine) { engine->never_wait = true; }

void tulle_engine_worker_failed(tulle_engine* engine) { atomic_store(&engine->failed, true); }

// Ends a run that cannot end: a task was begun by a thread that will not finish it, or never leave the run. The host
// discards the engine, as after any trap.
static _Noreturn void give_up(tulle_engine* engine, const char* why) {
  tulle_engine_fail(engine, "%s", why);
  __builtin_trap();
}

// Called now and then while waiting for the others since `start`.
static void check_others(tulle_engine* engine, bool may_wait, double start) {
  if (atomic_load(&engine->failed)) give_up(engine, "a helper thread crashed");
  if (!may_wait && tulle_now() - start > MOST_MILLISECONDS) give_up(engine, "a helper thread hangs");
}

// Works through all steps. Only the calling thread of tulle_engine_run, index 0, keeps time.
static void walk(tulle_engine* engine, uint32_t index, double* profile) {
  char* scratch = engine->scratch + index * engine->scratch_bytes;
  const bool may_wait = index > 0 || !engine->never_wait;
  double start = profile ? tulle_now() : 0;
  for (uint32_t s = 0; s < engine->step_count; s += 1 + engine->steps[s].inside) {
    const tulle_step* step = &engine->steps[s];
    tulle_progress* progress = &engine->progress[s];
    for (uint32_t i = 1; profile && i <= step->inside; i++) profile[s + i] = 0;
    for (uint32_t t = 0; t < engine->threads; t++) {
      const uint32_t owner = (index + t) % engine->threads;
      uint32_t first, end;
      tulle_piece(step->work.tasks, engine->threads, owner, &first, &end);
      for (;;) {
        const uint32_t task = first + atomic_fetch_add(&progress->next[owner], 1);
        if (task >= end) break;
        uint32_t begin, stop;
        tulle_piece(step->work.units, step->work.tasks, task, &begin, &stop);
        step->work.run(step->work.args, begin, stop, scratch);
        atomic_fetch_add(&progress->done, 1);
      }
    }
    double waiting = 0;  // since then
    for (uint32_t spins = 0;; spins++) {
      const uint32_t done = atomic_load(&progress->done);
      if (done == step->work.tasks) break;
      if (spins < SPINS_BEFORE_WAIT) continue;
      if (may_wait)
        tulle_wait(&progress->done, done, WAIT_NANOSECONDS);
      else if (spins == SPINS_BEFORE_WAIT)
        waiting = tulle_now();
      if (index == 0 && (may_wait || spins % SPINS_BEFORE_WAIT == 0)) check_others(engine, may_wait, waiting);
    }
    if (profile) {
      const double now = tulle_now();
      profile[s] = now - start;
      for (uint32_t i = 1; i <= step->inside; i++) profile[s] -= profile[s + i];  // which it measured itself
      start = now;
    }
  }
}

void tulle_engine_run(tulle_engine* engine, const tulle_step* steps, uint32_t step_count, tulle_progress* progress,
                      char* scratch, size_t scratch_bytes, double* profile) {
  engine->error[0] = 0;
  engine->steps = steps;
  engine->step_count = step_count;
  engine->profile = profile;
  engine->progress = progress;
  engine->scratch = scratch;
  engine->scratch_bytes = scratch_bytes;
  for (uint32_t s = 0; s < step_count; s++) {
    for (uint32_t t = 0; t < engine->threads; t++) atomic_store(&progress[s].next[t], 0);
    atomic_store(&progress[s].done, 0);
  }
  if (engine->threads > 1) {
    atomic_store(&engine->gate, 0);
    atomic_fetch_add(&engine->run, 1);
    tulle_notify(&engine->run);
  }
  walk(engine, 0, profile);
  if (engine->threads > 1) {
    // No work is left. Closes the gate when the last worker has left.
    int32_t nobody = 0;
    double waiting = 0;  // since then
    for (uint32_t spins = 1; !atomic_compare_exchange_weak(&engine->gate, &nobody, TULLE_GATE_CLOSED); spins++) {
      nobody = 0;
      if (spins == SPINS_BEFORE_WAIT) waiting = tulle_now();
      if (spins % SPINS_BEFORE_WAIT == 0) check_others(engine, !engine->never_wait, waiting);
    }
  }
}

// Enters the current run unless it is over already.
static bool enter(tulle_engine* engine) {
  int32_t inside = atomic_load(&engine->gate);
  while (inside != TULLE_GATE_CLOSED) {
    if (atomic_compare_exchange_weak(&engine->gate, &inside, inside + 1)) return true;
  }
  return false;
}

// Watches for a new run for a while.
static void look_out(tulle_engine* engine, uint32_t seen) {
  const double end = tulle_now() + AWAKE_MILLISECONDS;
  do {
    for (uint32_t spins = 0; spins < 1000; spins++)
      if (atomic_load(&engine->run) != seen) return;
  } while (tulle_now() < end);
}

void tulle_engine_worker(tulle_engine* engine, uint32_t index) {
  uint32_t seen = 0;
  while (!atomic_load(&engine->quit)) {
    const uint32_t run = atomic_load(&engine->run);
    if (run == seen) {
      tulle_wait(&engine->run, seen, -1);
      look_out(engine, seen);
      continue;
    }
    seen = run;
    if (!enter(engine)) continue;
    walk(engine, index, NULL);
    atomic_fetch_sub(&engine->gate, 1);
    look_out(engine, seen);
  }
}

void tulle_engine_destroy(tulle_engine* engine) {
  if (engine->threads > 1) {
    atomic_store(&engine->quit, true);
    atomic_fetch_add(&engine->run, 1);
    tulle_notify(&engine->run);
    return;  // the workers still use their stacks and read this engine
  }
  tulle_free(engine);
}
