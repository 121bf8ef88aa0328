// A stage of planning: which ops of a quantised model run on bytes, and so in which form each tensor lies in memory.

#ifndef TULLE_RUNTIME_FORMS_H_
#define TULLE_RUNTIME_FORMS_H_

#include "runtime/planner.h"

// Of a tensor: what it is read or written as. What has both forms is converted after it is written.
enum {
  TULLE_FLOATS = 1,
  TULLE_BYTES = 2,
  TULLE_WRITTEN_AS_BYTES = 4,
};

typedef struct {
  uint8_t* of;     // each tensor
  bool* on_bytes;  // each op
} tulle_forms;

// Ops that tulle_check_op has let pass. False (error set) when out of memory; else tulle_free_forms has to follow.
bool tulle_choose_forms(tulle_planner* planner, tulle_forms* forms);
void tulle_free_forms(tulle_forms* forms);

#endif  // TULLE_RUNTIME_FORMS_H_
