// Additions that run together with what they add up, as decoders have them: a map behind a depthwise convolution, an
// enlarged one, one times a number for each channel. None of these is then written to memory to be read once.

#include <string.h>

#include "runtime/plan.h"

typedef struct {
  const float *a, *gate, *b;
  float* output;
  size_t stride;  // of a, b and the output
  uint32_t channels, pixels, tasks;
} gated_args;

static void run_gated_sum(const tulle_step* step, uint32_t task, char* scratch) {
  (void)scratch;
  const gated_args* args = step->args;
  uint32_t c, end;
  tulle_piece(args->channels, args->tasks, task, &c, &end);
  for (; c < end; c++)
    tulle_f32_gated_sum(args->a + c * args->stride, args->gate[c], args->b + c * args->stride,
                        args->output + c * args->stride, args->pixels);
}

// Whether a tensor is a map of y's shape in CHW order, computed while running.
static bool is_map(const tulle_net* net, int32_t index, const tulle_tensor* y) {
  if (index < 0) return false;
  const tulle_tensor* t = &net->tensors[index];
  return t->chw && !t->is_constant && t->rank == 4 && memcmp(t->shape, y->shape, 4 * sizeof t->shape[0]) == 0;
}

// The tensor of one number a channel that the op multiplies a map of y's shape with, or -1; *map becomes the map.
static int32_t gate_of(const tulle_net* net, const tulle_op* op, const tulle_tensor* y, int32_t* map) {
  if (op->kind != TULLE_OP_MUL || op->activation != TULLE_ACT_NONE || op->input_count != 2) return -1;
  for (uint32_t i = 0; i < 2; i++) {
    const int32_t gate = op->inputs[i];
    *map = op->inputs[1 - i];
    if (gate < 0 || !is_map(net, *map, y)) continue;
    const tulle_tensor* t = &net->tensors[gate];
    if (!t->is_constant && t->rank == 4 && t->elements == y->shape[3] && t->shape[3] == y->shape[3]) return gate;
  }
  return -1;
}

// The addition's other operand, if it adds what op `index` computes and nobody else reads that; else -1.
static int32_t other_of(const tulle_net* net, const uint32_t* readers, const tulle_op* add, uint32_t index) {
  const int32_t made = net->ops[index].output;
  if (readers[made] != 1) return -1;
  return add->inputs[0] == made ? add->inputs[1] : add->inputs[1] == made ? add->inputs[0] : -1;
}

uint32_t tulle_find_sum(const tulle_net* net, const uint32_t* readers, uint32_t first) {
  const tulle_op* op = &net->ops[first];
  const tulle_tensor* y = &net->tensors[op->output];
  if (!is_map(net, op->output, y) || tulle_is_plain(y)) return first;
  int32_t map;
  const bool gated = gate_of(net, op, y, &map) >= 0;
  for (uint32_t last = first + 1; last < net->op_count && last <= first + 2; last++) {
    const tulle_op* add = &net->ops[last];
    if (add->kind != TULLE_OP_ADD) continue;
    if (add->activation != TULLE_ACT_NONE || add->input_count != 2 || !is_map(net, add->output, y)) return first;
    const int32_t other = other_of(net, readers, add, first);
    if (other < 0 || !is_map(net, other, y)) return first;
    if (last == first + 2) {  // a gated map and an enlarged one
      const bool both = gated && other == net->ops[first + 1].output && readers[other] == 1;
      return both && tulle_resize_takes_sum(net, &net->ops[first + 1]) ? last : first;
    }
    const bool depthwise = op->kind == TULLE_OP_DEPTHWISE_CONV2D && tulle_depthwise_takes_sum(net, op);
    return gated || depthwise || tulle_resize_takes_sum(net, op) ? last : first;
  }
  return first;
}

static bool plan_gated_sum(tulle_planner* planner, int32_t a, int32_t gate, int32_t b, int32_t output) {
  const tulle_tensor* y = &planner->net->tensors[output];
  gated_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (gated_args){.a = planner->places[a].data,
                       .gate = planner->places[gate].data,
                       .b = planner->places[b].data,
                       .output = planner->places[output].data,
                       .stride = planner->places[output].stride,
                       .channels = y->shape[3],
                       .pixels = y->shape[1] * y->shape[2],
                       .tasks = tulle_plan_light_tasks(planner, y->elements, y->shape[3])};
  return tulle_plan_step(planner, run_gated_sum, args, args->tasks, "f32_gated_sum") != NULL;
}

bool tulle_plan_sum(tulle_planner* planner, const tulle_band* sum) {
  const tulle_net* net = planner->net;
  const tulle_op *first = &net->ops[sum->first], *maker = &net->ops[sum->last - 1], *add = &net->ops[sum->last];
  int32_t map = -1;
  const int32_t gate = gate_of(net, first, &net->tensors[first->output], &map);
  const int32_t other = add->inputs[0] == maker->output ? add->inputs[1] : add->inputs[0];
  bool ok;
  planner->places[maker->output] = planner->places[add->output];
  planner->op = sum->last - 1;  // which the step is shown as
  if (maker->kind == TULLE_OP_DEPTHWISE_CONV2D) {
    ok = tulle_plan_depthwise_sum(planner, maker, other);
  } else if (maker->kind == TULLE_OP_RESIZE_BILINEAR) {
    ok = tulle_plan_resize_sum(planner, maker, maker == first ? other : map, maker == first ? -1 : gate);
  } else {
    planner->op = sum->last;
    ok = plan_gated_sum(planner, map, gate, other, add->output);
  }
  planner->op = sum->last;
  return ok;
}
