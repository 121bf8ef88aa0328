// What the convolutions share.

#ifndef TULLE_OPS_CONVOLUTION_H_
#define TULLE_OPS_CONVOLUTION_H_

#include "ops/ops.h"

// Padded input that a task works on at a time: two thirds of a 48 KB L1.
#define TULLE_STRIP_BYTES (32 * 1024)

// A function that has one caller, called through a pointer: Binaryen would make it part of its caller, and V8 takes
// tens of milliseconds to compile what is large. See docs/performance.md.
#define TULLE_APART(function)                  \
  ({                                           \
    __typeof__(&(function)) hidden = function; \
    __asm__("" : "+r"(hidden));                \
    hidden;                                    \
  })

// Whether each output pixel of a conv2d depends on the input pixel at its place alone.
bool tulle_is_pointwise(const tulle_op* op, const tulle_tensor* w);

// Whether the output's height and width are what the op's windows make of the input's. All have 4 dimensions.
bool tulle_windows_fit(const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w, const tulle_tensor* y);

// Whether input, weight ([.., kh, kw, ..]) and output of a convolution fit together; sets the error if not.
bool tulle_check_conv(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
                      const tulle_tensor* y);

// The bias, input 2, as `channels` floats and `extra` zeros; zeros if it is left out.
float* tulle_plan_bias(tulle_planner* planner, const tulle_op* op, uint32_t channels, uint32_t extra);

// A constant decoded for the time of planning only; the caller frees it. NULL (error set) when out of memory.
float* tulle_plan_decode(tulle_planner* planner, const tulle_tensor* tensor);

// The nonzeros of a matrix, row by row, for the time of planning.
typedef struct {
  uint32_t rows, columns, count;
  uint32_t* start;   // [rows + 1] where each row begins in the next two
  uint32_t* column;  // ascending in a row
  float* value;
} tulle_sparse;

// Reads the rows of a constant; its first dimension counts them. tulle_free_sparse has to follow. False (error set)
// when out of memory.
bool tulle_read_sparse(tulle_planner* planner, const tulle_tensor* weight, tulle_sparse* rows);
void tulle_free_sparse(tulle_sparse* rows);

// The nonzeros for the sparse kernels: units of `group` rows, 1 (tulle_nonzero) or 2 (tulle_nonzero_pair, columns in
// which either row has a nonzero), in the order of `order` or, if that is NULL, as they are; `passes` pieces of the
// columns one after the other. A column's offset is column * column_bytes. unit_start: [passes][units + 1]. NULL (error
// set) when out of memory.
const void* tulle_pack_nonzeros(tulle_planner* planner, const tulle_sparse* rows, const uint32_t* order, uint32_t units,
                                uint32_t group, uint32_t passes, size_t column_bytes, const uint32_t** unit_start);

// Finds rows that are faster in pairs: `order` becomes a permutation of all rows that begins with the rows of such
// pairs, one pair after the other; the other rows follow in their order. Returns the number of pairs, or UINT32_MAX
// (error set) when out of memory.
uint32_t tulle_pair_rows(tulle_planner* planner, const tulle_sparse* rows, uint32_t* order);

// Columns in which `other` has a nonzero and `row` has none.
uint32_t tulle_other_columns(const tulle_sparse* rows, uint32_t row, uint32_t other);

// A dense convolution in blocks of TULLE_GEMM_ROWS output channels.
typedef struct {
  const float *input, *weights, *bias, *residual;
  float* output;
  size_t input_stride, output_stride, residual_stride;
  const int32_t* offsets;
  const uint32_t* starts;  // where the taps of each block begin in weights and offsets; NULL: all blocks have the same
  uint32_t rows, taps, blocks;  // output channels, weights of each, blocks of TULLE_GEMM_ROWS output channels
  uint32_t vectors, tiles, width;
  uint32_t tile_tasks, block_tasks;
  bool pack;
  uint32_t group;  // tiles at a time
  tulle_epilogue epilogue;
} tulle_dense;

// The arguments of one block over taps [tap, tap_end).
tulle_gemm tulle_gemm_block(const tulle_dense* args, uint32_t block, uint32_t tap, uint32_t tap_end);

// Applies the activations that are not part of the kernel's store to what a block has just computed.
void tulle_activate_block(const tulle_gemm* gemm, float* output, uint32_t count);

// Fills `dense` with what conv2d's tensors say, all but the offsets of the taps and how the work is divided. Its
// weights are packed as [blocks][taps][TULLE_GEMM_ROWS], missing rows zero; tap_order[t] is the column of tap t, NULL
// for t itself.
bool tulle_plan_dense(tulle_planner* planner, const tulle_op* op, const uint32_t* tap_order, tulle_dense* dense);

// The same without the weights.
bool tulle_plan_operands(tulle_planner* planner, const tulle_op* op, tulle_dense* dense);

// Weights of so many rows, packed so with any number of rows in a block. NULL (error set) where they do not fit into
// memory.
float* tulle_pack_blocks(tulle_planner* planner, const tulle_tensor* weight, uint32_t rows, uint32_t block_rows,
                         const uint32_t* tap_order);

// The stride from one output column to the next: 1 if there is but one, whatever the op says. Padded rows have a phase
// for each column of a stride.
static inline uint32_t tulle_column_stride(const tulle_op* op, const tulle_tensor* y) {
  return y->shape[2] == 1 ? 1 : op->stride_w;
}

// Floats that one phase of a padded row needs for `out_width` outputs, read in whole vectors.
uint64_t tulle_phase_width(uint32_t out_width, uint32_t kernel_w, uint32_t dilation_w, uint32_t stride_w);

// 1x1 convolutions over more than one pixel in CHW order.
tulle_plan_function tulle_plan_pointwise_sparse, tulle_plan_pointwise_dense;

// k x k convolutions, and 1x1 ones with strides or padding, or of a plain image.
tulle_plan_function tulle_plan_spatial;

// Those by Winograd's minimal filtering, and whether that is to be: it is faster, and there is memory for its weights.
bool tulle_takes_winograd(const tulle_planner* planner, const tulle_op* op);
tulle_plan_function tulle_plan_winograd;

// `batch` matrix-vector products. residual: NULL for none.
bool tulle_plan_vector(tulle_planner* planner, const tulle_op* op, uint32_t batch, uint32_t inputs,
                       const float* residual, tulle_work* work);

#endif  // TULLE_OPS_CONVOLUTION_H_
