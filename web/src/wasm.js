// A wasm build of the C library in this thread, and its exports: what library.js calls, and pool workers wait in.

import { TulleError, messageOf } from './errors.js';

/** Limits of the shared memory, in 64 KiB pages. scripts/wasm.mk reads them here and links the builds with them. */
const SHARED_MEMORY = { initial: 256, maximum: 16384 };

/**
 * The functions of tulle.h as wasm exports: pointers and sizes are numbers.
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} [memory] builds without threads
 * @property {WebAssembly.Global} [__stack_pointer] builds with threads
 * @property {() => void} [_initialize]
 * @property {(size: number) => number} tulle_alloc
 * @property {(pointer: number) => void} tulle_free
 * @property {(threads: number) => number} tulle_engine_create
 * @property {(engine: number) => number} tulle_engine_threads
 * @property {(engine: number, vectors: number) => void} tulle_engine_set_sparse_tile
 * @property {(engine: number, index: number) => number} tulle_engine_worker_stack
 * @property {(engine: number, index: number) => void} tulle_engine_worker
 * @property {(engine: number) => number} tulle_engine_bell
 * @property {(engine: number) => void} tulle_engine_worker_failed
 * @property {(engine: number, allowed: number) => void} tulle_engine_set_integers
 * @property {(engine: number, limit: number, most: number) => void} tulle_engine_set_limit
 * @property {(engine: number) => void} tulle_engine_never_wait
 * @property {(engine: number) => number} tulle_engine_error
 * @property {(engine: number) => void} tulle_engine_destroy
 * @property {(engine: number, bytes: number, size: number) => number} tulle_model_load
 * @property {(model: number) => void} tulle_model_free
 * @property {(model: number) => number} tulle_model_info
 * @property {(model: number, index: number) => number} tulle_model_input
 * @property {(model: number, index: number) => number} tulle_model_output
 * @property {(model: number, index: number) => number} tulle_model_pixels
 * @property {(model: number, index: number, pixels: number, height: number, width: number) => number}
 *   tulle_model_set_rgba8
 * @property {(model: number, index: number, pixels: number, size: number, view: number) => number}
 *   tulle_model_set_picture
 * @property {(engine: number, pixels: number, size: number, view: number, out: number, height: number, width: number) => number}
 *   tulle_picture_sample
 * @property {(model: number) => number} tulle_model_run
 * @property {(model: number) => number} tulle_model_profile
 * @property {(model: number) => number} tulle_compositor_create
 * @property {(compositor: number) => void} tulle_compositor_free
 * @property {(compositor: number, format: number, width: number, height: number, matrix: number, full_range: number) => number}
 *   tulle_compositor_set_size
 * @property {(compositor: number) => number} tulle_compositor_layout
 * @property {(compositor: number) => number} tulle_compositor_input
 * @property {(compositor: number) => number} tulle_compositor_output
 * @property {(compositor: number, pixels: number, width: number, height: number) => number}
 *   tulle_compositor_set_picture
 * @property {(compositor: number, effect: number, strength: number, colour: number, fresh: number) => number}
 *   tulle_compositor_run
 * @property {(compositor: number) => number} tulle_compositor_mask
 * @property {(compositor: number) => number} tulle_compositor_times
 * @property {(compositor: number) => void} tulle_compositor_reset
 */

/** @typedef {Float32Array<ArrayBuffer> | Int8Array<ArrayBuffer> | Uint8Array<ArrayBuffer>} Elements of an input or output, in its type */

/** Their constructors by the names of the types. */
export const ARRAYS = { float32: Float32Array, int8: Int8Array, uint8: Uint8Array };

/**
 * What tulle_model_info says of an input or output; scale and zero point are those of integers.
 * @typedef {{ name: string, shape: number[], dtype: keyof typeof ARRAYS, scale?: number, zero_point?: number }} CTensor
 */

/**
 * What tulle_model_info says; see tulle.h.
 * @typedef {object} CInfo
 * @property {string} name
 * @property {number} file_bytes
 * @property {number} arena_bytes
 * @property {number} weight_bytes
 * @property {(CTensor & { mean: number, std: number, rgba8: boolean })[]} inputs
 * @property {CTensor[]} outputs
 * @property {{ name: string, op: string, kernel: string, path: string, macs: number, weights: number,
 *   nnz: number }[]} steps
 */

/**
 * One input, as it reaches the engine: its elements; RGBA bytes of exactly its size; a picture and what to take of it,
 * `own` if it is to be closed then; or which of the two is in shared memory already, at its Place.
 * @typedef {Elements
 *   | { placed: 'elements' | 'pixels' }
 *   | { data: Uint8ClampedArray, height: number, width: number }
 *   | { picture: import('./pictures.js').Sendable, options: import('./pictures.js').ViewOptions, own: boolean }} Input
 *
 * The same after read(): pixels at an address, followed by a tulle_view.
 * @typedef {Exclude<Input, { picture: any }> | { address: number, size: number }} ReadInput
 */

/** Addresses of an input's elements and, if it takes images, RGBA bytes. @typedef {{ elements: number, pixels: number }} Place */

/** The memory that an engine and its pool workers share. */
export function createSharedMemory() {
  try {
    return new WebAssembly.Memory({ ...SHARED_MEMORY, shared: true });
  } catch (error) {
    throw new TulleError(`the browser has no memory for threads (${messageOf(error)}): load with threads: 1, or close `
      + 'other pages', { cause: error });
  }
}

/**
 * Instantiates a build. The first instance on a shared memory initialises its data; later ones find it initialised.
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Memory} [memory] for builds with threads, which import it
 * @returns {Promise<Exports>}
 */
export async function instantiate(module, memory) {
  const tulle = { now: () => performance.now() };
  const instance = await WebAssembly.instantiate(module, memory ? { tulle, env: { memory } } : { tulle });
  return /** @type {Exports} */ (/** @type {unknown} */ (instance.exports));
}
