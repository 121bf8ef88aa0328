// Finds the output channels of a sparse 1x1 convolution that have their nonzeros in the same columns, and so can share
// the loads of its kernel.
//
// `tulle sparsify --block` makes neighbouring rows alike. Then dead channels between them are removed, and int8 rounds
// one weight of a pair to zero. So pairs are any two rows with the same columns, wherever they are, and after that
// neighbours among the others whose columns are nearly the same. Those get zeros filled in. A filled-in zero times an
// infinite input is NaN, as in a dense layer.

#include <stdlib.h>

#include "ops/convolution.h"

typedef struct {
  uint64_t hash;  // of the columns
  uint32_t row, nonzeros;
} row_columns;

static int by_hash(const void* a, const void* b) {
  const row_columns *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->row < y->row ? -1 : x->row > y->row;
}

// FNV-1a over the columns of the nonzeros.
static row_columns columns_of(const float* weights, uint32_t row, uint32_t columns) {
  row_columns result = {0xcbf29ce484222325, row, 0};
  for (uint32_t c = 0; c < columns; c++) {
    if (weights[(size_t)row * columns + c] == 0) continue;
    result.hash = (result.hash ^ c) * 0x100000001b3;
    result.nonzeros++;
  }
  return result;
}

static bool same_columns(const float* a, const float* b, uint32_t columns) {
  for (uint32_t c = 0; c < columns; c++)
    if ((a[c] != 0) != (b[c] != 0)) return false;
  return true;
}

// Whether two rows are faster as a pair with zeros filled in: measured, a column of a pair takes as long as 1.5 to 1.7
// nonzeros of single rows.
static bool similar_columns(const float* a, const float* b, uint32_t columns) {
  uint64_t nonzeros = 0, together = 0;
  for (uint32_t c = 0; c < columns; c++) {
    nonzeros += (a[c] != 0) + (b[c] != 0);
    together += a[c] != 0 || b[c] != 0;
  }
  return nonzeros >= 2 * TULLE_SPMM_PAIR_LEAST && 5 * together < 3 * nonzeros;
}

uint32_t tulle_pair_rows(tulle_planner* planner, const float* weights, uint32_t rows, uint32_t columns,
                         uint32_t* order) {
  row_columns* sorted = malloc((size_t)rows * sizeof *sorted);
  uint32_t* partner = malloc((size_t)rows * sizeof *partner);
  uint32_t pairs = 0;
  if (sorted && partner) {
    for (uint32_t r = 0; r < rows; r++) {
      sorted[r] = columns_of(weights, r, columns);
      partner[r] = r;
    }
    // Brings rows with the same columns together. Each row is compared with the next one only: rows that merely have
    // the same hash may come between two that match, which costs a pair but no time.
    qsort(sorted, rows, sizeof *sorted, by_hash);
    for (uint32_t i = 0; i + 1 < rows; i++) {
      const uint32_t a = sorted[i].row, b = sorted[i + 1].row;
      if (sorted[i].hash != sorted[i + 1].hash || sorted[i].nonzeros < TULLE_SPMM_PAIR_LEAST ||
          !same_columns(weights + (size_t)a * columns, weights + (size_t)b * columns, columns))
        continue;
      partner[a] = b;
      partner[b] = a;
      pairs++;
      i++;
    }
    for (uint32_t r = 0, last = UINT32_MAX; r < rows; r++) {
      if (partner[r] != r) continue;
      if (last == UINT32_MAX ||
          !similar_columns(weights + (size_t)last * columns, weights + (size_t)r * columns, columns)) {
        last = r;
        continue;
      }
      partner[r] = last;
      partner[last] = r;
      pairs++;
      last = UINT32_MAX;
    }
    uint32_t *paired = order, *single = order + 2 * (size_t)pairs;
    for (uint32_t r = 0; r < rows; r++) {
      if (partner[r] == r) {
        *single++ = r;
      } else if (partner[r] > r) {
        *paired++ = r;
        *paired++ = partner[r];
      }
    }
  } else {
    tulle_plan_fail(planner, "out of memory");
    pairs = UINT32_MAX;
  }
  free(sorted);
  free(partner);
  return pairs;
}
