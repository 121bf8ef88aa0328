// A verified model file as plain C structs: what the loader hands to the planner.
//
// Names and constants point into the file's bytes and live no longer than they do.

#ifndef TULLE_RUNTIME_NET_H_
#define TULLE_RUNTIME_NET_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/enums.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TULLE_MAX_RANK 6
#define TULLE_MAX_OP_INPUTS 64
// Elements of one tensor: keeps every byte offset below 2^31.
#define TULLE_MAX_ELEMENTS (1u << 28)
// Tensors and ops of one model.
#define TULLE_MAX_RECORDS (1u << 14)

// What a small file can make large. Unpacked weights, counted once for each op that reads them, may take so many bytes,
// and so many more for each byte of the file: a byte of `delta` index can stand for 255 zeros of four bytes.
#define TULLE_UNPACKED_FREE (64u << 20)
#define TULLE_UNPACKED_PER_BYTE 1024u
// Names, values and indices lie apart in a file, so what its tables point at adds up to hardly more than its size.
#define TULLE_REFERENCED_FREE (64u << 10)
#define TULLE_REFERENCED_PER_BYTE 4u

typedef enum {
#define OP(c_name, ...) TULLE_OP_##c_name,
#include "ops/ops.inc"
#undef OP
  TULLE_OP_COUNT
} tulle_op_kind;

typedef struct {
  uint8_t type;      // tulle_value_type
  uint8_t encoding;  // tulle_encoding
  uint32_t count;
  const uint8_t* values;
  const uint8_t* index;
  size_t index_size;
  const float* scales;         // of int8 and uint8
  const uint8_t* zero_points;  // of uint8: one for each scale
  uint32_t scale_count;
  uint32_t scale_run;  // consecutive elements that share a scale, before the next one in turn
} tulle_constant;

// Integers that stand for real numbers: (integer - zero_point) * scale.
typedef struct {
  uint8_t type;  // TULLE_TYPE_INT8 or TULLE_TYPE_UINT8; TULLE_TYPE_FP32: none, but floats
  float scale;
  int32_t zero_point;
} tulle_quantization;

typedef struct {
  const char* name;
  uint32_t rank;
  uint32_t shape[TULLE_MAX_RANK];
  uint32_t elements;
  bool chw;
  bool is_constant;
  tulle_constant constant;
  float mean, std;
  tulle_quantization quantization;  // what hosts give or get, of model inputs and outputs
  tulle_quantization levels;        // of activations: what the quantised model that this one was made of rounds it to
} tulle_tensor;

typedef struct {
  tulle_op_kind kind;
  const char* kind_name;
  const char* name;
  uint32_t input_count;
  int32_t inputs[TULLE_MAX_OP_INPUTS];  // -1: left out
  int32_t output;                       // every op has one
  bool sparse;
  // `axes`, `perm`, `begin` or `pads`, whichever the op has; and `strides`.
  uint32_t list_count, strides_count;
  int32_t list[2 * TULLE_MAX_RANK], strides[TULLE_MAX_RANK];
  // All other attributes, by their names in the schema. Enums are those of format/enums.h.
#define FIELD(type, name) type name;
#define ENUM(schema_enum, name) uint8_t name;
#include "format/op_fields.inc"
#undef FIELD
#undef ENUM
} tulle_op;

typedef struct {
  const char* name;
  uint32_t tensor_count, op_count, input_count, output_count;
  tulle_tensor* tensors;
  tulle_op* ops;
  uint32_t* inputs;
  uint32_t* outputs;
} tulle_net;

// Whether a tensor's bytes are in the model's own order (see "One layout" in docs/architecture.md).
static inline bool tulle_is_plain(const tulle_tensor* t) {
  return !t->chw || t->shape[3] == 1 || t->shape[1] * t->shape[2] == 1;
}

// ... and in CHW order.
static inline bool tulle_is_chw(const tulle_tensor* t) {
  return t->chw || (t->rank == 4 && t->shape[0] == 1 && (t->shape[3] == 1 || t->shape[1] * t->shape[2] == 1));
}

// Verifies the bytes and fills `net`. On failure writes a message and returns false; nothing to free then.
bool tulle_net_read(const void* bytes, size_t size, tulle_net* net, char* message, size_t message_size);
void tulle_net_free(tulle_net* net);

// The CRC-32 of a file with the four bytes at `place` zero, where its checksum lies.
uint32_t tulle_checksum(const uint8_t* data, size_t size, size_t place);

// Writes the constant's values, row-major over its shape, as float32. The encoding was verified by tulle_net_read.
void tulle_constant_decode(const tulle_tensor* tensor, float* output);

// The same of int8 before they are scaled: whole numbers.
void tulle_constant_decode_integers(const tulle_tensor* tensor, float* output);

// Nonzero elements of a constant.
uint32_t tulle_constant_nonzeros(const tulle_tensor* tensor);

#ifdef __cplusplus
}
#endif

#endif  // TULLE_RUNTIME_NET_H_
