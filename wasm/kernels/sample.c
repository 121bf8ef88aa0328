// Bilinear interpolation of one CHW channel at arbitrary positions.

#include "kernels/kernels.h"

void tulle_f32_sample_bilinear(const float* xs, const float* ys, size_t n, uint32_t height, uint32_t width,
                               const float* input, float* output) {
  const float right = (float)(width - 1), bottom = (float)(height - 1);
  for (size_t i = 0; i < n; i++) {
    const float x = xs[i], y = ys[i];
    if (!(x >= 0 && x <= right && y >= 0 && y <= bottom)) {  // NaN counts as outside
      output[i] = 0;
      continue;
    }
    const uint32_t column = (uint32_t)x, row = (uint32_t)y;
    const uint32_t next = column + 1 < width ? 1 : 0;  // on the last column its neighbour has no weight
    const float* above = input + (size_t)row * width + column;
    const float* below = row + 1 < height ? above + width : above;
    const float across = x - (float)column, down = y - (float)row;
    const float upper = above[0] + across * (above[next] - above[0]);
    const float lower = below[0] + across * (below[next] - below[0]);
    output[i] = upper + down * (lower - upper);
  }
}
