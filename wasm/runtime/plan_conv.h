// What the planners of the different convolutions share.

#ifndef TULLE_RUNTIME_PLAN_CONV_H_
#define TULLE_RUNTIME_PLAN_CONV_H_

#include "runtime/plan.h"

// Padded input that one task works on at a time: two thirds of a 48 KB L1.
#define TULLE_STRIP_BYTES (32 * 1024)

// Whether input, weight ([.., kh, kw, ..]) and output of a convolution fit together; sets the error if not.
bool tulle_check_conv(tulle_planner* planner, const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w,
                      const tulle_tensor* y);

// The bias, input `index`, as `channels` floats and `extra` zeros; zeros if it is left out.
float* tulle_plan_bias(tulle_planner* planner, const tulle_op* op, uint32_t index, uint32_t channels, uint32_t extra);

// A constant unpacked for the time of planning only; the caller frees it.
float* tulle_plan_unpack(tulle_planner* planner, const tulle_tensor* tensor);

// The nonzeros of a matrix of `columns` columns, for the sparse kernels: units of `group` rows, 1 (tulle_nonzero) or 2
// (tulle_nonzero_pair, columns in which either row has one), in `order` or as they stand; `passes` pieces of the
// columns one after the other. A column's offset is column * column_bytes. unit_start: [passes][units + 1]. NULL (error
// set) when out of memory.
const void* tulle_pack_nonzeros(tulle_planner* planner, const float* weights, const uint32_t* order, uint32_t units,
                                uint32_t group, uint32_t columns, uint32_t passes, size_t column_bytes,
                                const uint32_t** unit_start);

// Finds rows that are faster in pairs: `order` becomes a permutation of all rows whose first 2 * (the returned number)
// are such pairs, the others following in their order. Returns UINT32_MAX (error set) when out of memory.
uint32_t tulle_pair_rows(tulle_planner* planner, const float* weights, uint32_t rows, uint32_t columns,
                         uint32_t* order);

// A dense convolution in blocks of TULLE_GEMM_ROWS output channels.
typedef struct {
  const float *input, *weights, *bias, *residual;
  float* output;
  size_t input_stride, output_stride, residual_stride;
  const int32_t* offsets;
  uint32_t rows, taps, blocks;  // output channels, input channels, blocks of TULLE_GEMM_ROWS output channels
  uint32_t vectors, tiles, width;
  uint32_t tile_tasks, block_tasks;
  bool pack;
  uint32_t group;  // tiles at a time
  tulle_epilogue epilogue;
} tulle_dense;

// The arguments of one block over taps [tap, tap_end).
tulle_gemm tulle_gemm_block(const tulle_dense* args, uint32_t block, uint32_t tap, uint32_t tap_end);

// The activations that are not clamps, over what a block has just written.
void tulle_activate_block(const tulle_gemm* gemm, float* output, uint32_t count);

// Weights [rows][taps] as [blocks][taps][TULLE_GEMM_ROWS], missing rows zero. tap_order[t] is the column of tap t, NULL
// for t itself.
float* tulle_pack_blocks(tulle_planner* planner, const float* weights, uint32_t rows, uint32_t taps,
                         const uint32_t* tap_order);

// Floats one phase of a padded row needs for outputs of `out_width`, whole vectors read.
uint64_t tulle_phase_width(uint32_t out_width, uint32_t kernel_w, uint32_t dilation_w, uint32_t stride_w);

// 1x1 convolutions over `pixels` > 1 in CHW.
bool tulle_plan_sparse(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t pixels);
bool tulle_plan_dense(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t pixels);

// `batch` matrix-vector products. residual: tensor to add, or -1.
bool tulle_plan_vector(tulle_planner* planner, const tulle_op* op, const tulle_tensor* w, uint32_t batch,
                       uint32_t inputs, uint32_t alpha_input, int32_t residual);

#endif  // TULLE_RUNTIME_PLAN_CONV_H_
