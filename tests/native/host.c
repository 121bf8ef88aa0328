// Runs the C library for tests/native/hosts.py: reads requests from its input, answers on its output.
//
//     call NAME NUMBER...   calls a function of tulle.h; answers with its result, 0 if it has none
//     read POINTER SIZE     answers with the bytes
//     write POINTER SIZE    and the bytes behind the line; answers 0
//     string POINTER        answers with its length and its bytes
//
// and, besides those of tulle.h, the kernels on bytes (u8.h) and stop(engine, model, microseconds): runs the model over
// and over, lets another thread destroy the engine after that time, and frees both.
//
// Its one argument is how many threads an engine has; the host starts those workers and ends them with the engine.
// Whoever asks is trusted.

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/u8.h"
#include "runtime/guard.h"
#include "runtime/model.h"

#if TULLE_HAS_GUARDS
#include <sanitizer/allocator_interface.h>
#endif

#define MOST_NUMBERS 8

static uint32_t threads;

typedef struct {
  tulle_engine* engine;
  uint32_t index;
  pthread_t thread;
} worker;

static worker workers[TULLE_MAX_THREADS];

static void* work(void* argument) {
  const worker* w = argument;
  tulle_engine_worker(w->engine, w->index);
  return NULL;
}

static void fail(const char* what) {
  fprintf(stderr, "host.c: %s\n", what);
  exit(2);
}

static tulle_engine* create(void) {
  tulle_engine* engine = tulle_engine_create(threads);
  for (uint32_t i = 1; engine && i < tulle_engine_threads(engine); i++) {
    workers[i] = (worker){.engine = engine, .index = i};
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) fail("no thread");
  }
  return engine;
}

// Waits for the workers to return. A wasm host drops the memory as a whole instead.
static void join(tulle_engine* engine) {
  for (uint32_t i = 1; i < engine->threads; i++) pthread_join(workers[i].thread, NULL);
  tulle_free(engine->stacks);
  tulle_free(engine);
}

static void destroy(tulle_engine* engine) {
  const bool alone = engine->threads == 1;
  tulle_engine_destroy(engine);
  if (!alone) join(engine);
}

typedef struct {
  tulle_engine* engine;
  useconds_t microseconds;
  _Atomic bool done;
} stopper;

static void* stop_later(void* argument) {
  stopper* s = argument;
  usleep(s->microseconds);
  tulle_engine_destroy(s->engine);
  atomic_store(&s->done, true);
  return NULL;
}

static void stop(tulle_engine* engine, tulle_model* model, useconds_t microseconds) {
  stopper s = {.engine = engine, .microseconds = microseconds};
  pthread_t thread;
  if (engine->threads == 1 || pthread_create(&thread, NULL, stop_later, &s)) fail("stop needs threads");
  do tulle_model_run(model);
  while (!atomic_load(&s.done));
  pthread_join(thread, NULL);
  tulle_model_free(model);
  join(engine);
}

#if TULLE_HAS_GUARDS
// Whether these are the canaries behind a tensor; they are right before forbidden bytes.
static bool are_canaries(const char* address) {
  for (size_t i = 0; i < TULLE_READABLE_BYTES; i += 4) {
    uint32_t value;
    memcpy(&value, address + i, 4);
    if (value != tulle_canary(address + i)) return false;
  }
  return true;
}

// How many tensors of the model have all of their canaries.
static uint32_t count_canaries(const tulle_model* model) {
  uint32_t count = 0;
  for (uint32_t a = 0; a < model->memory.count; a++) {
    char* at = model->memory.blocks[a];
    char* const end = at + __sanitizer_get_allocated_size(at);
    while (at < end) {
      char* forbidden = __asan_region_is_poisoned(at, (size_t)(end - at));
      if (!forbidden) break;
      count += forbidden - at >= TULLE_READABLE_BYTES && are_canaries(forbidden - TULLE_READABLE_BYTES);
      for (at = forbidden; at < end && __asan_address_is_poisoned(at);) at++;
    }
  }
  return count;
}
#else
static uint32_t count_canaries(const tulle_model* model) { return (void)model, 0; }
#endif

// Runs the model, and sees to it that nothing was written behind a tensor.
static tulle_status run(tulle_model* model) {
  const uint32_t before = count_canaries(model);
  const tulle_status status = tulle_model_run(model);
  if (count_canaries(model) != before) fail("a write past the end of a tensor");
  return status;
}

static uint64_t call(const char* name, const uintptr_t* n) {
#define IS(function) (strcmp(name, #function) == 0)
  if (IS(tulle_alloc)) return (uintptr_t)tulle_alloc(n[0]);
  if (IS(tulle_free)) return tulle_free((void*)n[0]), 0;
  if (IS(tulle_engine_create)) return (uintptr_t)create();
  if (IS(tulle_engine_threads)) return tulle_engine_threads((void*)n[0]);
  if (IS(tulle_engine_set_sparse_tile)) return tulle_engine_set_sparse_tile((void*)n[0], (uint32_t)n[1]), 0;
  if (IS(tulle_engine_set_integers)) return tulle_engine_set_integers((void*)n[0], (uint32_t)n[1]), 0;
  if (IS(tulle_engine_set_limit)) return tulle_engine_set_limit((void*)n[0], (uint32_t)n[1], (uint32_t)n[2]), 0;
  if (IS(tulle_engine_error)) return (uintptr_t)tulle_engine_error((void*)n[0]);
  if (IS(tulle_engine_destroy)) return destroy((void*)n[0]), 0;
  if (IS(tulle_model_load)) return (uintptr_t)tulle_model_load((void*)n[0], (void*)n[1], n[2]);
  if (IS(tulle_model_free)) return tulle_model_free((void*)n[0]), 0;
  if (IS(tulle_model_info)) return (uintptr_t)tulle_model_info((void*)n[0]);
  if (IS(tulle_model_input)) return (uintptr_t)tulle_model_input((void*)n[0], (uint32_t)n[1]);
  if (IS(tulle_model_output)) return (uintptr_t)tulle_model_output((void*)n[0], (uint32_t)n[1]);
  if (IS(tulle_model_set_rgba8))
    return tulle_model_set_rgba8((void*)n[0], (uint32_t)n[1], (void*)n[2], (uint32_t)n[3], (uint32_t)n[4]);
  if (IS(tulle_model_run)) return run((void*)n[0]);
  if (IS(tulle_model_profile)) return (uintptr_t)tulle_model_profile((void*)n[0]);
  if (IS(tulle_compositor_create)) return (uintptr_t)tulle_compositor_create((void*)n[0]);
  if (IS(tulle_compositor_free)) return tulle_compositor_free((void*)n[0]), 0;
  if (IS(tulle_compositor_set_size))
    return tulle_compositor_set_size((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (uint32_t)n[4],
                                     (uint32_t)n[5]);
  if (IS(tulle_compositor_layout)) return (uintptr_t)tulle_compositor_layout((void*)n[0]);
  if (IS(tulle_compositor_input)) return (uintptr_t)tulle_compositor_input((void*)n[0]);
  if (IS(tulle_compositor_output)) return (uintptr_t)tulle_compositor_output((void*)n[0]);
  if (IS(tulle_compositor_set_picture))
    return tulle_compositor_set_picture((void*)n[0], (void*)n[1], (uint32_t)n[2], (uint32_t)n[3]);
  if (IS(tulle_compositor_run))
    return tulle_compositor_run((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (uint32_t)n[4]);
  if (IS(tulle_compositor_mask)) return (uintptr_t)tulle_compositor_mask((void*)n[0]);
  if (IS(tulle_compositor_times)) return (uintptr_t)tulle_compositor_times((void*)n[0]);
  if (IS(tulle_compositor_reset)) return tulle_compositor_reset((void*)n[0]), 0;
#if TULLE_HAS_DOT
  if (IS(tulle_u8_probe)) return tulle_u8_probe();
  if (IS(tulle_u8_gemm_weights)) return tulle_u8_gemm_weights((uint32_t)n[0], (uint32_t)n[1]);
  if (IS(tulle_u8_pack_gemm)) return tulle_u8_pack_gemm((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (void*)n[3]), 0;
  if (IS(tulle_u8_gemm))
    return tulle_u8_gemm((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (uint32_t)n[4], (void*)n[5]), 0;
  if (IS(tulle_u8_conv_weights)) return tulle_u8_conv_weights((uint32_t)n[0], (uint32_t)n[1], (uint32_t)n[2]);
  if (IS(tulle_u8_conv_scratch)) return tulle_u8_conv_scratch((void*)n[0]);
  if (IS(tulle_u8_pack_conv))
    return tulle_u8_pack_conv((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (void*)n[4]), 0;
  if (IS(tulle_u8_conv))
    return tulle_u8_conv((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (uint32_t)n[4], (void*)n[5]), 0;
  if (IS(tulle_u8_from_hwc))
    return tulle_u8_from_hwc((void*)n[0], (void*)n[1], (void*)n[2], (uint32_t)n[3], (uint32_t)n[4]), 0;
  if (IS(tulle_u8_from_rgba8))
    return tulle_u8_from_rgba8((void*)n[0], (void*)n[1], (void*)n[2], (uint32_t)n[3], (uint32_t)n[4]), 0;
  if (IS(tulle_u8_depthwise_weights)) return tulle_u8_depthwise_weights((void*)n[0], (uint32_t)n[1]);
  if (IS(tulle_u8_depthwise_scratch)) return tulle_u8_depthwise_scratch((void*)n[0]);
  if (IS(tulle_u8_pack_depthwise))
    return tulle_u8_pack_depthwise((void*)n[0], (void*)n[1], (void*)n[2], (uint32_t)n[3], (void*)n[4]), 0;
  if (IS(tulle_u8_depthwise))
    return tulle_u8_depthwise((void*)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (uint32_t)n[4], (void*)n[5]),
           0;
  if (IS(tulle_u8_from_f32) || IS(tulle_u8_to_f32)) {
    const uint32_t group = (uint32_t)n[3], end = (uint32_t)n[4], pixel = (uint32_t)n[5], pixel_end = (uint32_t)n[6];
    if (IS(tulle_u8_from_f32))
      return tulle_u8_from_f32((void*)n[0], (void*)n[1], (void*)n[2], group, end, pixel, pixel_end), 0;
    return tulle_u8_to_f32((void*)n[0], (void*)n[1], (void*)n[2], group, end, pixel, pixel_end), 0;
  }
  if (IS(tulle_u8_mean))
    return tulle_u8_mean((void*)n[0], (void*)n[1], (void*)n[2], (uint32_t)n[3], (uint32_t)n[4], (uint32_t)n[5]), 0;
  if (IS(tulle_u8_add)) return tulle_u8_add((void*)n[0], (void*)n[1], (void*)n[2], (void*)n[3], n[4]), 0;
#endif
  if (IS(stop)) return stop((void*)n[0], (void*)n[1], (useconds_t)n[2]), 0;
#undef IS
  fail(name);
  return 0;
}

int main(int argc, char** argv) {
  threads = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
  char line[512];
  while (fgets(line, sizeof line, stdin)) {
    char verb[16], name[64] = "";
    int at = 0;
    if (sscanf(line, "%15s%n", verb, &at) != 1) fail("an empty line");
    if (strcmp(verb, "call") == 0) {
      int length = 0;
      if (sscanf(line + at, "%63s%n", name, &length) != 1) fail("call what?");
      at += length;
    }
    uintptr_t numbers[MOST_NUMBERS] = {0};
    char* rest = line + at;
    for (int i = 0; i < MOST_NUMBERS; i++) numbers[i] = (uintptr_t)strtoull(rest, &rest, 10);
    void* pointer = (void*)numbers[0];
    if (strcmp(verb, "call") == 0) {
      printf("%" PRIu64 "\n", call(name, numbers));
    } else if (strcmp(verb, "read") == 0) {
      fwrite(pointer, 1, numbers[1], stdout);
    } else if (strcmp(verb, "write") == 0) {
      if (fread(pointer, 1, numbers[1], stdin) != numbers[1]) fail("cut short");
      printf("0\n");
    } else if (strcmp(verb, "string") == 0) {
      printf("%zu\n%s", strlen(pointer), (const char*)pointer);
    } else {
      fail(verb);
    }
    fflush(stdout);
  }
  return 0;
}
