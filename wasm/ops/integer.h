// Ops on bytes: those of quantised models, whose tensors have levels. All of them run in float32 too.

#ifndef TULLE_OPS_INTEGER_H_
#define TULLE_OPS_INTEGER_H_

#include "ops/integer_maps.h"

// Of an op that tulle_check_op has let pass; only with a planner->dot. TULLE_GAIN_NONE also where its tensors do not
// fit together: the planner for float32 says what is wrong.
tulle_gain tulle_gain_of(const tulle_planner* planner, const tulle_op* op);

// What an op that runs on bytes can store.
typedef enum { TULLE_STORES_FLOATS, TULLE_STORES_BYTES, TULLE_STORES_EITHER } tulle_stores;
tulle_stores tulle_stores_of(const tulle_net* net, const tulle_op* op);

// Whether an op that runs on bytes reads this input as bytes; else it is floats, or a constant.
bool tulle_reads_bytes(const tulle_net* net, const tulle_op* op, uint32_t input);

// Plans an op that can run on bytes: its inputs have a place as bytes, and its result is stored as bytes if that has.
tulle_plan_function tulle_plan_on_bytes;

// Plans the step that makes a tensor's bytes of its floats, or the other way round.
bool tulle_plan_conversion(tulle_planner* planner, uint32_t tensor, bool to_bytes, tulle_work* work);

#endif  // TULLE_OPS_INTEGER_H_
