#include <math.h>
#include <string.h>

#include "image/image.h"
#include "image/plane.h"

// Longest side of a picture, and of a rectangle or its way from the picture: keeps all places small whole numbers.
#define MAX_SIDE 65536
#define MAX_LENGTH 1048576.0
// Where more pixels than this lie under one of the input, in one direction, not all of them are looked at.
#define MAX_SAMPLES 64

static uint32_t plane_count(uint32_t format) { return format == TULLE_I420 ? 3 : format == TULLE_NV12 ? 2 : 1; }

// Of a format's planes only the first has the picture's size where there are more.
static tulle_plane plane_of(const tulle_view* view, uint32_t index, const uint8_t* pixels) {
  static const uint32_t interleaved[] = {4, 4, 3};
  tulle_plane plane = {.width = view->picture_width, .height = view->picture_height};
  plane.stride = view->strides[index];
  plane.data = pixels ? pixels + view->offsets[index] : NULL;
  if (view->format <= TULLE_RGB8) {
    plane.channels = interleaved[view->format];
  } else if (index == 0) {
    plane.channels = 1;
    plane.black = view->full_range ? 0 : 16;
  } else {
    plane.width = (plane.width + 1) / 2;
    plane.height = (plane.height + 1) / 2;
    plane.channels = view->format == TULLE_NV12 ? 2 : 1;
    plane.black = 128;
  }
  return plane;
}

const char* tulle_view_trouble(const tulle_view* view, size_t size) {
  if (view->format > TULLE_NV12) return "the picture's pixel format is not one of tulle_pixel_format";
  if (view->matrix > TULLE_BT2020) return "the picture's matrix is not one of tulle_yuv_matrix";
  if (view->fit > TULLE_FIT_COVER) return "fit is not one of tulle_fit";
  if (view->flip > 1 || view->edge > 1 || view->full_range > 1) return "flip, edge and full_range are 0 or 1";
  if (!view->picture_width || !view->picture_height) return "the picture is empty";
  if (view->picture_width > MAX_SIDE || view->picture_height > MAX_SIDE)
    return "the picture is more than 65536 pixels wide or high";
  for (uint32_t i = 0; i < plane_count(view->format); i++) {
    const tulle_plane plane = plane_of(view, i, NULL);
    const uint64_t row = (uint64_t)plane.width * plane.channels;
    if (plane.stride < row) return "a row of the picture is shorter than its pixels";
    if (view->offsets[i] + (uint64_t)plane.stride * (plane.height - 1) + row > size)
      return "the picture's pixels are fewer than its size says";
  }
  const double lengths[] = {view->x, view->y, view->width, view->height};
  for (int i = 0; i < 4; i++)
    if (!(fabs(lengths[i]) <= MAX_LENGTH)) return "the crop is further away or larger than 2^20 pixels, or no number";
  if (!(view->width > 0 && view->height > 0)) return "the crop is empty";
  if (!isfinite(view->rotation)) return "the rotation is not a finite number";
  return NULL;
}

bool tulle_view_is_whole(const tulle_view* view, uint32_t height, uint32_t width) {
  return view->format == TULLE_RGBA8 && view->picture_width == width && view->picture_height == height &&
         view->strides[0] == 4 * width && view->x == 0.5 * width && view->y == 0.5 * height && view->width == width &&
         view->height == height && view->rotation == 0 && !view->flip;
}

// Up to four pixels for one a single bilinear sample, as in MediaPipe; beyond that one sample a pixel, so that none is
// left out.
static uint32_t samples(double pixels) {
  if (pixels <= 4) return 1;
  return pixels < MAX_SAMPLES ? (uint32_t)ceil(pixels) : MAX_SAMPLES;
}

// ITU-R BT.601-7, BT.709-6, BT.2020-2: Kr, Kb.
static const float red_blue[][2] = {{0.299f, 0.114f}, {0.2126f, 0.0722f}, {0.2627f, 0.0593f}};

tulle_yuv tulle_yuv_of(uint32_t matrix, bool full_range) {
  const float kr = red_blue[matrix][0], kb = red_blue[matrix][1], kg = 1 - kr - kb;
  const float chroma = full_range ? 1 : 255.0f / 224;
  tulle_yuv yuv = {.luma = full_range ? 1 : 255.0f / 219, .black = full_range ? 0 : 16};
  yuv.red_v = 2 * (1 - kr) * chroma;
  yuv.blue_u = 2 * (1 - kb) * chroma;
  yuv.green_u = yuv.blue_u * kb / kg;
  yuv.green_v = yuv.red_v * kr / kg;
  yuv.red = kr;
  yuv.blue = kb;
  return yuv;
}

void tulle_yuv_to_rgb(const tulle_yuv* yuv, float* out, size_t count, float scale, float shift) {
  for (size_t i = 0; i < count; i++, out += 3) {
    const float y = out[0] * yuv->luma, u = out[1], v = out[2];
    const float rgb[3] = {y + yuv->red_v * v, y - yuv->green_u * u - yuv->green_v * v, y + yuv->blue_u * u};
    for (int c = 0; c < 3; c++) out[c] = fminf(fmaxf(rgb[c], 0), 255) * scale + shift;
  }
}

const char* tulle_view_sample(const tulle_view* view, const uint8_t* pixels, float* out, uint32_t height,
                              uint32_t width, float scale, float shift) {
  if (!height || !width) return "there is nothing to write to";
  double box_width = view->width, box_height = view->height;
  if (view->fit != TULLE_FIT_STRETCH) {
    const double across = box_width / width, down = box_height / height;
    const double side = view->fit == TULLE_FIT_CONTAIN ? fmax(across, down) : fmin(across, down);
    box_width = side * width;
    box_height = side * height;
  }
  // Picture pixels for one of the output, and the way of one step along its columns and rows.
  const double across = box_width / width, down = box_height / height;
  const double c = cos(view->rotation), s = sin(view->rotation);
  const double right = view->flip ? -across : across;
  const double middle_column = 0.5 * width - 0.5, middle_row = 0.5 * height - 0.5;
  for (uint32_t i = 0; i < plane_count(view->format); i++) {
    const tulle_plane plane = plane_of(view, i, pixels);
    const double half = i ? 0.5 : 1;  // a plane of half the size; chroma lies at the middle of its four pixels
    tulle_affine place = {.x_column = half * c * right,
                          .x_row = -half * s * down,
                          .y_column = half * s * right,
                          .y_row = half * c * down};
    place.x0 = half * view->x - 0.5 - middle_column * place.x_column - middle_row * place.x_row;
    place.y0 = half * view->y - 0.5 - middle_column * place.y_column - middle_row * place.y_row;
    if (!tulle_plane_sample(&plane, &place, view->edge, samples(half * across), samples(half * down), out + i, height,
                            width))
      return "out of memory while resizing the picture";
  }
  const size_t count = (size_t)height * width;
  if (view->format >= TULLE_I420) {
    const tulle_yuv yuv = tulle_yuv_of(view->matrix, view->full_range);
    tulle_yuv_to_rgb(&yuv, out, count, scale, shift);
    return NULL;
  }
  for (size_t i = 0; i < count; i++) {
    float* p = out + 3 * i;
    const float first = p[view->format == TULLE_BGRA8 ? 2 : 0], last = p[view->format == TULLE_BGRA8 ? 0 : 2];
    p[0] = first * scale + shift;
    p[1] = p[1] * scale + shift;
    p[2] = last * scale + shift;
  }
  return NULL;
}
