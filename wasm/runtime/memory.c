#include "runtime/memory.h"

#include <stdlib.h>

#include "runtime/guard.h"
#include "tulle.h"

void* tulle_alloc(size_t size) {
  if (size > SIZE_MAX - TULLE_ALIGNMENT) return NULL;
  const size_t rounded = (size + TULLE_ALIGNMENT) / TULLE_ALIGNMENT * TULLE_ALIGNMENT;
  void* memory = aligned_alloc(TULLE_ALIGNMENT, rounded);
  if (memory) tulle_guard(memory, size, rounded);
  return memory;
}

void tulle_free(void* pointer) { free(pointer); }

void* tulle_memory_take(tulle_memory* memory, size_t size) {
  if (memory->count == memory->capacity) {
    const uint32_t capacity = 2 * memory->capacity + 64;
    void** grown = realloc(memory->blocks, capacity * sizeof *grown);
    if (!grown) return NULL;
    memory->blocks = grown;
    memory->capacity = capacity;
  }
  void* block = tulle_alloc(size);
  if (block) memory->blocks[memory->count++] = block;
  return block;
}

void tulle_memory_free(tulle_memory* memory) {
  for (uint32_t i = 0; i < memory->count; i++) tulle_free(memory->blocks[i]);
  free(memory->blocks);
  *memory = (tulle_memory){0};
}
