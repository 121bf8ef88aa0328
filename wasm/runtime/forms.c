#include "runtime/forms.h"

#include <stdlib.h>

#include "ops/integer.h"
#include "runtime/engine.h"

// Which tensors an op reads as bytes if they are written so.
static void find_wanted(const tulle_net* net, const tulle_gain* gains, bool* wanted) {
  for (uint32_t o = net->op_count; o-- > 0;) {
    const tulle_op* op = &net->ops[o];
    if (gains[o] == TULLE_GAIN_NONE || (gains[o] == TULLE_GAIN_BETWEEN && !wanted[op->output])) continue;
    for (uint32_t i = 0; i < op->input_count; i++)
      if (op->inputs[i] >= 0 && tulle_reads_bytes(net, op, i)) wanted[op->inputs[i]] = true;
  }
}

// Sets on_bytes, in the order of the ops: an op that gains little by itself follows the one before it.
static void choose_ops(const tulle_planner* planner, const tulle_gain* gains, const bool* feeds, const bool* wanted,
                       tulle_forms* forms) {
  const tulle_net* net = planner->net;
  for (uint32_t o = 0; o < net->op_count; o++) {
    const tulle_op* op = &net->ops[o];
    bool fed = false;
    for (uint32_t i = 0; i < op->input_count; i++)
      fed = fed ||
            (op->inputs[i] >= 0 && forms->of[op->inputs[i]] & TULLE_WRITTEN_AS_BYTES && tulle_reads_bytes(net, op, i));
    forms->on_bytes[o] = gains[o] == TULLE_GAIN_ALWAYS || (gains[o] == TULLE_GAIN_IN_CHAIN && feeds[op->output]) ||
                         (gains[o] == TULLE_GAIN_BETWEEN ? fed && wanted[op->output] : gains[o] && fed);
    if (forms->on_bytes[o] && tulle_stores_of(net, op) != TULLE_STORES_FLOATS)
      forms->of[op->output] = TULLE_WRITTEN_AS_BYTES;
  }
}

bool tulle_choose_forms(tulle_planner* planner, tulle_forms* forms) {
  const tulle_net* net = planner->net;
  tulle_gain* gains = calloc(net->op_count + 1, sizeof *gains);
  bool* feeds = calloc(net->tensor_count + 1, sizeof *feeds);  // tensors: an op that always gains
  bool* wanted = calloc(net->tensor_count + 1, sizeof *wanted);
  *forms = (tulle_forms){calloc(net->tensor_count + 1, sizeof *forms->of),
                         calloc(net->op_count + 1, sizeof *forms->on_bytes)};
  const bool ok = gains && feeds && wanted && forms->of && forms->on_bytes;
  if (ok) {
    for (uint32_t o = 0; o < net->op_count && planner->dot != TULLE_DOT_NONE; o++) {
      gains[o] = tulle_gain_of(planner, &net->ops[o]);
      if (gains[o] == TULLE_GAIN_ALWAYS) feeds[net->ops[o].inputs[0]] = true;
    }
    find_wanted(net, gains, wanted);
    choose_ops(planner, gains, feeds, wanted, forms);
    for (uint32_t o = 0; o < net->op_count; o++) {
      for (uint32_t i = 0; i < net->ops[o].input_count; i++) {
        const int32_t t = net->ops[o].inputs[i];
        if (t < 0 || net->tensors[t].is_constant) continue;
        forms->of[t] |= forms->on_bytes[o] && tulle_reads_bytes(net, &net->ops[o], i) ? TULLE_BYTES : TULLE_FLOATS;
      }
    }
    for (uint32_t i = 0; i < net->input_count; i++) forms->of[net->inputs[i]] |= TULLE_FLOATS;
    for (uint32_t i = 0; i < net->output_count; i++) forms->of[net->outputs[i]] |= TULLE_FLOATS;
    for (uint32_t o = 0; o < net->op_count; o++) {
      uint8_t* form = &forms->of[net->ops[o].output];
      // Whoever can store either stores floats where nobody reads bytes.
      if (tulle_stores_of(net, &net->ops[o]) == TULLE_STORES_EITHER && !(*form & TULLE_BYTES))
        *form &= (uint8_t)~TULLE_WRITTEN_AS_BYTES;
      *form |= *form & TULLE_WRITTEN_AS_BYTES ? TULLE_BYTES : TULLE_FLOATS;
    }
  } else {
    tulle_engine_fail(planner->engine, "out of memory");
    tulle_free_forms(forms);
  }
  free(gains);
  free(feeds);
  free(wanted);
  return ok;
}

void tulle_free_forms(tulle_forms* forms) {
  free(forms->of);
  free(forms->on_bytes);
  *forms = (tulle_forms){0};
}
