// Random views of random pictures through wasm/image, to be compiled with the address and undefined-behaviour
// sanitizers: no view that is taken reads or writes beyond what it was given, and all values are within 0 to 255.

#include "image/image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;

static uint32_t number(uint32_t below) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16) % below;
}

static double unit(void) { return number(1000003) / 1000003.0; }

// Sizes, formats and choices, one in some of each beyond what there is. Returns the bytes that the planes take.
static size_t make_view(tulle_view* view) {
  static const uint32_t channels[] = {4, 4, 3, 1, 1, 1};
  memset(view, 0, sizeof *view);
  view->format = number(6);
  view->picture_width = number(40);
  view->picture_height = number(40);
  view->matrix = number(4);
  view->full_range = number(2);
  view->flip = number(2);
  view->edge = number(2);
  view->fit = number(4);
  const double size = pow(10, unit() * 6 - 1);
  view->x = (unit() - 0.3) * (number(4) ? 60 : 2e6);
  view->y = (unit() - 0.3) * 60;
  view->width = unit() * size;
  view->height = unit() * size;
  view->rotation = number(3) ? 0 : number(50) ? unit() * 10 : 1e300;
  const uint32_t half_width = (view->picture_width + 1) / 2, half_height = (view->picture_height + 1) / 2;
  view->strides[0] = view->picture_width * channels[view->format] + number(3);
  view->strides[1] = half_width * (view->format == TULLE_NV12 ? 2 : 1) + number(2);
  view->strides[2] = half_width;
  view->offsets[0] = number(5);
  view->offsets[1] = view->offsets[0] + view->strides[0] * view->picture_height;
  view->offsets[2] = view->offsets[1] + view->strides[1] * half_height;
  return view->offsets[2] + (size_t)half_width * half_height;
}

int main(void) {
  int taken = 0;
  for (int i = 0; i < 40000; i++) {
    tulle_view view;
    const size_t whole = make_view(&view);
    const size_t size = number(4) ? whole : number((uint32_t)whole + 1);
    // Memory of exactly this size, at whose ends the sanitizer watches.
    uint8_t* pixels = malloc(size ? size : 1);
    for (size_t k = 0; k < size; k++) pixels[k] = (uint8_t)number(256);
    const uint32_t height = 1 + number(12), width = 1 + number(12);
    float* out = malloc(3 * sizeof *out * height * width);
    for (uint32_t k = 0; k < 3 * height * width; k++) out[k] = NAN;
    if (!tulle_view_trouble(&view, size) && !tulle_view_sample(&view, pixels, out, height, width, 1, 0)) {
      taken++;
      for (uint32_t k = 0; k < 3 * height * width; k++) {
        if (out[k] >= -0.01f && out[k] <= 255.01f) continue;
        printf("view %d gives %g\n", i, (double)out[k]);
        return 1;
      }
    }
    free(out);
    free(pixels);
  }
  printf("%d taken\n", taken);
  return 0;
}
