// Aligned memory, and lists of it that are freed together.

#ifndef TULLE_RUNTIME_MEMORY_H_
#define TULLE_RUNTIME_MEMORY_H_

#include <stddef.h>
#include <stdint.h>

#define TULLE_ALIGNMENT 64

typedef struct {
  void** blocks;
  uint32_t count, capacity;
} tulle_memory;

// Memory that lives until tulle_memory_free, 64-byte aligned and not zeroed. NULL when there is none.
void* tulle_memory_take(tulle_memory* memory, size_t size);

void tulle_memory_free(tulle_memory* memory);

#endif  // TULLE_RUNTIME_MEMORY_H_
