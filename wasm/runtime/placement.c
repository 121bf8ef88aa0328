#include "runtime/placement.h"

#include <stdlib.h>

#include "ops/integer.h"
#include "runtime/engine.h"
#include "runtime/guard.h"

#define NEVER UINT32_MAX

// The bytes of a tensor's values, and its stride.
static uint64_t tensor_bytes(const tulle_tensor* tensor, tulle_place* place) {
  uint64_t floats = tensor->elements;
  if (!tensor->chw) {
    // As in the maps that are the same in both layouts.
    place->stride = tensor->rank && tensor->shape[tensor->rank - 1] > 1 ? 1 : tensor->elements;
  } else {
    place->stride = tulle_plan_stride(tensor->shape[1], tensor->shape[2]);
    floats = (uint64_t)place->stride * tensor->shape[3];
  }
  return floats * 4;
}

// The same of its bytes.
static uint64_t map_bytes(const tulle_tensor* tensor, tulle_place* place) {
  uint32_t channels, pixels;
  tulle_map_of(tensor, &channels, &pixels);
  // Four channels of bytes are as long as one of floats. One pixel takes a whole vector.
  place->bytes_stride = pixels == 1 ? 16 : 4 * tulle_plan_stride(1, pixels);
  return (uint64_t)place->bytes_stride * ((channels + 3) / 4);
}

// What they take in memory.
static uint64_t with_slack(uint64_t bytes) {
  return (bytes + TULLE_SLACK_BYTES + TULLE_ALIGNMENT - 1) / TULLE_ALIGNMENT * TULLE_ALIGNMENT;
}

// Memory that one or more tensors share (the output of a free op shares its input's).
typedef struct {
  uint32_t first, last;  // ops: written, last read
  uint64_t used;         // bytes of the largest tensor's values
  uint64_t bytes, offset;
  bool persistent;  // inputs, outputs and constants have memory of their own
} storage;

static int by_size(const void* a, const void* b) {
  const storage *x = *(storage* const*)a, *y = *(storage* const*)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->first < y->first ? -1 : x->first > y->first;
}

// Gives each storage the lowest offset where it overlaps nothing that is in use at the same time. Largest first, which
// comes within a few per cent of the best on convolutional networks. Returns the arena's size. `placed`: room for all.
static uint64_t assign_offsets(storage** items, uint32_t count, storage** placed) {
  qsort(items, count, sizeof *items, by_size);
  uint64_t total = 0;
  uint32_t placed_count = 0;
  for (uint32_t i = 0; i < count; i++) {
    storage* item = items[i];
    uint64_t offset = 0;
    for (uint32_t j = 0; j < placed_count; j++) {  // in order of offset
      const storage* other = placed[j];
      // With guards between them, tensors do not take turns.
      if (!TULLE_HAS_GUARDS && (other->last < item->first || item->last < other->first)) continue;
      if (offset + item->bytes <= other->offset) break;
      if (other->offset + other->bytes > offset) offset = other->offset + other->bytes;
    }
    item->offset = offset;
    if (offset + item->bytes > total) total = offset + item->bytes;
    uint32_t at = placed_count++;
    for (; at && placed[at - 1]->offset > offset; at--) placed[at] = placed[at - 1];
    placed[at] = item;
  }
  return total;
}

// Of the ops of a group: which storage each tensor uses (root), and when it is in use. `bytes` has the storages of the
// tensors' bytes, which are not shared.
static void note_uses(const tulle_net* net, const tulle_forms* forms, const tulle_group* group, uint32_t* root,
                      storage* stores, storage* bytes) {
  for (uint32_t o = group->first; o <= group->last; o++) {
    const tulle_op* op = &net->ops[o];
    // All that a group reads and writes is in use from its first op to its last.
    for (uint32_t i = 0; i < op->input_count; i++)
      if (op->inputs[i] >= 0)
        (forms->on_bytes[o] && tulle_reads_bytes(net, op, i) ? &bytes[op->inputs[i]] : &stores[root[op->inputs[i]]])
            ->last = group->last;
    if (tulle_op_is_free(net, op)) {
      root[op->output] = root[op->inputs[0]];
    } else if (o == group->last && forms->of[op->output] & TULLE_FLOATS) {
      stores[op->output].first = group->first;
      stores[op->output].last = group->last;
    }
    if (o == group->last && forms->of[op->output] & TULLE_BYTES) {
      bytes[op->output].first = group->first;
      bytes[op->output].last = group->last;
    }
  }
}

// Tensors inside a group have no memory. What is read and written by the ops that remain is set here.
static void place_inside(const tulle_net* net, const tulle_group* group, tulle_place* places) {
  if (group->kind == TULLE_GROUP_BY_ROWS) {
    // Windows from the last to the first: how many rows one holds depends on the one after it.
    for (uint32_t o = group->last, rows = group->by_rows.rows; o > group->first; o--) {
      const int32_t x = net->ops[o].inputs[0];
      rows = tulle_rows_held(net, &net->ops[o], rows);
      places[x] = (tulle_place){.stride = tulle_plan_stride(rows, net->tensors[x].shape[2])};
    }
  } else if (group->kind == TULLE_GROUP_SUM) {
    places[net->ops[group->sum.op].output] = places[net->ops[group->last].output];
  }
}

bool tulle_place_tensors(tulle_planner* planner, const tulle_forms* forms, const tulle_group* groups,
                         uint32_t group_count, tulle_place* places, uint64_t* arena_bytes) {
  const tulle_net* net = planner->net;
  tulle_engine* engine = planner->engine;
  const uint32_t count = net->tensor_count;
  uint32_t* root = malloc((count + 1) * sizeof *root);      // whose storage a tensor uses
  storage* stores = calloc(2 * count + 1, sizeof *stores);  // of floats, then of bytes
  storage* bytes = stores + count;
  storage** items = malloc(2 * (2 * count + 1) * sizeof *items);
  uint32_t item_count = 0;
  bool ok = root && stores && items;
  if (!ok) tulle_engine_fail(engine, "out of memory");
  for (uint32_t t = 0; ok && t < count; t++) {
    root[t] = t;
    stores[t] = (storage){.first = NEVER, .persistent = net->tensors[t].is_constant};
    bytes[t] = (storage){.first = NEVER};
  }
  for (uint32_t i = 0; ok && i < net->input_count; i++) {
    stores[net->inputs[i]].persistent = true;
    if (forms->of[net->inputs[i]] & TULLE_BYTES) bytes[net->inputs[i]].first = 0;
  }
  for (uint32_t g = 0; ok && g < group_count; g++) note_uses(net, forms, &groups[g], root, stores, bytes);
  for (uint32_t i = 0; ok && i < net->output_count; i++) stores[root[net->outputs[i]]].persistent = true;
  for (uint32_t t = 0; ok && t < count; t++) {
    const uint64_t used = tensor_bytes(&net->tensors[t], &places[t]), needed = with_slack(used);
    if (needed > TULLE_MAX_BYTES) {
      tulle_engine_fail(engine, "tensor '%s' would take %.0f MB", net->tensors[t].name, (double)needed / 1e6);
      ok = false;
    } else if (used >= stores[root[t]].used) {
      stores[root[t]].used = used;
      stores[root[t]].bytes = needed;
    }
    // No more than as floats, which fit.
    if (!(forms->of[t] & TULLE_BYTES)) continue;
    bytes[t].used = map_bytes(&net->tensors[t], &places[t]);
    bytes[t].bytes = with_slack(bytes[t].used);
    items[item_count++] = &bytes[t];
  }
  for (uint32_t t = 0; ok && t < count; t++)
    if (root[t] == t && !stores[t].persistent && stores[t].first != NEVER) items[item_count++] = &stores[t];
  uint64_t apart = 0;  // of inputs and outputs
  for (uint32_t t = 0; ok && t < count; t++)
    if (root[t] == t && stores[t].persistent && !net->tensors[t].is_constant) apart += stores[t].bytes;
  char* arena = NULL;
  if (ok) {
    *arena_bytes = assign_offsets(items, item_count, items + 2 * count + 1);
    if (*arena_bytes > TULLE_MAX_BYTES) {
      tulle_engine_fail(engine, "the model's activations would take %.0f MB", (double)*arena_bytes / 1e6);
      ok = false;
    } else if (!tulle_plan_afford(planner, *arena_bytes + apart)) {
      ok = false;
    } else {
      // Not cleared: tensors reuse each other's memory anyway, and a small file can ask for a gigabyte.
      ok = (arena = tulle_plan_reserve(planner, (size_t)*arena_bytes)) != NULL;
    }
  }
  for (uint32_t t = 0; ok && t < count; t++) {
    if (!(forms->of[t] & TULLE_BYTES)) continue;
    places[t].bytes = (uint8_t*)arena + bytes[t].offset;
    tulle_guard_tensor(places[t].bytes, (size_t)bytes[t].used, (size_t)bytes[t].bytes);
  }
  for (uint32_t t = 0; ok && t < count; t++) {
    if (root[t] != t) continue;
    const tulle_tensor* tensor = &net->tensors[t];
    if (!stores[t].persistent) {
      places[t].data = stores[t].first == NEVER ? NULL : (float*)(arena + stores[t].offset);
    } else if (!tensor->is_constant) {
      ok = (places[t].data = tulle_plan_alloc(planner, (size_t)stores[t].bytes)) != NULL;
      *arena_bytes += stores[t].bytes;
    }
    if (places[t].data) tulle_guard_tensor(places[t].data, (size_t)stores[t].used, (size_t)stores[t].bytes);
  }
  // Ops unpack their constants themselves. Only those that are handed on as activations have a place.
  for (uint32_t t = 0; ok && t < count; t++) {
    const uint32_t r = root[t];
    if (r != t && net->tensors[r].is_constant && !places[r].data)
      ok = (places[r].data = tulle_plan_constant(planner, (int32_t)r, 0)) != NULL;
    places[t].data = places[r].data;
  }
  for (uint32_t i = 0; ok && i < net->output_count; i++) {
    const uint32_t t = net->outputs[i];
    if (net->tensors[t].is_constant && !places[t].data)
      ok = (places[t].data = tulle_plan_constant(planner, (int32_t)t, 0)) != NULL;
  }
  for (uint32_t g = 0; ok && g < group_count; g++) place_inside(net, &groups[g], places);
  free(root);
  free(stores);
  free(items);
  return ok;
}
