// Placing tensors in memory and walking the ops.

#include "runtime/plan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Readable bytes behind every tensor, for whole-vector loads over its end.
#define SLACK_BYTES 128
#define MAX_TENSOR_BYTES 0x7fffffffu
#define NOBODY UINT32_MAX

bool tulle_plan_fail(tulle_planner* planner, const char* format, ...) {
  const tulle_op* op = &planner->net->ops[planner->op];
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  tulle_engine_fail(planner->model->engine, "%s '%s': %s", op->kind_name, op->name, message);
  return false;
}

// Memory for the life of the model, holding anything.
static void* reserve(tulle_planner* planner, size_t size) {
  tulle_model* model = planner->model;
  if (model->allocation_count == model->allocation_capacity) {
    const uint32_t capacity = 2 * model->allocation_capacity + 64;
    void** grown = realloc(model->allocations, capacity * sizeof *grown);
    if (grown) {
      model->allocations = grown;
      model->allocation_capacity = capacity;
    }
  }
  void* memory = model->allocation_count < model->allocation_capacity ? tulle_alloc(size) : NULL;
  if (!memory) {
    tulle_engine_fail(model->engine, "out of memory: %u bytes more were needed", (unsigned)size);
    return NULL;
  }
  return model->allocations[model->allocation_count++] = memory;
}

void* tulle_plan_alloc(tulle_planner* planner, size_t size) {
  void* memory = reserve(planner, size);
  return memory ? memset(memory, 0, size) : NULL;
}

const tulle_tensor* tulle_plan_input(const tulle_planner* planner, const tulle_op* op, uint32_t index) {
  return index < op->input_count && op->inputs[index] >= 0 ? &planner->net->tensors[op->inputs[index]] : NULL;
}

float* tulle_plan_constant(tulle_planner* planner, int32_t index, size_t extra) {
  const tulle_tensor* tensor = &planner->net->tensors[index];
  if (!tensor->is_constant) {
    tulle_plan_fail(planner, "its input '%s' must be constant", tensor->name);
    return NULL;
  }
  float* values = tulle_plan_alloc(planner, ((size_t)tensor->elements + extra) * sizeof *values + SLACK_BYTES);
  if (!values) return NULL;
  tulle_constant_decode(tensor, values);
  planner->model->weight_bytes += ((uint64_t)tensor->elements + extra) * sizeof *values;
  return values;
}

tulle_step* tulle_plan_step(tulle_planner* planner, tulle_task run, const void* args, uint32_t tasks,
                            const char* kernel) {
  tulle_model* model = planner->model;
  if (model->step_count == model->step_capacity) {
    const uint32_t capacity = 2 * model->step_capacity + 64;
    tulle_step* grown = realloc(model->steps, capacity * sizeof *grown);
    if (!grown) {
      tulle_plan_fail(planner, "out of memory");
      return NULL;
    }
    model->steps = grown;
    model->step_capacity = capacity;
  }
  tulle_step* step = &model->steps[model->step_count++];
  *step = (tulle_step){.run = run, .args = args, .tasks = tasks, .op = planner->op, .kernel = kernel};
  return step;
}

void tulle_plan_scratch(tulle_planner* planner, uint64_t bytes) {
  // Larger than memory is left to the allocation to refuse.
  const size_t rounded = bytes > MAX_TENSOR_BYTES ? MAX_TENSOR_BYTES : ((size_t)bytes + 127) / 64 * 64;
  if (rounded > planner->model->scratch_bytes) planner->model->scratch_bytes = rounded;
}

uint32_t tulle_plan_tasks(const tulle_planner* planner, uint32_t units) {
  // One thread gains nothing from pieces; several want a few each, so that an unlucky one delays little.
  const uint32_t wanted = planner->threads == 1 ? 1 : 4 * planner->threads;
  return units < wanted ? (units ? units : 1) : wanted;
}

uint32_t tulle_plan_light_tasks(const tulle_planner* planner, uint64_t elements, uint32_t units) {
  return elements < 16384 ? 1 : tulle_plan_tasks(planner, units);
}

bool tulle_plan_epilogue(tulle_planner* planner, const tulle_op* op, uint32_t alpha_input, uint32_t channels,
                         tulle_epilogue* epilogue) {
  *epilogue = (tulle_epilogue){.low = -INFINITY, .high = INFINITY, .kind = TULLE_ACT_NONE, .alpha = op->alpha};
  switch (op->activation) {
    case TULLE_ACT_RELU:
      epilogue->low = 0;
      break;
    case TULLE_ACT_RELU6:
      epilogue->low = 0, epilogue->high = 6;
      break;
    case TULLE_ACT_RELU_N1_TO_1:
      epilogue->low = -1, epilogue->high = 1;
      break;
    case TULLE_ACT_PRELU: {
      const tulle_tensor* alpha = tulle_plan_input(planner, op, alpha_input);
      if (!alpha) return tulle_plan_fail(planner, "prelu without its alpha as input %u", alpha_input);
      if (alpha->elements != channels && alpha->elements != 1)
        return tulle_plan_fail(planner, "prelu's alpha '%s' has %u values for %u channels", alpha->name,
                               alpha->elements, channels);
      float* values = tulle_plan_constant(planner, op->inputs[alpha_input], alpha->elements == 1 ? channels : 0);
      if (!values) return false;
      if (alpha->elements == 1)
        for (uint32_t c = 1; c < channels; c++) values[c] = values[0];
      epilogue->prelu = values;
      epilogue->kind = TULLE_ACT_PRELU;
      break;
    }
    default:
      epilogue->kind = (tulle_activation)op->activation;
  }
  return true;
}

bool tulle_plan_is_free(const tulle_net* net, const tulle_op* op) {
  if (op->kind == TULLE_OP_RESHAPE) return true;
  if (op->kind != TULLE_OP_TO_PLAIN && op->kind != TULLE_OP_TO_CHW) return false;
  const tulle_tensor* t = &net->tensors[op->output];
  return t->rank == 4 && (t->shape[3] == 1 || t->shape[1] * t->shape[2] == 1);
}

// Floats from one channel to the next. Small maps are packed; large ones start an odd number of cache lines
// apart, or maps of 32, 64 and 128 pixels would put all their channels into the same few sets of the L1 cache.
size_t tulle_plan_stride(uint32_t height, uint32_t width) {
  const uint32_t pixels = height * width;
  if (pixels == 1) return 1;
  const uint32_t needed = tulle_round_up(pixels + (width % 4 ? 3 : 0), 4);
  if (needed < 256) return needed;
  const uint32_t lines = tulle_round_up(needed, 16) / 16;
  return 16 * (size_t)(lines | 1);
}

// What a tensor takes, and its stride.
static uint64_t tensor_bytes(const tulle_tensor* tensor, tulle_place* place) {
  uint64_t floats = tensor->elements;
  if (!tensor->chw) {
    // What it would be for the maps that are the same in both layouts.
    place->stride = tensor->rank && tensor->shape[tensor->rank - 1] > 1 ? 1 : tensor->elements;
  } else {
    place->stride = tulle_plan_stride(tensor->shape[1], tensor->shape[2]);
    floats = (uint64_t)place->stride * tensor->shape[3];
  }
  return (floats * 4 + SLACK_BYTES + TULLE_ALIGNMENT - 1) / TULLE_ALIGNMENT * TULLE_ALIGNMENT;
}

// A stretch of memory that one or more tensors share (an output of a free op shares its input's).
typedef struct {
  uint32_t first, last;  // ops: written, last read
  uint64_t bytes, offset;
  bool persistent;  // inputs, outputs and constants have memory of their own
} storage;

static int by_size(const void* a, const void* b) {
  const storage *x = *(storage* const*)a, *y = *(storage* const*)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->first < y->first ? -1 : x->first > y->first;
}

static int by_offset(const void* a, const void* b) {
  const storage *x = *(storage* const*)a, *y = *(storage* const*)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// Gives each storage the lowest offset where nothing that lives at the same time lies: largest first, which comes
// within a few per cent of the best on convolutional networks. Returns the arena's size.
static uint64_t assign_offsets(storage** items, uint32_t count, storage** placed) {
  qsort(items, count, sizeof *items, by_size);
  uint64_t total = 0;
  uint32_t placed_count = 0;
  for (uint32_t i = 0; i < count; i++) {
    storage* item = items[i];
    uint64_t offset = 0;
    for (uint32_t j = 0; j < placed_count; j++) {  // in order of offset
      const storage* other = placed[j];
      if (other->last < item->first || item->last < other->first) continue;
      if (offset + item->bytes <= other->offset) break;
      if (other->offset + other->bytes > offset) offset = other->offset + other->bytes;
    }
    item->offset = offset;
    if (offset + item->bytes > total) total = offset + item->bytes;
    uint32_t at = placed_count++;
    while (at && by_offset(&placed[at - 1], &item) > 0) {
      placed[at] = placed[at - 1];
      at--;
    }
    placed[at] = item;
  }
  return total;
}

// Finds a place for every tensor.
static bool place_tensors(tulle_planner* planner) {
  const tulle_net* net = planner->net;
  tulle_model* model = planner->model;
  const uint32_t count = net->tensor_count;
  uint32_t* root = malloc((count + 1) * sizeof *root);  // whose storage a tensor uses
  storage* stores = calloc(count + 1, sizeof *stores);
  storage** items = malloc(2 * (count + 1) * sizeof *items);
  uint32_t item_count = 0;
  bool ok = root && stores && items;
  if (!ok) tulle_engine_fail(model->engine, "out of memory");
  for (uint32_t t = 0; ok && t < count; t++) {
    root[t] = t;
    stores[t] = (storage){.first = NOBODY, .persistent = net->tensors[t].is_constant};
  }
  for (uint32_t i = 0; ok && i < net->input_count; i++) stores[net->inputs[i]].persistent = true;
  for (uint32_t o = 0; ok && o < net->op_count; o++) {
    const tulle_op* op = &net->ops[o];
    // All that a band reads and writes is in use from its first op to its last.
    const tulle_band* band = tulle_band_of(planner, o);
    for (uint32_t i = 0; i < op->input_count; i++)
      if (op->inputs[i] >= 0) stores[root[op->inputs[i]]].last = band ? band->last : o;
    if (tulle_plan_is_free(net, op)) {
      root[op->output] = root[op->inputs[0]];
    } else if (!band || o == band->last) {
      stores[op->output].first = band ? band->first : o;
      stores[op->output].last = o;
    }
  }
  for (uint32_t i = 0; ok && i < net->output_count; i++) stores[root[net->outputs[i]]].persistent = true;
  for (uint32_t t = 0; ok && t < count; t++) {
    const uint64_t bytes = tensor_bytes(&net->tensors[t], &planner->places[t]);
    if (bytes > MAX_TENSOR_BYTES) {
      tulle_engine_fail(model->engine, "tensor '%s' would take %.0f MB", net->tensors[t].name, (double)bytes / 1e6);
      ok = false;
    } else if (bytes > stores[root[t]].bytes) {
      stores[root[t]].bytes = bytes;
    }
  }
  for (uint32_t t = 0; ok && t < count; t++)
    if (root[t] == t && !stores[t].persistent && stores[t].first != NOBODY) items[item_count++] = &stores[t];
  char* arena = NULL;
  if (ok) {
    model->arena_bytes = assign_offsets(items, item_count, items + count + 1);
    if (model->arena_bytes > MAX_TENSOR_BYTES) {
      tulle_engine_fail(model->engine, "the model's activations would take %.0f MB", (double)model->arena_bytes / 1e6);
      ok = false;
    } else {
      // Not cleared: tensors lie over each other's remains anyway, and a small file can claim a gigabyte.
      ok = (arena = reserve(planner, (size_t)model->arena_bytes)) != NULL;
    }
  }
  for (uint32_t t = 0; ok && t < count; t++) {
    if (root[t] != t) continue;
    const tulle_tensor* tensor = &net->tensors[t];
    if (!stores[t].persistent) {
      planner->places[t].data = stores[t].first == NOBODY ? NULL : (float*)(arena + stores[t].offset);
    } else if (!tensor->is_constant) {
      ok = (planner->places[t].data = tulle_plan_alloc(planner, (size_t)stores[t].bytes)) != NULL;
      model->arena_bytes += stores[t].bytes;
    }
  }
  // Constants are unpacked by the ops that use them, except those that are handed on as activations.
  for (uint32_t t = 0; ok && t < count; t++) {
    const uint32_t r = root[t];
    if (r != t && net->tensors[r].is_constant && !planner->places[r].data)
      ok = (planner->places[r].data = tulle_plan_constant(planner, (int32_t)r, 0)) != NULL;
    planner->places[t].data = planner->places[r].data;
  }
  for (uint32_t i = 0; ok && i < net->output_count; i++) {
    const uint32_t t = net->outputs[i];
    if (net->tensors[t].is_constant && !planner->places[t].data)
      ok = (planner->places[t].data = tulle_plan_constant(planner, (int32_t)t, 0)) != NULL;
  }
  free(root);
  free(stores);
  free(items);
  return ok;
}

static bool plan_inputs_outputs(tulle_planner* planner) {
  const tulle_net* net = planner->net;
  tulle_model* model = planner->model;
  model->inputs = tulle_plan_alloc(planner, (net->input_count + 1) * sizeof *model->inputs);
  model->outputs = tulle_plan_alloc(planner, net->output_count * sizeof *model->outputs);
  if (!model->inputs || !model->outputs) return false;
  model->input_count = net->input_count;
  model->output_count = net->output_count;
  for (uint32_t i = 0; i < net->input_count; i++) {
    const tulle_tensor* tensor = &net->tensors[net->inputs[i]];
    struct tulle_input* input = &model->inputs[i];
    input->data = planner->places[net->inputs[i]].data;
    if (tensor->rank != 4 || tensor->shape[0] != 1 || tensor->shape[3] != 3) continue;
    input->height = tensor->shape[1];
    input->width = tensor->shape[2];
    input->scale = 1 / tensor->std;
    input->shift = -tensor->mean / tensor->std;
    input->pixels = tulle_plan_alloc(planner, 4 * (size_t)input->height * input->width + SLACK_BYTES);
    if (!input->pixels) return false;
    // Bytes go straight into entry convolutions; anything else reads floats, made when the bytes are set.
    input->direct = input->height * input->width > 1;
    for (uint32_t o = 0; o < net->op_count; o++) {
      for (uint32_t j = 0; j < net->ops[o].input_count; j++) {
        const bool reads = net->ops[o].inputs[j] == (int32_t)net->inputs[i];
        if (reads && (net->ops[o].kind != TULLE_OP_CONV2D || j > 0)) input->direct = false;
      }
    }
    for (uint32_t o = 0; o < net->output_count; o++)
      if (net->outputs[o] == net->inputs[i]) input->direct = false;
  }
  for (uint32_t i = 0; i < net->output_count; i++) model->outputs[i] = planner->places[net->outputs[i]].data;
  return true;
}

bool tulle_plan_op(tulle_planner* planner) {
  const tulle_net* net = planner->net;
  const tulle_op* op = &net->ops[planner->op];
  const tulle_tensor* x = &net->tensors[op->inputs[0]];
  const bool may_be_constant = op->kind == TULLE_OP_CONCAT || op->kind == TULLE_OP_MATMUL ||
                               (op->kind >= TULLE_OP_ADD && op->kind <= TULLE_OP_MINIMUM) ||
                               (op->kind >= TULLE_OP_GREATER && op->kind <= TULLE_OP_MASK);
  if (x->is_constant && !may_be_constant)
    return tulle_plan_fail(planner, "its input '%s' is constant; convert folds such ops away", x->name);
  if (tulle_plan_is_free(net, op)) {
    if (x->elements != net->tensors[op->output].elements)
      return tulle_plan_fail(planner, "%u elements cannot become %u", x->elements, net->tensors[op->output].elements);
    if (op->kind == TULLE_OP_RESHAPE && (x->chw || net->tensors[op->output].chw))
      return tulle_plan_fail(planner, "reshape needs plain tensors");
    return true;
  }
  switch (op->kind) {
    case TULLE_OP_CONV2D:
      return tulle_plan_conv2d(planner, op);
    case TULLE_OP_DEPTHWISE_CONV2D:
      return tulle_plan_depthwise(planner, op);
    case TULLE_OP_TRANSPOSE_CONV2D:
      return tulle_plan_transpose_conv(planner, op);
    case TULLE_OP_FULLY_CONNECTED:
      return tulle_plan_fully_connected(planner, op);
    case TULLE_OP_ADD:
    case TULLE_OP_SUB:
    case TULLE_OP_MUL:
    case TULLE_OP_DIV:
    case TULLE_OP_MAXIMUM:
    case TULLE_OP_MINIMUM:
    case TULLE_OP_GREATER:
    case TULLE_OP_EQUAL:
    case TULLE_OP_MASK:
      return tulle_plan_binary(planner, op);
    case TULLE_OP_AVERAGE_POOL2D:
    case TULLE_OP_MAX_POOL2D:
    case TULLE_OP_MAX_POOL2D_ARGMAX:
      return tulle_plan_pool(planner, op);
    case TULLE_OP_MEAN:
    case TULLE_OP_SUM:
    case TULLE_OP_REDUCE_MAX:
    case TULLE_OP_REDUCE_MIN:
      return tulle_plan_reduce(planner, op);
    case TULLE_OP_RESIZE_BILINEAR:
    case TULLE_OP_RESIZE_NEAREST:
      return tulle_plan_resize(planner, op);
    case TULLE_OP_ARGMAX:
      return tulle_plan_argmax(planner, op);
    case TULLE_OP_MATMUL:
      return tulle_plan_matmul(planner, op);
    case TULLE_OP_MAX_UNPOOL2D:
      return tulle_plan_max_unpool(planner, op);
    case TULLE_OP_SAMPLE_BILINEAR:
      return tulle_plan_sample(planner, op);
    case TULLE_OP_CONCAT:
      return tulle_plan_concat(planner, op);
    case TULLE_OP_PAD:
      return tulle_plan_pad(planner, op);
    case TULLE_OP_SOFTMAX:
      return tulle_plan_softmax(planner, op);
    case TULLE_OP_ACTIVATION:
      return tulle_plan_activation(planner, op);
    case TULLE_OP_TRANSPOSE:
    case TULLE_OP_SLICE:
    case TULLE_OP_TO_PLAIN:
    case TULLE_OP_TO_CHW:
    case TULLE_OP_DEPTH_TO_SPACE:
    case TULLE_OP_SPACE_TO_DEPTH:
      return tulle_plan_copy(planner, op);
    case TULLE_OP_RESHAPE:
    case TULLE_OP_COUNT:
      break;
  }
  return tulle_plan_fail(planner, "cannot be run");
}

bool tulle_plan(tulle_model* model, const tulle_net* net) {
  tulle_planner planner = {.net = net, .model = model, .threads = model->engine->threads};
  planner.places = calloc(net->tensor_count + 1, sizeof *planner.places);
  if (!planner.places) {
    tulle_engine_fail(model->engine, "out of memory");
    return false;
  }
  bool ok = tulle_find_bands(&planner) && place_tensors(&planner) && plan_inputs_outputs(&planner);
  for (planner.op = 0; ok && planner.op < net->op_count; planner.op++) {
    const tulle_band* band = tulle_band_of(&planner, planner.op);
    ok = !band        ? tulle_plan_op(&planner)
         : band->rows ? tulle_plan_band(&planner, band)
                      : tulle_plan_sum(&planner, band);
  }
  if (ok) {
    model->progress = tulle_plan_alloc(&planner, (model->step_count + 1) * sizeof *model->progress);
    model->profile = tulle_plan_alloc(&planner, (model->step_count + 1) * sizeof *model->profile);
    model->scratch_bytes += TULLE_ALIGNMENT;
    const uint64_t scratch = (uint64_t)model->scratch_bytes * planner.threads;
    if (scratch > MAX_TENSOR_BYTES) {
      tulle_engine_fail(model->engine, "the model's kernels would need %.0f MB of scratch memory",
                        (double)scratch / 1e6);
      ok = false;
    } else {
      model->scratch = tulle_plan_alloc(&planner, (size_t)scratch);
    }
    ok = ok && model->progress && model->profile && model->scratch;
  }
  free(planner.places);
  free(planner.bands);
  return ok;
}
