// What the planner of an op (wasm/ops) sees: the op's tensors and their places, and where to get memory from.

#ifndef TULLE_RUNTIME_PLANNER_H_
#define TULLE_RUNTIME_PLANNER_H_

#include "kernels/u8.h"
#include "runtime/memory.h"
#include "runtime/net.h"
#include "runtime/step.h"

// Where a tensor lies: as floats, as bytes (kernels/u8.h), or as both; what is not there is NULL. Channel c of a CHW
// tensor starts at data + c * stride (floats), channels 4c to 4c + 3 at bytes + c * bytes_stride; a plain tensor is
// contiguous.
typedef struct {
  float* data;
  size_t stride;
  uint8_t* bytes;
  size_t bytes_stride;
} tulle_place;

static inline float* tulle_channel(const tulle_place* place, uint32_t c) { return place->data + c * place->stride; }

// The integers of a model's input or output whose file has some: `values` is NULL for floats.
typedef struct {
  uint8_t* values;  // int8_t, if `type` says so
  uint32_t count;
  tulle_quantization quantization;
} tulle_integers;

// A model input.
typedef struct {
  float* data;
  uint8_t* pixels;  // for RGBA bytes; NULL unless the input is an image
  uint32_t height, width;
  float scale, shift;  // value * scale + shift
  bool direct;         // every consumer reads bytes itself (entry convolutions)
  bool is_rgba8;       // the input holds bytes at the moment
  tulle_integers integers;
  bool is_integers;  // `integers` hold the input at the moment
} tulle_input;

// A model output.
typedef struct {
  const float* data;
  tulle_integers integers;
} tulle_output;

// What an op adds to its result as it stores it: added * gate. No gate is 1; if `added` is NULL, nothing is added.
typedef struct {
  const float *added, *gate;
  int32_t operand;  // of an addition: the input in whose place added * gate is
} tulle_sum;

typedef struct {
  const tulle_net* net;
  const tulle_place* places;  // one per tensor
  const tulle_input* inputs;  // of the model
  uint32_t threads;
  uint32_t sparse_tile;  // vectors
  tulle_dot dot;         // that kernels on bytes are to use; TULLE_DOT_NONE: none of them runs
  const tulle_op* op;    // being planned
  tulle_sum sum;         // of that op, if it takes one
  uint64_t weight_bytes, reserved_bytes;
  uint64_t spare_bytes;         // that plans may take so as to be faster
  tulle_memory* memory;         // of the model
  struct tulle_engine* engine;  // which has the error
} tulle_planner;

// Readable bytes after every tensor and constant, for whole-vector loads over its end.
#define TULLE_SLACK_BYTES 128

// The most bytes of one allocation.
#define TULLE_MAX_BYTES 0x7fffffffu

// What a thread's scratch memory has to be for `bytes`, 64-byte aligned and with slack.
static inline size_t tulle_scratch_bytes(uint64_t bytes) {
  if (bytes == 0) return 0;
  // More than memory is left to the allocation to refuse.
  return bytes > TULLE_MAX_BYTES ? TULLE_MAX_BYTES : ((size_t)bytes + 127) / 64 * 64;
}

// Sets the error, naming the op; returns false.
__attribute__((format(printf, 2, 3))) bool tulle_plan_fail(tulle_planner* planner, const char* format, ...);

// Memory for the life of the model, 64-byte aligned, zeroed. NULL (error set) when there is none.
void* tulle_plan_alloc(tulle_planner* planner, size_t size);

// The same, not zeroed.
void* tulle_plan_reserve(tulle_planner* planner, size_t size);

// Whether the model may have so many bytes more; false (error set) if that is beyond the engine's limit.
bool tulle_plan_afford(const tulle_planner* planner, uint64_t bytes);

// Values of a constant input as float32, followed by `extra` zeros. NULL (error set) if it is not constant.
float* tulle_plan_constant(tulle_planner* planner, int32_t tensor, size_t extra);

// How many tasks to cut `units` equal pieces of work into.
uint32_t tulle_plan_tasks(const tulle_planner* planner, uint32_t units);

// The same where so little is done with each of `elements` that few of them are not worth sharing.
uint32_t tulle_plan_light_tasks(const tulle_planner* planner, uint64_t elements, uint32_t units);

// How many pieces to cut a second dimension of `units` into, after the first gave only `tasks`.
uint32_t tulle_plan_more_tasks(const tulle_planner* planner, uint32_t tasks, uint32_t units);

// Floats from one channel to the next in a map of so many rows and columns.
size_t tulle_plan_stride(uint32_t height, uint32_t width);

// A tensor as pixels of channels: an image, or a vector, whose elements are the channels of one pixel. False if it is
// neither, or an image in another order than CHW.
bool tulle_map_of(const tulle_tensor* tensor, uint32_t* channels, uint32_t* pixels);

// The op's input, or NULL if it is left out.
static inline const tulle_tensor* tulle_plan_input(const tulle_planner* planner, const tulle_op* op, uint32_t index) {
  return index < op->input_count && op->inputs[index] >= 0 ? &planner->net->tensors[op->inputs[index]] : NULL;
}

static inline const tulle_tensor* tulle_plan_output(const tulle_planner* planner, const tulle_op* op) {
  return &planner->net->tensors[op->output];
}

// The place of an input that is not left out.
static inline const tulle_place* tulle_place_of_input(const tulle_planner* planner, const tulle_op* op,
                                                      uint32_t index) {
  return &planner->places[op->inputs[index]];
}

static inline const tulle_place* tulle_place_of_output(const tulle_planner* planner, const tulle_op* op) {
  return &planner->places[op->output];
}

static inline uint32_t tulle_round_up(uint32_t n, uint32_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

#endif  // TULLE_RUNTIME_PLANNER_H_
