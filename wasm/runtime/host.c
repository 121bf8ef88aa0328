// What Emscripten's JavaScript would do, done here, so that any host can run the plain wasm.

#include <stdint.h>

#define PAGE_BYTES 65536

void __wasm_call_ctors(void);

// Static constructors. The host calls this once, before anything else.
__attribute__((export_name("_initialize"))) void tulle_initialize(void) { __wasm_call_ctors(); }

// Called by sbrk when malloc runs out: grows memory to at least `size` bytes and returns whether that worked.
int emscripten_resize_heap(__SIZE_TYPE__ size) {
  const __SIZE_TYPE__ pages = __builtin_wasm_memory_size(0), wanted = size / PAGE_BYTES + (size % PAGE_BYTES != 0);
  if (wanted <= pages) return 1;
  return __builtin_wasm_memory_grow(0, wanted - pages) != SIZE_MAX;
}
