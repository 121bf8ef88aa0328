// Between bytes and floats, and what has few operations a byte: additions and means.

#include "kernels/u8_lanes.h"

#if TULLE_HAS_DOT

// `count` pixels of four channels; of these, `channels` exist.
TULLE_INLINE void from_planes(const float* input, size_t stride, uint32_t channels, uint32_t count, v4 scale, v4 zero,
                              v4 top, uint8_t* output) {
  v4 x[4];
  TULLE_UNROLL
  for (uint32_t c = 0; c < 4; c++) {
    x[c] = zero;
    if (c >= channels) continue;
    // Numbers beyond 32 bits have to be clamped before they are made integers; below 0 it makes no difference.
    x[c] = wasm_f32x4_pmin(v4_madd(v4_load_first(input + c * stride, count), scale, zero), top);
  }
  const v4 y = u8_transpose(u8_pack(x[0], x[1], x[2], x[3], wasm_i8x16_splat(0), wasm_i8x16_splat(-1)));
  v4_store_first((float*)output, y, count);
}

void tulle_u8_from_f32(const tulle_integer_convert* args, const float* floats, uint8_t* bytes, uint32_t group,
                       uint32_t group_end, uint32_t pixel, uint32_t pixel_end) {
  const v4 scale = v4_splat(1 / args->scale), zero = v4_splat(args->zero + 0.5f);
  const v4 top = v4_splat((float)args->top + 0.5f);
  const size_t stride = args->floats_stride;
  for (; group < group_end; group++) {
    const uint32_t channels = args->channels - 4 * group < 4 ? args->channels - 4 * group : 4;
    const float* input = floats + 4 * group * stride + pixel;
    uint8_t* output = bytes + group * args->bytes_stride + 4 * (size_t)pixel;
    uint32_t left = pixel_end - pixel;
    if (channels == 4) {
      for (; left >= 4; left -= 4, input += 4, output += 16) from_planes(input, stride, 4, 4, scale, zero, top, output);
    }
    for (; left > 0; input += 4, output += 16) {
      const uint32_t count = left < 4 ? left : 4;
      from_planes(input, stride, channels, count, scale, zero, top, output);
      left -= count;
    }
  }
}

void tulle_u8_from_hwc(const tulle_integer_convert* args, const float* image, uint8_t* bytes, uint32_t pixel,
                       uint32_t pixel_end) {
  const v4 scale = v4_splat(1 / args->scale), zero = v4_splat(args->zero + 0.5f);
  const v4 top = v4_splat((float)args->top + 0.5f), low = wasm_i8x16_splat(0), high = wasm_i8x16_splat(-1);
  const uint32_t channels = args->channels;
  const v4 used = wasm_i32x4_gt(wasm_i32x4_splat((int32_t)channels), wasm_i32x4_const(0, 1, 2, 3));
  for (; pixel < pixel_end; pixel += 4) {
    const uint32_t count = pixel_end - pixel < 4 ? pixel_end - pixel : 4;
    v4 x[4];
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
      x[i] = zero;
      if (i >= count) continue;
      const v4 values = v4_load(image + (size_t)(pixel + i) * channels);
      const v4 scaled = wasm_f32x4_pmin(v4_madd(values, scale, zero), top);
      x[i] = wasm_v128_bitselect(scaled, zero, used);
    }
    v4_store_first((float*)(bytes + 4 * (size_t)pixel), u8_pack(x[0], x[1], x[2], x[3], low, high), count);
  }
}

void tulle_u8_from_rgba8(const tulle_integer_convert* args, const uint8_t* image, uint8_t* bytes, uint32_t pixel,
                         uint32_t pixel_end) {
  const v4 scale = v4_splat(args->scale), zero = v4_splat(args->zero + 0.5f);
  const v4 low = wasm_i8x16_splat(0), high = wasm_i8x16_splat((int8_t)(uint8_t)args->top);
  for (; pixel < pixel_end; pixel += 4) {
    const uint32_t count = pixel_end - pixel < 4 ? pixel_end - pixel : 4;
    v4 x[4];
    u8_unpack(v4_load_first((const float*)(image + 4 * (size_t)pixel), count), x);
    TULLE_UNROLL
    for (uint32_t i = 0; i < 4; i++) x[i] = v4_madd(x[i], scale, zero);
    v4_store_first((float*)(bytes + 4 * (size_t)pixel), u8_pack(x[0], x[1], x[2], x[3], low, high), count);
  }
}

// The sigmoid of x in -10 to 10, to 5e-5: half of 1 + tanh(x / 2), of which this is the continued fraction.
TULLE_INLINE v4 near_sigmoid(v4 x) {
  const v4 z = wasm_f32x4_mul(x, x);
  v4 above = v4_madd(z, V4_CONSTANT(1.0f / 64), V4_CONSTANT(378.0f / 16));
  above = v4_madd(v4_madd(above, z, V4_CONSTANT(17325.0f / 4)), z, V4_CONSTANT(135135.0f));
  v4 below = v4_madd(z, V4_CONSTANT(28.0f / 32), V4_CONSTANT(3150.0f / 8));
  below = v4_madd(v4_madd(below, z, V4_CONSTANT(62370.0f / 2)), z, V4_CONSTANT(135135.0f * 2));
  return v4_madd(wasm_f32x4_div(above, below), wasm_f32x4_mul(x, V4_CONSTANT(0.5f)), V4_CONSTANT(0.5f));
}

void tulle_u8_activate(float* x, size_t n, const tulle_epilogue* epilogue, uint32_t channel) {
  if (epilogue->kind != TULLE_ACT_SIGMOID && epilogue->kind != TULLE_ACT_SWISH) {
    tulle_f32_activate(x, n, epilogue, channel);
    return;
  }
  const bool swish = epilogue->kind == TULLE_ACT_SWISH;
  const v4 low = V4_CONSTANT(-10.0f), high = V4_CONSTANT(10.0f);
  for (size_t i = 0; i < n; i += 4) {
    const v4 value = wasm_f32x4_pmax(v4_load(x + i), low);
    const v4 gate = near_sigmoid(wasm_f32x4_pmin(value, high));
    v4_store(x + i, swish ? wasm_f32x4_mul(value, gate) : gate);
  }
}

TULLE_INLINE void to_planes(const uint8_t* input, uint32_t channels, uint32_t count, v4 scale, v4 zero, float* output,
                            size_t stride) {
  v4 x[4];
  u8_unpack(u8_transpose(wasm_v128_load(input)), x);
  TULLE_UNROLL
  for (uint32_t c = 0; c < 4; c++) {
    if (c < channels) v4_store_first(output + c * stride, wasm_f32x4_mul(wasm_f32x4_sub(x[c], zero), scale), count);
  }
}

void tulle_u8_to_f32(const tulle_integer_convert* args, const uint8_t* bytes, float* floats, uint32_t group,
                     uint32_t group_end, uint32_t pixel, uint32_t pixel_end) {
  const v4 scale = v4_splat(args->scale), zero = v4_splat(args->zero);
  const size_t stride = args->floats_stride;
  for (; group < group_end; group++) {
    const uint32_t channels = args->channels - 4 * group < 4 ? args->channels - 4 * group : 4;
    const uint8_t* input = bytes + group * args->bytes_stride + 4 * (size_t)pixel;
    float* output = floats + 4 * group * stride + pixel;
    uint32_t left = pixel_end - pixel;
    if (channels == 4) {
      for (; left >= 4; left -= 4, input += 16, output += 4) to_planes(input, 4, 4, scale, zero, output, stride);
    }
    for (; left > 0; input += 16, output += 4) {
      const uint32_t count = left < 4 ? left : 4;
      to_planes(input, channels, count, scale, zero, output, stride);
      left -= count;
    }
  }
}

void tulle_u8_add(const tulle_integer_add* args, const uint8_t* a, const uint8_t* b, uint8_t* y, size_t n) {
  const v4 scale_a = v4_splat(args->scale_a), scale_b = v4_splat(args->scale_b);
  const v4 offset = v4_splat(args->offset + 0.5f);
  const v4 low = wasm_i8x16_splat((int8_t)(uint8_t)args->low), high = wasm_i8x16_splat((int8_t)(uint8_t)args->high);
  for (;; n -= 16, a += 16, b += 16, y += 16) {
    v4 x[4], z[4];
    u8_unpack(wasm_v128_load(a), x);
    u8_unpack(wasm_v128_load(b), z);
    TULLE_UNROLL
    for (uint32_t j = 0; j < 4; j++) x[j] = v4_madd(z[j], scale_b, v4_madd(x[j], scale_a, offset));
    const v4 sum = u8_pack(x[0], x[1], x[2], x[3], low, high);
    if (n <= 16) {
      v4_store_first((float*)y, sum, (uint32_t)n / 4);
      return;
    }
    wasm_v128_store(y, sum);
  }
}

void tulle_u8_mean(const tulle_integer_convert* args, const uint8_t* bytes, float* means, uint32_t group,
                   uint32_t group_end, uint32_t pixels) {
  for (; group < group_end; group++) {
    const uint8_t* input = bytes + group * args->bytes_stride;
    double total[4] = {0, 0, 0, 0};
    // A lane of 16 bits holds the sum of 128 pairs of bytes.
    for (uint32_t left = pixels; left > 0;) {
      v4 sum = wasm_i16x8_splat(0);
      for (uint32_t n = left < 512 ? left : 512; n > 0; input += 16) {
        const uint32_t count = n < 4 ? n : 4;
        const v4 x = v4_load_first((const float*)input, count);
        sum = wasm_i16x8_add(sum, wasm_u16x8_extadd_pairwise_u8x16(u8_transpose(x)));
        n -= count;
        left -= count;
      }
      sum = wasm_u32x4_extadd_pairwise_u16x8(sum);
      total[0] += (uint32_t)wasm_i32x4_extract_lane(sum, 0);
      total[1] += (uint32_t)wasm_i32x4_extract_lane(sum, 1);
      total[2] += (uint32_t)wasm_i32x4_extract_lane(sum, 2);
      total[3] += (uint32_t)wasm_i32x4_extract_lane(sum, 3);
    }
    for (uint32_t c = 0; c < 4 && 4 * group + c < args->channels; c++) {
      const double mean = total[c] / pixels - (double)args->zero;
      means[(4 * group + c) * args->floats_stride] = args->scale * (float)mean;
    }
  }
}

#endif  // TULLE_HAS_DOT
