// Traps for accesses beside a tensor, in builds with AddressSanitizer; in all others this does nothing.

#ifndef TULLE_RUNTIME_GUARD_H_
#define TULLE_RUNTIME_GUARD_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TULLE_HAS_GUARDS 0
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#undef TULLE_HAS_GUARDS
#define TULLE_HAS_GUARDS 1
#include <sanitizer/asan_interface.h>
#endif
#endif

// What kernels.h lets kernels read behind a tensor.
#define TULLE_READABLE_BYTES 64

// What stands at an address there: as a float about -1e38, which spoils any result that it gets into, and which most
// activations change. It must still be there after a run; it is another one everywhere, so that a copy is noticed too.
static inline uint32_t tulle_canary(const void* address) {
  return 0xfe000000u | ((uint32_t)(uintptr_t)address >> 2 & 0x7fffff);
}

// Forbids all but the first `used` bytes of an allocation.
static inline void tulle_guard(const void* allocation, size_t used, size_t size) {
#if TULLE_HAS_GUARDS
  if (used < size) ASAN_POISON_MEMORY_REGION((const char*)allocation + used, size - used);
#else
  (void)allocation, (void)used, (void)size;
#endif
}

// The same for a tensor, behind which canaries come first.
static inline void tulle_guard_tensor(void* tensor, size_t used, size_t size) {
#if TULLE_HAS_GUARDS
  for (size_t i = 0; i < TULLE_READABLE_BYTES; i += 4) {
    char* address = (char*)tensor + used + i;
    const uint32_t canary = tulle_canary(address);
    memcpy(address, &canary, 4);
  }
  tulle_guard(tensor, used + TULLE_READABLE_BYTES, size);
#else
  (void)tensor, (void)used, (void)size;
#endif
}

#endif  // TULLE_RUNTIME_GUARD_H_
