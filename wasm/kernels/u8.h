// Kernels on 8-bit activations, for quantised models: what kernels.h is for float32.
//
// A map of bytes: groups of four channels, interleaved. Byte (c, px) lies at data + (c / 4) * stride + 4 * px + c % 4,
// so that 16 bytes are 4 pixels of 4 channels. A byte b in 0..top stands for (b - zero) * scale.
//   - `stride` (bytes) is a multiple of 16 and at least 4 * pixels rounded up to 16. The memory ends in at least 64
//     readable bytes of slack. No kernel writes beyond the pixels that it is asked for.
//   - Channels that fill up the last group hold anything; what reads them has weights of zero for them.
//   - Weights are signed bytes that take one scale an output channel. Weights of which some need nine bits, as of a
//   model
//     whose bytes have zero points, are bytes w and a `shift` of each output channel: w + shift. Such a channel's sum
//     is that of the bytes plus the shift times the sum of all that is multiplied.
//
// A sum of products is exact, in int32. What is stored is
//
//     y = sum * scale[c] + offset[c]  (+ byte of the residual * residual_scale),
//
// clamped to [low, high]; for bytes all of these are in units of y's scale, y is rounded to the nearest integer (halves
// up), and low and high are integers in 0..top. The caller folds zero points into `offset`:
//
//     scale[c]  = sx * sw[c] / sy
//     offset[c] = (bias[c] - zx * sx * sw[c] * sum of w[c]) / sy + zy - zr * sr / sy,   residual_scale = sr / sy
//
// and for floats the same with sy = 1, zy = 0. tulle_u8_fits says which scales and offsets are allowed.
//
// There are kernels only in builds with a dot product of bytes, TULLE_HAS_DOT.

#ifndef TULLE_KERNELS_U8_H_
#define TULLE_KERNELS_U8_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

// ---- the dot product of this processor ----------------------------------------------------------------

// What relaxed SIMD's dot product of 16 pairs of bytes is here. `top`, the largest activation that it takes:
typedef enum {
  TULLE_DOT_NONE,      // 0: there is none
  TULLE_DOT_UNSIGNED,  // 255: activations are unsigned, one instruction (x86 with AVX-VNNI)
  TULLE_DOT_SIGNED,    // 127: both are signed, one instruction (Arm with the dot product extension)
  TULLE_DOT_PAIRS,     // 127: pairs are added in 16 bits. Three instructions written out, where V8 makes five of it
} tulle_dot;

static inline uint32_t tulle_dot_top(tulle_dot dot) {
  return dot == TULLE_DOT_NONE ? 0 : dot == TULLE_DOT_UNSIGNED ? 255 : 127;
}

// Tries it out. The kernels are told, by `dot`: with activations up to 127 each of them is right on any processor.
tulle_dot tulle_u8_probe(void);

#if TULLE_HAS_DOT

// Whether the kernels can store sums of `taps` products with such a scale and offset, for bytes or floats: sums fit
// 32 bits, and so do results before they are clamped. Any real model passes.
static inline bool tulle_u8_fits(float scale, float offset, size_t taps) {
  return taps <= 65536 && 255.0f * 128.0f * (float)taps * (scale < 0 ? -scale : scale) < 1e9f &&
         (offset < 0 ? -offset : offset) < 1e9f;
}

// ---- levels -----------------------------------------------------------------------------------------

typedef struct {
  float scale;   // of the bytes
  float zero;    // their zero point, a whole number in 0..top
  uint32_t top;  // the largest byte (only to bytes)
  uint32_t channels;
  size_t floats_stride, bytes_stride;  // from channel to channel in floats, from group to group in bytes
} tulle_integer_convert;

// ---- 1x1 convolution ----------------------------------------------------------------------------------

typedef struct {
  tulle_dot dot;
  const int8_t* weights;  // of tulle_u8_pack_gemm: output channels from 0
  const int32_t* shifts;  // one an output channel and as many more as fill up its group; NULL: all are 0
  uint32_t inputs;        // channels
  uint32_t outputs;       // channels
  const uint8_t* input;   // channel 0, pixel 0, as all the pointers here
  size_t input_stride;
  const float *scale, *offset;  // one an output channel, and as many more (any finite numbers) as fill up its group
  float low, high;
  const uint8_t* residual;  // or NULL
  size_t residual_stride;
  float residual_scale;
  uint8_t* bytes;  // where to store: here ...
  size_t bytes_stride;
  float* floats;  // ... or, where `bytes` is NULL, here as CHW floats (floats_stride in floats)
  size_t floats_stride;
  // Another function than a clamp, or NULL. What is stored is then of floats (sy = 1), and bytes are made of its
  // results.
  const tulle_epilogue* activation;
  tulle_integer_convert levels;  // the bytes that are made so; of all channels
} tulle_integer_gemm;

// Bytes of packed weights.
size_t tulle_u8_gemm_weights(uint32_t outputs, uint32_t inputs);

// weights: [outputs][inputs].
void tulle_u8_pack_gemm(const int8_t* weights, uint32_t outputs, uint32_t inputs, int8_t* packed);

// Bytes of scratch of a thread; `outputs`, `bytes` and `activation` must be filled in.
size_t tulle_u8_gemm_scratch(const tulle_integer_gemm* args);

// Groups [group, group_end) of four output channels at pixels [pixel, pixel_end). `pixel` is a multiple of 4. Threads
// may share the work either way; 8 pixels at a time are fastest, and so are many groups in one call. `scratch` is
// aligned to 16 bytes.
void tulle_u8_gemm(const tulle_integer_gemm* args, uint32_t group, uint32_t group_end, uint32_t pixel,
                   uint32_t pixel_end, uint8_t* scratch);

// ---- k x k convolution ----------------------------------------------------------------------------------

// Any kernel, strides and dilations.
typedef struct {
  tulle_integer_gemm gemm;  // weights of tulle_u8_pack_conv; the rest as for 1x1, over whole maps
  uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  uint32_t height, width;  // of the input
  uint32_t out_height, out_width;
  uint32_t pad_top, pad_left;  // at the bottom and right: what the window reaches
  uint8_t zero;                // the input's zero point, which padding has
} tulle_integer_conv;

// Bytes of packed weights of kernel_h * kernel_w taps.
size_t tulle_u8_conv_weights(uint32_t outputs, uint32_t taps, uint32_t inputs);

// weights: [outputs][taps][inputs], as the file has them.
void tulle_u8_pack_conv(const int8_t* weights, uint32_t outputs, uint32_t taps, uint32_t inputs, int8_t* packed);

// Bytes of scratch of a thread, SIZE_MAX if that is too much. gemm.inputs, what tulle_u8_gemm_scratch reads, kernel,
// strides, dilations, sizes and pads must be filled in.
size_t tulle_u8_conv_scratch(const tulle_integer_conv* args);

// Output rows [row, row_end) of groups [group, group_end) of four output channels. `scratch` is aligned to 16 bytes.
// Each call copies the rows that it needs: many groups a call are best.
void tulle_u8_conv(const tulle_integer_conv* args, uint32_t group, uint32_t group_end, uint32_t row, uint32_t row_end,
                   uint8_t* scratch);

// ---- depthwise convolution ------------------------------------------------------------------------------

// Any kernel up to TULLE_U8_DEPTHWISE_MAX in height, any width, strides of 1 or more, and dilations; of stride and
// dilation in height one is 1.
#define TULLE_U8_DEPTHWISE_MAX 8

typedef struct {
  tulle_dot dot;
  uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  uint32_t height, width;  // of the input
  uint32_t out_height, out_width;
  uint32_t pad_top, pad_left;  // at the bottom and right: what the window reaches
  uint8_t zero;                // the input's zero point, which padding has
  bool shifted;                // some weights have shifts
  const int8_t* weights;       // of tulle_u8_pack_depthwise: channels from 0
  const uint8_t* input;        // channel 0, pixel 0
  size_t input_stride;
  const float *scale, *offset;  // one a channel, and as many more (any finite numbers) as fill up its group
  float low, high;
  uint8_t* output;  // channel 0, pixel 0
  size_t output_stride;
  const tulle_epilogue* activation;  // as of tulle_integer_gemm, but no prelu
  tulle_integer_convert levels;      // of four channels
} tulle_integer_depthwise;

// Bytes of packed weights. Of `args`, kernel, strides and `shifted` must be filled in, here and for packing.
size_t tulle_u8_depthwise_weights(const tulle_integer_depthwise* args, uint32_t channels);

// weights: [kernel_h][kernel_w][channels], as the file has them. shifts: -128 to 127, one a channel; read if `shifted`.
void tulle_u8_pack_depthwise(const tulle_integer_depthwise* args, const int8_t* weights, const int32_t* shifts,
                             uint32_t channels, int8_t* packed);

// Bytes of scratch of a thread, SIZE_MAX if that is too much. Kernel, strides, dilations, sizes, pads and `activation`
// of `args` must be filled in.
size_t tulle_u8_depthwise_scratch(const tulle_integer_depthwise* args);

// Output rows [row, row_end) of groups [group, group_end) of four channels. `scratch` is aligned to 16 bytes.
void tulle_u8_depthwise(const tulle_integer_depthwise* args, uint32_t group, uint32_t group_end, uint32_t row,
                        uint32_t row_end, uint8_t* scratch);

// The output rows that are computed together: threads that share rows should begin at a multiple.
uint32_t tulle_u8_depthwise_rows(const tulle_integer_depthwise* args);

// ---- bytes and floats ---------------------------------------------------------------------------------

// Groups [group, group_end) at pixels [pixel, pixel_end), `pixel` a multiple of 4. Pointers: channel 0, pixel 0.
// What is not a number becomes any byte. Channels that fill up the last group become zero points.
void tulle_u8_from_f32(const tulle_integer_convert* args, const float* floats, uint8_t* bytes, uint32_t group,
                       uint32_t group_end, uint32_t pixel, uint32_t pixel_end);
void tulle_u8_to_f32(const tulle_integer_convert* args, const uint8_t* bytes, float* floats, uint32_t group,
                     uint32_t group_end, uint32_t pixel, uint32_t pixel_end);

// One group of an image of 1 to 4 channels: pixels [pixel, pixel_end) of [H, W, channels] floats, row-major as a
// model's input. Channels that fill up the group become zero points.
void tulle_u8_from_hwc(const tulle_integer_convert* args, const float* image, uint8_t* bytes, uint32_t pixel,
                       uint32_t pixel_end);

// The same of RGBA bytes: byte * scale + zero, rounded and clamped to 0..top. The fourth channel is converted too.
void tulle_u8_from_rgba8(const tulle_integer_convert* args, const uint8_t* image, uint8_t* bytes, uint32_t pixel,
                         uint32_t pixel_end);

// As tulle_f32_activate, of floats that become bytes: less exact, and in whole vectors of four.
void tulle_u8_activate(float* x, size_t n, const tulle_epilogue* epilogue, uint32_t channel);

// ---- sums and means -------------------------------------------------------------------------------------

// y = a * scale_a + b * scale_b + offset, all in units of y's scale, clamped to [low, high].
typedef struct {
  float scale_a, scale_b, offset;  // s_a / s_y, s_b / s_y, z_y - z_a * scale_a - z_b * scale_b
  float low, high;                 // whole numbers in 0..top
} tulle_integer_add;

// `n` bytes, a multiple of 4 and not 0: pixels of one group, whose channels all have the same scale. y may be a or b.
void tulle_u8_add(const tulle_integer_add* args, const uint8_t* a, const uint8_t* b, uint8_t* y, size_t n);

// The means of the channels of groups [group, group_end), as floats: channel c's at means + c * args->floats_stride.
void tulle_u8_mean(const tulle_integer_convert* args, const uint8_t* bytes, float* means, uint32_t group,
                   uint32_t group_end, uint32_t pixels);

// ---- maps ---------------------------------------------------------------------------------------------------

// Pixels of one group of channels, that become some channels of another one.
typedef struct {
  int32_t shift;  // -3 to 3: channel c becomes channel c + shift
  uint32_t mask;  // which channels are written: 255 << 8 * channel for each
  bool rescale;   // to byte * scale + offset, rounded and clamped to 0..top
  float scale, offset;
  uint32_t top;
} tulle_integer_move;

void tulle_u8_move(const tulle_integer_move* args, const uint8_t* input, uint8_t* output, size_t pixels);

// Bytes of one group times a number for each of its channels: byte * scale[c] + offset[c], clamped to whole numbers
// `low` and `high`.
void tulle_u8_scale(const float scale[4], const float offset[4], float low, float high, const uint8_t* input,
                    uint8_t* output, size_t pixels);

// Means and maxima of windows, of which only what lies on the map counts.
typedef struct {
  bool average;
  tulle_pool pool;
  float scale, offset;  // of means: mean * scale + offset, rounded
  float low, high;      // and clamped to these whole numbers
} tulle_integer_pool;

// Of average: up to TULLE_U8_POOL_MAX rows. Bytes of scratch, SIZE_MAX if that is too much.
#define TULLE_U8_POOL_MAX 256
size_t tulle_u8_pool_scratch(const tulle_integer_pool* args);

// Output rows [row, row_end) of one group.
void tulle_u8_pool(const tulle_integer_pool* args, const uint8_t* input, uint8_t* output, uint32_t row,
                   uint32_t row_end, uint8_t* scratch);

// An image of another size: `first` of each tulle_lerp, or what is between it and `second`.
typedef struct {
  const tulle_lerp *rows, *columns;
  uint32_t width, out_width;
  bool bilinear;
  float scale, offset, low, high;  // of bilinear: as of means
} tulle_integer_resize;

// Bytes of scratch of a thread.
size_t tulle_u8_resize_scratch(const tulle_integer_resize* args);

// Output rows [row, row_end) of one group.
void tulle_u8_resize(const tulle_integer_resize* args, const uint8_t* input, uint8_t* output, uint32_t row,
                     uint32_t row_end, uint8_t* scratch);

#endif  // TULLE_HAS_DOT

#endif  // TULLE_KERNELS_U8_H_
