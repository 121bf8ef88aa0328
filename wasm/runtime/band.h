// Bands: convolutions in a row that run together, some rows of the map at a time.

#ifndef TULLE_RUNTIME_BAND_H_
#define TULLE_RUNTIME_BAND_H_

#include "runtime/engine.h"
#include "runtime/groups.h"
#include "runtime/planner.h"

// The work of the whole band, from that of its ops. It becomes step `first_step`, those of the ops after the first the
// steps that follow, for the profile. False (error set) when out of memory.
bool tulle_plan_band(tulle_planner* planner, const tulle_engine* engine, const tulle_group* group,
                     const tulle_work* works, uint32_t first_step, tulle_work* band);

#endif  // TULLE_RUNTIME_BAND_H_
