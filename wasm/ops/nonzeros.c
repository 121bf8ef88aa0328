// The nonzeros of sparse weights. Most of a file's weights are zeros, and loading should not take time for them: they
// are read from the file's own index of nonzeros where that has one.

#include <stdlib.h>
#include <string.h>

#include "ops/convolution.h"

// Fills a tulle_sparse from elements and values in their order.
typedef struct {
  tulle_sparse* rows;
  const float* scales;  // of rows, or NULL
  uint32_t row, begin;  // of the last element, and the first element of that row
} filler;

TULLE_INLINE void add(filler* f, uint32_t element, float value) {
  tulle_sparse* rows = f->rows;
  while (element - f->begin >= rows->columns) {
    f->begin += rows->columns;
    rows->start[++f->row] = rows->count;
  }
  if (f->scales) value *= f->scales[f->row];
  if (value == 0) return;
  rows->column[rows->count] = element - f->begin;
  rows->value[rows->count++] = value;
}

static void add_dense(filler* f, const float* values, uint32_t elements) {
  for (uint32_t i = 0; i < elements; i++) add(f, i, values[i]);
}

static void add_bitmask(filler* f, const tulle_constant* c, const float* next) {
  for (size_t byte = 0; byte < c->index_size; byte += 8) {
    uint64_t bits = 0;
    memcpy(&bits, c->index + byte, c->index_size - byte < 8 ? c->index_size - byte : 8);
    for (; bits; bits &= bits - 1) add(f, 8 * (uint32_t)byte + (uint32_t)__builtin_ctzll(bits), *next++);
  }
}

static void add_deltas(filler* f, const tulle_constant* c, const float* next) {
  uint32_t element = 0;
  for (size_t i = 0; i < c->index_size; i++) {
    element += c->index[i];
    if (c->index[i] != 255) add(f, element++, *next++);
  }
}

// Whether int8 values have one scale a row.
static bool scaled_by_row(const tulle_constant* c, uint32_t columns) {
  return c->type == TULLE_TYPE_INT8 && c->scale_count > 1 && c->scale_run == columns;
}

// Whether the values of a sparse constant can be read without knowing their elements.
static bool readable_alone(const tulle_constant* c, uint32_t columns) {
  return c->encoding != TULLE_ENCODING_DENSE &&
         (!c->scales || (c->type == TULLE_TYPE_INT8 && c->scale_count == 1) || scaled_by_row(c, columns));
}

bool tulle_read_sparse(tulle_planner* planner, const tulle_tensor* weight, tulle_sparse* rows) {
  const tulle_constant* c = &weight->constant;
  const uint32_t most = tulle_constant_nonzeros(weight);
  *rows = (tulle_sparse){.rows = weight->shape[0], .columns = weight->elements / weight->shape[0]};
  rows->start = calloc((size_t)rows->rows + 1, sizeof *rows->start);
  rows->column = malloc(((size_t)most + 1) * sizeof *rows->column);
  rows->value = malloc(((size_t)most + 1) * sizeof *rows->value);
  if (!rows->start || !rows->column || !rows->value) {
    tulle_free_sparse(rows);
    return tulle_plan_fail(planner, "out of memory");
  }
  filler f = {.rows = rows};
  if (readable_alone(c, rows->columns)) {
    // Decoded as if there were no zeros, to where they will stay or be moved to the front from.
    const float one = 1;
    tulle_tensor values = *weight;
    values.elements = c->count;
    values.constant.encoding = TULLE_ENCODING_DENSE;
    values.constant.scale_run = c->count;
    if (scaled_by_row(c, rows->columns)) {
      f.scales = c->scales;
      values.constant.scales = &one;
      values.constant.scale_count = 1;
    }
    tulle_constant_decode(&values, rows->value);
    if (c->encoding == TULLE_ENCODING_BITMASK)
      add_bitmask(&f, c, rows->value);
    else
      add_deltas(&f, c, rows->value);
  } else {
    float* values = tulle_plan_decode(planner, weight);
    if (!values) {
      tulle_free_sparse(rows);
      return false;
    }
    add_dense(&f, values, weight->elements);
    free(values);
  }
  while (f.row < rows->rows) rows->start[++f.row] = rows->count;
  return true;
}

void tulle_free_sparse(tulle_sparse* rows) {
  free(rows->start);
  free(rows->column);
  free(rows->value);
}
