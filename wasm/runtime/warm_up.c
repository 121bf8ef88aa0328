// V8 first runs every function through a baseline compiler, whose code makes a kernel ten times slower, and recompiles
// it in the background once it has run for a while. Left alone, that happens in the middle of the first inference, most
// of which is then slow. A millisecond of work here starts it while the model is still being fetched and unpacked.

#include "runtime/warm_up.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tulle.h"

// A function is recompiled after it has run through 13 MB of its own code, in older V8 2 MB.
#define TAPS 512
#define CALLS 32
#define MAP 8  // height and width of the depthwise maps
#define BYTES (64 * 1024)

void tulle_warm_up(void) {
  char* memory = tulle_alloc(2 * BYTES);
  if (!memory) return;
  memset(memory, 0, 2 * BYTES);
  const float* input = (const float*)memory;
  float* output = (float*)(memory + BYTES);
  const tulle_epilogue epilogue = {.low = -INFINITY, .high = INFINITY};

  // All weights and offsets are zero.
  const uint32_t row_start[] = {0, TAPS}, rows[] = {0, 0};
  const tulle_spmm spmm = {.input = input,
                           .output = output,
                           .nonzeros = (const tulle_nonzero*)memory,
                           .row_start = row_start,
                           .rows = rows,
                           .bias = input,
                           .epilogue = epilogue};
  const tulle_gemm gemm = {.weights = input,
                           .bias = input,
                           .offsets = (const int32_t*)memory,
                           .taps = TAPS,
                           .rows = TULLE_GEMM_ROWS,
                           .finish = true,
                           .output_stride = 8,
                           .epilogue = &epilogue};
  for (uint32_t i = 0; i < CALLS; i++) {
    tulle_f32_spmm(&spmm, 0, 1, 0, TULLE_SPMM_MAX_VECTORS);
    tulle_f32_spmm(&spmm, 0, 1, 0, TULLE_SPMM_MAX_VECTORS - 1);
    tulle_f32_gemm(&gemm, input, output, NULL, 8, false);
  }
  for (uint32_t i = 0; i < 4 * CALLS; i++) {
    for (uint32_t variant = 0; variant < 4; variant++) {
      const uint32_t kernel = variant & 1 ? 5 : 3, stride = variant & 2 ? 2 : 1;
      const tulle_depthwise depthwise = {.kernel = kernel,
                                         .stride = stride,
                                         .height = MAP * stride,
                                         .width = MAP * stride,
                                         .out_width = MAP,
                                         .pad_top = kernel / 2,
                                         .pad_left = kernel / 2};
      tulle_f32_depthwise(&depthwise, input, input, input, output, 1, 0, MAP, &epilogue, 0);
    }
  }
  tulle_free(memory);
}
