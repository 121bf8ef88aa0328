// A stage of planning: which ops run together. Those on bytes run by themselves.

#ifndef TULLE_RUNTIME_GROUPS_H_
#define TULLE_RUNTIME_GROUPS_H_

#include "runtime/forms.h"

typedef enum {
  TULLE_GROUP_SINGLE,
  // Convolutions, each the only consumer of the one before, that run a few rows at a time (see band.c).
  TULLE_GROUP_BY_ROWS,
  // An addition that is fused into an op: op(...) + added * gate.
  TULLE_GROUP_SUM
} tulle_group_kind;

#define TULLE_BAND_MAX_OPS 8

// Ops [first, last], whose intermediate tensors are never written to memory as a whole.
typedef struct {
  tulle_group_kind kind;
  uint32_t first, last;
  union {
    struct {
      uint32_t rows;  // of the last op's output at a time
    } by_rows;
    struct {
      uint32_t op;          // the one that takes the sum, and that its step is named after
      int32_t added, gate;  // tensors; gate: -1 for none
    } sum;
  };
} tulle_group;

// Cuts the ops of a net, which tulle_check_op has let pass, into groups in their order. The caller frees them. NULL
// when out of memory.
tulle_group* tulle_find_groups(const tulle_net* net, const tulle_forms* forms, uint32_t* count);

// Output row y of the op reads input rows [y * stride - pad, y * stride - pad + reach) where they exist.
typedef struct {
  uint32_t stride, pad, reach;
} tulle_row_window;

tulle_row_window tulle_row_window_of(const tulle_net* net, const tulle_op* op);

// How many input rows the op reads to compute so many output rows: what the window before it has to hold.
uint32_t tulle_rows_held(const tulle_net* net, const tulle_op* op, uint32_t rows);

#endif  // TULLE_RUNTIME_GROUPS_H_
