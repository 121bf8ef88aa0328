// The enums of tulle.fbs for C, but for the kinds of ops (ops/ops.inc). loader.cc asserts that every name has the
// schema's number and that none is missing.

#ifndef TULLE_FORMAT_ENUMS_H_
#define TULLE_FORMAT_ENUMS_H_

// Each list is a row a value, X(name in C, name in the schema), in the schema's order.

#define TULLE_ACTIVATIONS(X)    \
  X(NONE, none)                 \
  X(RELU, relu)                 \
  X(RELU6, relu6)               \
  X(RELU_N1_TO_1, relu_n1_to_1) \
  X(HARD_SWISH, hard_swish)     \
  X(SIGMOID, sigmoid)           \
  X(TANH, tanh)                 \
  X(LEAKY_RELU, leaky_relu)     \
  X(ELU, elu)                   \
  X(PRELU, prelu)               \
  X(EXP, exp)                   \
  X(LOG, log)                   \
  X(SQRT, sqrt)                 \
  X(RSQRT, rsqrt)               \
  X(ERF, erf)                   \
  X(GELU, gelu)                 \
  X(GELU_TANH, gelu_tanh)       \
  X(SWISH, swish)               \
  X(SOFTPLUS, softplus)

#define TULLE_VALUE_TYPES(X) \
  X(FP32, fp32)              \
  X(FP16, fp16)              \
  X(INT8, int8)

#define TULLE_ENCODINGS(X) \
  X(DENSE, dense)          \
  X(BITMASK, bitmask)      \
  X(DELTA, delta)

#define TULLE_PAD_MODES(X) \
  X(CONSTANT, constant)    \
  X(REFLECT, reflect)      \
  X(SYMMETRIC, symmetric)

#define TULLE_VALUE(c_name, name) TULLE_ACT_##c_name,
typedef enum { TULLE_ACTIVATIONS(TULLE_VALUE) TULLE_ACT_COUNT } tulle_activation;
#undef TULLE_VALUE

#define TULLE_VALUE(c_name, name) TULLE_TYPE_##c_name,
typedef enum { TULLE_VALUE_TYPES(TULLE_VALUE) TULLE_TYPE_COUNT } tulle_value_type;
#undef TULLE_VALUE

#define TULLE_VALUE(c_name, name) TULLE_ENCODING_##c_name,
typedef enum { TULLE_ENCODINGS(TULLE_VALUE) TULLE_ENCODING_COUNT } tulle_encoding;
#undef TULLE_VALUE

#define TULLE_VALUE(c_name, name) TULLE_PAD_##c_name,
typedef enum { TULLE_PAD_MODES(TULLE_VALUE) TULLE_PAD_COUNT } tulle_pad_mode;
#undef TULLE_VALUE

#endif  // TULLE_FORMAT_ENUMS_H_
