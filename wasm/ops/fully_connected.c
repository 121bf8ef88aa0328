// Matrix-vector products: fully connected layers, and 1x1 convolutions over a single pixel.

#include "ops/convolution.h"

typedef struct {
  const float *input, *weights, *bias, *residual;
  float* output;
  const tulle_nonzero* nonzeros;  // NULL: dense
  const uint32_t* row_start;
  uint32_t batch, inputs, outputs;
  tulle_epilogue epilogue;
} vector_args;

static void run_vector(const void* pointer, uint32_t begin, uint32_t end, char* scratch) {
  (void)scratch;
  const vector_args* args = pointer;
  for (uint32_t n = 0; n < args->batch; n++) {
    const float* x = args->input + (size_t)n * args->inputs;
    float* y = args->output + (size_t)n * args->outputs;
    for (uint32_t o = begin; o < end; o++) {
      float sum = args->nonzeros ? tulle_f32_sparse_dot(args->nonzeros + args->row_start[o],
                                                        args->nonzeros + args->row_start[o + 1], x)
                                 : tulle_f32_dot(args->weights + (size_t)o * args->inputs, x, args->inputs);
      sum += args->bias[o];
      if (args->residual) sum += args->residual[(size_t)n * args->outputs + o];
      y[o] = sum;
      tulle_f32_finish(y + o, 1, &args->epilogue, o);
    }
  }
}

bool tulle_plan_vector(tulle_planner* planner, const tulle_op* op, uint32_t batch, uint32_t inputs,
                       const float* residual, tulle_work* work) {
  const tulle_tensor* w = tulle_plan_input(planner, op, 1);
  vector_args* args = tulle_plan_alloc(planner, sizeof *args);
  if (!args) return false;
  args->input = tulle_place_of_input(planner, op, 0)->data;
  args->output = tulle_place_of_output(planner, op)->data;
  args->residual = residual;
  args->batch = batch;
  args->inputs = inputs;
  args->outputs = w->shape[0];
  if (!(args->bias = tulle_plan_bias(planner, op, args->outputs, 0))) return false;
  if (!tulle_plan_epilogue(planner, op, args->outputs, &args->epilogue)) return false;
  uint32_t nonzeros;
  if (op->sparse) {
    tulle_sparse rows;
    if (!tulle_read_sparse(planner, w, &rows)) return false;
    args->nonzeros = tulle_pack_nonzeros(planner, &rows, NULL, args->outputs, 1, 1, sizeof(float), &args->row_start);
    tulle_free_sparse(&rows);
    if (!args->nonzeros) return false;
    nonzeros = args->row_start[args->outputs];
  } else {
    if (!(args->weights = tulle_plan_constant(planner, op->inputs[1], 0))) return false;
    nonzeros = tulle_constant_nonzeros(w);
  }
  // One thread does a few thousand multiply-adds before another one has woken up.
  const bool few = (uint64_t)w->elements * batch < 32768;
  *work = (tulle_work){.run = run_vector,
                       .args = args,
                       .units = args->outputs,
                       .tasks = few ? 1 : tulle_plan_tasks(planner, args->outputs),
                       .kernel = op->sparse ? TULLE_KERNEL_SPMV : TULLE_KERNEL_DOT,
                       .weights = w->elements,
                       .nonzeros = nonzeros,
                       .macs = (uint64_t)(op->sparse ? nonzeros : w->elements) * batch};
  return true;
}

bool tulle_plan_fully_connected(tulle_planner* planner, const tulle_op* op, tulle_work* work) {
  const tulle_tensor *x = tulle_plan_input(planner, op, 0), *w = tulle_plan_input(planner, op, 1);
  const tulle_tensor* y = tulle_plan_output(planner, op);
  if (w->rank != 2) return tulle_plan_fail(planner, "its weight must have 2 dimensions");
  const uint32_t inputs = w->shape[1], batch = x->elements / inputs;
  if ((uint64_t)batch * inputs != x->elements || (uint64_t)batch * w->shape[0] != y->elements)
    return tulle_plan_fail(planner, "%u inputs, %u outputs and a %ux%u weight do not fit", x->elements, y->elements,
                           w->shape[0], inputs);
  return tulle_plan_vector(planner, op, batch, inputs, NULL, work);
}
