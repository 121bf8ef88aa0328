// A stage of planning: where the tensors lie.

#ifndef TULLE_RUNTIME_PLACEMENT_H_
#define TULLE_RUNTIME_PLACEMENT_H_

#include "runtime/groups.h"
#include "runtime/planner.h"

// Fills `places`, one per tensor of planner->net, and sets *arena_bytes. Tensors inside a band get the stride of their
// windows and no data: those are in scratch memory. False (error set) when they do not fit into memory.
bool tulle_place_tensors(tulle_planner* planner, const tulle_forms* forms, const tulle_group* groups,
                         uint32_t group_count, tulle_place* places, uint64_t* arena_bytes);

#endif  // TULLE_RUNTIME_PLACEMENT_H_
