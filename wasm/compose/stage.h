// Backgrounds of frames: what the stages share. compositor.c owns it all; a stage is a function over rows, which the
// threads of the engine share.
//
//     frame -> level 0 -> guide -> network -> mask -> alpha of level 0 -> levels 1, 2, ... -> blur -> back up -> mix
//
// The mask has the network's size, about 256 x 144. Level 0 has the frame's size, or half of it where that is large;
// level i + 1 has half the size of level i, rounded up. Between levels everything is a mean of 2 x 2 bytes or the
// linear interpolation that belongs to it. Colours stay what the frame has: R, G, B or Y, U, V.

#ifndef TULLE_COMPOSE_STAGE_H_
#define TULLE_COMPOSE_STAGE_H_

#include "image/image.h"
#include "image/taps.h"
#include "runtime/model.h"

#define TULLE_COMPOSE_LEVELS 6
#define TULLE_COMPOSE_STEPS 24

// How many of the mask's pixels a pixel of level 0 is made from, in each direction.
#define TULLE_COMPOSE_TAPS 4
// Rows of the mask's planes begin with so many columns that repeat the first one, and end with as many.
#define TULLE_COMPOSE_MARGIN 4

// The most that a blur reads on each side at the level where it is done.
#define TULLE_COMPOSE_REACH 8

typedef struct {
  uint8_t* data;
  uint32_t stride;
} tulle_bytes;

// The frame or something of its size, smaller and smaller.
typedef struct {
  uint32_t width, height;
  tulle_bytes colours[3];
  tulle_bytes alpha;  // from level 1 on, once it is blurred: how near the background is
} tulle_level;

struct tulle_compositor;

// What a stage is called with.
typedef struct {
  struct tulle_compositor* compositor;
  uint32_t level;
} tulle_stage;

struct tulle_compositor {
  tulle_model* model;

  // ---- of the mask ----
  uint32_t mask_width, mask_height, mask_stride;  // floats; the margins are beyond mask_width
  float* guide[3];                                // the frame at this size, bytes as floats
  float* before_luma;                             // of the last mask
  float* probability;                             // steadied over time; without margins
  float* alpha;                                   // 0 to 255, whole numbers
  uint8_t* mixed;  // at each place between pixels: not 0 where the pixels around it differ in alpha
  uint32_t mixed_stride;
  bool has_mask;  // probability and before_luma are those of the frame before
  void* mask_memory;

  // ---- of a frame size ----
  uint32_t format, width, height;
  uint32_t halvings;  // of level 0: 0 or 1
  tulle_yuv yuv;
  tulle_frame_layout layout;
  uint8_t *input, *output;
  const uint8_t* shown;  // one of both
  tulle_level levels[TULLE_COMPOSE_LEVELS];
  tulle_bytes wrap;                    // of level 0
  float* across;                       // of the level that is blurred, 4 floats a pixel: after the first pass
  uint32_t *column_first, *row_first;  // of level 0 in the mask, see matte.c
  float *column_near, *row_near;
  // Of the guide in level 0: the rows that make one of its own, and for each column the first of `column_taps` and
  // their weights. The columns are a multiple of 4.
  tulle_taps rows;
  uint32_t column_taps, *column_starts;
  float* column_weights;
  char* scratch;
  size_t scratch_bytes;  // a thread
  uint32_t row_bytes;    // room for a row of the frame
  void* size_memory;

  // ---- of the background ----
  uint8_t* picture;  // RGBA, as given
  uint32_t picture_width, picture_height;
  uint8_t *backdrop, *light;  // the same as frames; NULL until needed
  uint32_t effect;
  uint8_t colour[3];  // in the frame's colours
  uint32_t blur_level;
  uint32_t reach;
  float kernel[2 * TULLE_COMPOSE_REACH + 1];

  tulle_stage stages[TULLE_COMPOSE_LEVELS];
  tulle_step steps[TULLE_COMPOSE_STEPS];
  uint32_t step_count;
  tulle_progress* progress;
  double times[4];
};

typedef struct tulle_compositor tulle_compositor;

// Rows of level 0 from the frame.
void tulle_stage_split(const void* stage, uint32_t begin, uint32_t end, char* scratch);
// Rows of the guide, and of the network's input where it is to run.
void tulle_stage_guide(const void* stage, uint32_t begin, uint32_t end, char* scratch);

// Rows of the mask: steadied, and as alpha.
void tulle_stage_steady(const void* stage, uint32_t begin, uint32_t end, char* scratch);
void tulle_stage_mixed(const void* stage, uint32_t begin, uint32_t end, char* scratch);
// Rows of level 0's alpha, along the frame's edges.
void tulle_stage_refine(const void* stage, uint32_t begin, uint32_t end, char* scratch);
void tulle_refine_tables(tulle_compositor* c);

// Rows of a level from the one above, and what the blur made of them from the one below.
void tulle_stage_down(const void* stage, uint32_t begin, uint32_t end, char* scratch);
void tulle_stage_up(const void* stage, uint32_t begin, uint32_t end, char* scratch);
void tulle_stage_blur_across(const void* stage, uint32_t begin, uint32_t end, char* scratch);
void tulle_stage_blur_down(const void* stage, uint32_t begin, uint32_t end, char* scratch);
// Chooses the level and the kernel for a standard deviation in pixels of level 0.
void tulle_blur_prepare(tulle_compositor* c, float sigma);

// Rows of level 0: what the light behind takes of alpha.
void tulle_stage_wrap(const void* stage, uint32_t begin, uint32_t end, char* scratch);
// Pairs of rows of the result.
void tulle_stage_mix(const void* stage, uint32_t begin, uint32_t end, char* scratch);

// Fills a frame with a part of an RGBA picture, stretched. False when out of memory.
bool tulle_backdrop_fill(const tulle_compositor* c, uint8_t* frame, const uint8_t* rgba, uint32_t width,
                         uint32_t height, double crop_width, double crop_height);
void tulle_backdrop_colour(const tulle_compositor* c, uint32_t rgb, uint8_t colour[3]);

static inline bool tulle_is_yuv(const tulle_compositor* c) { return c->format >= TULLE_I420; }

// Columns from `data` on, by row.
static inline uint8_t* tulle_row(const tulle_bytes* plane, uint32_t row) {
  return plane->data + (size_t)row * plane->stride;
}

// A row of a plane of the mask's size, at its first pixel; beyond the edge, the nearest.
static inline float* tulle_mask_row(const tulle_compositor* c, float* plane, int64_t row) {
  const int64_t last = (int64_t)c->mask_height - 1;
  return plane + (size_t)(row < 0 ? 0 : row > last ? last : row) * c->mask_stride + TULLE_COMPOSE_MARGIN;
}

#endif  // TULLE_COMPOSE_STAGE_H_
