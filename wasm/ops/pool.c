// Pooling, and max unpooling.

#include "ops/ops.h"

typedef struct {
  tulle_pool pool;
  void (*kernel)(const tulle_pool* args, const float* input, float* output, float* line);
  tulle_place x, y;
  tulle_epilogue epilogue;
} pool_args;

static void run_pool(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  const pool_args* args = pointer;
  for (; c < end; c++) {
    float* output = tulle_channel(&args->y, c);
    args->kernel(&args->pool, tulle_channel(&args->x, c), output, (float*)scratch);
    tulle_f32_finish(output, (size_t)args->pool.out_height * args->pool.out_width, &args->epilogue, c);
  }
}

tulle_pool tulle_pool_of(const tulle_op* op, const tulle_tensor* large, const tulle_tensor* small) {
  return (tulle_pool){.height = large->shape[1],
                      .width = large->shape[2],
                      .out_height = small->shape[1],
                      .out_width = small->shape[2],
                      .kernel_h = op->kernel_h,
                      .kernel_w = op->kernel_w,
                      .stride_h = op->stride_h,
                      .stride_w = op->stride_w,
                      .pad_top = op->pad_top,
                      .pad_left = op->pad_left};
}

bool tulle_plan_pool(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *y = tulle_plan_output(planner, op);
  if (x->shape[3] != y->shape[3]) return tulle_plan_fail(planner, "input and output differ in channels");
  const uint64_t height = (uint64_t)x->shape[1] + op->pad_top + op->pad_bottom,
                 width = (uint64_t)x->shape[2] + op->pad_left + op->pad_right;
  if (op->dilation_h != 1 || op->dilation_w != 1 || height < op->kernel_h || width < op->kernel_w ||
      (height - op->kernel_h) / op->stride_h + 1 != y->shape[1] ||
      (width - op->kernel_w) / op->stride_w + 1 != y->shape[2])
    return tulle_plan_fail(planner, "its window, stride and padding do not make a %ux%u output", y->shape[1],
                           y->shape[2]);
  pool_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->pool = tulle_pool_of(op, x, y);
  const uint64_t line = tulle_f32_pool_line(&args->pool);
  if (line > INT32_MAX) return tulle_plan_fail(planner, "a padded row would take %.0f MB", (double)line / 1e6);
  if (op->kind == TULLE_OP_AVERAGE_POOL2D) {
    float* columns = tulle_plan_alloc(planner, ((size_t)y->shape[2] + 3) * sizeof *columns);
    if (!columns) return false;
    tulle_f32_pool_columns(&args->pool, columns);
    args->pool.columns = columns;
  }
  const bool whole = op->kernel_h == x->shape[1] && op->kernel_w == x->shape[2] && !op->pad_top && !op->pad_left &&
                     y->shape[1] * y->shape[2] == 1;
  args->kernel = op->kind == TULLE_OP_MAX_POOL2D          ? tulle_f32_max_pool
                 : op->kind == TULLE_OP_MAX_POOL2D_ARGMAX ? tulle_f32_max_pool_argmax
                 : whole                                  ? tulle_f32_average_all
                                                          : tulle_f32_average_pool;
  args->x = *tulle_place_of_input(planner, op, 0);
  args->y = *tulle_place_of_output(planner, op);
  *work = (tulle_work){.run = run_pool,
                       .args = args,
                       .units = x->shape[3],
                       .tasks = tulle_plan_tasks(planner, x->shape[3]),
                       .kernel = TULLE_KERNEL_POOL,
                       .scratch = line};
  return tulle_plan_epilogue(planner, op, x->shape[3], &args->epilogue);
}

// ---- max unpooling ----------------------------------------------------------------------------------------

typedef struct {
  tulle_pool pool;
  tulle_place x, indices, y;
} unpool_args;

static void run_unpool(const void* pointer, uint32_t c, uint32_t end, char* scratch) {
  (void)scratch;
  const unpool_args* args = pointer;
  for (; c < end; c++)
    tulle_f32_max_unpool(&args->pool, tulle_channel(&args->x, c), tulle_channel(&args->indices, c),
                         tulle_channel(&args->y, c));
}

bool tulle_plan_max_unpool(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *indices = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (indices->is_constant) return tulle_plan_fail(planner, "its indices '%s' are constant", indices->name);
  if (!tulle_same_shape(x, indices)) return tulle_plan_fail(planner, "values and indices differ in shape");
  if (x->shape[3] != y->shape[3]) return tulle_plan_fail(planner, "input and output differ in channels");
  unpool_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  *args = (unpool_args){.pool = tulle_pool_of(op, y, x),
                        .x = *tulle_place_of_input(planner, op, 0),
                        .indices = *tulle_place_of_input(planner, op, 1),
                        .y = *tulle_place_of_output(planner, op)};
  *work = (tulle_work){.run = run_unpool,
                       .args = args,
                       .units = x->shape[3],
                       .tasks = tulle_plan_tasks(planner, x->shape[3]),
                       .kernel = TULLE_KERNEL_UNPOOL};
  return true;
}
