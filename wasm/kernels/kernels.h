// Every kernel: plain pointers and sizes, nothing of models, threads or files.
//
// Conventions for all of them:
//   - CHW tensors: channel c starts at data + c * stride (floats); its H*W values are contiguous. A stride is at
//     least H*W rounded up to 4, with 3 more where W is not a multiple of 4, so that a whole vector may be stored over
//     the end of a row or channel. The buffers end in at least 64 readable bytes of slack.
//   - What lies in the padding is arbitrary: it never reaches a result.
//   - `tulle_epilogue` says what happens to a sum before it is stored.

#ifndef TULLE_KERNELS_KERNELS_H_
#define TULLE_KERNELS_KERNELS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/enums.h"
#include "kernels/simd.h"

// ---- names ------------------------------------------------------------------------------------------

// What of a list belongs to the build that is being made.
#define TULLE_BUILD_ALL(...) __VA_ARGS__,
#if TULLE_HAS_FMA
#define TULLE_BUILD_SIMD(...)
#define TULLE_BUILD_RELAXED(...) __VA_ARGS__,
#else
#define TULLE_BUILD_SIMD(...) __VA_ARGS__,
#define TULLE_BUILD_RELAXED(...)
#endif

// The kernels of kernels.inc.
typedef enum {
  TULLE_KERNEL_OF_OP,  // one that a single op runs, and that goes by its name
#define KERNEL(c_name, function, tile, path, builds) TULLE_BUILD_##builds(TULLE_KERNEL_##c_name)
#include "kernels/kernels.inc"
#undef KERNEL
  TULLE_KERNEL_COUNT
} tulle_kernel_id;

typedef struct {
  const char *function, *tile, *path;
} tulle_kernel;

extern const tulle_kernel tulle_kernels[TULLE_KERNEL_COUNT];

// ---- activation -------------------------------------------------------------------------------------

// y = activation(clamp(x, low, high)). Every kernel clamps for free as it stores. All the ReLUs are clamps, so their
// `kind` is TULLE_ACT_NONE. Convolutions apply hard_swish as they store too; any other activation is a second pass over
// each row while it is in L1.
typedef struct {
  float low, high;
  tulle_activation kind;
  float alpha;         // leaky_relu, elu
  const float* prelu;  // alpha per channel
} tulle_epilogue;

// Whether the kernels of convolutions apply it as they store.
static inline bool tulle_in_store(tulle_activation kind) {
  return kind == TULLE_ACT_NONE || kind == TULLE_ACT_HARD_SWISH;
}

// In place over n floats of one channel. Writes nothing beyond them.
void tulle_f32_activate(float* x, size_t n, const tulle_epilogue* epilogue, uint32_t channel);

// The same after the clamp, for results that were stored without an epilogue.
void tulle_f32_finish(float* x, size_t n, const tulle_epilogue* epilogue, uint32_t channel);

// ---- sparse 1x1 convolution -------------------------------------------------------------------------

// One nonzero weight: its value and where its input channel starts, in bytes from channel 0.
typedef struct {
  float value;
  int32_t offset;
} tulle_nonzero;

// The same for two output channels that share their columns.
typedef struct {
  float values[2];
  int32_t offset;
} tulle_nonzero_pair;

typedef struct {
  const float* input;
  float* output;
  const float* added;  // to the sums before the epilogue, or NULL: a residual, or the output of the pass before
  size_t output_stride, added_stride;
  const float* bias;  // one an output channel, or NULL where there is something added
  tulle_epilogue epilogue;
  // Of tulle_f32_spmm: row by row; where each row begins, and one more; the output channel of each.
  const tulle_nonzero* nonzeros;
  const uint32_t *row_start, *rows;
  // Of tulle_f32_spmm_pairs: pair by pair; where each pair begins, and one more; two output channels each.
  const tulle_nonzero_pair* pairs;
  const uint32_t *pair_start, *pair_rows;
} tulle_spmm;

// 13 accumulators, a weight and a vector of pixels fill the 15 registers that V8 has for us on x86, and 52 pixels hold
// a 7x7 map.
#define TULLE_SPMM_MAX_VECTORS 13

// Rows [row, row_end) at pixels [pixel, pixel + 4 * vectors), 1 <= vectors <= TULLE_SPMM_MAX_VECTORS.
void tulle_f32_spmm(const tulle_spmm* args, uint32_t row, uint32_t row_end, size_t pixel, uint32_t vectors);

// 12 accumulators, 2 weights and a vector of pixels fill the registers too. Without a fused multiply-add each product
// needs one more. TULLE_SPMM_PAIR_LEAST: pairs of rows with fewer nonzeros each take longer than two single rows
// (measured; py/tulle/passes/cost_model.py has the relaxed one too, and a test compares them).
#if TULLE_HAS_FMA
#define TULLE_SPMM_PAIR_MAX_VECTORS 6
#define TULLE_SPMM_PAIR_LEAST 6
#else
#define TULLE_SPMM_PAIR_MAX_VECTORS 5
#define TULLE_SPMM_PAIR_LEAST 16
#endif

// Pairs [pair, pair_end) at pixels [pixel, pixel + 4 * vectors), 1 <= vectors <= TULLE_SPMM_PAIR_MAX_VECTORS.
void tulle_f32_spmm_pairs(const tulle_spmm* args, uint32_t pair, uint32_t pair_end, size_t pixel, uint32_t vectors);

// ---- dense convolution as an indirect matrix product --------------------------------------------------

// out[o][px] = bias[o] + sum over taps t of weight[o][t] * input[offset[t] + px]. The taps of a 1x1 convolution are its
// input channels, those of a k x k convolution (channel, ky, kx) in zero-padded planes.
// Without a fused multiply-add each product needs a register of its own, and 6 rows no longer fit.
#if TULLE_HAS_FMA
#define TULLE_GEMM_ROWS 6
#else
#define TULLE_GEMM_ROWS 4
#endif
#define TULLE_GEMM_MAX_VECTORS 2

typedef struct {
  const float* weights;    // this block of output channels: [taps][TULLE_GEMM_ROWS]
  const float* bias;       // TULLE_GEMM_ROWS
  const int32_t* offsets;  // bytes, one a tap
  uint32_t taps;
  uint32_t rows;     // output channels that exist; any others are computed but not stored
  uint32_t channel;  // of the first row, for the epilogue
  bool accumulate;   // start from the output as it is, not from bias and residual
  bool finish;       // apply the epilogue: this is the last block of taps
  size_t output_stride, residual_stride;
  size_t input_step;  // floats from 8 pixels to the next 8 in the input
  const tulle_epilogue* epilogue;
} tulle_gemm;

// Whether the kernel applies it as it stores.
static inline bool tulle_in_gemm_store(tulle_activation kind) {
  return tulle_in_store(kind) || kind == TULLE_ACT_PRELU;
}

// `count` pixels of `input`, `output` and `residual` (or NULL). With `exact`, nothing is stored beyond them.
void tulle_f32_gemm(const tulle_gemm* args, const float* input, float* output, const float* residual, uint32_t count,
                    bool exact);

// Copies 8 pixels of each of `channels` channels next to each other.
void tulle_f32_pack_panel(const float* input, size_t stride, uint32_t channels, float* panel);

// ---- zero-padded planes -------------------------------------------------------------------------------

// What k x k kernels read: a copy of some rows of one channel with the zeros of its padding around it, split by column
// modulo the stride, so that neighbouring outputs read neighbouring floats whatever the stride.
// Row r of the copy holds input row `row + r`; column x of phase p holds input column x * stride + p - pad_left.
// The zeros left and right must already be there (tulle_f32_zero); rows above and below the input are zeroed each time.
typedef struct {
  uint32_t height, width;  // of the input
  uint32_t stride;         // horizontal
  uint32_t pad_left;
  uint32_t phase_width;  // floats a phase
} tulle_plane;

void tulle_f32_zero(float* x, size_t n);

// Rows [row, row + rows) of a CHW channel (row may be negative or beyond the end: zeros).
void tulle_f32_pad_chw(const tulle_plane* plane, const float* channel, int32_t row, uint32_t rows, float* output);

// The same of a row-major [height, width, channels] image, all its channels, plane_stride floats apart in the output.
// `line` is scratch for channels * (width + 8) floats.
void tulle_f32_pad_hwc(const tulle_plane* plane, const float* image, uint32_t channels, int32_t row, uint32_t rows,
                       float* output, size_t plane_stride, float* line);

// The same of RGBA bytes, three channels, each value * scale + shift.
void tulle_f32_pad_rgba8(const tulle_plane* plane, const uint8_t* image, float scale, float shift, int32_t row,
                         uint32_t rows, float* output, size_t plane_stride, float* line);

// ---- Winograd's minimal filtering ---------------------------------------------------------------------

// A convolution with stride 1 and a kernel of 3x3, 1x3 or 3x1 as one matrix product for each of 36 or 6 points: the
// transformed weights times the transformed input, of which a pixel is a tile of 4x4, 1x4 or 4x1 outputs. A point's
// index is row * 6 + column, or the one there is.
typedef struct {
  uint32_t kernel_h, kernel_w;  // 3x3, 1x3 or 3x1
  uint32_t height, width;       // of the input
  uint32_t out_width;
  int32_t pad_top, pad_left;  // less than the kernel
  uint32_t line_floats;       // of each of the 7 lines of scratch
  size_t matrix_stride;       // floats from one point's matrix to the next in the transformed input
  size_t product_stride;      // and in the products
} tulle_winograd;

// The kernels of four input channels at each point. Tap (ky, kx) of them lies at weights + (ky * kernel_w + kx) *
// stride.
void tulle_f32_winograd_weights(uint32_t kernel_h, uint32_t kernel_w, const float* weights, size_t stride, v4* at);

// Rows [top, bottom) and columns [column, column + columns) of the tiles of one channel, row by row without a gap: tile
// t at point p to tiles[p * matrix_stride + t]. Whole vectors: writes up to 3 floats beyond. `lines`: 7 lines, zeros
// before the first of several calls with the same columns.
void tulle_f32_winograd_input(const tulle_winograd* args, const float* channel, uint32_t top, uint32_t bottom,
                              uint32_t column, uint32_t columns, float* lines, float* tiles);

// `rows` rows and `columns` columns of outputs of one channel, from the products of its tiles, row by row without a
// gap; with bias, residual (or NULL) and the epilogue's clamp. The rest of the epilogue is left to tulle_f32_activate.
// Stores exactly these outputs.
void tulle_f32_winograd_output(const tulle_winograd* args, const float* products, float bias, const float* residual,
                               float* output, uint32_t rows, uint32_t columns, const tulle_epilogue* epilogue);

// ---- depthwise convolution ------------------------------------------------------------------------------

// 3x3 and 5x5 with stride 1 or 2, straight from the input.
typedef struct {
  uint32_t kernel, stride;  // both ways: 3 or 5, 1 or 2
  uint32_t height, width;   // of the input
  uint32_t out_width;
  uint32_t pad_top, pad_left;          // less than the kernel: every window has a pixel of the input
  size_t input_stride, output_stride;  // floats from channel to channel
  // Added after the activation: its first channel and row, with the output's strides. NULL for nothing. Only for 3x3,
  // stride 1, and an activation that is a clamp.
  const float* added;
} tulle_depthwise;

// Rows [top, top + rows) of `channels` output channels. `input` is row 0 of the first channel; only rows in reach of
// the window are read, so it may point in front of a buffer that holds no others. `output` is where row `top` goes.
// Whole vectors are stored, up to 3 floats beyond the rows. weights: kernel * kernel a channel. `channel`: the first,
// for the epilogue.
void tulle_f32_depthwise(const tulle_depthwise* args, const float* input, const float* weights, const float* bias,
                         float* output, uint32_t channels, uint32_t top, uint32_t rows, const tulle_epilogue* epilogue,
                         uint32_t channel);

// The kernel that tulle_f32_depthwise runs for such arguments; TULLE_KERNEL_DWCONV if it has none. Of an epilogue it
// does not know: variants for that go by the same name.
tulle_kernel_id tulle_f32_depthwise_id(const tulle_depthwise* args);

// 1x1 with stride 1, as batch normalisation leaves it behind where it cannot be folded: y[i] = x[i] * weight + bias for
// n floats of one channel. Whole vectors: may write up to 3 floats beyond n.
void tulle_f32_scale(const float* x, float weight, float bias, float* y, size_t n, const tulle_epilogue* epilogue,
                     uint32_t channel);

// Any other kernel, stride and dilation, from a zero-padded plane.
typedef struct {
  uint32_t kernel_h, kernel_w;
  uint32_t stride_h, stride_w;
  uint32_t dilation_h, dilation_w;
  uint32_t out_height, out_width;
  uint32_t row_floats;  // of the padded plane: phases * phase_width
  uint32_t phase_width;
} tulle_depthwise_plane;

// One output channel from its padded plane (row 0 is input row -pad_top). weights: kernel_h * kernel_w.
void tulle_f32_depthwise_plane(const tulle_depthwise_plane* args, const float* plane, const float* weights, float bias,
                               float* output, const tulle_epilogue* epilogue, uint32_t channel);

// ---- the rest of a convolutional network ------------------------------------------------------------------

typedef enum {
  TULLE_ADD,
  TULLE_SUB,
  TULLE_MUL,
  TULLE_DIV,
  TULLE_MAXIMUM,
  TULLE_MINIMUM,
  TULLE_GREATER,
  TULLE_EQUAL,
  TULLE_MASK
} tulle_binary_op;

// y[i] = a[i * a_step] op b[i * b_step], steps 0 or 1; whole vectors: may write up to 3 floats beyond n unless `exact`.
void tulle_f32_binary(tulle_binary_op op, const float* a, uint32_t a_step, const float* b, uint32_t b_step, float* y,
                      size_t n, const tulle_epilogue* epilogue, uint32_t channel, bool exact);

// y[i] = a[i] * gate + b[i]; whole vectors: may write up to 3 floats beyond n.
void tulle_f32_gated_sum(const float* a, float gate, const float* b, float* y, size_t n);

// In place: x [rows, channels] times alpha [channels] where x is negative.
void tulle_f32_prelu_rows(float* x, size_t rows, uint32_t channels, const float* alpha);

// Rows of tulle_f32_dots that are computed together.
#define TULLE_DOT_ROWS 4

// y [rows] = weights [rows, n] * x [n].
void tulle_f32_dots(const float* weights, const float* x, size_t n, uint32_t rows, float* y);

// Sum of w[i] * x[i] over the nonzeros [next, end) of w.
float tulle_f32_sparse_dot(const tulle_nonzero* next, const tulle_nonzero* end, const float* x);

// Sum, largest and smallest of n floats.
float tulle_f32_sum(const float* x, size_t n);
float tulle_f32_max(const float* x, size_t n);
float tulle_f32_min(const float* x, size_t n);

typedef enum { TULLE_REDUCE_SUM, TULLE_REDUCE_MAX, TULLE_REDUCE_MIN } tulle_reduction;

// Over `channels` slices `stride` floats apart: y[i] = scale * reduction of their x[i], for i in [begin, end).
void tulle_f32_reduce_channels(tulle_reduction reduction, float scale, const float* x, size_t stride, uint32_t channels,
                               uint32_t begin, uint32_t end, float* y);

// Most nested loops of the kernels that copy and reduce.
#define TULLE_MAX_LOOPS 12

// A row-major array reduced over any of its axes.
typedef struct {
  tulle_reduction reduction;
  uint32_t rank, shape[TULLE_MAX_LOOPS];
  uint32_t out_step[TULLE_MAX_LOOPS];  // floats of the output for a step along each axis; 0 for the reduced ones
  uint32_t out_elements;
  float scale;
} tulle_reduce;

void tulle_f32_reduce(const tulle_reduce* args, const float* input, float* output);

// y [outer, inner]: index of the first largest value along the middle axis of x [outer, size, inner]; numbers begin to
// end of y.
void tulle_f32_argmax(const float* x, uint32_t size, uint32_t inner, uint32_t begin, uint32_t end, float* y);

// One axis of `size` elements, so many floats apart in the input and in the output.
typedef struct {
  uint32_t size;
  size_t in_step, out_step;
  bool exclusive, reverse;
} tulle_cumsum;

// Sums along the axis, of `inner` neighbouring floats each on its own: an output is the sum of the inputs up to it, or
// of those before it if `exclusive`, counted from the end if `reverse`. Stores exactly these floats.
void tulle_f32_cumsum(const tulle_cumsum* args, const float* x, float* y, uint32_t inner);

// The first `k` of `size` elements in order: the largest ones descending, or the smallest ones ascending. Of equal ones
// the first comes first; NaN is larger than all numbers.
typedef struct {
  uint32_t size, k;
  size_t step;  // floats from one element to the next, in the input and in the output
  bool largest, indices;
} tulle_topk;

// The elements themselves or, if `indices`, which they are. `best`: room for k numbers.
void tulle_f32_topk(const tulle_topk* args, const float* x, float* y, uint64_t* best);

// Nested loops over an input and an output, the outermost first; steps in floats.
typedef struct {
  const float* input;
  float* output;
  uint32_t loops;
  uint32_t sizes[TULLE_MAX_LOOPS];
  int64_t in_step[TULLE_MAX_LOOPS], out_step[TULLE_MAX_LOOPS];
} tulle_copy;

// Copies; [begin, end) of the outermost loop.
void tulle_f32_copy(const tulle_copy* copy, uint32_t begin, uint32_t end);

// Nested loops over an output. from[loop][i] is where index i reads, in floats from the start of the input: the sum of
// all loops' is where the `count` neighbouring floats of a run begin, with `before` and `after` values around them.
// -1: outside, where the whole run is `value`.
typedef struct {
  const float* input;
  float* output;
  uint32_t loops;
  uint32_t sizes[TULLE_MAX_LOOPS];
  int64_t out_step[TULLE_MAX_LOOPS];
  const int32_t* from[TULLE_MAX_LOOPS];
  size_t before, count, after;
  float value;
  // Where mirroring: the input's own elements along the last loop are `run` from `run_begin` on, next to each other.
  uint32_t run_begin, run;
} tulle_pad;

void tulle_f32_pad(const tulle_pad* pad, uint32_t begin, uint32_t end);

// Columns of a tile of tulle_f32_matmul.
#define TULLE_MATMUL_COLUMNS 8

typedef struct {
  const float *a, *b, *bias;  // bias [columns] and up to 7 more that are read; or NULL
  float* y;
  uint32_t rows, depth, columns;
  size_t b_step, y_step;  // floats from row to row
  float low, high;        // limits of y
} tulle_matmul;

// y [rows, columns] = a [rows, depth] * b [depth, columns] + bias. Reads up to 7 floats beyond a row of b.
void tulle_f32_matmul(const tulle_matmul* args);

typedef struct {
  uint32_t height, width, out_height, out_width;
  uint32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
  size_t line_floats;
  const float* columns;  // how many columns of the input each window has, [out_width + 3]; for means only
} tulle_pool;

// Sets `line_floats`; returns the bytes of the `line` that the functions below need as scratch memory.
uint64_t tulle_f32_pool_line(tulle_pool* args);
// Fills in what `columns` points to.
void tulle_f32_pool_columns(const tulle_pool* args, float* columns);
void tulle_f32_max_pool(const tulle_pool* args, const float* input, float* output, float* line);
// The mean over the part of the window that lies inside the input.
void tulle_f32_average_pool(const tulle_pool* args, const float* input, float* output, float* line);
// The same where the window is the whole input, as in squeeze-and-excitation. Needs no line.
void tulle_f32_average_all(const tulle_pool* args, const float* input, float* output, float* line);
// Where in its window each maximum lies: row * kernel_w + column, the first of equal ones, counted from the window's
// corner even where that lies in the padding. Needs no line.
void tulle_f32_max_pool_argmax(const tulle_pool* args, const float* input, float* output, float* line);
// The reverse: `input` and `indices` have out_height x out_width values, `output` is height x width. Where windows
// overlap, the last value stays. An index that leads out of the output is skipped.
void tulle_f32_max_unpool(const tulle_pool* args, const float* input, const float* indices, float* output);

// Where an output row or column of a resize reads: first and second input index, weight of the second.
typedef struct {
  uint32_t first, second;
  float weight;
} tulle_lerp;

// Bilinear upsampling or downsampling of one channel. `double_width`: the columns are those of twice the width, 4 or
// more, with half-pixel centers, which has a loop of its own. With it alone, `added` * `gate` is added if it is not
// NULL. `scratch`: width + 12 floats.
void tulle_f32_resize_bilinear(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                               uint32_t out_width, bool double_width, const float* input, const float* added,
                               float gate, float* output, float* scratch);

// The same to the nearest pixel: `first` of each tulle_lerp.
void tulle_f32_resize_nearest(const tulle_lerp* rows, const tulle_lerp* columns, uint32_t width, uint32_t out_height,
                              uint32_t out_width, const float* input, float* output);

// One channel at n positions (xs[i], ys[i]) between its pixels; zero for a position outside of the channel.
void tulle_f32_sample_bilinear(const float* xs, const float* ys, size_t n, uint32_t height, uint32_t width,
                               const float* input, float* output);

typedef struct {
  uint32_t in_channels, height, width, out_height, out_width;
  uint32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
  size_t in_stride;
} tulle_transpose_conv;

// Output row `y` of one output channel. weights: [kernel_h][kernel_w][in_channels]; `phases`: scratch for stride_w rows
// of out_width / stride_w + 8 floats. Stores exactly out_width floats.
void tulle_f32_transpose_conv_row(const tulle_transpose_conv* args, const float* input, const float* weights,
                                  float bias, uint32_t y, float* output, float* phases);

// `width` pixels of kernel_w rows, row_floats apart, into one row: pixel 0 of every row, then pixel 1, ...
void tulle_f32_interleave(const float* rows, size_t row_floats, uint32_t kernel_w, uint32_t width, float* output);

void tulle_f32_softmax(const float* x, float* y, size_t n, float beta);

#endif  // TULLE_KERNELS_KERNELS_H_
