// The C library with JavaScript values: an engine of tulle.h and its models.

import { TulleError } from './errors.js';
import { VIEW_BYTES, read, view } from './pictures.js';
import { ARRAYS } from './wasm.js';

/** @typedef {import('./wasm.js').CInfo} CInfo */
/** @typedef {import('./wasm.js').CTensor} CTensor */
/** @typedef {import('./wasm.js').Elements} Elements */
/** @typedef {import('./wasm.js').Exports} Exports */
/** @typedef {import('./wasm.js').Input} Input */
/** @typedef {import('./wasm.js').ReadInput} ReadInput */
/** @typedef {import('./wasm.js').Place} Place */

/** Whether this thread may sleep: in a browser, workers may and the page itself may not. */
function mayWait() {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1); // returns at once, since the value is 0
    return true;
  } catch {
    return false;
  }
}

/** @param {readonly number[]} shape */
const elements = (shape) => shape.reduce((product, size) => product * size, 1);

/** An engine of the C library and its models. Models are known by their addresses. */
export class Library {
  #exports;
  #memory;
  /** @type {Map<number, CInfo>} */
  #models = new Map();

  /**
   * @param {Exports} exports
   * @param {WebAssembly.Memory} memory
   * @param {number} threads
   */
  constructor(exports, memory, threads) {
    this.#exports = exports;
    this.#memory = memory;
    exports._initialize?.();
    this.pointer = exports.tulle_engine_create(threads) >>> 0;
    if (!this.pointer) throw new TulleError(`out of memory while creating an engine of ${threads} threads`);
    this.threads = exports.tulle_engine_threads(this.pointer);
    if (this.threads > 1 && !mayWait()) exports.tulle_engine_never_wait(this.pointer);
  }

  /** For callers with functions and views of their own, which the memory's growth detaches. */
  get raw() {
    return { exports: this.#exports, memory: this.#memory };
  }

  /** Bytes of the engine's memory now. */
  get memoryBytes() {
    return this.#memory.buffer.byteLength;
  }

  /** @param {number} index from 1 up */
  workerStack(index) {
    return this.#exports.tulle_engine_worker_stack(this.pointer, index) >>> 0;
  }

  /** Address of the word at which the pool workers sleep. */
  get bell() {
    return this.#exports.tulle_engine_bell(this.pointer) >>> 0;
  }

  /** Lets the pool workers return; no model may be left, and nothing may be called after. */
  destroy() {
    this.#exports.tulle_engine_destroy(this.pointer);
  }

  /**
   * @param {Uint8Array} bytes a .tulle file
   * @param {Required<import('./limits.js').Limits>} limits
   * @param {boolean} integers whether it may compute with 8-bit integers
   * @returns {{ model: number, info: CInfo, places: Place[] }} which stay as long as the model
   */
  load(bytes, { ops, tensorBytes, memoryBytes, macs }, integers) {
    this.#exports.tulle_engine_set_integers(this.pointer, Number(integers));
    const limits = [ops, tensorBytes, memoryBytes, Math.min(Math.ceil(macs / 1000), 2 ** 32 - 1)]; // by tulle_limit
    limits.forEach((most, limit) => this.#exports.tulle_engine_set_limit(this.pointer, limit, most));
    const { tulle_model_load } = this.#exports;
    const model = this.#withBytes(bytes, (address) => tulle_model_load(this.pointer, address, bytes.length)) >>> 0;
    if (!model) throw this.error();
    const info = /** @type {CInfo} */ (JSON.parse(this.#string(this.#exports.tulle_model_info(model))));
    this.#models.set(model, info);
    const { tulle_model_input, tulle_model_pixels } = this.#exports;
    const places = info.inputs.map((_, index) =>
      ({ elements: tulle_model_input(model, index) >>> 0, pixels: tulle_model_pixels(model, index) >>> 0 }));
    return { model, info, places };
  }

  /** @param {number} model */
  free(model) {
    this.#exports.tulle_model_free(model);
    this.#models.delete(model);
  }

  /**
   * Brings the pixels of a picture into the engine's memory; other inputs are as they were. Nothing else may be called
   * until it is done, and release() has to follow.
   * @param {Input} input
   * @returns {ReadInput | Promise<ReadInput>}
   */
  read(input) {
    if (!('picture' in input)) return input;
    const { picture, options, own } = input;
    let address = 0;
    const place = (/** @type {number} */ size) => {
      if (address) this.#exports.tulle_free(address); // it was read in vain
      address = this.#exports.tulle_alloc(size + VIEW_BYTES) >>> 0;
      if (!address) throw new TulleError(`out of memory: the engine has no room for a picture of ${size} bytes`);
      return new Uint8Array(this.#memory.buffer, address, size);
    };
    const finish = (/** @type {import('./pictures.js').Pixels} */ pixels) => {
      const size = pixels.data.length;
      new Uint8Array(this.#memory.buffer, address + size, VIEW_BYTES).set(view(pixels, options));
      return { address, size };
    };
    const giveUp = (/** @type {unknown} */ error) => {
      if (address) this.#exports.tulle_free(address);
      throw error;
    };
    try {
      const pixels = read(picture, place, own);
      return pixels instanceof Promise ? pixels.then(finish).catch(giveUp) : finish(pixels);
    } catch (error) {
      return giveUp(error);
    }
  }

  /** @param {ReadInput[]} inputs what read() gave */
  release(inputs) {
    for (const input of inputs) if ('address' in input) this.#exports.tulle_free(input.address);
  }

  /**
   * Feeds every input and runs. model.js has checked lengths; the views would throw on a wrong one.
   * @param {number} model
   * @param {ReadInput[]} inputs
   * @returns {Elements[]} copies of the outputs
   */
  run(model, inputs) {
    const info = /** @type {CInfo} */ (this.#models.get(model));
    inputs.forEach((input, index) => {
      if ('placed' in input) {
        const pixels = this.#exports.tulle_model_pixels(model, index);
        const [, height, width] = info.inputs[index].shape;
        // Asking for the elements says that they are what was written.
        if (input.placed === 'elements') this.#exports.tulle_model_input(model, index);
        else if (this.#exports.tulle_model_set_rgba8(model, index, pixels, height, width) !== 0) throw this.error();
      } else if ('address' in input) {
        const { address, size } = input;
        const status = this.#exports.tulle_model_set_picture(model, index, address, size, address + size);
        if (status !== 0) throw this.error();
      } else if ('data' in input) {
        const feed = (/** @type {number} */ address) =>
          this.#exports.tulle_model_set_rgba8(model, index, address, input.height, input.width);
        if (this.#withBytes(input.data, feed) !== 0) throw this.error();
      } else {
        this.#elements(this.#exports.tulle_model_input(model, index), info.inputs[index]).set(input);
      }
    });
    if (this.#exports.tulle_model_run(model) !== 0) throw this.error();
    return info.outputs.map((tensor, index) =>
      this.#elements(this.#exports.tulle_model_output(model, index), tensor).slice());
  }

  /**
   * Runs once more on the same inputs, timed.
   * @param {number} model
   * @returns {Float64Array<ArrayBuffer>} milliseconds of each step
   */
  profile(model) {
    const { steps } = /** @type {CInfo} */ (this.#models.get(model));
    const address = this.#exports.tulle_model_profile(model) >>> 0;
    return new Float64Array(this.#memory.buffer, address, steps.length).slice();
  }

  /**
   * Calls `use` with the address of a copy of `bytes`, which is freed after the call.
   * @param {Uint8Array | Uint8ClampedArray} bytes
   * @param {(address: number) => number} use
   */
  #withBytes(bytes, use) {
    const address = this.#exports.tulle_alloc(Math.max(bytes.length, 1)) >>> 0;
    if (!address) throw new TulleError(`out of memory: the engine has no room for ${bytes.length} more bytes`);
    try {
      new Uint8Array(this.#memory.buffer, address, bytes.length).set(bytes);
      return use(address);
    } finally {
      this.#exports.tulle_free(address);
    }
  }

  // Views are created for every use, since growing the memory replaces `buffer`.
  /**
   * @param {number} address
   * @param {CTensor} tensor
   * @returns {Elements}
   */
  #elements(address, { shape, dtype }) {
    const views = /** @type {any} */ (ARRAYS); // memory may be shared, and copies of these are not
    return new views[dtype](this.#memory.buffer, address >>> 0, elements(shape));
  }

  /** @param {number} address of a NUL-terminated UTF-8 string */
  #string(address) {
    const bytes = new Uint8Array(this.#memory.buffer, address >>> 0);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0))); // a copy: it refuses shared memory
  }

  /** What the C library said last; empty if nothing went wrong in the last load or run. */
  get lastError() {
    return this.#string(this.#exports.tulle_engine_error(this.pointer));
  }

  /** That, to be thrown. */
  error() {
    return new TulleError(this.lastError);
  }
}
