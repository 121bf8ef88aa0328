// The enums of tulle.fbs for C, but for the kinds of ops (ops/ops.inc). loader.cc asserts that every name has the
// schema's number and that none is missing.

#ifndef TULLE_FORMAT_ENUMS_H_
#define TULLE_FORMAT_ENUMS_H_

// Each list is a row a value, X(name in C, name in the schema), in the schema's order.

#define TULLE_ACTIVATIONS(X)              \
  X(TULLE_ACT_NONE, none)                 \
  X(TULLE_ACT_RELU, relu)                 \
  X(TULLE_ACT_RELU6, relu6)               \
  X(TULLE_ACT_RELU_N1_TO_1, relu_n1_to_1) \
  X(TULLE_ACT_HARD_SWISH, hard_swish)     \
  X(TULLE_ACT_SIGMOID, sigmoid)           \
  X(TULLE_ACT_TANH, tanh)                 \
  X(TULLE_ACT_LEAKY_RELU, leaky_relu)     \
  X(TULLE_ACT_ELU, elu)                   \
  X(TULLE_ACT_PRELU, prelu)               \
  X(TULLE_ACT_EXP, exp)                   \
  X(TULLE_ACT_LOG, log)                   \
  X(TULLE_ACT_SQRT, sqrt)                 \
  X(TULLE_ACT_RSQRT, rsqrt)               \
  X(TULLE_ACT_ERF, erf)                   \
  X(TULLE_ACT_GELU, gelu)                 \
  X(TULLE_ACT_GELU_TANH, gelu_tanh)       \
  X(TULLE_ACT_SWISH, swish)               \
  X(TULLE_ACT_SOFTPLUS, softplus)

#define TULLE_VALUE_TYPES(X) \
  X(TULLE_TYPE_FP32, fp32)   \
  X(TULLE_TYPE_FP16, fp16)   \
  X(TULLE_TYPE_INT8, int8)   \
  X(TULLE_TYPE_UINT8, uint8)

#define TULLE_ENCODINGS(X)           \
  X(TULLE_ENCODING_DENSE, dense)     \
  X(TULLE_ENCODING_BITMASK, bitmask) \
  X(TULLE_ENCODING_DELTA, delta)

#define TULLE_PAD_MODES(X)        \
  X(TULLE_PAD_CONSTANT, constant) \
  X(TULLE_PAD_REFLECT, reflect)   \
  X(TULLE_PAD_SYMMETRIC, symmetric)

#define TULLE_VALUE(c_name, name) c_name,
typedef enum { TULLE_ACTIVATIONS(TULLE_VALUE) TULLE_ACT_COUNT } tulle_activation;
typedef enum { TULLE_VALUE_TYPES(TULLE_VALUE) TULLE_TYPE_COUNT } tulle_value_type;
typedef enum { TULLE_ENCODINGS(TULLE_VALUE) TULLE_ENCODING_COUNT } tulle_encoding;
typedef enum { TULLE_PAD_MODES(TULLE_VALUE) TULLE_PAD_COUNT } tulle_pad_mode;
#undef TULLE_VALUE

#endif  // TULLE_FORMAT_ENUMS_H_
