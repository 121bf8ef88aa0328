// The public interface of models, and their description in JSON.

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "runtime/integers.h"
#include "runtime/plan.h"

// ---- JSON -------------------------------------------------------------------------------------------------

typedef struct {
  char* text;
  size_t length, capacity;
  bool failed;
} json;

static void put(json* j, const char* text, size_t length) {
  if (j->length + length + 1 > j->capacity) {
    const size_t capacity = 2 * (j->length + length) + 1024;
    char* grown = realloc(j->text, capacity);
    if (!grown) {
      j->failed = true;
      return;
    }
    j->text = grown;
    j->capacity = capacity;
  }
  memcpy(j->text + j->length, text, length);
  j->length += length;
  j->text[j->length] = 0;
}

// Steps are many, and printf is slow as long as V8 has not compiled all of it a second time: these do without.
static void put_texts(json* j, const char* const* texts) {
  for (; *texts; texts++) put(j, *texts, strlen(*texts));
}

static void put_number(json* j, const char* before, uint64_t number) {
  char digits[21];
  size_t first = sizeof digits;
  do digits[--first] = (char)('0' + number % 10);
  while (number /= 10);
  put_texts(j, (const char*[]){before, NULL});
  put(j, digits + first, sizeof digits - first);
}

__attribute__((format(printf, 2, 3))) static void print(json* j, const char* format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  const int length = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  put(j, text, length < 0 ? 0 : (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

// Names come from the file: escapes what JSON wants escaped, and replaces what is not UTF-8 by a question mark.
static void print_string(json* j, const char* s) {
  put(j, "\"", 1);
  while (*s) {
    const unsigned char c = (unsigned char)*s;
    const int length = c < 0x80 ? 1 : (c >> 5) == 6 ? 2 : (c >> 4) == 14 ? 3 : (c >> 3) == 30 ? 4 : 0;
    int valid = length > 0;
    for (int i = 1; i < length && valid; i++) valid = ((unsigned char)s[i] >> 6) == 2;
    if (!valid) {
      put(j, "?", 1);
      s++;
    } else if (length > 1) {
      put(j, s, (size_t)length);
      s += length;
    } else {
      if (c == '"' || c == '\\') {
        print(j, "\\%c", c);
      } else if (c < 0x20) {
        print(j, "\\u%04x", c);
      } else {
        put(j, s, 1);
      }
      s++;
    }
  }
  put(j, "\"", 1);
}

static void print_tensor(json* j, const tulle_tensor* tensor) {
  const tulle_quantization* integers = &tensor->quantization;
  print(j, "{\"name\":");
  print_string(j, tensor->name);
  print(j, ",\"shape\":[");
  for (uint32_t d = 0; d < tensor->rank; d++) print(j, "%s%u", d ? "," : "", tensor->shape[d]);
  if (integers->type == TULLE_TYPE_FP32) {
    print(j, "],\"dtype\":\"float32\"");
  } else {
    print(j, "],\"dtype\":\"%s\",\"scale\":%.9g,\"zero_point\":%d",
          integers->type == TULLE_TYPE_INT8 ? "int8" : "uint8", (double)integers->scale, integers->zero_point);
  }
}

static char* describe(const tulle_model* model, const tulle_net* net, size_t file_bytes) {
  json j = {0};
  print(&j, "{\"name\":");
  print_string(&j, net->name);
  print(&j, ",\"file_bytes\":%u,\"arena_bytes\":%u,\"weight_bytes\":%u,\"inputs\":[", (unsigned)file_bytes,
        (unsigned)model->arena_bytes, (unsigned)model->weight_bytes);
  for (uint32_t i = 0; i < net->input_count; i++) {
    const tulle_tensor* tensor = &net->tensors[net->inputs[i]];
    if (i) put(&j, ",", 1);
    print_tensor(&j, tensor);
    print(&j, ",\"mean\":%.9g,\"std\":%.9g,\"rgba8\":%s}", (double)tensor->mean, (double)tensor->std,
          model->inputs[i].pixels ? "true" : "false");
  }
  print(&j, "],\"outputs\":[");
  for (uint32_t i = 0; i < net->output_count; i++) {
    if (i) put(&j, ",", 1);
    print_tensor(&j, &net->tensors[net->outputs[i]]);
    put(&j, "}", 1);
  }
  print(&j, "],\"steps\":[");
  for (uint32_t i = 0; i < model->step_count; i++) {
    const tulle_step* step = &model->steps[i];
    put_texts(&j, (const char*[]){i ? "," : "", "{\"name\":", NULL});
    print_string(&j, net->ops[step->op].name);
    const char* op = net->ops[step->op].kind_name;
    tulle_kernel kernel = tulle_kernels[step->work.kernel];
    if (step->work.kernel == TULLE_KERNEL_OF_OP) kernel = (tulle_kernel){"f32", op, op};
    put_texts(&j, (const char*[]){",\"op\":\"", op, "\",\"kernel\":\"", kernel.function, *kernel.tile ? "_" : "",
                                  kernel.tile, "\",\"path\":\"", kernel.path, "\"", NULL});
    put_number(&j, ",\"macs\":", step->work.macs);
    put_number(&j, ",\"weights\":", step->work.weights);
    put_number(&j, ",\"nnz\":", step->work.nonzeros);
    put(&j, "}", 1);
  }
  print(&j, "]}");
  if (!j.failed) return j.text;
  free(j.text);
  return NULL;
}

// ---- models -----------------------------------------------------------------------------------------------

tulle_model* tulle_model_load(tulle_engine* engine, const void* bytes, size_t size) {
  engine->error[0] = 0;
  tulle_net net;
  if (!tulle_net_read(bytes, size, &net, engine->error, sizeof engine->error)) return NULL;
  tulle_model* model = calloc(1, sizeof *model);
  bool ok = model != NULL;
  if (ok) {
    model->engine = engine;
    ok = tulle_plan(model, &net) && (model->info = describe(model, &net, size)) != NULL;
  }
  tulle_net_free(&net);
  if (ok) return model;
  if (!engine->error[0]) tulle_engine_fail(engine, "out of memory");
  if (model) tulle_model_free(model);
  return NULL;
}

void tulle_model_free(tulle_model* model) {
  tulle_memory_free(&model->memory);
  free(model->steps);
  free(model->info);
  free(model);
}

const char* tulle_model_info(const tulle_model* model) { return model->info; }

void* tulle_model_input(tulle_model* model, uint32_t index) {
  if (index >= model->input_count) return NULL;
  tulle_input* input = &model->inputs[index];
  // The caller is about to write the elements.
  input->is_rgba8 = false;
  input->is_integers = input->integers.values != NULL;
  return input->is_integers ? (void*)input->integers.values : input->data;
}

const void* tulle_model_output(const tulle_model* model, uint32_t index) {
  if (index >= model->output_count) return NULL;
  const tulle_output* output = &model->outputs[index];
  return output->integers.values ? (const void*)output->integers.values : output->data;
}

static tulle_input* image_input(tulle_model* model, uint32_t index) {
  if (index < model->input_count && model->inputs[index].pixels) return &model->inputs[index];
  tulle_engine_fail(model->engine, "input %u does not take an image: its shape is not [1, height, width, 3]", index);
  return NULL;
}

uint8_t* tulle_model_pixels(tulle_model* model, uint32_t index) {
  return index < model->input_count ? model->inputs[index].pixels : NULL;
}

tulle_status tulle_model_set_rgba8(tulle_model* model, uint32_t index, const uint8_t* pixels, uint32_t height,
                                   uint32_t width) {
  tulle_input* input = image_input(model, index);
  if (!input) return TULLE_ERROR;
  if (height != input->height || width != input->width) {
    tulle_engine_fail(model->engine, "the image is %ux%u (height x width), input %u takes %ux%u: resize it first",
                      height, width, index, input->height, input->width);
    return TULLE_ERROR;
  }
  const size_t count = (size_t)height * width;
  input->is_integers = false;
  if (input->direct) {
    if (pixels != input->pixels) memcpy(input->pixels, pixels, 4 * count);
    input->is_rgba8 = true;
    return TULLE_OK;
  }
  for (size_t i = 0; i < count; i++)
    for (size_t c = 0; c < 3; c++) input->data[3 * i + c] = (float)pixels[4 * i + c] * input->scale + input->shift;
  return TULLE_OK;
}

tulle_status tulle_model_set_picture(tulle_model* model, uint32_t index, const uint8_t* pixels, size_t size,
                                     const tulle_view* view) {
  tulle_input* input = image_input(model, index);
  if (!input) return TULLE_ERROR;
  const char* trouble = tulle_view_trouble(view, size);
  if (!trouble && tulle_view_is_whole(view, input->height, input->width))
    return tulle_model_set_rgba8(model, index, pixels + view->offsets[0], input->height, input->width);
  if (!trouble)
    trouble = tulle_view_sample(view, pixels, input->data, input->height, input->width, input->scale, input->shift);
  if (trouble) {
    tulle_engine_fail(model->engine, "input %u: %s", index, trouble);
    return TULLE_ERROR;
  }
  input->is_rgba8 = input->is_integers = false;
  return TULLE_OK;
}

tulle_status tulle_picture_sample(tulle_engine* engine, const uint8_t* pixels, size_t size, const tulle_view* view,
                                  float* out, uint32_t height, uint32_t width) {
  const char* trouble = tulle_view_trouble(view, size);
  if (!trouble) trouble = tulle_view_sample(view, pixels, out, height, width, 1, 0);
  if (!trouble) return TULLE_OK;
  tulle_engine_fail(engine, "%s", trouble);
  return TULLE_ERROR;
}

static void run(tulle_model* model, double* profile) {
  for (uint32_t i = 0; i < model->input_count; i++) {
    const tulle_input* input = &model->inputs[i];
    if (input->is_integers) tulle_dequantize(&input->integers, input->data);
  }
  tulle_engine_run(model->engine, model->steps, model->step_count, model->progress, model->scratch,
                   model->scratch_bytes, profile);
  for (uint32_t i = 0; i < model->output_count; i++) {
    const tulle_output* output = &model->outputs[i];
    if (output->integers.values) tulle_quantize(output->data, &output->integers);
  }
}

tulle_status tulle_model_run(tulle_model* model) {
  run(model, NULL);
  return TULLE_OK;
}

const double* tulle_model_profile(tulle_model* model) {
  run(model, model->profile);
  return model->profile;
}
