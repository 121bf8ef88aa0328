#include "runtime/planner.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/engine.h"
#include "runtime/guard.h"

bool tulle_plan_fail(tulle_planner* planner, const char* format, ...) {
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  tulle_engine_fail(planner->engine, "%s '%s': %s", planner->op->kind_name, planner->op->name, message);
  return false;
}

bool tulle_plan_afford(const tulle_planner* planner, uint64_t bytes) {
  const uint64_t needed = planner->reserved_bytes + bytes;
  const uint32_t limit = planner->engine->limits[TULLE_LIMIT_MEMORY_BYTES];
  if (needed <= limit) return true;
  tulle_engine_fail(planner->engine, "the model needs at least %.1f MB of memory, the limit is %.1f MB",
                    (double)needed / 1e6, limit / 1e6);
  return false;
}

void* tulle_plan_reserve(tulle_planner* planner, size_t size) {
  if (!tulle_plan_afford(planner, size)) return NULL;
  planner->reserved_bytes += size;
  void* memory = tulle_memory_take(planner->memory, size);
  if (!memory) tulle_engine_fail(planner->engine, "out of memory: %u bytes more were needed", (unsigned)size);
  return memory;
}

void* tulle_plan_alloc(tulle_planner* planner, size_t size) {
  void* memory = tulle_plan_reserve(planner, size);
  return memory ? memset(memory, 0, size) : NULL;
}

float* tulle_plan_constant(tulle_planner* planner, int32_t index, size_t extra) {
  const tulle_tensor* tensor = &planner->net->tensors[index];
  if (!tensor->is_constant) {
    tulle_plan_fail(planner, "its input '%s' must be constant", tensor->name);
    return NULL;
  }
  const size_t size = ((size_t)tensor->elements + extra) * sizeof(float);
  float* values = tulle_plan_alloc(planner, size + TULLE_SLACK_BYTES);
  if (!values) return NULL;
  tulle_guard_tensor(values, size, size + TULLE_SLACK_BYTES);
  tulle_constant_decode(tensor, values);
  planner->weight_bytes += size;
  return values;
}

// One thread gains nothing from pieces. Several threads want a few each, so that a slow one delays the others little.
static uint32_t tasks_wanted(const tulle_planner* planner) { return planner->threads == 1 ? 1 : 4 * planner->threads; }

uint32_t tulle_plan_tasks(const tulle_planner* planner, uint32_t units) {
  const uint32_t wanted = tasks_wanted(planner);
  return units < wanted ? (units ? units : 1) : wanted;
}

uint32_t tulle_plan_light_tasks(const tulle_planner* planner, uint64_t elements, uint32_t units) {
  return elements < 16384 ? 1 : tulle_plan_tasks(planner, units);
}

uint32_t tulle_plan_more_tasks(const tulle_planner* planner, uint32_t tasks, uint32_t units) {
  const uint32_t wanted = (tasks_wanted(planner) + tasks - 1) / tasks;
  return wanted < units ? wanted : units;
}

bool tulle_map_of(const tulle_tensor* tensor, uint32_t* channels, uint32_t* pixels) {
  const bool image = tensor->rank == 4 && tensor->shape[0] == 1;
  *channels = image ? tensor->shape[3] : tensor->elements;
  *pixels = image ? tensor->shape[1] * tensor->shape[2] : 1;
  return tulle_is_chw(tensor) || (tensor->rank && tensor->shape[tensor->rank - 1] == tensor->elements);
}

// Small maps are packed. The channels of large ones start an odd number of cache lines apart: in maps of 32, 64 and 128
// pixels they would otherwise all share the same few sets of the L1 cache.
size_t tulle_plan_stride(uint32_t height, uint32_t width) {
  const uint32_t pixels = height * width;
  if (pixels == 1) return 1;
  const uint32_t needed = tulle_round_up(pixels + (width % 4 ? 3 : 0), 4);
  if (needed < 256) return needed;
  const uint32_t lines = tulle_round_up(needed, 16) / 16;
  return 16 * (size_t)(lines | 1);
}
