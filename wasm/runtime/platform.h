// What differs between hosts: the clock and waiting. "Native" is Linux, for the tests and for debugging.

#ifndef TULLE_RUNTIME_PLATFORM_H_
#define TULLE_RUNTIME_PLATFORM_H_

#include <stdint.h>

#if defined(__wasm_atomics__) || !defined(__wasm__)
#define TULLE_HAS_THREADS 1
#else
#define TULLE_HAS_THREADS 0
#endif

// Milliseconds from some fixed point. The host of a plain module provides the function; in a side module of Pyodide
// Emscripten's own clock is there.
#ifdef TULLE_SIDE_MODULE
#include <emscripten/emscripten.h>
static inline double tulle_now(void) { return emscripten_get_now(); }
#elif !defined(__wasm__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static inline double tulle_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}
#else
__attribute__((import_module("tulle"), import_name("now"))) double tulle_now(void);
#endif

// Sleeps until notified, for at most `nanoseconds` (-1: for ever), unless *address is no longer `expected`.
static inline void tulle_wait(_Atomic uint32_t* address, uint32_t expected, int64_t nanoseconds) {
#if !defined(__wasm__)
  const struct timespec most = {.tv_sec = (time_t)(nanoseconds / 1000000000),
                                .tv_nsec = (long)(nanoseconds % 1000000000)};
  syscall(SYS_futex, address, FUTEX_WAIT_PRIVATE, expected, nanoseconds < 0 ? NULL : &most, NULL, 0);
#elif TULLE_HAS_THREADS
  __builtin_wasm_memory_atomic_wait32((int32_t*)address, (int32_t)expected, nanoseconds);
#else
  (void)address, (void)expected, (void)nanoseconds;
#endif
}

static inline void tulle_notify(_Atomic uint32_t* address) {
#if !defined(__wasm__)
  syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
#elif TULLE_HAS_THREADS
  __builtin_wasm_memory_atomic_notify((int32_t*)address, UINT32_MAX);
#else
  (void)address;
#endif
}

#endif  // TULLE_RUNTIME_PLATFORM_H_
