// The planner: from a verified net to steps with their kernels, strides, work split and places in memory.
//
// plan.c places the tensors and walks the ops; the other plan_*.c each turn ops of one family into steps. All memory of
// a plan hangs off its model and is given back with it.

#ifndef TULLE_RUNTIME_PLAN_H_
#define TULLE_RUNTIME_PLAN_H_

#include "kernels/kernels.h"
#include "runtime/engine.h"
#include "runtime/net.h"

// Where a tensor lies. Channel c of a CHW tensor starts at data + c * stride; a plain tensor is contiguous.
typedef struct {
  float* data;
  size_t stride;
} tulle_place;

struct tulle_model {
  tulle_engine* engine;
  tulle_step* steps;
  uint32_t step_count, step_capacity;
  tulle_progress* progress;
  double* profile;
  char* scratch;
  size_t scratch_bytes;  // a thread
  char* info;
  uint32_t input_count, output_count;
  struct tulle_input {
    float* data;
    uint8_t* pixels;  // for RGBA bytes; NULL unless the input is an image
    uint32_t height, width;
    float scale, shift;  // value * scale + shift
    bool direct;         // every reader takes bytes itself (entry convolutions)
    bool is_rgba8;       // what the input holds at the moment
  }* inputs;
  const float** outputs;
  void** allocations;
  uint32_t allocation_count, allocation_capacity;
  uint64_t weight_bytes, arena_bytes;
};

// Ops [first, last] that run together, so that what lies between them is never written to memory, or to no more than
// L2: convolutions, each the only reader of the one before, some rows at a time (plan_band.c), or an addition with what
// it adds up (plan_sum.c).
typedef struct {
  uint32_t first, last;
  uint32_t rows;  // of the last op's output at a time; 0 for an addition
} tulle_band;

typedef struct {
  const tulle_net* net;
  tulle_model* model;
  tulle_place* places;  // one a tensor
  uint32_t op;          // the one being planned
  uint32_t threads;
  tulle_band* bands;  // in order
  uint32_t band_count;
} tulle_planner;

// Fills model->steps and the rest. On failure the engine's error is set; free the model either way.
bool tulle_plan(tulle_model* model, const tulle_net* net);

// ---- for the planners of single ops -------------------------------------------------------------------

// Sets the error, naming the op; returns false.
__attribute__((format(printf, 2, 3))) bool tulle_plan_fail(tulle_planner* planner, const char* format, ...);

// Memory for the life of the model, 64-byte aligned, zeroed. NULL (error set) when there is none.
void* tulle_plan_alloc(tulle_planner* planner, size_t size);

// Values of a constant input as float32, `extra` zeros behind them. NULL (error set) if it is not constant.
float* tulle_plan_constant(tulle_planner* planner, int32_t tensor, size_t extra);

// Appends a step; NULL (error set) when out of memory. Returned for its counters to be filled in.
tulle_step* tulle_plan_step(tulle_planner* planner, tulle_task run, const void* args, uint32_t tasks,
                            const char* kernel);

// Sees to it that every task of this model gets that much scratch.
void tulle_plan_scratch(tulle_planner* planner, uint64_t bytes);

// The epilogue of the op's activation; input `alpha_input` is prelu's alpha.
bool tulle_plan_epilogue(tulle_planner* planner, const tulle_op* op, uint32_t alpha_input, uint32_t channels,
                         tulle_epilogue* epilogue);

// The op's tensor, or NULL for an input left out.
const tulle_tensor* tulle_plan_input(const tulle_planner* planner, const tulle_op* op, uint32_t index);

// Floats from one channel to the next in a map of so many rows and columns.
size_t tulle_plan_stride(uint32_t height, uint32_t width);

// Finds the bands of the net, for place_tensors: tensors inside of one take no memory of their own.
bool tulle_find_bands(tulle_planner* planner);

// The band that this op is part of, or NULL.
const tulle_band* tulle_band_of(const tulle_planner* planner, uint32_t op);

// The last op of the addition that begins with op `first`, or `first` if none does. readers: how many each tensor has.
uint32_t tulle_find_sum(const tulle_net* net, const uint32_t* readers, uint32_t first);

// Plans the op planner->op, or from it on all ops of a band; leaves planner->op at the last of them.
bool tulle_plan_op(tulle_planner* planner);
bool tulle_plan_band(tulle_planner* planner, const tulle_band* band);
bool tulle_plan_sum(tulle_planner* planner, const tulle_band* sum);

// How many tasks to cut `units` equal pieces of work into.
uint32_t tulle_plan_tasks(const tulle_planner* planner, uint32_t units);

// The same where so little is done with each of `elements` that few of them are not worth sharing.
uint32_t tulle_plan_light_tasks(const tulle_planner* planner, uint64_t elements, uint32_t units);

static inline uint32_t tulle_round_up(uint32_t n, uint32_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Whether a tensor's bytes are in the model's own order (see "One layout" in docs/architecture.md).
static inline bool tulle_is_plain(const tulle_tensor* t) {
  return !t->chw || t->shape[3] == 1 || t->shape[1] * t->shape[2] == 1;
}

// ... and in CHW order.
static inline bool tulle_is_chw(const tulle_tensor* t) {
  return t->chw || (t->rank == 4 && t->shape[0] == 1 && (t->shape[3] == 1 || t->shape[1] * t->shape[2] == 1));
}

bool tulle_plan_conv2d(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_depthwise(tulle_planner* planner, const tulle_op* op);
// The same with the tensor `added`, of the output's shape and in CHW order, added behind the activation; and whether
// the op can be planned so.
bool tulle_plan_depthwise_sum(tulle_planner* planner, const tulle_op* op, int32_t added);
bool tulle_depthwise_takes_sum(const tulle_net* net, const tulle_op* op);
bool tulle_plan_transpose_conv(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_fully_connected(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_binary(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_activation(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_pool(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_reduce(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_argmax(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_matmul(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_max_unpool(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_sample(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_resize(tulle_planner* planner, const tulle_op* op);
// The same, and `added`, of the output's shape and in CHW order, times `gate`, one number a channel (< 0: 1).
bool tulle_plan_resize_sum(tulle_planner* planner, const tulle_op* op, int32_t added, int32_t gate);
bool tulle_resize_takes_sum(const tulle_net* net, const tulle_op* op);
bool tulle_plan_softmax(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_concat(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_pad(tulle_planner* planner, const tulle_op* op);
bool tulle_plan_copy(tulle_planner* planner, const tulle_op* op);  // transpose, slice, to_plain, to_chw, depth/space

// Whether the op moves no byte: its output is its input under another shape or layout.
bool tulle_plan_is_free(const tulle_net* net, const tulle_op* op);

#endif  // TULLE_RUNTIME_PLAN_H_
