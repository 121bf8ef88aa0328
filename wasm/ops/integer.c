#include "ops/integer.h"

#include <math.h>
#include <stdlib.h>

#include "ops/convolution.h"

#if TULLE_HAS_DOT

// ---- levels -----------------------------------------------------------------------------------------------

tulle_levels tulle_levels_of(const tulle_planner* planner, const tulle_tensor* t) {
  const float zero = (float)(t->levels.zero_point + (t->levels.type == TULLE_TYPE_INT8 ? 128 : 0));
  const float top = (float)tulle_dot_top(planner->dot);
  return (tulle_levels){t->levels.scale * (255 / top), rintf(zero * (top / 255))};
}

float tulle_limited(float x, float least, float most) { return !(x > least) ? least : x < most ? x : most; }

// The range of the op's clamp as it is.
static void real_clamp_of(const tulle_op* op, float* low, float* high) {
  tulle_epilogue epilogue;
  tulle_clamp_of(op, &epilogue);
  *low = epilogue.low, *high = epilogue.high;
}

void tulle_byte_clamp_of(const tulle_planner* planner, const tulle_op* op, float* low, float* high) {
  const tulle_levels y = tulle_levels_of(planner, tulle_plan_output(planner, op));
  const float top = (float)tulle_dot_top(planner->dot);
  real_clamp_of(op, low, high);
  *low = rintf(tulle_limited(*low / y.scale + y.zero, 0, top));
  *high = rintf(tulle_limited(*high / y.scale + y.zero, 0, top));
}

// ---- which ops --------------------------------------------------------------------------------------------

// Multiply-adds of a layer below which its step, and those that convert, take longer than is gained.
#define LEAST_MACS 16384
// Products of an input of a 1x1 convolution from which on converting the input is cheap beside them.
#define LEAST_OUTPUTS 8

// The scale of the weights of an output channel, which are its last dimension where `last` is set. Checked by
// weights_fit.
static float weight_scale(const tulle_tensor* w, uint32_t channel) {
  return w->constant.scales[w->constant.scale_count > 1 ? channel : 0];
}

// Whether the weights are integers with one scale an output channel, and the kernels' sums and offsets stay in range.
// Differences from a zero point have nine bits; see read_weights.
static bool weights_fit(const tulle_planner* planner, const tulle_op* op, uint32_t channels, bool channels_last) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor *bias = tulle_plan_input(planner, op, 2), *y = tulle_plan_output(planner, op);
  const tulle_constant* c = &w->constant;
  if (!c->scales || op->sparse || !tulle_has_levels(x)) return false;
  if (bias && (!bias->is_constant || bias->elements != channels)) return false;
  if (c->scale_count != 1 &&
      (c->scale_count != channels || c->scale_run != (channels_last ? 1 : w->elements / channels)))
    return false;
  const uint32_t taps = w->elements / channels, wide = c->type == TULLE_TYPE_UINT8;
  const float x_scale = tulle_levels_of(planner, x).scale;
  // Of floats, then of bytes.
  const float y_scales[2] = {1, tulle_has_levels(y) ? tulle_levels_of(planner, y).scale : 1};
  float* biases = bias ? malloc(channels * sizeof *biases) : NULL;
  bool ok = biases || !bias;
  if (biases) tulle_constant_decode(bias, biases);
  for (uint32_t o = 0; ok && o < channels; o++) {
    for (uint32_t i = 0; i < 2; i++) {
      // Twice as much: the zero point's part of an offset is up to what the sums are.
      const float scale = 2 * x_scale * weight_scale(w, o) / y_scales[i];
      ok = ok && tulle_u8_fits(scale, 2 * (biases ? biases[o] : 0) / y_scales[i] + 512, taps << wide) && scale == scale;
    }
  }
  free(biases);
  return ok;
}

bool tulle_rescales(const tulle_planner* planner, const tulle_tensor* a, const tulle_tensor* y) {
  const float y_scale = tulle_has_levels(y) ? tulle_levels_of(planner, y).scale : 1;
  return tulle_has_levels(a) && tulle_u8_fits(2 * tulle_levels_of(planner, a).scale / y_scale, 0, 1);
}

// Shapes with which the kernels of windows, and the sizes of their scratch memory, stay within bounds.
static bool windows_fit(const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w, const tulle_tensor* y) {
  const uint32_t most = TULLE_U8_DEPTHWISE_MAX;
  return w->shape[1] <= most && w->shape[2] <= most && op->stride_h <= most && op->stride_w <= most &&
         op->dilation_h <= UINT16_MAX && op->dilation_w <= UINT16_MAX &&
         op->pad_top <= (w->shape[1] - 1) * op->dilation_h && op->pad_left <= (w->shape[2] - 1) * op->dilation_w &&
         x->shape[2] <= UINT16_MAX && tulle_windows_fit(op, x, w, y);
}

// The model input of the tensor, or NULL if it is none.
static const tulle_input* input_of(const tulle_planner* planner, uint32_t tensor) {
  for (uint32_t i = 0; i < planner->net->input_count; i++)
    if (planner->net->inputs[i] == tensor) return &planner->inputs[i];
  return NULL;
}

// Whether the tensor can be converted from the order in which hosts give images.
static bool is_image_input(const tulle_net* net, uint32_t tensor) {
  bool found = false;
  for (uint32_t i = 0; i < net->input_count; i++) found = found || net->inputs[i] == tensor;
  return found && net->tensors[tensor].rank == 4 && net->tensors[tensor].shape[0] == 1 &&
         net->tensors[tensor].shape[3] <= 4;
}

static bool residual_fits(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *residual = tulle_plan_input(planner, op, 3), *y = tulle_plan_output(planner, op);
  return !residual || (tulle_same_shape(residual, y) && tulle_is_chw(residual) && tulle_rescales(planner, residual, y));
}

// conv2d, of 1x1 windows without strides.
static bool is_pointwise(const tulle_planner* planner, const tulle_op* op) {
  return op->kind == TULLE_OP_CONV2D && tulle_is_pointwise(op, tulle_plan_input(planner, op, 1));
}

// Whatever multiplies a matrix with the pixels of a map, or with windows of it.
static tulle_gain matrix_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  uint32_t inputs, outputs, in_pixels, pixels;
  const bool in_map = tulle_map_of(x, &inputs, &in_pixels);
  if (!tulle_map_of(y, &outputs, &pixels)) return TULLE_GAIN_NONE;
  if (op->kind == TULLE_OP_FULLY_CONNECTED) {
    if (!in_map || in_pixels != 1 || pixels != 1 || w->rank != 2 || w->shape[1] != inputs) return TULLE_GAIN_NONE;
  } else {
    if (x->rank != 4 || w->rank != 4 || y->rank != 4 || w->shape[3] != inputs || !tulle_is_chw(y) ||
        !windows_fit(op, x, w, y) || !residual_fits(planner, op))
      return TULLE_GAIN_NONE;
    if (!tulle_is_chw(x) && (is_pointwise(planner, op) || !is_image_input(planner->net, (uint32_t)op->inputs[0])))
      return TULLE_GAIN_NONE;
  }
  if (w->shape[0] != outputs || !weights_fit(planner, op, outputs, false)) return TULLE_GAIN_NONE;
  const bool enough = (uint64_t)w->elements * pixels >= LEAST_MACS && outputs >= LEAST_OUTPUTS;
  return enough ? TULLE_GAIN_ALWAYS : TULLE_GAIN_IF_FED;
}

static tulle_gain depthwise_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (x->rank != 4 || w->rank != 4 || y->rank != 4 || w->shape[0] != 1 || !tulle_has_levels(y) ||
      op->activation == TULLE_ACT_PRELU)
    return TULLE_GAIN_NONE;
  const uint32_t channels = x->shape[3];
  if (w->shape[3] != channels || y->shape[3] != channels || !windows_fit(op, x, w, y) ||
      (op->stride_h > 1 && op->dilation_h > 1) || !weights_fit(planner, op, channels, true))
    return TULLE_GAIN_NONE;
  // The kernel takes shifts of eight bits. A weight of 255 needs 128 and is one of a channel without negative ones.
  for (uint32_t i = 0; w->constant.zero_points && i < w->constant.scale_count; i++)
    if (w->constant.zero_points[i] == 0) return TULLE_GAIN_NONE;
  return TULLE_GAIN_IN_CHAIN;
}

static tulle_gain add_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *a = tulle_plan_input(planner, op, 0), *b = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const bool ok = tulle_clamps(op) && tulle_is_chw(y) && tulle_has_levels(y) && tulle_same_shape(a, y) &&
                  tulle_same_shape(b, y) && tulle_rescales(planner, a, y) && tulle_rescales(planner, b, y);
  return ok ? TULLE_GAIN_IF_FED : TULLE_GAIN_NONE;
}

// Over height and width alone.
static tulle_gain mean_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  uint32_t axes = 0;
  for (uint32_t i = 0; i < op->list_count; i++) {
    if (op->list[i] < 1 || op->list[i] > 2) return TULLE_GAIN_NONE;
    axes |= 1u << op->list[i];
  }
  const bool ok = axes == 6 && tulle_is_chw(x) && tulle_has_levels(x) && y->elements == x->shape[3] &&
                  tulle_u8_fits(tulle_levels_of(planner, x).scale, 0, 1);
  return ok ? TULLE_GAIN_IF_FED : TULLE_GAIN_NONE;
}

tulle_gain tulle_gain_of(const tulle_planner* planner, const tulle_op* op) {
  switch (op->kind) {
    case TULLE_OP_CONV2D:
    case TULLE_OP_FULLY_CONNECTED:
      return matrix_gain(planner, op);
    case TULLE_OP_DEPTHWISE_CONV2D:
      return depthwise_gain(planner, op);
    case TULLE_OP_ADD:
      return add_gain(planner, op);
    case TULLE_OP_MEAN:
      return mean_gain(planner, op);
    default:
      return tulle_map_gain(planner, op);
  }
}

tulle_stores tulle_stores_of(const tulle_net* net, const tulle_op* op) {
  if (op->kind == TULLE_OP_MEAN || tulle_is_mean_pool(net, op)) return TULLE_STORES_FLOATS;
  if (op->kind != TULLE_OP_CONV2D && op->kind != TULLE_OP_FULLY_CONNECTED) return TULLE_STORES_BYTES;
  return tulle_has_levels(&net->tensors[op->output]) ? TULLE_STORES_EITHER : TULLE_STORES_FLOATS;
}

bool tulle_reads_bytes(const tulle_net* net, const tulle_op* op, uint32_t input) {
  const tulle_tensor* t = &net->tensors[op->inputs[input]];
  return !t->is_constant && (op->kind != TULLE_OP_MUL || tulle_same_shape(t, &net->tensors[op->output]));
}

// ---- weights ----------------------------------------------------------------------------------------------

// The weights of output channels, in the file's order, as bytes that take shifts (see u8.h): for the time of planning.
typedef struct {
  int8_t* bytes;    // the caller frees them
  int32_t* shifts;  // one a channel, and as many zeros as fill up its group: of the planner's memory; NULL if all are 0
  uint32_t channels, taps;
  bool channels_last;
} integer_weights;

static size_t weight_at(const integer_weights* w, uint32_t channel, uint32_t tap) {
  return w->channels_last ? (size_t)tap * w->channels + channel : (size_t)channel * w->taps + tap;
}

// False (error set) when out of memory.
static bool read_weights(tulle_planner* planner, const tulle_tensor* t, uint32_t channels, bool channels_last,
                         integer_weights* w) {
  const tulle_constant* c = &t->constant;
  float* values = malloc((size_t)t->elements * sizeof *values);
  *w = (integer_weights){malloc(t->elements), NULL, channels, t->elements / channels, channels_last};
  if (!values || !w->bytes) {
    free(values);
    return tulle_plan_fail(planner, "out of memory");
  }
  tulle_constant_decode_integers(t, values);
  bool ok = true;
  for (uint32_t o = 0; ok && o < channels; o++) {
    const float zero = c->zero_points ? c->zero_points[c->scale_count > 1 ? o : 0] : 0;
    float least = 0, most = 0;
    for (uint32_t i = 0; i < w->taps; i++) {
      float* value = &values[weight_at(w, o, i)];
      // Elements that are not stored are -1, which is no byte.
      if (c->zero_points) *value = *value < 0 ? 0 : *value - zero;
      least = *value < least ? *value : least;
      most = *value > most ? *value : most;
    }
    const float shift = most > 127 ? most - 127 : least < -128 ? least + 128 : 0;
    if (shift != 0 && !w->shifts) ok = (w->shifts = tulle_plan_alloc(planner, (channels + 3) / 4 * 16)) != NULL;
    if (shift != 0 && ok) w->shifts[o] = (int32_t)shift;
    for (uint32_t i = 0; i < w->taps; i++) w->bytes[weight_at(w, o, i)] = (int8_t)(values[weight_at(w, o, i)] - shift);
  }
  free(values);
  return ok;
}

// Scales and offsets of the kernels (see u8.h), for as many channels as fill up the last group. False (error set) when
// out of memory.
static bool plan_store(tulle_planner* planner, const tulle_op* op, const integer_weights* weights, bool to_bytes,
                       const float** scale, const float** offset) {
  const tulle_tensor* w = tulle_plan_input(planner, op, 1);
  const tulle_levels x = tulle_levels_of(planner, tulle_plan_input(planner, op, 0));
  const tulle_levels y = to_bytes ? tulle_levels_of(planner, tulle_plan_output(planner, op)) : (tulle_levels){1, 0};
  const uint32_t channels = weights->channels, taps = weights->taps;
  float* scales = tulle_plan_alloc(planner, 4 * tulle_channel_groups(channels) * sizeof *scales);
  float* offsets = tulle_plan_alloc(planner, 4 * tulle_channel_groups(channels) * sizeof *offsets);
  const float* bias = tulle_plan_bias(planner, op, channels, 0);
  if (!scales || !offsets || !bias) return false;
  for (uint32_t o = 0; o < channels; o++) {
    int32_t sum = weights->shifts ? weights->shifts[o] * (int32_t)taps : 0;
    for (uint32_t t = 0; t < taps; t++) sum += weights->bytes[weight_at(weights, o, t)];
    const double by = (double)x.scale * weight_scale(w, o);
    scales[o] = (float)(by / y.scale);
    offsets[o] = (float)((bias[o] - by * x.zero * sum) / y.scale + y.zero);
  }
  *scale = scales;
  *offset = offsets;
  return true;
}

// Memory for packed weights.
static int8_t* alloc_weights(tulle_planner* planner, size_t size) {
  planner->weight_bytes += size;
  return tulle_plan_alloc(planner, size + TULLE_SLACK_BYTES);
}

// ---- convolutions, fully connected layers ---------------------------------------------------------------------

// Pixels of the kernel's tile.
#define TILE 8

typedef struct {
  tulle_integer_conv conv;
  uint32_t pixels, units, unit_tasks, group_tasks;  // units: tiles of pixels, or rows of windows
} matrix_args;

static void find_piece(const matrix_args* args, uint32_t task, uint32_t* unit, uint32_t* unit_end, uint32_t* group,
                       uint32_t* group_end) {
  tulle_piece(args->units, args->unit_tasks, task % args->unit_tasks, unit, unit_end);
  tulle_piece(tulle_channel_groups(args->conv.gemm.outputs), args->group_tasks, task / args->unit_tasks, group,
              group_end);
}

static void run_pixels(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next;
  const matrix_args* args = pointer;
  uint32_t tile, tile_end, group, group_end;
  find_piece(args, task, &tile, &tile_end, &group, &group_end);
  const uint32_t end = tile_end == args->units ? args->pixels : TILE * tile_end;
  tulle_u8_gemm(&args->conv.gemm, group, group_end, TILE * tile, end, (uint8_t*)scratch);
}

static void run_windows(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next;
  const matrix_args* args = pointer;
  uint32_t row, row_end, group, group_end;
  find_piece(args, task, &row, &row_end, &group, &group_end);
  tulle_u8_conv(&args->conv, group, group_end, row, row_end, (uint8_t*)scratch);
}

// What applies the op's activation to real numbers and makes bytes of `channels` of them; NULL if it is a clamp, which
// needs no such thing. False (error set) if it cannot be planned.
static bool plan_activation(tulle_planner* planner, const tulle_op* op, uint32_t channels,
                            const tulle_epilogue** activation, tulle_integer_convert* to_bytes) {
  if (tulle_clamps(op)) return true;
  tulle_epilogue* epilogue = tulle_plan_alloc(planner, sizeof *epilogue);
  if (!epilogue || !tulle_plan_epilogue(planner, op, channels, epilogue)) return false;
  *activation = epilogue;
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (!tulle_has_levels(y)) return true;
  const tulle_levels levels = tulle_levels_of(planner, y);
  *to_bytes = (tulle_integer_convert){
      .scale = levels.scale, .zero = levels.zero, .top = tulle_dot_top(planner->dot), .channels = channels};
  return true;
}

// All but the weights and how the work is divided.
static bool plan_gemm(tulle_planner* planner, const tulle_op* op, const integer_weights* weights,
                      tulle_integer_gemm* gemm) {
  const tulle_tensor* residual = op->kind == TULLE_OP_CONV2D ? tulle_plan_input(planner, op, 3) : NULL;
  const tulle_place *in = tulle_place_of_input(planner, op, 0), *out = tulle_place_of_output(planner, op);
  const bool bytes = out->bytes && tulle_stores_of(planner->net, op) != TULLE_STORES_FLOATS;
  const bool to_bytes = bytes && tulle_clamps(op);  // else of floats, which are activated
  uint32_t pixels;
  gemm->dot = planner->dot;
  tulle_map_of(tulle_plan_input(planner, op, 0), &gemm->inputs, &pixels);
  tulle_map_of(tulle_plan_output(planner, op), &gemm->outputs, &pixels);
  gemm->input = in->bytes;
  gemm->input_stride = in->bytes_stride;
  gemm->bytes = bytes ? out->bytes : NULL;
  gemm->bytes_stride = out->bytes_stride;
  gemm->floats = out->data;
  gemm->floats_stride = out->stride;
  (to_bytes ? tulle_byte_clamp_of(planner, op, &gemm->low, &gemm->high) : real_clamp_of(op, &gemm->low, &gemm->high));
  if (!plan_activation(planner, op, gemm->outputs, &gemm->activation, &gemm->levels)) return false;
  gemm->shifts = weights->shifts;
  if (!plan_store(planner, op, weights, to_bytes, &gemm->scale, &gemm->offset)) return false;
  if (!residual) return true;
  const tulle_levels r = tulle_levels_of(planner, residual);
  gemm->residual = tulle_place_of_input(planner, op, 3)->bytes;
  gemm->residual_stride = tulle_place_of_input(planner, op, 3)->bytes_stride;
  gemm->residual_scale = r.scale / (to_bytes ? tulle_levels_of(planner, tulle_plan_output(planner, op)).scale : 1);
  float* offsets = (float*)gemm->offset;
  for (uint32_t o = 0; o < gemm->outputs; o++) offsets[o] -= r.zero * gemm->residual_scale;
  return true;
}

static bool plan_matrix(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const bool windows = op->kind == TULLE_OP_CONV2D && !is_pointwise(planner, op);
  matrix_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_integer_conv* conv = &args->conv;
  uint32_t inputs, outputs;
  tulle_map_of(x, &inputs, &args->pixels);
  tulle_map_of(y, &outputs, &args->pixels);
  const uint32_t taps = w->elements / outputs / inputs;
  const size_t size = windows ? tulle_u8_conv_weights(outputs, taps, inputs) : tulle_u8_gemm_weights(outputs, inputs);
  int8_t* packed = alloc_weights(planner, size);
  integer_weights weights = {0};
  const bool ok =
      packed && read_weights(planner, w, outputs, false, &weights) && plan_gemm(planner, op, &weights, &conv->gemm);
  if (ok && windows) tulle_u8_pack_conv(weights.bytes, outputs, taps, inputs, packed);
  if (ok && !windows) tulle_u8_pack_gemm(weights.bytes, outputs, inputs, packed);
  free(weights.bytes);
  if (!ok) return false;
  conv->gemm.weights = packed;
  if (windows) {
    conv->kernel_h = w->shape[1], conv->kernel_w = w->shape[2];
    conv->stride_h = op->stride_h, conv->stride_w = op->stride_w;
    conv->dilation_h = op->dilation_h, conv->dilation_w = op->dilation_w;
    conv->height = x->shape[1], conv->width = x->shape[2];
    conv->out_height = y->shape[1], conv->out_width = y->shape[2];
    conv->pad_top = op->pad_top, conv->pad_left = op->pad_left;
    conv->zero = (uint8_t)tulle_levels_of(planner, x).zero;
  }
  args->units = windows ? y->shape[1] : (args->pixels + TILE - 1) / TILE;
  // Threads that share out the output channels read the weights once. What is larger is to be read once.
  args->unit_tasks = !windows && size > (size_t)inputs * args->pixels ? 1 : tulle_plan_tasks(planner, args->units);
  args->group_tasks = tulle_plan_more_tasks(planner, args->unit_tasks, tulle_channel_groups(outputs));
  *work = (tulle_work){.run = windows ? run_windows : run_pixels,
                       .args = args,
                       .tasks = args->unit_tasks * args->group_tasks,
                       .kernel = windows ? TULLE_KERNEL_U8_CONV : TULLE_KERNEL_U8_GEMM,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * args->pixels,
                       .scratch = windows ? tulle_u8_conv_scratch(conv) : tulle_u8_gemm_scratch(&conv->gemm)};
  return true;
}

// ---- depthwise convolutions -------------------------------------------------------------------------------------

typedef struct {
  tulle_integer_depthwise depthwise;
  uint32_t groups, strips, strip_rows, group_tasks, strip_tasks;
} depthwise_args;

static void run_depthwise(const void* pointer, uint32_t task, uint32_t next, char* scratch) {
  (void)next;
  const depthwise_args* args = pointer;
  uint32_t group, group_end, strip, strip_end;
  tulle_piece(args->groups, args->group_tasks, task % args->group_tasks, &group, &group_end);
  tulle_piece(args->strips, args->strip_tasks, task / args->group_tasks, &strip, &strip_end);
  const uint32_t row_end = strip_end == args->strips ? args->depthwise.out_height : strip_end * args->strip_rows;
  tulle_u8_depthwise(&args->depthwise, group, group_end, strip * args->strip_rows, row_end, (uint8_t*)scratch);
}

static bool plan_depthwise(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const tulle_place *in = tulle_place_of_input(planner, op, 0), *out = tulle_place_of_output(planner, op);
  const uint32_t channels = x->shape[3];
  depthwise_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_integer_depthwise* d = &args->depthwise;
  *d = (tulle_integer_depthwise){.dot = planner->dot,
                                 .kernel_h = w->shape[1],
                                 .kernel_w = w->shape[2],
                                 .stride_h = op->stride_h,
                                 .stride_w = op->stride_w,
                                 .dilation_h = op->dilation_h,
                                 .dilation_w = op->dilation_w,
                                 .height = x->shape[1],
                                 .width = x->shape[2],
                                 .out_height = y->shape[1],
                                 .out_width = y->shape[2],
                                 .pad_top = op->pad_top,
                                 .pad_left = op->pad_left,
                                 .zero = (uint8_t)tulle_levels_of(planner, x).zero,
                                 .input = in->bytes,
                                 .input_stride = in->bytes_stride,
                                 .output = out->bytes,
                                 .output_stride = out->bytes_stride};
  integer_weights weights = {0};
  int8_t* packed = NULL;
  bool ok = read_weights(planner, w, channels, true, &weights) &&
            plan_store(planner, op, &weights, tulle_clamps(op), &d->scale, &d->offset) &&
            plan_activation(planner, op, 4, &d->activation, &d->levels);
  d->shifted = weights.shifts != NULL;
  ok = ok && (packed = alloc_weights(planner, tulle_u8_depthwise_weights(d, channels))) != NULL;
  if (ok) tulle_u8_pack_depthwise(d, weights.bytes, weights.shifts, channels, packed);
  free(weights.bytes);
  if (!ok) return false;
  d->weights = packed;
  tulle_byte_clamp_of(planner, op, &d->low, &d->high);
  args->groups = tulle_channel_groups(channels);
  args->strip_rows = tulle_u8_depthwise_rows(d);
  args->strips = (d->out_height + args->strip_rows - 1) / args->strip_rows;
  args->group_tasks = tulle_plan_tasks(planner, args->groups);
  args->strip_tasks = tulle_plan_more_tasks(planner, args->group_tasks, args->strips);
  *work = (tulle_work){.run = run_depthwise,
                       .args = args,
                       .tasks = args->group_tasks * args->strip_tasks,
                       .kernel = TULLE_KERNEL_U8_DEPTHWISE,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * y->shape[1] * y->shape[2],
                       .scratch = tulle_u8_depthwise_scratch(d)};
  return true;
}

// ---- additions --------------------------------------------------------------------------------------------------

typedef struct {
  tulle_integer_add add;
  tulle_place a, b, y;
  uint32_t pixels;
} add_args;

static void run_add(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  (void)scratch;
  const add_args* args = pointer;
  for (; group < end; group++)
    tulle_u8_add(&args->add, args->a.bytes + group * args->a.bytes_stride, args->b.bytes + group * args->b.bytes_stride,
                 args->y.bytes + group * args->y.bytes_stride, 4 * (size_t)args->pixels);
}

static bool plan_add(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor* output = tulle_plan_output(planner, op);
  const tulle_levels a = tulle_levels_of(planner, tulle_plan_input(planner, op, 0)),
                     b = tulle_levels_of(planner, tulle_plan_input(planner, op, 1)),
                     y = tulle_levels_of(planner, output);
  add_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->a = *tulle_place_of_input(planner, op, 0);
  args->b = *tulle_place_of_input(planner, op, 1);
  args->y = *tulle_place_of_output(planner, op);
  args->add.scale_a = a.scale / y.scale;
  args->add.scale_b = b.scale / y.scale;
  args->add.offset = y.zero - a.zero * args->add.scale_a - b.zero * args->add.scale_b;
  tulle_byte_clamp_of(planner, op, &args->add.low, &args->add.high);
  uint32_t channels;
  tulle_map_of(output, &channels, &args->pixels);
  *work = (tulle_work){.run = run_add,
                       .args = args,
                       .units = tulle_channel_groups(channels),
                       .tasks = tulle_plan_light_tasks(planner, output->elements, tulle_channel_groups(channels)),
                       .kernel = TULLE_KERNEL_U8_ADD};
  return true;
}

// ---- means and conversions ----------------------------------------------------------------------------------------

typedef struct {
  tulle_integer_convert convert;
  uint8_t* bytes;
  float* floats;
  uint32_t pixels;
  // Of images as hosts give them:
  const tulle_input* image;
  tulle_integer_convert rgba8;
} convert_args;

static void run_to_bytes(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  (void)scratch;
  const convert_args* args = pointer;
  tulle_u8_from_f32(&args->convert, args->floats, args->bytes, group, end, 0, args->pixels);
}

static void run_to_floats(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  (void)scratch;
  const convert_args* args = pointer;
  tulle_u8_to_f32(&args->convert, args->bytes, args->floats, group, end, 0, args->pixels);
}

// Four pixels a unit.
static void run_image(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const convert_args* args = pointer;
  const uint32_t pixel_end = 4 * end < args->pixels ? 4 * end : args->pixels;
  if (args->image->is_rgba8) {
    tulle_u8_from_rgba8(&args->rgba8, args->image->pixels, args->bytes, 4 * begin, pixel_end);
  } else {
    tulle_u8_from_hwc(&args->convert, args->floats, args->bytes, 4 * begin, pixel_end);
  }
}

static void run_mean(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  (void)scratch;
  const convert_args* args = pointer;
  tulle_u8_mean(&args->convert, args->bytes, args->floats, group, end, args->pixels);
}

// From the bytes at one place to the floats at another one, or back.
static bool plan_convert(tulle_planner* planner, const tulle_tensor* t, const tulle_place* bytes,
                         const tulle_place* floats, tulle_task run, tulle_kernel_id kernel, tulle_work* work) {
  const tulle_levels l = tulle_levels_of(planner, t);
  convert_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->bytes = bytes->bytes;
  args->floats = floats->data;
  args->convert = (tulle_integer_convert){.scale = l.scale,
                                          .zero = l.zero,
                                          .top = tulle_dot_top(planner->dot),
                                          .floats_stride = floats->stride,
                                          .bytes_stride = bytes->bytes_stride};
  tulle_map_of(t, &args->convert.channels, &args->pixels);
  const uint32_t groups = tulle_channel_groups(args->convert.channels);
  *work = (tulle_work){.run = run,
                       .args = args,
                       .units = groups,
                       .tasks = tulle_plan_light_tasks(planner, t->elements, groups),
                       .kernel = kernel};
  return true;
}

bool tulle_plan_conversion(tulle_planner* planner, uint32_t tensor, bool to_bytes, tulle_work* work) {
  const tulle_place* place = &planner->places[tensor];
  const tulle_tensor* t = &planner->net->tensors[tensor];
  uint32_t channels, pixels;
  const bool image = !tulle_map_of(t, &channels, &pixels);
  if (!plan_convert(planner, t, place, place,
                    image      ? run_image
                    : to_bytes ? run_to_bytes
                               : run_to_floats,
                    TULLE_KERNEL_U8_CONVERT, work))
    return false;
  if (!image) return true;
  convert_args* args = (convert_args*)work->args;
  args->image = input_of(planner, tensor);
  // (value * scale + shift) / the levels' scale + zero.
  args->rgba8 = args->convert;
  args->rgba8.zero += args->image->shift / args->convert.scale;
  args->rgba8.scale = args->image->scale / args->convert.scale;
  work->units = (pixels + 3) / 4;
  work->tasks = tulle_plan_light_tasks(planner, t->elements, work->units);
  return true;
}

bool tulle_plan_on_bytes(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  switch (op->kind) {
    case TULLE_OP_CONV2D:
    case TULLE_OP_FULLY_CONNECTED:
      return plan_matrix(planner, op, work);
    case TULLE_OP_DEPTHWISE_CONV2D:
      return plan_depthwise(planner, op, work);
    case TULLE_OP_ADD:
      return plan_add(planner, op, work);
    default:
      if (tulle_stores_of(planner->net, op) != TULLE_STORES_FLOATS) return tulle_plan_map(planner, op, work);
      return plan_convert(planner, tulle_plan_input(planner, op, 0), tulle_place_of_input(planner, op, 0),
                          tulle_place_of_output(planner, op), run_mean, TULLE_KERNEL_U8_MEAN, work);
  }
}

#else

tulle_gain tulle_gain_of(const tulle_planner* planner, const tulle_op* op) {
  (void)planner, (void)op;
  return TULLE_GAIN_NONE;
}

tulle_stores tulle_stores_of(const tulle_net* net, const tulle_op* op) {
  (void)net, (void)op;
  return TULLE_STORES_FLOATS;
}

bool tulle_reads_bytes(const tulle_net* net, const tulle_op* op, uint32_t input) {
  (void)net, (void)op, (void)input;
  return false;
}

bool tulle_plan_on_bytes(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  return tulle_plan_nothing(planner, op, work);
}

bool tulle_plan_conversion(tulle_planner* planner, uint32_t tensor, bool to_bytes, tulle_work* work) {
  (void)tensor, (void)to_bytes;
  return tulle_plan_nothing(planner, planner->op, work);
}

#endif
