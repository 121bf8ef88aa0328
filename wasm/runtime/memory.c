// Aligned memory.

#include <stdlib.h>

#include "runtime/engine.h"

void* tulle_alloc(size_t size) {
  return size > SIZE_MAX - TULLE_ALIGNMENT
             ? NULL
             : aligned_alloc(TULLE_ALIGNMENT, (size + TULLE_ALIGNMENT) / TULLE_ALIGNMENT * TULLE_ALIGNMENT);
}

void tulle_free(void* pointer) { free(pointer); }
