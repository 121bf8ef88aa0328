// A loaded model as the page sees it: checks inputs and names outputs.

import { TulleError, messageOf } from './errors.js';
import { checkOptions, close, isHandedOver, isPicture, rgba, take } from './pictures.js';
import { describeType, typeName } from './types.js';
import { ARRAYS } from './wasm.js';

/** @typedef {'float32' | 'int8' | 'uint8'} DType The type of an input's or output's elements. */

/** @typedef {Float32Array | Int8Array | Uint8Array} OutputData An output's elements: a Float32Array, unless the file was converted
 * with `quantizedIo`. */

/**
 * @template {string} [Name=string]
 * @typedef {object} TensorInfo An input or output of a model.
 * @property {Name} name
 * @property {readonly number[]} shape row-major, in the model's own order: an image is [1, height, width, channels]
 * @property {DType} dtype integers only in a file converted with `quantizedIo`
 * @property {number} [scale] of integers, which stand for (integer - zeroPoint) * scale
 * @property {number} [zeroPoint]
 */

/**
 * @typedef {object} ImageInputInfo An input that takes pictures.
 * @property {string} name
 * @property {readonly [batch: 1, height: number, width: number, channels: 3]} shape
 * @property {DType} dtype
 * @property {number} [scale] of integers, which stand for (integer - zeroPoint) * scale
 * @property {number} [zeroPoint]
 * @property {true} image
 * @property {number} mean pixels are fed as (value - mean) / std
 * @property {number} std
 */

/**
 * @typedef {ImageInputInfo | (TensorInfo & { image: false, mean: number, std: number })} InputInfo An input; `image`
 *   tells whether it takes pictures.
 */

/**
 * @typedef {object} ProfileRow One step of a model, in order of execution.
 * @property {string} name
 * @property {string} op an op kind, such as "conv2d"
 * @property {string} kernel the kernel chosen for it
 * @property {string} path how the kernel runs it: "sparse", "pairs", "dense", "depthwise", ...
 * @property {number} ms milliseconds
 * @property {number} macs multiply-adds executed: zeros skipped by a sparse kernel are not counted
 * @property {number} weights how many weights the step has
 * @property {number} nnz how many of them are not zero
 */

/**
 * @typedef {object} ModelInfo A model's name and sizes in bytes.
 * @property {string} name
 * @property {number} fileBytes
 * @property {number} weightBytes memory that the unpacked weights take
 * @property {number} arenaBytes memory for activations
 * @property {number} runMs milliseconds that the last run took in the engine; what its caller waits beyond that is the
 *   way to the engine and back, and reading pictures. 0 before the first
 * @property {number} memoryBytes the whole memory of the engine, shared by all its models, as of its last reply
 */

/** @import { Picture, ViewOptions } from './pictures.js' */

/**
 * @typedef {ArrayLike<number> & ArrayBufferView & { readonly BYTES_PER_ELEMENT: number }} NumberArray Float16Array where
 *   the browser has it, told from other arrays by its `BYTES_PER_ELEMENT`.
 */

/**
 * @typedef {Float32Array | Int8Array | Uint8Array | Uint8ClampedArray | NumberArray | Picture} InputData What run() takes for
 *   an input: all its elements, bytes of a picture of the input's own size, or a picture.
 */

/**
 * @typedef {ViewOptions & { transfer?: boolean }} RunOptions Options of run(). `transfer` gives ImageBitmaps away to the
 *   worker instead of copying them, and closes them.
 */

/** For how long runs in a thread that has other things to do follow each other: half of the time between two frames. */
const BUSY_MS = 8;

/** Promises alone would go on for ever before the thread handles an event or draws. */
const nextTask = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    resolve(undefined);
  };
  port2.postMessage(undefined);
});

/**
 * The result of load(), the only way to construct one.
 * @template {string} [Output=string] names of the outputs, if TypeScript is to know them
 * @template {OutputData} [Data=Float32Array<ArrayBuffer>] what they hold
 * @hideconstructor
 */
export class Model {
  #engine;
  #handle;
  /** @type {import('./wasm.js').CInfo} */
  #info;
  #memoryBytes;
  #places;
  #runMs = 0;
  #yields;
  /** When this thread last did something else, as far as is known. */
  #yielded = performance.now();
  /**
   * One buffer for each input, returned by the worker after the last run. Touching new memory costs more than the copy:
   * a fresh buffer for [1, 224, 224, 3] adds 0.3 ms to a run.
   * @type {(ArrayBuffer | undefined)[]}
   */
  #spare = [];
  /** @type {Promise<void> | undefined} */
  #closed;

  /**
   * @internal
   * @param {import('./remote.js').RemoteEngine} engine
   * @param {{ model: number, info: import('./wasm.js').CInfo, places: import('./wasm.js').Place[],
   *   memoryBytes: number }} loaded
   * @param {import('./support.js').Configuration} configuration
   */
  constructor(engine, { model, info, places, memoryBytes }, { variant, threads, worker, yields = false, notes }) {
    this.#engine = engine;
    this.#handle = model;
    this.#info = info;
    this.#memoryBytes = memoryBytes;
    this.#places = places;
    this.#yields = yields;

    // A model has at least one of each (loader.cc).
    const inputs = info.inputs.map(({ rgba8: image, mean, std, ...tensor }) =>
      Object.freeze({ ...describe(tensor), image, mean, std }));
    const outputs = info.outputs.map((tensor) => Object.freeze(describe(tensor)));
    /** The inputs, in the model's order. @type {readonly [Readonly<InputInfo>, ...Readonly<InputInfo>[]]} */
    this.inputs = Object.freeze(/** @type {any} */ (inputs));
    /** The outputs, in the model's order. @type {readonly [Readonly<TensorInfo<Output>>, ...Readonly<TensorInfo<Output>>[]]} */
    this.outputs = Object.freeze(/** @type {any} */ (outputs));
    /** The wasm build in use. */
    this.variant = variant;
    /** Threads in use, the engine worker's own included. */
    this.threads = threads;
    /** Whether the model runs in a worker, or in the calling thread. */
    this.worker = worker;
    /** Where load() did not do what was asked, and why. @type {readonly string[]} */
    this.notes = Object.freeze(notes);
  }

  /** Sizes. @returns {ModelInfo} */
  get info() {
    const { name, file_bytes: fileBytes, weight_bytes: weightBytes, arena_bytes: arenaBytes } = this.#info;
    return { name, fileBytes, weightBytes, arenaBytes, runMs: this.#runMs, memoryBytes: this.#memoryBytes };
  }

  /**
   * Runs the model once. Runs of all models of an engine share one queue; the page is never blocked, unless the model
   * was loaded with `worker: false`. (Tiny models, which run in the calling thread by default, let the page work every
   * few milliseconds however many runs are awaited one after another.) Inputs are copied before this returns, so they can be overwritten or closed at once.
   * @param {InputData | Record<string, InputData>} inputs an array or picture for every input by name; for a model of one
   *   input, the array or picture alone will do. A Float32Array or Float16Array holds the input's shape row-major; an
   *   input whose `dtype` is "int8" or "uint8" takes an Int8Array or Uint8Array instead.
   *   Pictures (ImageData, ImageBitmap, VideoFrame, video, image and canvas elements, OffscreenCanvas, Blob) have any size
   *   and are normalised as the model file says; a Uint8Array is a picture of the input's size, with 3 or 4 bytes per pixel.
   * @param {RunOptions} [options] for all pictures: which part to take. `transfer: true` transfers ImageBitmaps to the
   *   engine, which closes them; otherwise they are copied.
   * @returns {Promise<Record<Output, Data>>} a new array, row-major, for every output by name
   * @throws {TulleError} (rejects) for inputs that do not fit or cannot be read, a closed model, an engine that crashed
   */
  async run(inputs, options = {}) {
    this.#checkOpen();
    const { transfer = false, ...view } = options;
    checkOptions(options);
    const given = this.#inOrder(inputs);
    /** @type {import('./wasm.js').Input[]} */
    const values = [];
    try {
      this.#engine.wake();
      given.forEach((value, index) => values.push(prepare(this.inputs[index], value, view, transfer || this.worker)));
      const reply = await (this.worker ? this.#runInWorker(values, transfer) : this.#runHere(values));
      this.#memoryBytes = reply.memoryBytes;
      this.#runMs = reply.ms;
      if (this.#yields && performance.now() - this.#yielded > BUSY_MS) {
        await nextTask();
        this.#yielded = performance.now();
      }
      return /** @type {Record<Output, Data>} */ (
        Object.fromEntries(this.outputs.map(({ name }, index) => [name, reply.outputs[index]])));
    } catch (error) {
      for (const value of values) if ('picture' in value) close(value.picture);
      throw error;
    }
  }

  /**
   * In this thread the run ends before the inputs can change, so it needs no copies; unless others are to end first.
   * @param {import('./wasm.js').Input[]} values
   */
  #runHere(values) {
    const fresh = (/** @type {number} */ bytes) => new ArrayBuffer(bytes);
    const inputs = this.#engine.idle ? values : values.map((value) => copy(value, fresh));
    return this.#engine.call('run', { model: this.#handle, inputs });
  }

  /**
   * Writes an input to where the engine reads it, if that memory is shared and no run reads it now.
   * @param {import('./wasm.js').Input} value
   * @param {number} index
   * @returns {import('./wasm.js').Input | undefined} undefined if it has to be sent
   */
  #put(value, index) {
    const { memory, idle } = this.#engine;
    if (!memory || !idle || 'picture' in value || 'placed' in value) return undefined;
    const { elements, pixels } = this.#places[index];
    if ('data' in value) {
      new Uint8Array(memory.buffer, pixels, value.data.length).set(value.data);
      return { placed: 'pixels' };
    }
    new ARRAYS[this.inputs[index].dtype](memory.buffer, elements, value.length).set(value);
    return { placed: 'elements' };
  }

  /**
   * Hands the inputs to the worker: in place, or as copies that are transferred.
   * @param {import('./wasm.js').Input[]} values
   * @param {boolean} transfer
   */
  async #runInWorker(values, transfer) {
    const spare = this.#spare;
    this.#spare = [];
    /** @type {Transferable[]} */
    const handed = [];
    const inputs = values.map((value, index) => {
      const placed = this.#put(value, index);
      if (placed) return placed;
      const room = (/** @type {number} */ bytes) => {
        const old = spare[index];
        const buffer = old && old.byteLength >= bytes ? old : new ArrayBuffer(bytes);
        handed.push(buffer);
        return buffer;
      };
      if ('picture' in value && isHandedOver(value.picture, transfer)) handed.push(value.picture);
      return copy(value, room);
    });
    const reply = await this.#engine.call('run', { model: this.#handle, inputs }, handed);
    this.#spare = reply.buffers;
    return reply;
  }

  /**
   * Runs the model once more on its last inputs and returns the time of each step. Other runs are not timed step by
   * step, which would slow them by one per cent.
   * @returns {Promise<ProfileRow[]>}
   * @throws {TulleError} (rejects) for a closed model, an engine that crashed
   */
  async profile() {
    this.#checkOpen();
    this.#engine.wake();
    const milliseconds = await this.#engine.call('profile', { model: this.#handle });
    return this.#info.steps.map((step, index) => ({ ...step, ms: milliseconds[index] }));
  }

  /**
   * Frees the model, after the runs already queued. Closing an engine's last model shuts the engine down.
   * @returns {Promise<void>}
   */
  close() {
    this.#closed ??= this.#engine.call('close', { model: this.#handle })
      .catch(() => {}) // the engine died, and the model with it
      .then(() => this.#engine.release());
    return this.#closed;
  }

  /**
   * What runs a model that was loaded with `worker: false`.
   * @internal
   * @param {Model} model
   */
  static inside(model) {
    model.#checkOpen();
    return { engine: model.#engine, handle: model.#handle };
  }

  #checkOpen() {
    if (this.#closed) throw new TulleError(`model ${JSON.stringify(this.info.name)} is closed`);
  }

  /**
   * @param {InputData | Record<string, InputData>} inputs
   * @returns {unknown[]} one for each input
   */
  #inOrder(inputs) {
    const names = () => this.inputs.map(({ name }) => JSON.stringify(name)).join(', ');
    if (typeof inputs !== 'object' || inputs === null || ArrayBuffer.isView(inputs) || isPicture(inputs)
      || typeName(inputs) !== 'Object') {
      if (this.inputs.length === 1) return [inputs];
      throw new TulleError(`this model has ${this.inputs.length} inputs: give an object with ${names()}`);
    }
    for (const name of Object.keys(inputs)) {
      if (!this.inputs.some((input) => input.name === name)) {
        throw new TulleError(`the model has no input ${JSON.stringify(name)}; it has ${names()}`);
      }
    }
    return this.inputs.map(({ name }) => {
      if (!Object.hasOwn(inputs, name)) throw new TulleError(`input ${JSON.stringify(name)} is missing`);
      return /** @type {Record<string, unknown>} */ (inputs)[name];
    });
  }
}

/**
 * @param {import('./wasm.js').CTensor} tensor
 */
function describe({ name, shape, dtype, scale, zero_point: zeroPoint }) {
  return { name, shape: Object.freeze(shape), dtype, ...(scale === undefined ? {} : { scale, zeroPoint }) };
}

/**
 * The value given for an input, checked, as the engine takes it. Arrays are still the caller's own.
 * @param {Readonly<InputInfo>} input
 * @param {unknown} value
 * @param {ViewOptions} view
 * @param {boolean} own whether the engine closes an ImageBitmap
 * @returns {import('./wasm.js').Input}
 */
function prepare({ name, shape, image, dtype }, value, view, own) {
  const it = () => `input ${JSON.stringify(name)} of shape [${shape.join(', ')}]`;
  const whole = Object.keys(view).length === 0;
  const type = ARRAYS[dtype].name;
  const size = elements(shape);
  const isElements = isA(value, type, ...(dtype === 'float32' ? ['Float16Array'] : []));
  // Bytes are an input's elements where these are, and a picture elsewhere.
  if (isPicture(value) || (isBytes(value) && !(isElements && (!image || value.length === size)))) {
    if (!image) {
      throw new TulleError(`${it()} takes no ${isPicture(value) ? 'pictures, which need' : 'bytes, which are pictures of'} shape `
        + `[1, height, width, 3]: give a ${type}`);
    }
    const [, height, width] = shape;
    /** @type {import('./pictures.js').Sendable} */
    let picture;
    try {
      picture = isBytes(value) ? ofBytes(value, height, width) : take(value);
    } catch (error) {
      throw new TulleError(`${it()}: ${messageOf(error)}`, { cause: error });
    }
    if (whole && 'data' in picture && picture.width === width && picture.height === height) {
      return { data: /** @type {Uint8ClampedArray} */ (picture.data), height, width };
    }
    return { picture, options: view, own };
  }
  if (!isElements) throw new TulleError(`${it()} takes a ${type}${image ? ' or a picture' : ''}, not ${describeType(value)}`);
  if (!whole) throw new TulleError(`${it()}: ${Object.keys(view).join(', ')} is for pictures, not for ${typeName(value)}`);
  const array = /** @type {import('./wasm.js').Elements} */ (value);
  if (array.length !== size) throw new TulleError(`${it()} takes ${size} numbers, not ${lengthOf(array)}`);
  return typeName(value) === 'Float16Array' ? Float32Array.from(array) : array;
}

/**
 * @param {Uint8Array | Uint8ClampedArray} bytes
 * @param {number} height
 * @param {number} width
 */
function ofBytes(bytes, height, width) {
  const count = height * width;
  if (bytes.length === 4 * count) return rgba(bytes, width, height);
  if (bytes.length !== 3 * count) {
    throw new TulleError(`${width} x ${height} pixels are ${3 * count} bytes (RGB) or ${4 * count} (RGBA), not ${lengthOf(bytes)}`);
  }
  const data = new Uint8ClampedArray(4 * count);
  for (let i = 0; i < count; i++) {
    data[4 * i] = bytes[3 * i];
    data[4 * i + 1] = bytes[3 * i + 1];
    data[4 * i + 2] = bytes[3 * i + 2];
  }
  return rgba(data, width, height);
}

/**
 * A copy of one input, to be transferred to the engine; of a picture only bytes are copied.
 * @param {import('./wasm.js').Input} value
 * @param {(bytes: number) => ArrayBuffer} room
 * @returns {import('./wasm.js').Input}
 */
function copy(value, room) {
  if ('placed' in value) return value;
  if ('data' in value) return { ...value, data: copyBytes(value.data, room) };
  if ('picture' in value) {
    const { picture } = value;
    return 'data' in picture ? { ...value, picture: { ...picture, data: copyBytes(picture.data, room) } } : value;
  }
  const { BYTES_PER_ELEMENT: width } = value;
  const elements = new ARRAYS[dtypeOf(value)](room(value.length * width), 0, value.length);
  elements.set(value);
  return elements;
}

/**
 * @param {Uint8Array | Uint8ClampedArray} data
 * @param {(bytes: number) => ArrayBuffer} room
 */
function copyBytes(data, room) {
  const bytes = new Uint8ClampedArray(room(data.length), 0, data.length);
  bytes.set(data);
  return bytes;
}

/** @param {import('./wasm.js').Elements} value */
const dtypeOf = (value) => /** @type {DType} */ (Object.keys(ARRAYS).find((name) => isA(value, ARRAYS[/** @type {DType} */ (name)].name)));

/** @param {Float32Array | Int8Array | Uint8Array | Uint8ClampedArray} array */
function lengthOf({ length, buffer }) {
  try {
    new Uint8Array(buffer); // throws if it is detached; `detached` is newer
    return String(length);
  } catch {
    return '0: its ArrayBuffer is detached, as after a transfer to a worker';
  }
}

/** @param {readonly number[]} shape */
const elements = (shape) => shape.reduce((product, size) => product * size, 1);

/** @param {unknown} value @returns {value is Uint8Array | Uint8ClampedArray} */
const isBytes = (value) => isA(value, 'Uint8Array', 'Uint8ClampedArray');

/** @param {unknown} value @param {string[]} names */
const isA = (value, ...names) => names.includes(typeName(value));
