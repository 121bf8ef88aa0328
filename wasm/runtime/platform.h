// What differs between hosts: the clock and waiting.

#ifndef TULLE_RUNTIME_PLATFORM_H_
#define TULLE_RUNTIME_PLATFORM_H_

#include <stdint.h>

#ifdef __wasm_atomics__
#define TULLE_HAS_THREADS 1
#else
#define TULLE_HAS_THREADS 0
#endif

// Milliseconds from some fixed point. The host of a plain module provides the function; in a side module of Pyodide
// Emscripten's own clock is there.
#ifdef TULLE_SIDE_MODULE
#include <emscripten/emscripten.h>
static inline double tulle_now(void) { return emscripten_get_now(); }
#else
__attribute__((import_module("tulle"), import_name("now"))) double tulle_now(void);
#endif

// Sleeps until notified, for at most `nanoseconds` (-1: for ever), unless *address is no longer `expected`.
static inline void tulle_wait(_Atomic uint32_t* address, uint32_t expected, int64_t nanoseconds) {
#if TULLE_HAS_THREADS
  __builtin_wasm_memory_atomic_wait32((int32_t*)address, (int32_t)expected, nanoseconds);
#else
  (void)address, (void)expected, (void)nanoseconds;
#endif
}

static inline void tulle_notify(_Atomic uint32_t* address) {
#if TULLE_HAS_THREADS
  __builtin_wasm_memory_atomic_notify((int32_t*)address, UINT32_MAX);
#else
  (void)address;
#endif
}

#endif  // TULLE_RUNTIME_PLATFORM_H_
