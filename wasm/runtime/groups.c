#include "runtime/groups.h"

#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

typedef struct {
  const tulle_net* net;
  const tulle_forms* forms;
  uint32_t* consumers;  // of each tensor; an output of the model counts as one more
  tulle_group* groups;
  uint32_t count;
} cutter;

// ---- bands ------------------------------------------------------------------------------------------------

// All windows of a band together: they share a 1 MB L2 with weights, the band's input and its output.
#define BAND_BYTES (640 * 1024)
// A tensor between two ops is worth keeping in L2 if it is larger than this.
#define TENSOR_BYTES (500 * 1024)
// Rows of the last op's output at a time: a multiple of this, since depthwise kernels compute 8 rows at once.
#define STRIP_ROWS 8

tulle_row_window tulle_row_window_of(const tulle_net* net, const tulle_op* op) {
  const uint32_t kernel = net->tensors[op->inputs[1]].shape[1];
  return (tulle_row_window){op->stride_h, op->pad_top, (kernel - 1) * op->dilation_h + 1};
}

// Whether the op can be run some rows at a time. Rows have to be whole vectors: a vector that reaches over the end of a
// row would write into the next one, which another thread or an earlier strip has computed.
static bool runs_by_rows(const cutter* c, uint32_t index) {
  const tulle_net* net = c->net;
  const tulle_op* op = &net->ops[index];
  if (!tulle_op_runs_by_rows(net, op) || c->forms->on_bytes[index]) return false;
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *w = &net->tensors[op->inputs[1]],
                     *y = &net->tensors[op->output];
  return x->rank == 4 && w->rank == 4 && y->rank == 4 && y->chw && y->shape[2] % 4 == 0 && x->shape[1] > 1 &&
         y->shape[1] > 1 && y->shape[3] > 1 && w->shape[1] && w->shape[1] <= 64 && op->stride_h && op->stride_h <= 64 &&
         op->dilation_h <= 64;
}

// Whether the next op is the only consumer of this one's output, and runs by rows too.
static bool feeds_next(const cutter* c, uint32_t index) {
  const tulle_net* net = c->net;
  const int32_t output = net->ops[index].output;
  return index + 1 < net->op_count && net->ops[index + 1].inputs[0] == output && c->consumers[output] == 1 &&
         net->tensors[output].chw && runs_by_rows(c, index + 1);
}

uint32_t tulle_rows_held(const tulle_net* net, const tulle_op* op, uint32_t rows) {
  const tulle_row_window reads = tulle_row_window_of(net, op);
  const uint64_t held = (uint64_t)(rows - 1) * reads.stride + reads.reach;
  const uint32_t height = net->tensors[op->inputs[0]].shape[1];
  return held < height ? (uint32_t)held : height;
}

// Bytes of all windows if the last op computes so many rows at a time.
static uint64_t window_bytes(const tulle_net* net, uint32_t first, uint32_t last, uint32_t rows) {
  uint64_t bytes = 0;
  for (uint32_t o = last; o > first; o--) {
    const tulle_tensor* x = &net->tensors[net->ops[o].inputs[0]];
    rows = tulle_rows_held(net, &net->ops[o], rows);
    bytes += (uint64_t)tulle_plan_stride(rows, x->shape[2]) * x->shape[3] * sizeof(float);
  }
  return bytes;
}

static uint64_t map_bytes(const tulle_net* net, uint32_t op) {
  return (uint64_t)net->tensors[net->ops[op].output].elements * sizeof(float);
}

// For ops [begin, end), each of which feeds the next: lengths[o] becomes the number of ops of the group that begins
// with op o, if the cut keeps as many bytes as possible in windows. saved[o]: how many those are, from op o on.
static void choose_lengths(const tulle_net* net, uint32_t begin, uint32_t end, uint64_t* saved, uint32_t* lengths) {
  saved[end] = 0;
  for (uint32_t o = end; o-- > begin;) {
    saved[o] = saved[o + 1];
    lengths[o] = 1;
    uint64_t inside = 0;
    for (uint32_t last = o + 1; last < end && last - o < TULLE_BAND_MAX_OPS; last++) {
      const uint64_t bytes = map_bytes(net, last - 1);
      if (bytes > TENSOR_BYTES) inside += bytes;
      if (inside + saved[last + 1] <= saved[o] || window_bytes(net, o, last, STRIP_ROWS) > BAND_BYTES) continue;
      saved[o] = inside + saved[last + 1];
      lengths[o] = last - o + 1;
    }
  }
}

static tulle_group band(const tulle_net* net, uint32_t first, uint32_t last) {
  const uint32_t height = net->tensors[net->ops[last].output].shape[1];
  uint32_t rows = STRIP_ROWS;
  while (rows < height && window_bytes(net, first, last, rows + STRIP_ROWS) <= BAND_BYTES) rows += STRIP_ROWS;
  return (tulle_group){.kind = TULLE_GROUP_BY_ROWS, .first = first, .last = last, .by_rows = {rows}};
}

// ---- sums -------------------------------------------------------------------------------------------------
//
// Decoders add up maps: the output of a depthwise convolution, an upsampled map, a map times one number per channel.
// Fused, none of these is written to memory only to be read once.

// Whether a tensor is a computed map of y's shape in CHW order.
static bool is_map(const tulle_net* net, int32_t index, const tulle_tensor* y) {
  if (index < 0) return false;
  const tulle_tensor* t = &net->tensors[index];
  return t->chw && !t->is_constant && tulle_same_shape(t, y);
}

// The tensor of one number per channel that the op multiplies a map of y's shape by, or -1; *map becomes the map.
static int32_t gate_of(const tulle_net* net, const tulle_op* op, const tulle_tensor* y, int32_t* map) {
  if (op->kind != TULLE_OP_MUL || op->activation != TULLE_ACT_NONE || op->input_count != 2) return -1;
  for (uint32_t i = 0; i < 2; i++) {
    const int32_t gate = op->inputs[i];
    *map = op->inputs[1 - i];
    if (!is_map(net, *map, y)) continue;
    const tulle_tensor* t = &net->tensors[gate];
    if (!t->is_constant && t->rank == 4 && t->elements == y->shape[3] && t->shape[3] == y->shape[3]) return gate;
  }
  return -1;
}

// The other operand of a plain addition of the output of op `index` to a map, if nothing else reads that output; else
// -1.
static int32_t added_to(const cutter* c, uint32_t index, const tulle_op* add, const tulle_tensor* y) {
  const int32_t made = c->net->ops[index].output;
  if (add->kind != TULLE_OP_ADD || add->activation != TULLE_ACT_NONE || add->input_count != 2 ||
      c->consumers[made] != 1)
    return -1;
  const int32_t other = add->inputs[0] == made ? add->inputs[1] : add->inputs[1] == made ? add->inputs[0] : -1;
  return is_map(c->net, add->output, y) && is_map(c->net, other, y) ? other : -1;
}

// The group of the addition that begins with op `first`; a single one if none does. An addition is two ops, or three:
// map * gate, upsampling, and their sum.
static tulle_group sum_from(const cutter* c, uint32_t first) {
  const tulle_net* net = c->net;
  const tulle_op* op = &net->ops[first];
  const tulle_tensor* y = &net->tensors[op->output];
  tulle_group group = {.kind = TULLE_GROUP_SINGLE, .first = first, .last = first};
  if (!is_map(net, op->output, y) || tulle_is_plain(y) || first + 1 >= net->op_count) return group;
  if (c->forms->on_bytes[first] || c->forms->on_bytes[first + 1]) return group;
  int32_t map;
  const int32_t gate = gate_of(net, op, y, &map);
  const tulle_op* next = op + 1;
  if (next->kind == TULLE_OP_ADD) {
    const int32_t other = added_to(c, first, next, y);
    if (other < 0) return group;
    if (gate >= 0) {
      group.sum.op = first + 1, group.sum.added = map, group.sum.gate = gate;
    } else if (tulle_op_takes_sum(net, op, false)) {
      group.sum.op = first, group.sum.added = other, group.sum.gate = -1;
    } else {
      return group;
    }
    group.last = first + 1;
  } else {
    if (gate < 0 || first + 2 >= net->op_count || c->forms->on_bytes[first + 2]) return group;
    if (!tulle_op_takes_sum(net, next, true)) return group;
    if (added_to(c, first, next + 1, y) != next->output || c->consumers[next->output] != 1) return group;
    group.sum.op = first + 1, group.sum.added = map, group.sum.gate = gate;
    group.last = first + 2;
  }
  group.kind = TULLE_GROUP_SUM;
  return group;
}

// ---- all --------------------------------------------------------------------------------------------------

static uint32_t push(cutter* c, tulle_group group) {
  c->groups[c->count++] = group;
  return group.last + 1;
}

tulle_group* tulle_find_groups(const tulle_net* net, const tulle_forms* forms, uint32_t* count) {
  cutter c = {.net = net,
              .forms = forms,
              .consumers = calloc(net->tensor_count + 1, sizeof *c.consumers),
              .groups = malloc((net->op_count + 1) * sizeof *c.groups)};
  uint64_t* saved = calloc(net->op_count + 1, sizeof *saved);
  uint32_t* lengths = malloc((net->op_count + 1) * sizeof *lengths);
  const bool ok = c.consumers && c.groups && saved && lengths;
  for (uint32_t o = 0; ok && o < net->op_count; o++)
    for (uint32_t i = 0; i < net->ops[o].input_count; i++)
      if (net->ops[o].inputs[i] >= 0) c.consumers[net->ops[o].inputs[i]]++;
  for (uint32_t i = 0; ok && i < net->output_count; i++) c.consumers[net->outputs[i]]++;
  for (uint32_t o = 0; ok && o < net->op_count;) {
    uint32_t end = o + 1;
    if (runs_by_rows(&c, o))
      while (feeds_next(&c, end - 1)) end++;
    choose_lengths(net, o, end, saved, lengths);
    while (o < end) o = push(&c, lengths[o] > 1 ? band(net, o, o + lengths[o] - 1) : sum_from(&c, o));
  }
  free(c.consumers);
  free(saved);
  free(lengths);
  *count = c.count;
  if (ok) return c.groups;
  free(c.groups);
  return NULL;
}
