// Finds the output channels of a sparse 1x1 convolution that have their nonzeros in the same columns, and so can share
// the loads of its kernel.
//
// `tulle sparsify --block` makes neighbouring rows alike. Then dead channels between them are removed, and int8 rounds
// one weight of a pair to zero. So pairs are any two rows with the same columns, wherever they are, and after that
// neighbours among the others whose columns are nearly the same. Those get zeros filled in. A filled-in zero times an
// infinite input is NaN, as in a dense layer.

#include <stdlib.h>
#include <string.h>

#include "ops/convolution.h"

#define NONE UINT32_MAX
// Rows that one is compared with, of those that look alike. More would be missed, which costs pairs but no time.
#define MOST_COMPARED 16

static uint32_t length(const tulle_sparse* rows, uint32_t row) { return rows->start[row + 1] - rows->start[row]; }

// A hash of eight columns of the nonzeros, which tell rows apart that were not pruned alike.
static uint32_t hash_of(const tulle_sparse* rows, uint32_t row) {
  const uint64_t nonzeros = length(rows, row);
  uint32_t hash = 0;
  for (uint32_t k = 0; k < 8; k++) hash = (hash ^ rows->column[rows->start[row] + k * nonzeros / 8]) * 0x9e3779b1;
  return hash ^ hash >> 16;
}

static bool same_columns(const tulle_sparse* rows, uint32_t a, uint32_t b) {
  return length(rows, a) == length(rows, b) &&
         memcmp(rows->column + rows->start[a], rows->column + rows->start[b], length(rows, a) * sizeof(uint32_t)) == 0;
}

// Columns in which both rows have a nonzero, or any number below `least` if there are fewer.
static uint32_t common_columns(const tulle_sparse* rows, uint32_t a, uint32_t b, uint32_t least) {
  uint32_t i = rows->start[a], j = rows->start[b], common = 0;
  const uint32_t i_end = rows->start[a + 1], j_end = rows->start[b + 1];
  while (i < i_end && j < j_end) {
    if (common + (i_end - i) < least || common + (j_end - j) < least) break;
    const uint32_t x = rows->column[i], y = rows->column[j];
    common += x == y;
    i += x <= y;
    j += y <= x;
  }
  return common;
}

uint32_t tulle_other_columns(const tulle_sparse* rows, uint32_t row, uint32_t other) {
  return length(rows, other) - common_columns(rows, row, other, 0);
}

// Whether two rows are faster as a pair with zeros filled in: measured, a column of a pair takes as long as 1.5 to 1.7
// nonzeros of single rows.
static bool similar_columns(const tulle_sparse* rows, uint32_t a, uint32_t b) {
  const uint32_t nonzeros = length(rows, a) + length(rows, b), least = 2 * nonzeros / 5 + 1;
  return nonzeros >= 2 * TULLE_SPMM_PAIR_LEAST && common_columns(rows, a, b, least) >= least;
}

uint32_t tulle_pair_rows(tulle_planner* planner, const tulle_sparse* matrix, uint32_t* order) {
  const uint32_t rows = matrix->rows;
  uint32_t buckets = 1;
  while (buckets < rows) buckets *= 2;
  uint32_t* partner = malloc((size_t)rows * sizeof *partner);
  // Rows without a partner yet, as lists by hash.
  uint32_t* first = malloc((size_t)buckets * sizeof *first);
  uint32_t* next = malloc((size_t)rows * sizeof *next);
  uint32_t pairs = 0;
  if (partner && first && next) {
    for (uint32_t b = 0; b < buckets; b++) first[b] = NONE;
    for (uint32_t r = 0; r < rows; r++) {
      partner[r] = r;
      if (length(matrix, r) < TULLE_SPMM_PAIR_LEAST) continue;
      uint32_t *bucket = &first[hash_of(matrix, r) & (buckets - 1)], *other = bucket;
      for (int compared = 0; *other != NONE && !same_columns(matrix, *other, r); other = &next[*other])
        if (++compared == MOST_COMPARED) break;
      if (*other != NONE && same_columns(matrix, *other, r)) {
        partner[r] = *other;
        partner[*other] = r;
        *other = next[*other];
        pairs++;
      } else {
        next[r] = *bucket;
        *bucket = r;
      }
    }
    for (uint32_t r = 0, last = NONE; r < rows; r++) {
      if (partner[r] != r) continue;
      if (last == NONE || !similar_columns(matrix, last, r)) {
        last = r;
        continue;
      }
      partner[r] = last;
      partner[last] = r;
      pairs++;
      last = NONE;
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
  free(partner);
  free(first);
  free(next);
  return pairs;
}
