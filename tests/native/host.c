// Runs the C library for tests/native/hosts.py: reads requests from its input, answers on its output.
//
//     call NAME NUMBER...   calls a function of tulle.h; answers with its result, 0 if it has none
//     read POINTER SIZE     answers with the bytes
//     write POINTER SIZE    and the bytes behind the line; answers 0
//     string POINTER        answers with its length and its bytes
//
// Its one argument is how many threads an engine has; the host starts those workers and ends them with the engine.
// Whoever asks is trusted.

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/engine.h"

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

static void destroy(tulle_engine* engine) {
  const uint32_t count = engine->threads;
  char* stacks = engine->stacks;
  tulle_engine_destroy(engine);
  if (count == 1) return;
  // A wasm host drops the memory as a whole. Here the workers are known to have returned.
  for (uint32_t i = 1; i < count; i++) pthread_join(workers[i].thread, NULL);
  tulle_free(stacks);
  tulle_free(engine);
}

static uint64_t call(const char* name, const uintptr_t* n) {
#define IS(function) (strcmp(name, #function) == 0)
  if (IS(tulle_alloc)) return (uintptr_t)tulle_alloc(n[0]);
  if (IS(tulle_free)) return tulle_free((void*)n[0]), 0;
  if (IS(tulle_engine_create)) return (uintptr_t)create();
  if (IS(tulle_engine_threads)) return tulle_engine_threads((void*)n[0]);
  if (IS(tulle_engine_set_sparse_tile)) return tulle_engine_set_sparse_tile((void*)n[0], (uint32_t)n[1]), 0;
  if (IS(tulle_engine_error)) return (uintptr_t)tulle_engine_error((void*)n[0]);
  if (IS(tulle_engine_destroy)) return destroy((void*)n[0]), 0;
  if (IS(tulle_model_load)) return (uintptr_t)tulle_model_load((void*)n[0], (void*)n[1], n[2]);
  if (IS(tulle_model_free)) return tulle_model_free((void*)n[0]), 0;
  if (IS(tulle_model_info)) return (uintptr_t)tulle_model_info((void*)n[0]);
  if (IS(tulle_model_input)) return (uintptr_t)tulle_model_input((void*)n[0], (uint32_t)n[1]);
  if (IS(tulle_model_output)) return (uintptr_t)tulle_model_output((void*)n[0], (uint32_t)n[1]);
  if (IS(tulle_model_set_rgba8))
    return tulle_model_set_rgba8((void*)n[0], (uint32_t)n[1], (void*)n[2], (uint32_t)n[3], (uint32_t)n[4]);
  if (IS(tulle_model_run)) return tulle_model_run((void*)n[0]);
  if (IS(tulle_model_profile)) return (uintptr_t)tulle_model_profile((void*)n[0]);
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
