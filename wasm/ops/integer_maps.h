// Ops on bytes without weights: what integer.c hands on, and what both need.

#ifndef TULLE_OPS_INTEGER_MAPS_H_
#define TULLE_OPS_INTEGER_MAPS_H_

#include "ops/ops.h"

// What is gained if an op runs on bytes and its input has to be converted for it.
typedef enum {
  TULLE_GAIN_NONE,      // it cannot
  TULLE_GAIN_BETWEEN,   // none: only where its input is written as bytes anyway, and what follows reads bytes
  TULLE_GAIN_IF_FED,    // too little: only where its input is written as bytes anyway
  TULLE_GAIN_IN_CHAIN,  // enough if what follows reads bytes
  TULLE_GAIN_ALWAYS,
} tulle_gain;

// What the bytes of a tensor stand for: (byte - zero) * scale.
typedef struct {
  float scale, zero;
} tulle_levels;

static inline bool tulle_has_levels(const tulle_tensor* t) {
  return !t->is_constant && t->levels.type != TULLE_TYPE_FP32;
}

// Unsigned, from 0 to the top of the dot product. Where that is not 255, the same range has fewer levels.
tulle_levels tulle_levels_of(const tulle_planner* planner, const tulle_tensor* t);

// The range of the op's clamp in its output's levels.
void tulle_byte_clamp_of(const tulle_planner* planner, const tulle_op* op, float* low, float* high);

// Whether bytes of `a` can be computed with to make some of y, or floats if y has no levels.
bool tulle_rescales(const tulle_planner* planner, const tulle_tensor* a, const tulle_tensor* y);

// x, or the bound that it lies beyond; `least` if it is not a number.
float tulle_limited(float x, float least, float most);

static inline uint32_t tulle_channel_groups(uint32_t channels) { return (channels + 3) / 4; }

// Whether it is an average pool whose window is the whole map.
bool tulle_is_mean_pool(const tulle_net* net, const tulle_op* op);

// Pools, resizing, concat, slice, pad, and mul by a number for each channel.
tulle_gain tulle_map_gain(const tulle_planner* planner, const tulle_op* op);
tulle_plan_function tulle_plan_map;

#endif  // TULLE_OPS_INTEGER_MAPS_H_
