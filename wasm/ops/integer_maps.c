#include "ops/integer_maps.h"

#include <math.h>
#include <string.h>

#if TULLE_HAS_DOT

// Images in CHW order with levels.
static bool is_map(const tulle_tensor* t) {
  return t && t->rank == 4 && t->shape[0] == 1 && tulle_is_chw(t) && tulle_has_levels(t);
}

static bool same_levels(const tulle_planner* planner, const tulle_tensor* a, const tulle_tensor* b) {
  const tulle_levels x = tulle_levels_of(planner, a), y = tulle_levels_of(planner, b);
  return x.zero == y.zero && fabsf(x.scale - y.scale) <= 1e-6f * y.scale;
}

// From the levels of x to those of y: byte * scale + offset.
static void rescaling(const tulle_planner* planner, const tulle_tensor* x, const tulle_tensor* y, float* scale,
                      float* offset) {
  const tulle_levels from = tulle_levels_of(planner, x), to = tulle_levels_of(planner, y);
  *scale = from.scale / to.scale;
  *offset = to.zero - from.zero * *scale;
}

// ---- pools ------------------------------------------------------------------------------------------------

#define MOST_STRIDE 8

bool tulle_is_mean_pool(const tulle_net* net, const tulle_op* op) {
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *y = &net->tensors[op->output];
  return op->kind == TULLE_OP_AVERAGE_POOL2D && op->activation == TULLE_ACT_NONE && x->rank == 4 && y->rank == 4 &&
         op->kernel_h == x->shape[1] && op->kernel_w == x->shape[2] && !op->pad_top && !op->pad_left &&
         y->shape[1] * y->shape[2] == 1;
}

// Whether windows make so many outputs, each has a part of the map, and hardly more beside it than on it: the kernel
// looks at all of it.
static bool windows_fit(uint32_t in, uint32_t before, uint32_t after, uint32_t kernel, uint32_t stride, uint32_t out) {
  const uint64_t padded = (uint64_t)in + before + after;
  return padded >= kernel && (padded - kernel) / stride + 1 == out && before < kernel && in <= UINT16_MAX &&
         kernel <= 2 * in + 1 && stride <= MOST_STRIDE && (uint64_t)(out - 1) * stride < (uint64_t)in + before;
}

static tulle_gain pool_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  const bool mean = tulle_is_mean_pool(planner->net, op), average = op->kind == TULLE_OP_AVERAGE_POOL2D;
  if (!is_map(x) || y->rank != 4 || !tulle_is_chw(y) || x->shape[3] != y->shape[3] || op->dilation_h != 1 ||
      op->dilation_w != 1 ||
      !windows_fit(x->shape[1], op->pad_top, op->pad_bottom, op->kernel_h, op->stride_h, y->shape[1]) ||
      !windows_fit(x->shape[2], op->pad_left, op->pad_right, op->kernel_w, op->stride_w, y->shape[2]))
    return TULLE_GAIN_NONE;
  if (mean) return tulle_u8_fits(tulle_levels_of(planner, x).scale, 0, 1) ? TULLE_GAIN_IF_FED : TULLE_GAIN_NONE;
  if (!is_map(y)) return TULLE_GAIN_NONE;
  const bool ok = average ? tulle_clamps(op) && op->kernel_h <= TULLE_U8_POOL_MAX && tulle_rescales(planner, x, y)
                          : op->activation == TULLE_ACT_NONE && same_levels(planner, x, y);
  return ok ? TULLE_GAIN_IF_FED : TULLE_GAIN_NONE;
}

typedef struct {
  tulle_integer_pool pool;
  tulle_place x, y;
} pool_args;

static void run_pool(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  const pool_args* args = pointer;
  for (; group < end; group++)
    tulle_u8_pool(&args->pool, args->x.bytes + group * args->x.bytes_stride,
                  args->y.bytes + group * args->y.bytes_stride, 0, args->pool.pool.out_height, (uint8_t*)scratch);
}

static bool plan_pool(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  pool_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_integer_pool* p = &args->pool;
  p->average = op->kind == TULLE_OP_AVERAGE_POOL2D;
  p->pool = tulle_pool_of(op, x, y);
  rescaling(planner, x, y, &p->scale, &p->offset);
  tulle_byte_clamp_of(planner, op, &p->low, &p->high);
  args->x = *tulle_place_of_input(planner, op, 0);
  args->y = *tulle_place_of_output(planner, op);
  *work = (tulle_work){.run = run_pool,
                       .args = args,
                       .units = tulle_channel_groups(x->shape[3]),
                       .kernel = TULLE_KERNEL_U8_POOL,
                       .scratch = tulle_u8_pool_scratch(p)};
  return true;
}

// ---- other sizes --------------------------------------------------------------------------------------------

static tulle_gain resize_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  const bool ok = is_map(x) && is_map(y) && x->shape[3] == y->shape[3] && x->shape[2] <= UINT16_MAX &&
                  (op->kind == TULLE_OP_RESIZE_BILINEAR ? tulle_rescales(planner, x, y) : same_levels(planner, x, y));
  return ok ? TULLE_GAIN_BETWEEN : TULLE_GAIN_NONE;
}

typedef struct {
  tulle_integer_resize resize;
  tulle_place x, y;
  uint32_t out_height;
} resize_args;

static void run_resize(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  const resize_args* args = pointer;
  for (; group < end; group++)
    tulle_u8_resize(&args->resize, args->x.bytes + group * args->x.bytes_stride,
                    args->y.bytes + group * args->y.bytes_stride, 0, args->out_height, (uint8_t*)scratch);
}

static bool plan_resize(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  resize_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  tulle_integer_resize* r = &args->resize;
  *r = (tulle_integer_resize){.rows = tulle_plan_lerps(planner, op, x->shape[1], y->shape[1]),
                              .columns = tulle_plan_lerps(planner, op, x->shape[2], y->shape[2]),
                              .width = x->shape[2],
                              .out_width = y->shape[2],
                              .bilinear = op->kind == TULLE_OP_RESIZE_BILINEAR};
  if (!r->rows || !r->columns) return false;
  rescaling(planner, x, y, &r->scale, &r->offset);
  tulle_byte_clamp_of(planner, op, &r->low, &r->high);
  args->x = *tulle_place_of_input(planner, op, 0);
  args->y = *tulle_place_of_output(planner, op);
  args->out_height = y->shape[1];
  *work = (tulle_work){.run = run_resize,
                       .args = args,
                       .units = tulle_channel_groups(x->shape[3]),
                       .kernel = TULLE_KERNEL_U8_RESIZE,
                       .scratch = tulle_u8_resize_scratch(r)};
  return true;
}

// ---- concat, slice, pad ---------------------------------------------------------------------------------------

// A box of one map that becomes one of another: [row, column, channel].
typedef struct {
  tulle_place x;
  uint32_t width;  // of x
  uint32_t from[3], to[3], size[3];
  bool rescale;
  float scale, offset;
} box;

typedef struct {
  const box* boxes;
  uint32_t box_count;
  tulle_place y;
  uint32_t width, pixels;  // of y
  bool pads;
  uint8_t value;  // beside the boxes
  uint32_t top;
} move_args;

// What a box has for a group of four channels of the output.
static void move_group(const move_args* args, const box* b, uint32_t group) {
  const uint32_t begin = 4 * group > b->to[2] ? 4 * group : b->to[2];
  const uint32_t end = 4 * group + 4 < b->to[2] + b->size[2] ? 4 * group + 4 : b->to[2] + b->size[2];
  const bool rows = b->size[1] == b->width && b->size[1] == args->width;  // lie one behind the other in both
  for (uint32_t c = begin; c < end;) {
    // Channels that are in one group of the input too.
    const uint32_t source = c - b->to[2] + b->from[2], left = 4 - source % 4;
    const uint32_t count = end - c < left ? end - c : left;
    const tulle_integer_move move = {.shift = (int32_t)(c % 4) - (int32_t)(source % 4),
                                     .mask = (UINT32_MAX >> (8 * (4 - count))) << (8 * (c % 4)),
                                     .rescale = b->rescale,
                                     .scale = b->scale,
                                     .offset = b->offset,
                                     .top = args->top};
    const uint8_t* x = b->x.bytes + source / 4 * b->x.bytes_stride + 4 * ((size_t)b->from[0] * b->width + b->from[1]);
    uint8_t* y = args->y.bytes + group * args->y.bytes_stride + 4 * ((size_t)b->to[0] * args->width + b->to[1]);
    if (rows) {
      tulle_u8_move(&move, x, y, (size_t)b->size[0] * b->width);
    } else {
      for (uint32_t r = 0; r < b->size[0]; r++, x += 4 * (size_t)b->width, y += 4 * (size_t)args->width)
        tulle_u8_move(&move, x, y, b->size[1]);
    }
    c += count;
  }
}

static void run_move(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  (void)scratch;
  const move_args* args = pointer;
  for (; group < end; group++) {
    if (args->pads) memset(args->y.bytes + group * args->y.bytes_stride, args->value, 4 * (size_t)args->pixels);
    for (uint32_t i = 0; i < args->box_count; i++) {
      const box* b = &args->boxes[i];
      if (b->to[2] < 4 * group + 4 && b->to[2] + b->size[2] > 4 * group) move_group(args, b, group);
    }
  }
}

// Whether the op's boxes lie within its maps. Fills in those of `boxes`, one for each input, unless it is NULL.
static bool find_boxes(const tulle_planner* planner, const tulle_op* op, box* boxes) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const bool concat = op->kind == TULLE_OP_CONCAT, slice = op->kind == TULLE_OP_SLICE;
  if (!is_map(y) || (concat ? op->axis < 1 || op->axis > 3 : op->list_count != (slice ? 4u : 8u))) return false;
  uint64_t at = 0;
  for (uint32_t i = 0; i < op->input_count; i++) {
    const tulle_tensor* x = tulle_plan_input(planner, op, i);
    if (!is_map(x) || !tulle_rescales(planner, x, y)) return false;
    box b = {.width = x->shape[2], .rescale = !same_levels(planner, x, y)};
    for (uint32_t d = 1; d < 4; d++) {
      const int32_t *list = op->list, axis = (int32_t)d;
      if (concat) {
        if (axis != op->axis && x->shape[d] != y->shape[d]) return false;
        b.to[d - 1] = axis == op->axis ? (uint32_t)at : 0;
      } else if (slice) {
        if (op->strides_count != 4 || op->strides[d] != 1 || list[d] < 0 ||
            (uint64_t)list[d] + y->shape[d] > x->shape[d])
          return false;
        b.from[d - 1] = (uint32_t)list[d];
      } else {
        if (list[2 * d] < 0 || list[2 * d + 1] < 0 ||
            (uint64_t)list[2 * d] + x->shape[d] + (uint64_t)list[2 * d + 1] != y->shape[d])
          return false;
        b.to[d - 1] = (uint32_t)list[2 * d];
      }
      b.size[d - 1] = slice ? y->shape[d] : x->shape[d];
    }
    at += concat ? x->shape[op->axis] : 0;
    if (concat && at > y->shape[op->axis]) return false;
    rescaling(planner, x, y, &b.scale, &b.offset);
    if (!boxes) continue;
    b.x = *tulle_place_of_input(planner, op, i);
    boxes[i] = b;
  }
  if (concat) return at == y->shape[op->axis];
  return slice ? op->list[0] == 0 && op->strides[0] == 1
               : op->pad_mode == TULLE_PAD_CONSTANT && op->list[0] == 0 && op->list[1] == 0;
}

static bool plan_move(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const tulle_levels levels = tulle_levels_of(planner, y);
  box* boxes = tulle_plan_alloc(planner, op->input_count * sizeof *boxes);
  move_args* args = boxes ? tulle_plan_alloc(planner, sizeof *args) : NULL;
  if (!args || !find_boxes(planner, op, boxes)) return false;
  const float value = rintf(op->pad_value / levels.scale + levels.zero);
  *args = (move_args){.boxes = boxes,
                      .box_count = op->input_count,
                      .y = *tulle_place_of_output(planner, op),
                      .width = y->shape[2],
                      .pixels = y->shape[1] * y->shape[2],
                      .pads = op->kind == TULLE_OP_PAD,
                      .value = (uint8_t)tulle_limited(value, 0, (float)tulle_dot_top(planner->dot)),
                      .top = tulle_dot_top(planner->dot)};
  *work = (tulle_work){
      .run = run_move, .args = args, .units = tulle_channel_groups(y->shape[3]), .kernel = TULLE_KERNEL_U8_MOVE};
  return true;
}

// ---- mul ----------------------------------------------------------------------------------------------------

// Which input is the map, of which each channel is multiplied by a number of the other one; 2 if neither is.
static uint32_t map_of_mul(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  for (uint32_t i = 0; i < 2; i++) {
    const tulle_tensor *x = tulle_plan_input(planner, op, i), *gate = tulle_plan_input(planner, op, 1 - i);
    if (is_map(x) && tulle_same_shape(x, y) && gate->rank && gate->elements == y->shape[3] &&
        y->elements > y->shape[3] && gate->shape[gate->rank - 1] == gate->elements && tulle_is_plain(gate))
      return i;
  }
  return 2;
}

static tulle_gain mul_gain(const tulle_planner* planner, const tulle_op* op) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (!is_map(y) || !tulle_clamps(op)) return TULLE_GAIN_NONE;
  const uint32_t map = map_of_mul(planner, op);
  if (map == 2 || !tulle_rescales(planner, tulle_plan_input(planner, op, map), y)) return TULLE_GAIN_NONE;
  return TULLE_GAIN_BETWEEN;
}

typedef struct {
  tulle_place x, y;
  const float* gate;
  float scale, zero, y_zero, low, high;
  uint32_t channels, pixels;
} mul_args;

static void run_mul(const void* pointer, uint32_t group, uint32_t end, char* scratch) {
  (void)scratch;
  const mul_args* args = pointer;
  for (; group < end; group++) {
    float scale[4] = {0}, offset[4] = {0};
    for (uint32_t c = 0; c < 4 && 4 * group + c < args->channels; c++) {
      // Beyond, all but the zero point is clamped anyway.
      scale[c] = tulle_limited(args->gate[4 * group + c] * args->scale, -1e6f, 1e6f);
      offset[c] = args->y_zero - args->zero * scale[c];
    }
    tulle_u8_scale(scale, offset, args->low, args->high, args->x.bytes + group * args->x.bytes_stride,
                   args->y.bytes + group * args->y.bytes_stride, args->pixels);
  }
}

static bool plan_mul(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor* y = tulle_plan_output(planner, op);
  const uint32_t map = map_of_mul(planner, op);
  const int32_t gate = op->inputs[1 - map];
  const tulle_levels from = tulle_levels_of(planner, tulle_plan_input(planner, op, map)),
                     to = tulle_levels_of(planner, y);
  mul_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (mul_args){.x = *tulle_place_of_input(planner, op, map),
                     .y = *tulle_place_of_output(planner, op),
                     .gate = planner->net->tensors[gate].is_constant ? tulle_plan_constant(planner, gate, 0)
                                                                     : planner->places[gate].data,
                     .scale = from.scale / to.scale,
                     .zero = from.zero,
                     .y_zero = to.zero,
                     .channels = y->shape[3],
                     .pixels = y->shape[1] * y->shape[2]};
  if (!args->gate) return false;
  tulle_byte_clamp_of(planner, op, &args->low, &args->high);
  *work = (tulle_work){
      .run = run_mul, .args = args, .units = tulle_channel_groups(y->shape[3]), .kernel = TULLE_KERNEL_U8_SCALE};
  return true;
}

// ---- all ------------------------------------------------------------------------------------------------------

tulle_gain tulle_map_gain(const tulle_planner* planner, const tulle_op* op) {
  switch (op->kind) {
    case TULLE_OP_AVERAGE_POOL2D:
    case TULLE_OP_MAX_POOL2D:
      return pool_gain(planner, op);
    case TULLE_OP_RESIZE_BILINEAR:
    case TULLE_OP_RESIZE_NEAREST:
      return resize_gain(planner, op);
    case TULLE_OP_CONCAT:
    case TULLE_OP_SLICE:
    case TULLE_OP_PAD:
      return find_boxes(planner, op, NULL) ? TULLE_GAIN_BETWEEN : TULLE_GAIN_NONE;
    case TULLE_OP_MUL:
      return mul_gain(planner, op);
    default:
      return TULLE_GAIN_NONE;
  }
}

bool tulle_plan_map(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const bool pool = op->kind == TULLE_OP_AVERAGE_POOL2D || op->kind == TULLE_OP_MAX_POOL2D;
  const bool resize = op->kind == TULLE_OP_RESIZE_BILINEAR || op->kind == TULLE_OP_RESIZE_NEAREST;
  if (!(pool ? plan_pool : resize ? plan_resize : op->kind == TULLE_OP_MUL ? plan_mul : plan_move)(planner, op, work))
    return false;
  work->tasks = tulle_plan_light_tasks(planner, tulle_plan_output(planner, op)->elements, work->units);
  return true;
}

#endif  // TULLE_HAS_DOT
