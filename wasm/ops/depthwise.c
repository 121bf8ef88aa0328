// Depthwise convolutions.

#include <stdlib.h>

#include "ops/convolution.h"

typedef struct {
  tulle_place x, y;
  const float *weights, *bias;
  uint32_t channels, multiplier, out_height;
  tulle_epilogue epilogue;
  bool direct;  // a kernel reads the input as it is
  bool scale;   // there is no window
  tulle_depthwise depthwise;

  // If none does:
  tulle_depthwise_plane any;  // out_height: of one strip
  tulle_plane plane;
  size_t plane_floats;
  // Rows of the input in the plane if that holds the whole map: the zeros above and below stay in place then. Else 0.
  uint32_t inside;
  uint32_t strip_rows, pad_top, kernel_rows;
} depthwise_args;

// Rows at a time. Columns are computed from top to bottom, four pixels wide, and the next one reads the same cache
// lines: in maps of 128 or 256 pixels, whose rows share a few sets of L1, only so many rows stay there, with those of
// the output.
static uint32_t rows_in_l1(uint32_t width, uint32_t stride) {
  enum { SETS = 64, WAYS = 8, LINE = 64 };
  uint32_t step = width * (uint32_t)sizeof(float), sets = SETS;
  while (sets > 1 && step % (2 * LINE) == 0) step /= 2, sets /= 2;
  const uint32_t rows = sets * WAYS * 3 / 4 / (stride + 1) / 8 * 8;
  return rows < 8 ? 8 : rows;
}

// Output rows [top, top + rows) of all outputs of input channels [c, channel_end).
static void run_direct(const depthwise_args* args, const float* inputs, float* outputs, uint32_t c,
                       uint32_t channel_end, uint32_t top, uint32_t rows) {
  const tulle_depthwise* d = &args->depthwise;
  const uint32_t taps = d->kernel * d->kernel, out_width = d->out_width;
  if (args->multiplier == 1 && args->y.stride > 1) {
    tulle_depthwise some = *d;
    const uint32_t most = rows_in_l1(d->width, d->stride);
    if (rows <= most + most / 2) {
      if (d->added) some.added = d->added + c * args->y.stride;
      tulle_f32_depthwise(&some, inputs + c * args->x.stride, args->weights + (size_t)c * taps, args->bias + c,
                          outputs + c * args->y.stride + (size_t)top * out_width, channel_end - c, top, rows,
                          &args->epilogue, c);
      return;
    }
    for (; c < channel_end; c++) {
      for (uint32_t y = top; y < top + rows; y += most) {
        if (d->added) some.added = d->added + c * args->y.stride + (size_t)(y - top) * out_width;
        tulle_f32_depthwise(&some, inputs + c * args->x.stride, args->weights + (size_t)c * taps, args->bias + c,
                            outputs + c * args->y.stride + (size_t)y * out_width, 1, y,
                            top + rows - y < most ? top + rows - y : most, &args->epilogue, c);
      }
    }
    return;
  }
  tulle_depthwise same = *d;  // all outputs of one input channel
  same.input_stride = 0;
  for (; c < channel_end; c++) {
    const float* input = inputs + c * args->x.stride;
    for (uint32_t o = c * args->multiplier; o < (c + 1) * args->multiplier; o++) {
      float single[4];  // a 1x1 map has no room for a whole vector
      float* output = args->y.stride == 1 ? single : outputs + o * args->y.stride + (size_t)top * out_width;
      tulle_f32_depthwise(&same, input, args->weights + (size_t)o * taps, args->bias + o, output, 1, top, rows,
                          &args->epilogue, o);
      if (output == single) outputs[o] = single[0];
    }
  }
}

// Where there is no window.
static void run_scale(const depthwise_args* args, const float* inputs, float* outputs, uint32_t c, uint32_t channel_end,
                      uint32_t top, uint32_t rows) {
  const size_t first = (size_t)top * args->depthwise.out_width, count = (size_t)rows * args->depthwise.out_width;
  for (; c < channel_end; c++) {
    for (uint32_t o = c * args->multiplier; o < (c + 1) * args->multiplier; o++)
      tulle_f32_scale(inputs + c * args->x.stride + first, args->weights[o], args->bias[o],
                      outputs + o * args->y.stride + first, count, &args->epilogue, o);
  }
}

// The same through padded planes, for any kernel, stride and dilation.
static void run_planes(const depthwise_args* args, const float* inputs, float* outputs, uint32_t c,
                       uint32_t channel_end, uint32_t top, uint32_t rows, char* scratch) {
  float* plane = (float*)scratch;
  const uint32_t taps = args->any.kernel_h * args->any.kernel_w, out_width = args->any.out_width, end = top + rows;
  const bool whole = args->inside && rows == args->out_height;
  tulle_f32_zero(plane, args->plane_floats);
  for (; c < channel_end; c++) {
    const float* input = inputs + c * args->x.stride;
    for (uint32_t y = top; y < end; y += args->strip_rows) {
      tulle_depthwise_plane d = args->any;
      d.out_height = end - y < args->strip_rows ? end - y : args->strip_rows;
      const uint32_t in_rows = (d.out_height - 1) * d.stride_h + args->kernel_rows;
      if (whole) {
        tulle_f32_pad_chw(&args->plane, input, 0, args->inside, plane + args->pad_top * d.row_floats);
      } else {
        tulle_f32_pad_chw(&args->plane, input, (int32_t)(y * d.stride_h) - (int32_t)args->pad_top, in_rows, plane);
      }
      for (uint32_t o = c * args->multiplier; o < (c + 1) * args->multiplier; o++) {
        float single[4];  // a 1x1 map has no room for a whole vector
        float* output = args->y.stride == 1 ? single : outputs + o * args->y.stride + (size_t)y * out_width;
        tulle_f32_depthwise_plane(&d, plane, args->weights + (size_t)o * taps, args->bias[o], output, &args->epilogue,
                                  o);
        if (output == single) outputs[o] = single[0];
      }
    }
  }
}

static void run_depthwise(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  const depthwise_args* args = pointer;
  if (args->scale) {
    run_scale(args, args->x.data, args->y.data, c, end, 0, args->out_height);
  } else if (args->direct) {
    run_direct(args, args->x.data, args->y.data, c, end, 0, args->out_height);
  } else {
    run_planes(args, args->x.data, args->y.data, c, end, 0, args->out_height, scratch);
  }
}

static void depthwise_rows(const void* pointer, const float* input, float* output, uint32_t top, uint32_t rows,
                           char* scratch) {
  const depthwise_args* args = pointer;
  if (args->scale) {
    run_scale(args, input, output, 0, args->channels, top, rows);
  } else if (args->direct) {
    run_direct(args, input, output, 0, args->channels, top, rows);
  } else {
    run_planes(args, input, output, 0, args->channels, top, rows, scratch);
  }
}

// Whether a kernel that reads the input as it is may be asked for: every window has a pixel of the input.
static bool may_be_direct(const tulle_op* op, const tulle_tensor* x, const tulle_tensor* w, const tulle_tensor* y) {
  const uint32_t k = w->shape[1];
  return w->shape[1] == w->shape[2] && op->stride_h == op->stride_w && op->dilation_h == 1 && op->dilation_w == 1 &&
         op->pad_top <= k / 2 && op->pad_left <= k / 2 &&
         (uint64_t)(y->shape[1] - 1) * op->stride_h + k / 2 < (uint64_t)x->shape[1] + op->pad_top &&
         (uint64_t)(y->shape[2] - 1) * op->stride_w + k / 2 < (uint64_t)x->shape[2] + op->pad_left;
}

bool tulle_plan_depthwise(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (!tulle_check_conv(planner, op, x, w, y)) return false;
  const uint32_t outputs = y->shape[3], taps = w->shape[1] * w->shape[2];
  if (w->shape[0] != 1 || w->shape[3] != outputs || outputs % x->shape[3])
    return tulle_plan_fail(planner, "a weight for %u channels, tensors with %u and %u", w->shape[3], x->shape[3],
                           outputs);
  depthwise_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->x = *tulle_place_of_input(planner, op, 0);
  args->y = *tulle_place_of_output(planner, op);
  args->channels = x->shape[3];
  args->multiplier = outputs / x->shape[3];
  args->out_height = y->shape[1];
  args->pad_top = op->pad_top;
  const uint32_t stride_w = tulle_column_stride(op, y);
  const uint64_t phase = tulle_phase_width(y->shape[2], w->shape[2], op->dilation_w, stride_w),
                 row_floats = phase * stride_w;
  const uint64_t kernel_rows = (uint64_t)(w->shape[1] - 1) * op->dilation_h + 1;
  // Strips of 8 output rows, the height of a tile, as many as fit.
  uint64_t strip = 8;
  while (strip < y->shape[1] &&
         ((strip + 7) * op->stride_h + kernel_rows) * row_floats * sizeof(float) <= TULLE_STRIP_BYTES)
    strip += 8;
  if (strip > y->shape[1]) strip = y->shape[1];
  const uint64_t rows = (strip - 1) * op->stride_h + kernel_rows, plane_floats = rows * row_floats + 16;
  if (strip == y->shape[1] && op->pad_top < rows)
    args->inside = (uint32_t)(rows - op->pad_top < x->shape[1] ? rows - op->pad_top : x->shape[1]);
  const uint64_t bytes = plane_floats * sizeof(float);
  if (bytes > INT32_MAX) return tulle_plan_fail(planner, "its padded input would take %.0f MB", (double)bytes / 1e6);
  args->plane_floats = (size_t)plane_floats;
  args->strip_rows = (uint32_t)strip;
  args->kernel_rows = (uint32_t)kernel_rows;
  args->plane = (tulle_plane){x->shape[1], x->shape[2], stride_w, op->pad_left, (uint32_t)phase};
  args->any = (tulle_depthwise_plane){.kernel_h = w->shape[1],
                                      .kernel_w = w->shape[2],
                                      .stride_h = op->stride_h,
                                      .stride_w = stride_w,
                                      .dilation_h = op->dilation_h,
                                      .dilation_w = op->dilation_w,
                                      .out_width = y->shape[2],
                                      .row_floats = (uint32_t)row_floats,
                                      .phase_width = (uint32_t)phase};
  if (!(args->bias = tulle_plan_bias(planner, op, outputs, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, outputs, &args->epilogue)) return false;

  // From [ky][kx][channel] to [channel][ky][kx].
  float *packed = tulle_plan_alloc(planner, ((size_t)w->elements + 3) * sizeof *packed),  // read by whole vectors
      *weights = tulle_plan_decode(planner, w);
  if (packed && weights) {
    for (uint32_t o = 0; o < outputs; o++)
      for (uint32_t t = 0; t < taps; t++) packed[(size_t)o * taps + t] = weights[(size_t)t * outputs + o];
  }
  free(weights);
  if (!packed || !weights) return false;
  args->weights = packed;
  planner->weight_bytes += (uint64_t)w->elements * sizeof *packed;

  args->depthwise = (tulle_depthwise){.kernel = w->shape[1],
                                      .stride = op->stride_h,
                                      .height = x->shape[1],
                                      .width = x->shape[2],
                                      .out_width = y->shape[2],
                                      .pad_top = op->pad_top,
                                      .pad_left = op->pad_left,
                                      .input_stride = args->x.stride,
                                      .output_stride = args->y.stride,
                                      .added = planner->sum.added};
  tulle_kernel_id kernel = may_be_direct(op, x, w, y) ? tulle_f32_depthwise_id(&args->depthwise) : TULLE_KERNEL_DWCONV;
  args->direct = kernel != TULLE_KERNEL_DWCONV;
  // A 1x1 map has no room for a whole vector.
  args->scale = taps == 1 && op->stride_h == 1 && op->stride_w == 1 && x->shape[1] == y->shape[1] &&
                x->shape[2] == y->shape[2] && y->shape[1] * y->shape[2] > 1;
  if (args->scale) kernel = TULLE_KERNEL_DWCONV_1X1;
  *work = (tulle_work){.run = run_depthwise,
                       .run_rows = planner->sum.added ? NULL : depthwise_rows,
                       .args = args,
                       .units = args->channels,
                       .tasks = tulle_plan_tasks(planner, args->channels),
                       .kernel = kernel,
                       .weights = w->elements,
                       .nonzeros = tulle_constant_nonzeros(w),
                       .macs = (uint64_t)w->elements * y->shape[1] * y->shape[2],
                       .scratch = bytes};
  return true;
}

// Only the 3x3 kernel with stride 1 adds, and only after a clamp.
bool tulle_depthwise_takes_sum(const tulle_net* net, const tulle_op* op, bool gated) {
  const tulle_tensor *x = &net->tensors[op->inputs[0]], *w = &net->tensors[op->inputs[1]],
                     *y = &net->tensors[op->output];
  return !gated && tulle_clamps(op) && x->rank == 4 && w->rank == 4 && y->rank == 4 && x->shape[3] == y->shape[3] &&
         w->shape[1] == 3 && w->shape[2] == 3 && op->stride_h == 1 && op->stride_w == 1 && op->dilation_h == 1 &&
         op->dilation_w == 1 && op->pad_top == 1 && op->pad_left == 1 && op->pad_bottom == 1 && op->pad_right == 1;
}
