// The public interface of backgrounds: sizes, memory, and the steps that each effect takes.

#include <stdlib.h>
#include <string.h>

#include "compose/stage.h"
#include "compose/rows.h"
#include "runtime/platform.h"

#define MOST_SIDE 16384
#define MOST_PICTURE (1u << 28)  // pixels
// Standard deviation of the widest blur, in parts of the frame's height.
#define MOST_BLUR 0.06f
// How far the light behind reaches into the person where nothing is blurred, in the same parts.
#define LIGHT_REACH 0.03f
// Frames of more pixels are refined at half their size.
#define MOST_FULL 500000
// Side of the square that a picture is reduced to for its light: only large shapes are left.
#define LIGHT_SIZE 16

// ---- memory -----------------------------------------------------------------------------------------------

// Parts of one allocation: a first pass with no memory finds out how much there has to be.
typedef struct {
  char* base;
  uint64_t used;
} parts;

static void* take(parts* p, uint64_t bytes) {
  void* part = p->base ? p->base + p->used : NULL;
  p->used += (bytes + TULLE_ALIGNMENT - 1) / TULLE_ALIGNMENT * TULLE_ALIGNMENT;
  return part;
}

static tulle_bytes take_plane(parts* p, uint32_t width, uint32_t height) {
  const uint32_t stride = tulle_round_up(width, 16);
  return (tulle_bytes){take(p, (uint64_t)stride * height + TULLE_ROW_SLACK), stride};
}

static void* reserve(uint64_t bytes) { return bytes > TULLE_MAX_BYTES ? NULL : tulle_alloc((size_t)bytes); }

static void lay_out_mask(tulle_compositor* c, parts* p) {
  const uint64_t plane = sizeof(float) * (uint64_t)c->mask_stride * c->mask_height + TULLE_ROW_SLACK;
  for (int i = 0; i < 3; i++) c->guide[i] = take(p, plane);
  c->before_luma = take(p, plane);
  c->probability = take(p, sizeof(float) * (uint64_t)c->mask_width * c->mask_height);
  c->alpha = take(p, plane);
  c->mixed = take(p, (uint64_t)c->mixed_stride * (c->mask_height + 1));
}

static void lay_out_size(tulle_compositor* c, parts* p) {
  const uint64_t frame = (uint64_t)c->layout.bytes + TULLE_ROW_SLACK;
  c->input = take(p, frame);
  c->output = take(p, frame);
  for (uint32_t i = 0; i < TULLE_COMPOSE_LEVELS; i++) {
    tulle_level* level = &c->levels[i];
    for (int k = 0; k < 3; k++) level->colours[k] = take_plane(p, level->width, level->height);
    level->alpha = take_plane(p, level->width, level->height);
  }
  const tulle_level *full = &c->levels[0], *half = &c->levels[1];
  c->wrap = take_plane(p, full->width, full->height);
  c->across = take(p, sizeof(float) * 4 * (uint64_t)half->width * half->height);
  c->column_first = take(p, sizeof(uint32_t) * full->width);
  c->row_first = take(p, sizeof(uint32_t) * full->height);
  c->column_near = take(p, sizeof(float) * TULLE_COMPOSE_TAPS * full->width);
  c->row_near = take(p, sizeof(float) * TULLE_COMPOSE_TAPS * full->height);
  const uint64_t columns = tulle_round_up(c->mask_width, 4);
  c->column_starts = take(p, sizeof(uint32_t) * columns);
  c->column_weights = take(p, sizeof(float) * columns * c->column_taps);
  // Beside rows of bytes: numbers of 16 bits, floats of level 0, four floats of level 1, rows of the mask.
  const uint64_t rows = 8 * (uint64_t)c->row_bytes + sizeof(uint16_t) * (c->width + 2 * TULLE_ROW_SLACK);
  const uint64_t floats = sizeof(float) * 4 * (uint64_t)(full->width + 4 * TULLE_COMPOSE_REACH + TULLE_ROW_SLACK);
  const uint64_t mask = 2 * sizeof(float) * (uint64_t)(c->mask_stride + 4);
  uint64_t most = rows > floats ? rows : floats;
  most = most > mask ? most : mask;
  c->scratch_bytes = (size_t)((most + TULLE_ALIGNMENT - 1) / TULLE_ALIGNMENT * TULLE_ALIGNMENT);
  c->scratch = take(p, (uint64_t)c->scratch_bytes * c->model->engine->threads);
}

static void* allocate(tulle_compositor* c, void (*lay_out)(tulle_compositor*, parts*)) {
  parts p = {0};
  lay_out(c, &p);
  p.base = reserve(p.used);
  if (!p.base) return NULL;
  void* memory = p.base;
  p.used = 0;
  lay_out(c, &p);
  return memory;
}

// ---- life -------------------------------------------------------------------------------------------------

tulle_compositor* tulle_compositor_create(tulle_model* model) {
  tulle_engine* engine = model->engine;
  const tulle_input* input = &model->inputs[0];
  const uint32_t* mask = model->output_shape;
  if (model->input_count != 1 || model->output_count != 1 || !input->pixels || mask[0] != 1 ||
      mask[1] != input->height || mask[2] != input->width || mask[3] != 1) {
    tulle_engine_fail(engine, "this network finds no people: it has to turn an image, [1, H, W, 3], into [1, H, W, 1]");
    return NULL;
  }
  tulle_compositor* c = calloc(1, sizeof *c);
  if (c) {
    c->model = model;
    c->mask_width = input->width;
    c->mask_height = input->height;
    c->mixed_stride = tulle_round_up(c->mask_width + 1, 4);
    c->mask_stride = tulle_round_up(c->mask_width + 2 * TULLE_COMPOSE_MARGIN, 4);
    for (uint32_t i = 0; i < TULLE_COMPOSE_LEVELS; i++) c->stages[i] = (tulle_stage){c, i};
    c->progress = tulle_alloc(TULLE_COMPOSE_STEPS * sizeof *c->progress);
    c->mask_memory = allocate(c, lay_out_mask);
    if (c->mask_memory && c->progress) return c;
    tulle_compositor_free(c);
  }
  tulle_engine_fail(engine, "out of memory");
  return NULL;
}

static void forget_size(tulle_compositor* c) {
  tulle_taps_free(&c->rows);
  tulle_free(c->size_memory);
  tulle_free(c->backdrop);
  tulle_free(c->light);
  c->size_memory = NULL;
  c->input = c->output = c->backdrop = c->light = NULL;
  c->shown = NULL;
  c->width = c->height = 0;
  c->layout = (tulle_frame_layout){0};
  c->has_mask = false;
}

void tulle_compositor_free(tulle_compositor* c) {
  forget_size(c);
  tulle_free(c->picture);
  tulle_free(c->mask_memory);
  tulle_free(c->progress);
  free(c);
}

static tulle_status fail(tulle_compositor* c, const char* why) {
  tulle_engine_fail(c->model->engine, "%s", why);
  return TULLE_ERROR;
}

// ---- sizes ------------------------------------------------------------------------------------------------

static void set_layout(tulle_compositor* c) {
  const uint64_t half = (c->width + 1) / 2, half_rows = (c->height + 1) / 2;
  const uint64_t rows[3] = {c->height, half_rows, half_rows};
  const uint64_t widths[3] = {c->format == TULLE_RGBA8 ? 4ull * c->width : c->width,
                              c->format == TULLE_NV12 ? 2 * half : half, half};
  const uint32_t planes = c->format == TULLE_I420 ? 3 : c->format == TULLE_NV12 ? 2 : 1;
  uint64_t at = 0;
  for (uint32_t i = 0; i < 3; i++) {
    const uint64_t stride = i < planes ? (widths[i] + 15) / 16 * 16 : 0;
    c->layout.offsets[i] = i < planes ? (uint32_t)at : 0;
    c->layout.strides[i] = (uint32_t)stride;
    at += stride * rows[i];
  }
  c->layout.bytes = (uint32_t)at;  // at most 16384 * 16384 * 4, which is 2^30
}

// The mean of the pixels under each of the mask, of bilinear samples a pixel apart.
static bool make_taps(tulle_taps* taps, uint32_t large, uint32_t small) {
  const double step = (double)large / small;
  uint32_t samples = step > 1 ? (uint32_t)step : 1;
  samples += samples < step;
  return tulle_taps_make(taps, 0.5 * step - 0.5, step, samples, small, large, true);
}

// The most that an output has, in whole vectors.
static uint32_t most_taps(const tulle_taps* taps, uint32_t outputs) {
  uint32_t most = 0;
  for (uint32_t i = 0; i < outputs; i++) {
    const uint32_t count = taps->starts[i + 1] - taps->starts[i];
    most = count > most ? count : most;
  }
  return tulle_round_up(most, 4);
}

// The taps of a column are neighbours, since samples are at most a pixel apart.
static void put_columns(tulle_compositor* c, const tulle_taps* columns) {
  for (uint32_t i = 0; i < tulle_round_up(c->mask_width, 4); i++) {
    float* weights = c->column_weights + (size_t)i * c->column_taps;
    memset(weights, 0, c->column_taps * sizeof *weights);
    c->column_starts[i] = 0;
    if (i >= c->mask_width) continue;
    const tulle_tap* taps = columns->taps + columns->starts[i];
    c->column_starts[i] = taps[0].index;
    for (uint32_t k = 0; k < columns->starts[i + 1] - columns->starts[i]; k++)
      weights[taps[k].index - taps[0].index] += taps[k].weight;
  }
}

tulle_status tulle_compositor_set_size(tulle_compositor* c, uint32_t format, uint32_t width, uint32_t height,
                                       uint32_t matrix, uint32_t full_range) {
  if (format != TULLE_RGBA8 && format != TULLE_I420 && format != TULLE_NV12)
    return fail(c, "frames are RGBA, I420 or NV12");
  if (!width || !height) return fail(c, "the frame is empty");
  if (width > MOST_SIDE || height > MOST_SIDE) return fail(c, "frames are at most 16384 pixels wide and high");
  if (matrix > TULLE_BT2020 || full_range > 1) return fail(c, "the matrix or the range of the frame is none");
  const tulle_yuv yuv = tulle_yuv_of(matrix, full_range);
  if (c->size_memory && format == c->format && width == c->width && height == c->height &&
      !memcmp(&yuv, &c->yuv, sizeof yuv))
    return TULLE_OK;
  forget_size(c);
  c->format = format;
  c->width = width;
  c->height = height;
  c->yuv = yuv;
  c->halvings = (uint64_t)width * height > MOST_FULL;
  c->row_bytes = tulle_round_up(4 * width, 64) + TULLE_ROW_SLACK;
  set_layout(c);
  for (uint32_t i = 0; i < TULLE_COMPOSE_LEVELS; i++) {
    const uint32_t halvings = i + c->halvings;
    c->levels[i].width = ((width - 1) >> halvings) + 1;
    c->levels[i].height = ((height - 1) >> halvings) + 1;
  }
  tulle_taps columns = {0};
  const bool ok = make_taps(&columns, c->levels[0].width, c->mask_width) &&
                  make_taps(&c->rows, c->levels[0].height, c->mask_height);
  c->column_taps = ok ? most_taps(&columns, c->mask_width) : 0;
  if (ok) c->size_memory = allocate(c, lay_out_size);
  if (c->size_memory) {
    put_columns(c, &columns);
    tulle_refine_tables(c);
  }
  tulle_taps_free(&columns);
  if (c->size_memory) return TULLE_OK;
  forget_size(c);
  return fail(c, "out of memory for frames of this size");
}

const tulle_frame_layout* tulle_compositor_layout(const tulle_compositor* c) { return &c->layout; }

uint8_t* tulle_compositor_input(tulle_compositor* c) { return c->input; }

const uint8_t* tulle_compositor_output(const tulle_compositor* c) { return c->shown; }

// ---- pictures ---------------------------------------------------------------------------------------------

tulle_status tulle_compositor_set_picture(tulle_compositor* c, const uint8_t* pixels, uint32_t width, uint32_t height) {
  uint8_t* copy = NULL;
  if (pixels) {
    if (!width || !height) return fail(c, "the picture is empty");
    if (width > 65536 || height > 65536 || (uint64_t)width * height > MOST_PICTURE)
      return fail(c, "the picture is too large: 65536 pixels a side and 2^28 of them are the most");
    const size_t size = 4 * (size_t)width * height;
    copy = tulle_alloc(size);
    if (!copy) return fail(c, "out of memory for the picture");
    memcpy(copy, pixels, size);
  }
  tulle_free(c->picture);
  tulle_free(c->backdrop);
  tulle_free(c->light);
  c->backdrop = c->light = NULL;
  c->picture = copy;
  c->picture_width = width;
  c->picture_height = height;
  return TULLE_OK;
}

// The picture and its light as frames.
static bool make_backdrop(tulle_compositor* c) {
  if (c->backdrop && c->light) return true;
  const double across = (double)c->picture_width / c->width, down = (double)c->picture_height / c->height;
  const double side = across < down ? across : down;
  const double crop_width = side * c->width, crop_height = side * c->height;
  const tulle_view small = {
      .x = 0.5 * c->picture_width,
      .y = 0.5 * c->picture_height,
      .width = crop_width,
      .height = crop_height,
      .edge = 1,
      .format = TULLE_RGBA8,
      .picture_width = c->picture_width,
      .picture_height = c->picture_height,
      .strides = {4 * c->picture_width},
  };
  float samples[LIGHT_SIZE * LIGHT_SIZE * 3];
  uint8_t light[LIGHT_SIZE * LIGHT_SIZE * 4];
  if (tulle_view_sample(&small, c->picture, samples, LIGHT_SIZE, LIGHT_SIZE, 1, 0)) return false;
  for (size_t i = 0; i < LIGHT_SIZE * LIGHT_SIZE; i++) {
    for (size_t k = 0; k < 3; k++) light[4 * i + k] = (uint8_t)(samples[3 * i + k] + 0.5f);
    light[4 * i + 3] = 255;
  }
  if (!c->backdrop) c->backdrop = reserve((uint64_t)c->layout.bytes + TULLE_ROW_SLACK);
  if (!c->light) c->light = reserve((uint64_t)c->layout.bytes + TULLE_ROW_SLACK);
  const bool ok =
      c->backdrop && c->light &&
      tulle_backdrop_fill(c, c->backdrop, c->picture, c->picture_width, c->picture_height, crop_width, crop_height) &&
      tulle_backdrop_fill(c, c->light, light, LIGHT_SIZE, LIGHT_SIZE, LIGHT_SIZE, LIGHT_SIZE);
  if (ok) return true;
  tulle_free(c->backdrop);
  tulle_free(c->light);
  c->backdrop = c->light = NULL;
  return false;
}

// ---- running ----------------------------------------------------------------------------------------------

static void add_step(tulle_compositor* c, tulle_task run, uint32_t level, uint32_t units) {
  const uint32_t threads = c->model->engine->threads;
  const uint32_t most = threads > 1 ? 4 * threads : 1;
  c->steps[c->step_count++] = (tulle_step){
      .work = {.run = run, .args = &c->stages[level], .units = units, .tasks = units < most ? units : most},
  };
}

// Runs the steps that were added, and tells how long that took.
static double run_steps(tulle_compositor* c) {
  const double start = tulle_now();
  tulle_engine_run(c->model->engine, c->steps, c->step_count, c->progress, c->scratch, c->scratch_bytes, NULL);
  c->step_count = 0;
  return tulle_now() - start;
}

static void composite(tulle_compositor* c) {
  const uint32_t half = 1 - c->halvings;  // the level of half the frame's size, from which its rows are doubled
  add_step(c, tulle_stage_refine, 0, c->levels[0].height);
  if (c->effect != TULLE_EFFECT_CUTOUT) {
    for (uint32_t i = 1; i <= c->blur_level; i++) add_step(c, tulle_stage_down, i, c->levels[i].height);
    add_step(c, tulle_stage_blur_across, c->blur_level, c->levels[c->blur_level].height);
    add_step(c, tulle_stage_blur_down, c->blur_level, c->levels[c->blur_level].height);
    const uint32_t last = c->effect == TULLE_EFFECT_BLUR ? half : 1;
    for (uint32_t i = c->blur_level; i-- > last;) add_step(c, tulle_stage_up, i, c->levels[i].height);
    add_step(c, tulle_stage_wrap, 0, c->levels[0].height);
  }
  add_step(c, tulle_stage_mix, 0, (c->height + 1) / 2);
}

tulle_status tulle_compositor_run(tulle_compositor* c, uint32_t effect, uint32_t strength, uint32_t colour,
                                  uint32_t fresh) {
  if (!c->size_memory) return fail(c, "there is no frame yet");
  if (effect > TULLE_EFFECT_CUTOUT) return fail(c, "there is no such effect");
  if (strength > 1000) return fail(c, "strength goes from 0 to 1");
  if (effect == TULLE_EFFECT_CUTOUT && c->format != TULLE_RGBA8) return fail(c, "only RGBA frames can be cut out");
  if (effect == TULLE_EFFECT_PICTURE && !c->picture) return fail(c, "there is no picture yet");
  if (effect == TULLE_EFFECT_PICTURE && !make_backdrop(c)) return fail(c, "out of memory for the picture");
  memset(c->times, 0, sizeof c->times);
  if (effect == TULLE_EFFECT_NONE || (effect == TULLE_EFFECT_BLUR && strength == 0)) {
    c->shown = c->input;
    c->has_mask = false;
    return TULLE_OK;
  }
  c->effect = effect;
  const bool runs = fresh || !c->has_mask;
  add_step(c, tulle_stage_split, 0, c->levels[0].height);
  add_step(c, tulle_stage_guide, 0, c->mask_height);
  c->model->inputs[0].is_rgba8 = false;
  c->times[0] = run_steps(c);
  if (runs) {
    const double start = tulle_now();
    if (tulle_model_run(c->model) != TULLE_OK) return TULLE_ERROR;
    c->times[1] = tulle_now() - start;
    add_step(c, tulle_stage_steady, 0, c->mask_height);
    add_step(c, tulle_stage_mixed, 0, c->mask_height + 1);
    c->times[2] = run_steps(c);
    c->has_mask = true;
  }
  const float blur = effect == TULLE_EFFECT_BLUR ? MOST_BLUR * (float)strength / 1000 : LIGHT_REACH;
  tulle_blur_prepare(c, blur * (float)c->levels[0].height);
  if (effect == TULLE_EFFECT_COLOUR) tulle_backdrop_colour(c, colour, c->colour);
  composite(c);
  c->times[3] = run_steps(c);
  c->shown = c->output;
  return TULLE_OK;
}

const float* tulle_compositor_mask(tulle_compositor* c) { return c->has_mask ? c->probability : NULL; }

const double* tulle_compositor_times(const tulle_compositor* c) { return c->times; }

void tulle_compositor_reset(tulle_compositor* c) { c->has_mask = false; }
