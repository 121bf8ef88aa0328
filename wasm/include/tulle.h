// tulle: sparse convolutional networks in WebAssembly.
//
// The whole public interface. An engine owns a pool of threads; a model belongs to an engine and is
// planned for it at load; running a model allocates nothing. There is no global state: everything hangs
// off an engine, and one engine is used from one thread at a time (its own workers aside).
//
//     tulle_engine* engine = tulle_engine_create(1);
//     tulle_model* model = tulle_model_load(engine, bytes, size);
//     if (!model) { puts(tulle_engine_error(engine)); ... }
//     memcpy(tulle_model_input(model, 0), image, ...);
//     tulle_model_run(model);
//     const float* answer = tulle_model_output(model, 0);

#ifndef TULLE_H_
#define TULLE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TULLE_API __attribute__((visibility("default"), used))

// Most threads an engine will take.
#define TULLE_MAX_THREADS 16

typedef struct tulle_engine tulle_engine;
typedef struct tulle_model tulle_model;

// What tulle_model_run and the setters return.
typedef enum {
  TULLE_OK = 0,
  TULLE_ERROR = 1,  // tulle_engine_error says what
} tulle_status;

// ---- memory -----------------------------------------------------------------------------------------

// Memory inside the module for a host to put a file into (hosts cannot see our malloc). 64-byte aligned.
// Returns NULL when there is none left.
TULLE_API void* tulle_alloc(size_t size);
TULLE_API void tulle_free(void* pointer);

// ---- engine -----------------------------------------------------------------------------------------

// `threads` counts the calling thread: 1 runs alone. In builds without threads only 1 is possible (a
// larger number is taken as 1). Returns NULL when out of memory.
TULLE_API tulle_engine* tulle_engine_create(uint32_t threads);

TULLE_API uint32_t tulle_engine_threads(const tulle_engine* engine);

// How many vectors of four pixels the sparse kernel takes at once in models loaded from now on, 1 to 13. 13 at first,
// which suits V8: compilers that cannot keep so many sums in registers are faster with fewer. Results stay the same.
TULLE_API void tulle_engine_set_sparse_tile(tulle_engine* engine, uint32_t vectors);

// Whether models that are loaded from now on may compute with 8-bit integers where a quantised model did: 1, as at
// first, or 0, float32 throughout. Only builds with relaxed SIMD do, and answers differ by that rounding.
TULLE_API void tulle_engine_set_integers(tulle_engine* engine, uint32_t allowed);

// What a model may ask for that is loaded from now on; without a limit there are only those of the format. A model
// beyond one is refused before it gets the memory.
typedef enum {
  TULLE_LIMIT_OPS = 0,
  TULLE_LIMIT_TENSOR_BYTES = 1,  // of one tensor, as float32
  TULLE_LIMIT_MEMORY_BYTES = 2,  // of the model: activations, unpacked weights, and all else that its plan needs
  TULLE_LIMIT_KILO_MACS = 3      // thousands of multiply-adds of a run, zeros and other work included; 2^32 - 1: any
} tulle_limit;
#define TULLE_LIMITS 4
TULLE_API void tulle_engine_set_limit(tulle_engine* engine, uint32_t limit, uint32_t most);

// Worker i (1 <= i < threads) is a thread the host starts: it sets its stack pointer to
// tulle_engine_worker_stack(engine, i) (the top, 16-byte aligned), then calls tulle_engine_worker, which
// returns only once the engine is destroyed. Work is shared among the workers that have arrived, so a
// model can run before all of them (or any) have started.
TULLE_API void* tulle_engine_worker_stack(const tulle_engine* engine, uint32_t index);
TULLE_API void tulle_engine_worker(tulle_engine* engine, uint32_t index);

// Says that a worker has trapped, so that a run in progress does not wait for it for ever: that one traps too.
TULLE_API void tulle_engine_worker_failed(tulle_engine* engine);

// Says that the thread which runs models must not sleep, as that of a web page, and has to spin while workers finish.
TULLE_API void tulle_engine_never_wait(tulle_engine* engine);

// Address of the word at which workers sleep between runs. Whoever notifies it (memory.atomic.notify, Atomics.notify)
// shortly before a run finds them awake.
TULLE_API void* tulle_engine_bell(tulle_engine* engine);

// Why the last call on this engine or on one of its models failed: one or more lines of UTF-8.
TULLE_API const char* tulle_engine_error(const tulle_engine* engine);

// Lets the workers return. All models must have been freed. The engine's own memory is given back only
// when it has no workers; a host that started workers drops the whole module instead.
TULLE_API void tulle_engine_destroy(tulle_engine* engine);

// ---- model ------------------------------------------------------------------------------------------

// Reads a .tulle file (untrusted bytes: everything is verified), unpacks its weights into the kernels'
// form and plans kernels, strides, work split and arena. `bytes` may be freed as soon as this returns.
// Returns NULL on failure.
TULLE_API tulle_model* tulle_model_load(tulle_engine* engine, const void* bytes, size_t size);

TULLE_API void tulle_model_free(tulle_model* model);

// A JSON description, valid until the model is freed:
//   {"name": str, "file_bytes": int, "arena_bytes": int, "weight_bytes": int,
//    "inputs":  [{"name": str, "shape": [int], "dtype": str, "mean": num, "std": num, "rgba8": bool}],
//    "outputs": [{"name": str, "shape": [int], "dtype": str}],
//    "steps":   [{"name": str, "op": str, "kernel": str, "path": str, "macs": int, "weights": int, "nnz": int}]}
// dtype is "float32" or, in a file of integers, "int8" or "uint8" with "scale": num and "zero_point": int, which stand
// for (integer - zero_point) * scale. rgba8: the input is [1, H, W, 3] and takes tulle_model_set_rgba8. kernel is the
// code that runs, with its tile; path how the op is run ("sparse", "pairs", "dense", "depthwise", ...: see
// wasm/kernels/kernels.inc). macs counts the multiply-adds that are executed (zeros skipped by a sparse kernel are
// not); weights and nnz count the op's weight elements.
TULLE_API const char* tulle_model_info(const tulle_model* model);

// The buffer of an input or output, row-major in the shape and of the dtype that tulle_model_info states. The
// address stays the same for the model's life. NULL if there is no such index.
TULLE_API void* tulle_model_input(tulle_model* model, uint32_t index);
TULLE_API const void* tulle_model_output(const tulle_model* model, uint32_t index);

// Where the bytes of an image input are kept: whoever writes them here and gives tulle_model_set_rgba8 this address
// spares it a copy. The address stays the same. NULL if the input takes no image.
TULLE_API uint8_t* tulle_model_pixels(tulle_model* model, uint32_t index);

// Feeds an image instead of floats: height * width RGBA pixels of 4 bytes (alpha ignored), as the browser's
// ImageData has them, normalised as (value - mean) / std with the file's mean and std. The pixels are
// copied. Fails unless the input is [1, height, width, 3].
TULLE_API tulle_status tulle_model_set_rgba8(tulle_model* model, uint32_t index, const uint8_t* pixels, uint32_t height,
                                             uint32_t width);

// ---- pictures ---------------------------------------------------------------------------------------

typedef enum {
  TULLE_RGBA8 = 0,  // 4 bytes a pixel, alpha ignored
  TULLE_BGRA8 = 1,
  TULLE_RGB8 = 2,  // 3 bytes a pixel
  TULLE_I420 = 3,  // planes Y, U, V; U and V have half the width and height, rounded up
  TULLE_NV12 = 4   // planes Y and UV, whose pixels are U and V next to each other
} tulle_pixel_format;

// How a rectangle of other proportions than the input's fills it.
typedef enum {
  TULLE_FIT_STRETCH = 0,
  TULLE_FIT_CONTAIN = 1,  // the rectangle grows to the input's proportions: all of it is seen
  TULLE_FIT_COVER = 2     // it shrinks to them
} tulle_fit;

typedef enum { TULLE_BT601 = 0, TULLE_BT709 = 1, TULLE_BT2020 = 2 } tulle_yuv_matrix;

// How pixels lie in memory, and which of them a model sees: 96 bytes, which hosts write as such.
// Lengths are pixels; (0, 0) is the outer corner of the first one, whose centre is (0.5, 0.5).
typedef struct {
  double x, y, width, height;  // centre and sides of the rectangle
  double rotation;             // of the rectangle around its centre: radians, clockwise
  uint32_t flip;               // 1 mirrors what was cut out, left for right
  uint32_t fit;                // tulle_fit
  uint32_t edge;               // beyond the picture: 0 black, 1 the nearest pixel of its edge
  uint32_t format;             // tulle_pixel_format
  uint32_t picture_width, picture_height;
  uint32_t offsets[3], strides[3];  // of each plane and of its rows, in bytes
  uint32_t matrix;                  // tulle_yuv_matrix, of I420 and NV12
  uint32_t full_range;              // of these: 0 where 16 is black and 235 white, 1 for 0 and 255
} tulle_view;

// Feeds a part of a picture: cut out, resized, normalised with the file's mean and std. Sampled bilinearly at the
// centres of the input's pixels, as MediaPipe's ImageToTensorCalculator does on a GPU; where more than four pixels of
// the picture in a row fall on one of the input, their average, as OpenCV's INTER_AREA has it. `size`: bytes at
// `pixels`. A whole RGBA picture of the input's very size is fed as by tulle_model_set_rgba8. Fails unless the input
// is [1, H, W, 3], and for views that do not lie within `size`, are empty, or larger than 2^20 pixels a side.
TULLE_API tulle_status tulle_model_set_picture(tulle_model* model, uint32_t index, const uint8_t* pixels, size_t size,
                                               const tulle_view* view);

// The same without a model: writes height * width * 3 floats, RGB from 0 to 255.
TULLE_API tulle_status tulle_picture_sample(tulle_engine* engine, const uint8_t* pixels, size_t size,
                                            const tulle_view* view, float* out, uint32_t height, uint32_t width);

// ---- running ----------------------------------------------------------------------------------------

// Runs the model on what its inputs hold. NaN and infinity pass through like any other number, and may spread to
// neighbouring pixels in k x k convolutions.
TULLE_API tulle_status tulle_model_run(tulle_model* model);

// Runs the model once more on what its inputs hold and returns the milliseconds that each step took, in the order of
// "steps" in tulle_model_info. (Other runs are not timed: looking at the host's clock costs up to 10 us a step.)
TULLE_API const double* tulle_model_profile(tulle_model* model);

// ---- backgrounds ------------------------------------------------------------------------------------

// Puts the person of a frame before another background, with the threads of the model's engine. The model turns an
// image, [1, H, W, 3], into the probability of a person for each of its pixels, [1, H, W, 1], and has no other inputs
// and outputs. Memory is taken when a size is set and where a picture or an effect is new, and by no other run.
//
//     tulle_compositor* compositor = tulle_compositor_create(model);
//     tulle_compositor_set_size(compositor, TULLE_I420, 1280, 720, TULLE_BT601, 0);
//     memcpy(tulle_compositor_input(compositor), frame, ...);  // as tulle_compositor_layout says
//     tulle_compositor_run(compositor, TULLE_EFFECT_BLUR, 500, 0, 1);
//     const uint8_t* result = tulle_compositor_output(compositor);
typedef struct tulle_compositor tulle_compositor;

typedef enum {
  TULLE_EFFECT_NONE = 0,
  TULLE_EFFECT_BLUR = 1,
  TULLE_EFFECT_PICTURE = 2,
  TULLE_EFFECT_COLOUR = 3,
  TULLE_EFFECT_CUTOUT = 4  // the frame, with how much of each pixel is person as alpha; of TULLE_RGBA8 alone
} tulle_effect;

// NULL (tulle_engine_error says why) if the model is no such network, or out of memory. To be freed before the model.
TULLE_API tulle_compositor* tulle_compositor_create(tulle_model* model);
TULLE_API void tulle_compositor_free(tulle_compositor* compositor);

// Of the frames to come: TULLE_RGBA8, TULLE_I420 or TULLE_NV12, of 1 to 16384 pixels a side. `matrix` and `full_range`
// as in tulle_view. Does nothing where all is as before; forgets the frames before otherwise.
TULLE_API tulle_status tulle_compositor_set_size(tulle_compositor* compositor, uint32_t format, uint32_t width,
                                                 uint32_t height, uint32_t matrix, uint32_t full_range);

// How the frame and the result lie in memory.
typedef struct {
  uint32_t bytes;                   // of all planes
  uint32_t offsets[3], strides[3];  // of each plane and of its rows, in bytes; 0 where there is none
} tulle_frame_layout;
TULLE_API const tulle_frame_layout* tulle_compositor_layout(const tulle_compositor* compositor);

// Where a frame is to be written, and where the last result is. The first stays the same until another size is set, the
// second until the next run. NULL before there is one.
TULLE_API uint8_t* tulle_compositor_input(tulle_compositor* compositor);
TULLE_API const uint8_t* tulle_compositor_output(const tulle_compositor* compositor);

// The background of TULLE_EFFECT_PICTURE: height * width RGBA pixels, which are copied. Alpha is ignored. It covers the
// frame, cut off where the proportions differ. NULL forgets it.
TULLE_API tulle_status tulle_compositor_set_picture(tulle_compositor* compositor, const uint8_t* pixels, uint32_t width,
                                                    uint32_t height);

// Makes a result of the frame in the input. `strength`: thousandths, of the widest blur; `colour`: 0xRRGGBB; `fresh` 0
// takes the last mask again where there is one, which spares the network. TULLE_EFFECT_NONE gives the input itself.
TULLE_API tulle_status tulle_compositor_run(tulle_compositor* compositor, uint32_t effect, uint32_t strength,
                                            uint32_t colour, uint32_t fresh);

// The last mask, steadied over time: H * W probabilities. NULL before there is one.
TULLE_API const float* tulle_compositor_mask(tulle_compositor* compositor);

// Milliseconds of the last run: the frame made the network's input, the network, the mask, the rest.
TULLE_API const double* tulle_compositor_times(const tulle_compositor* compositor);

// Forgets the frames before, as where another scene begins.
TULLE_API void tulle_compositor_reset(tulle_compositor* compositor);

#ifdef __cplusplus
}
#endif

#endif  // TULLE_H_
