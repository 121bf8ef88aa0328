// Activations other than clamps, applied to a row that has just been computed.

#include "kernels/activation.h"

#include "kernels/kernels.h"

// The last vector is loaded and stored lane by lane, because the next floats may belong to another thread's row. The
// expression stands there once: these functions are long, and the branch costs little beside them.
#define EACH_VECTOR(expression)                                             \
  for (size_t i = 0; i < n; i += 4) {                                       \
    const uint32_t count = n - i < 4 ? (uint32_t)(n - i) : 4;               \
    const v4 v = count == 4 ? v4_load(x + i) : v4_load_first(x + i, count); \
    const v4 result = expression;                                           \
    if (count == 4) {                                                       \
      v4_store(x + i, result);                                              \
    } else {                                                                \
      v4_store_first(x + i, result, count);                                 \
    }                                                                       \
  }

static void sigmoid(float* x, size_t n) {
  for (; n >= 16; n -= 16, x += 16) {
    v4 v[4] = {v4_load(x), v4_load(x + 4), v4_load(x + 8), v4_load(x + 12)};
    v4_sigmoid_all(v, 4);
    for (int i = 0; i < 4; i++) v4_store(x + 4 * i, v[i]);
  }
  EACH_VECTOR(v4_sigmoid(v))
}

void tulle_f32_activate(float* x, size_t n, const tulle_epilogue* epilogue, uint32_t channel) {
  switch (epilogue->kind) {
    case TULLE_ACT_HARD_SWISH:
      EACH_VECTOR(v4_hard_swish(v)) break;
    case TULLE_ACT_SIGMOID:
      sigmoid(x, n);
      break;
    case TULLE_ACT_TANH:
      EACH_VECTOR(v4_tanh(v)) break;
    case TULLE_ACT_LEAKY_RELU: {
      const v4 slope = v4_splat(epilogue->alpha);
      EACH_VECTOR(v4_leaky(v, slope)) break;
    }
    case TULLE_ACT_PRELU: {
      const v4 slope = v4_splat(epilogue->prelu[channel]);
      EACH_VECTOR(v4_leaky(v, slope)) break;
    }
    case TULLE_ACT_ELU: {
      const v4 alpha = v4_splat(epilogue->alpha);
      EACH_VECTOR(v4_elu(v, alpha)) break;
    }
    case TULLE_ACT_EXP:
      EACH_VECTOR(v4_exp_whole(v)) break;
    case TULLE_ACT_LOG:
      EACH_VECTOR(v4_log(v)) break;
    case TULLE_ACT_SQRT:
      EACH_VECTOR(wasm_f32x4_sqrt(v)) break;
    case TULLE_ACT_RSQRT:
      EACH_VECTOR(wasm_f32x4_div(v4_splat(1.0f), wasm_f32x4_sqrt(v))) break;
    case TULLE_ACT_ERF:
      EACH_VECTOR(v4_erf(v)) break;
    case TULLE_ACT_GELU:
      EACH_VECTOR(v4_gelu(v)) break;
    case TULLE_ACT_GELU_TANH:
      EACH_VECTOR(v4_gelu_tanh(v)) break;
    case TULLE_ACT_SWISH:
      EACH_VECTOR(v4_swish(v)) break;
    case TULLE_ACT_SOFTPLUS:
      EACH_VECTOR(v4_softplus(v)) break;
    default:
      break;
  }
}

void tulle_f32_finish(float* x, size_t n, const tulle_epilogue* epilogue, uint32_t channel) {
  const v4 low = v4_splat(epilogue->low), high = v4_splat(epilogue->high);
  EACH_VECTOR(v4_clamp(v, low, high))
  if (epilogue->kind != TULLE_ACT_NONE) tulle_f32_activate(x, n, epilogue, channel);
}
