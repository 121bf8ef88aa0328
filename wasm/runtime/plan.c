// The stages of planning, one after the other: check the ops, choose the form of tensors, cut the ops into groups,
// place the tensors, plan each group.

#include "runtime/plan.h"

#include <stdlib.h>

#include "ops/integer.h"
#include "ops/ops.h"
#include "runtime/band.h"
#include "runtime/forms.h"
#include "runtime/groups.h"
#include "runtime/guard.h"
#include "runtime/placement.h"

static bool check_limits(const tulle_planner* planner) {
  const tulle_net* net = planner->net;
  const uint32_t* limits = planner->engine->limits;
  if (net->op_count > limits[TULLE_LIMIT_OPS]) {
    tulle_engine_fail(planner->engine, "the model has %u ops, the limit is %u", net->op_count, limits[TULLE_LIMIT_OPS]);
    return false;
  }
  for (uint32_t t = 0; t < net->tensor_count; t++) {
    const uint64_t bytes = 4 * (uint64_t)net->tensors[t].elements;
    const uint32_t limit = limits[TULLE_LIMIT_TENSOR_BYTES];
    if (bytes <= limit) continue;
    tulle_engine_fail(planner->engine, "tensor '%s' takes %.1f MB, the limit is %.1f MB", net->tensors[t].name,
                      (double)bytes / 1e6, limit / 1e6);
    return false;
  }
  return true;
}

static bool check_ops(tulle_planner* planner) {
  const uint32_t limit = planner->engine->limits[TULLE_LIMIT_KILO_MACS];
  double work = 0;
  for (uint32_t o = 0; o < planner->net->op_count; o++) {
    planner->op = &planner->net->ops[o];
    if (!tulle_check_op(planner, planner->op)) return false;
    work += tulle_op_work(planner->net, planner->op);
  }
  if (limit == UINT32_MAX || work <= limit * 1e3) return true;
  tulle_engine_fail(planner->engine, "a run takes up to %.1f million multiply-adds, the limit is %.1f million",
                    work / 1e6, limit / 1e3);
  return false;
}

// Half of the memory that the model may take beyond all its tensors.
static uint64_t spare_bytes(const tulle_planner* planner) {
  const tulle_net* net = planner->net;
  uint64_t needed = 0;
  for (uint32_t t = 0; t < net->tensor_count; t++) needed += 4 * (uint64_t)net->tensors[t].elements;
  const uint32_t limit = planner->engine->limits[TULLE_LIMIT_MEMORY_BYTES];
  return needed < limit ? (limit - needed) / 2 : 0;
}

// ---- inputs and outputs -----------------------------------------------------------------------------------

// Which tensors are read as floats. Entry convolutions, and nothing else, read bytes themselves; others read floats,
// made when the bytes are set.
static bool* read_as_floats(const tulle_net* net) {
  bool* floats = calloc(net->tensor_count + 1, sizeof *floats);
  if (!floats) return NULL;
  for (uint32_t o = 0; o < net->op_count; o++)
    for (uint32_t i = net->ops[o].kind == TULLE_OP_CONV2D; i < net->ops[o].input_count; i++)
      if (net->ops[o].inputs[i] >= 0) floats[net->ops[o].inputs[i]] = true;
  for (uint32_t o = 0; o < net->output_count; o++) floats[net->outputs[o]] = true;
  return floats;
}

static bool plan_integers(tulle_planner* planner, const tulle_tensor* tensor, tulle_integers* integers) {
  if (tensor->quantization.type == TULLE_TYPE_FP32) return true;
  *integers = (tulle_integers){.count = tensor->elements, .quantization = tensor->quantization};
  integers->values = tulle_plan_alloc(planner, tensor->elements);
  return integers->values != NULL;
}

static bool plan_inputs_outputs(tulle_planner* planner, tulle_model* model, const bool* floats) {
  const tulle_net* net = planner->net;
  model->inputs = tulle_plan_alloc(planner, (net->input_count + 1) * sizeof *model->inputs);
  model->outputs = tulle_plan_alloc(planner, net->output_count * sizeof *model->outputs);
  if (!model->inputs || !model->outputs) return false;
  model->input_count = net->input_count;
  model->output_count = net->output_count;
  planner->inputs = model->inputs;
  for (uint32_t i = 0; i < net->input_count; i++) {
    const tulle_tensor* tensor = &net->tensors[net->inputs[i]];
    tulle_input* input = &model->inputs[i];
    input->data = planner->places[net->inputs[i]].data;
    if (!plan_integers(planner, tensor, &input->integers)) return false;
    if (tensor->rank != 4 || tensor->shape[0] != 1 || tensor->shape[3] != 3) continue;
    input->height = tensor->shape[1];
    input->width = tensor->shape[2];
    input->scale = 1 / tensor->std;
    input->shift = -tensor->mean / tensor->std;
    const size_t pixel_bytes = 4 * (size_t)input->height * input->width;
    input->pixels = tulle_plan_alloc(planner, pixel_bytes + TULLE_SLACK_BYTES);
    if (!input->pixels) return false;
    tulle_guard(input->pixels, pixel_bytes + TULLE_READABLE_BYTES, pixel_bytes + TULLE_SLACK_BYTES);
    input->direct = input->height * input->width > 1 && !floats[net->inputs[i]];
  }
  for (uint32_t i = 0; i < net->output_count; i++) {
    const tulle_tensor* tensor = &net->tensors[net->outputs[i]];
    model->outputs[i].data = planner->places[net->outputs[i]].data;
    if (!plan_integers(planner, tensor, &model->outputs[i].integers)) return false;
  }
  const tulle_tensor* output = net->output_count ? &net->tensors[net->outputs[0]] : NULL;
  for (uint32_t d = 0; output && output->rank == 4 && d < 4; d++) model->output_shape[d] = output->shape[d];
  return true;
}

// ---- steps ------------------------------------------------------------------------------------------------

static bool append_step(tulle_planner* planner, tulle_model* model, const tulle_work* work, uint32_t op,
                        uint32_t inside) {
  if (model->step_count == model->step_capacity) {
    const uint32_t capacity = 2 * model->step_capacity + 64;
    tulle_step* grown = realloc(model->steps, capacity * sizeof *grown);
    if (!grown) return tulle_plan_fail(planner, "out of memory");
    model->steps = grown;
    model->step_capacity = capacity;
  }
  model->steps[model->step_count++] = (tulle_step){*work, op, inside};
  const size_t scratch = tulle_scratch_bytes(work->scratch);
  if (scratch > model->scratch_bytes) model->scratch_bytes = scratch;
  return true;
}

static bool plan_op(tulle_planner* planner, const tulle_forms* forms, uint32_t op, tulle_work* work) {
  planner->op = &planner->net->ops[op];
  *work = (tulle_work){0};
  if (!(forms->on_bytes[op] ? tulle_plan_on_bytes : tulle_plan_op)(planner, planner->op, work)) return false;
  if (!work->units) work->units = work->tasks;
  return true;
}

static bool plan_single(tulle_planner* planner, tulle_model* model, const tulle_forms* forms,
                        const tulle_group* group) {
  tulle_work work;
  if (tulle_op_is_free(planner->net, &planner->net->ops[group->first])) return true;
  return plan_op(planner, forms, group->first, &work) && append_step(planner, model, &work, group->first, 0);
}

static bool plan_by_rows(tulle_planner* planner, tulle_model* model, const tulle_forms* forms,
                         const tulle_group* group) {
  tulle_work works[TULLE_BAND_MAX_OPS], band;
  const uint32_t count = group->last - group->first + 1;
  for (uint32_t i = 0; i < count; i++)
    if (!plan_op(planner, forms, group->first + i, &works[i])) return false;
  if (!tulle_plan_band(planner, model->engine, group, works, model->step_count, &band)) return false;
  if (!append_step(planner, model, &band, group->first, count - 1)) return false;
  for (uint32_t i = 1; i < count; i++)
    if (!append_step(planner, model, &works[i], group->first + i, 0)) return false;
  return true;
}

static bool plan_sum(tulle_planner* planner, tulle_model* model, const tulle_forms* forms, const tulle_group* group) {
  const tulle_place* places = planner->places;
  tulle_work work;
  planner->sum = (tulle_sum){.added = places[group->sum.added].data,
                             .gate = group->sum.gate < 0 ? NULL : places[group->sum.gate].data,
                             .operand = planner->net->ops[group->first].output};
  const bool ok = plan_op(planner, forms, group->sum.op, &work) && append_step(planner, model, &work, group->sum.op, 0);
  planner->sum = (tulle_sum){0};
  return ok;
}

// Makes the form of a tensor that what writes it does not. `op`: after which, or before which first.
static bool plan_conversion(tulle_planner* planner, tulle_model* model, const tulle_forms* forms, uint32_t tensor,
                            uint32_t op) {
  if ((forms->of[tensor] & (TULLE_FLOATS | TULLE_BYTES)) != (TULLE_FLOATS | TULLE_BYTES)) return true;
  tulle_work work;
  planner->op = &planner->net->ops[op];
  return tulle_plan_conversion(planner, tensor, !(forms->of[tensor] & TULLE_WRITTEN_AS_BYTES), &work) &&
         append_step(planner, model, &work, op, 0);
}

static bool plan_groups(tulle_planner* planner, tulle_model* model, const tulle_forms* forms, const tulle_group* groups,
                        uint32_t count) {
  const tulle_net* net = planner->net;
  for (uint32_t i = 0; i < net->input_count; i++)
    if (!plan_conversion(planner, model, forms, net->inputs[i], 0)) return false;
  for (uint32_t g = 0; g < count; g++) {
    const tulle_group* group = &groups[g];
    bool ok = false;
    switch (group->kind) {
      case TULLE_GROUP_SINGLE:
        ok = plan_single(planner, model, forms, group);
        break;
      case TULLE_GROUP_BY_ROWS:
        ok = plan_by_rows(planner, model, forms, group);
        break;
      case TULLE_GROUP_SUM:
        ok = plan_sum(planner, model, forms, group);
        break;
    }
    if (!ok || !plan_conversion(planner, model, forms, (uint32_t)net->ops[group->last].output, group->last))
      return false;
  }
  return true;
}

// Memory for running the steps.
static bool finish(tulle_planner* planner, tulle_model* model) {
  model->progress = tulle_plan_alloc(planner, (model->step_count + 1) * sizeof *model->progress);
  model->profile = tulle_plan_alloc(planner, (model->step_count + 1) * sizeof *model->profile);
  model->scratch_bytes += TULLE_ALIGNMENT;
  const uint64_t scratch = (uint64_t)model->scratch_bytes * planner->threads;
  if (scratch > TULLE_MAX_BYTES) {
    tulle_engine_fail(model->engine, "the model's kernels would need %.0f MB of scratch memory", (double)scratch / 1e6);
    return false;
  }
  model->scratch = tulle_plan_alloc(planner, (size_t)scratch);
  model->weight_bytes = planner->weight_bytes;
  return model->progress && model->profile && model->scratch;
}

bool tulle_plan(tulle_model* model, const tulle_net* net) {
  tulle_planner planner = {.net = net,
                           .threads = model->engine->threads,
                           .sparse_tile = model->engine->sparse_tile,
                           .dot = model->engine->integers ? model->engine->dot : TULLE_DOT_NONE,
                           .memory = &model->memory,
                           .engine = model->engine};
  if (!check_limits(&planner) || !check_ops(&planner)) return false;
  planner.spare_bytes = spare_bytes(&planner);
  tulle_forms forms;
  if (!tulle_choose_forms(&planner, &forms)) return false;
  uint32_t group_count = 0;
  tulle_group* groups = tulle_find_groups(net, &forms, &group_count);
  tulle_place* places = calloc(net->tensor_count + 1, sizeof *places);
  bool* floats = read_as_floats(net);
  planner.places = places;
  bool ok = groups && places && floats;
  if (!ok) tulle_engine_fail(model->engine, "out of memory");
  ok = ok && tulle_place_tensors(&planner, &forms, groups, group_count, places, &model->arena_bytes) &&
       plan_inputs_outputs(&planner, model, floats) && plan_groups(&planner, model, &forms, groups, group_count) &&
       finish(&planner, model);
  free(floats);
  free(places);
  free(groups);
  tulle_free_forms(&forms);
  return ok;
}
