// libFuzzer on loading and running a model: whatever bytes come in, a model or an error comes out, soon and in little
// memory. fuzz_mutator.cc makes the bytes.

#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"

// Models that would work longer are loaded only.
#define MOST_MACS 4000000
#define MOST_ARENA 4000000

// What does not fit is NULL, as in wasm, and not a crash.
const char* __asan_default_options(void);
const char* __asan_default_options(void) { return "allocator_may_return_null=1:max_allocation_size_mb=64"; }

static void run(tulle_model* model) {
  for (uint32_t i = 0; i < model->input_count; i++) {
    const tulle_input* input = &model->inputs[i];
    if (!input->pixels || input->is_rgba8) continue;
    const size_t bytes = 4 * (size_t)input->height * input->width;
    uint8_t* pixels = tulle_alloc(bytes);
    if (!pixels) return;
    memset(pixels, 77, bytes);
    tulle_model_set_rgba8(model, i, pixels, input->height, input->width);
    tulle_free(pixels);
  }
  tulle_model_run(model);
  for (uint32_t i = 0; i < model->input_count; i++) tulle_model_input(model, i);  // floats from now on
  tulle_model_profile(model);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static tulle_engine* engine;
  if (!engine) engine = tulle_engine_create(1);
  tulle_engine_set_sparse_tile(engine, size % 2 ? 13 : 8);
  tulle_engine_set_integers(engine, size % 5 != 0);
  tulle_engine_set_limit(engine, TULLE_LIMIT_OPS, size % 7 ? UINT32_MAX : 4);
  tulle_engine_set_limit(engine, TULLE_LIMIT_KILO_MACS, size % 7 == 3 ? 10 : 1000000);
  tulle_engine_set_limit(engine, TULLE_LIMIT_TENSOR_BYTES, size % 7 == 1 ? 4000 : UINT32_MAX);
  tulle_engine_set_limit(engine, TULLE_LIMIT_MEMORY_BYTES, size % 7 == 2 ? 40000 : UINT32_MAX);
  void* file = tulle_alloc(size);
  memcpy(file, data, size);
  tulle_model* model = tulle_model_load(engine, file, size);
  tulle_free(file);
  if (!model) {
    if (!tulle_engine_error(engine)[0]) abort();  // refused without a reason
    return 0;
  }
  uint64_t macs = 0;
  for (uint32_t s = 0; s < model->step_count; s++) macs += model->steps[s].work.macs;
  if (macs <= MOST_MACS && model->arena_bytes <= MOST_ARENA) run(model);
  tulle_model_free(model);
  return 0;
}
