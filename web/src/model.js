// A loaded model as the page sees it: checks inputs and names outputs.

import { TulleError } from './errors.js';
import { typeName } from './types.js';

/**
 * @typedef {object} TensorInfo
 * @property {string} name
 * @property {readonly number[]} shape row-major, in the model's own order: an image is [1, height, width, channels]
 * @property {'float32'} dtype
 */

/**
 * @typedef {object} InputDetails
 * @property {boolean} image whether it takes ImageData: its shape is [1, height, width, 3]
 * @property {number} mean pixels are fed as (value - mean) / std
 * @property {number} std
 */

/** @typedef {TensorInfo & InputDetails} InputInfo */

/**
 * One step of the model, in order of execution.
 * @typedef {object} ProfileRow
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
 * @typedef {object} ModelInfo
 * @property {string} name
 * @property {number} fileBytes
 * @property {number} weightBytes memory that the unpacked weights take
 * @property {number} arenaBytes memory for activations
 * @property {number} memoryBytes the whole memory of the engine, shared by all its models, as of its last reply
 */

/** @typedef {Float32Array | ImageData} InputData */

/**
 * The result of load(), the only way to construct one.
 * @hideconstructor
 */
export class Model {
  #engine;
  #handle;
  /** @type {import('./wasm.js').CInfo} */
  #info;
  #memoryBytes;
  /**
   * One buffer for each input, returned by the worker after the last run. Touching new memory costs more than the copy:
   * a fresh buffer for [1, 224, 224, 3] adds 0.3 ms to a run.
   * @type {ArrayBuffer[] | undefined}
   */
  #spare;
  /** @type {Promise<void> | undefined} */
  #closed;

  /**
   * @internal
   * @param {import('./remote.js').RemoteEngine} engine
   * @param {{ model: number, info: import('./wasm.js').CInfo, memoryBytes: number }} loaded
   * @param {import('./support.js').Configuration} configuration
   */
  constructor(engine, { model, info, memoryBytes }, { variant, threads, worker, notes }) {
    this.#engine = engine;
    this.#handle = model;
    this.#info = info;
    this.#memoryBytes = memoryBytes;

    /** @type {readonly Readonly<InputInfo>[]} */
    this.inputs = Object.freeze(info.inputs.map(({ rgba8: image, mean, std, ...tensor }) =>
      Object.freeze({ ...describe(tensor), image, mean, std })));
    /** @type {readonly Readonly<TensorInfo>[]} */
    this.outputs = Object.freeze(info.outputs.map((tensor) => Object.freeze(describe(tensor))));
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
    return { name, fileBytes, weightBytes, arenaBytes, memoryBytes: this.#memoryBytes };
  }

  /**
   * Runs the model once. Runs of all models of an engine share one queue; the page is never blocked, unless the model
   * was loaded with `worker: false`. Inputs are copied before this returns, so they can be overwritten at once.
   * @param {InputData | Record<string, InputData>} inputs an array or image for every input by name; for a model of one
   *   input, the array or image alone will do. A Float32Array holds the input's shape row-major; ImageData has exactly
   *   the input's height and width and is normalised as the model file says.
   * @returns {Promise<Record<string, Float32Array<ArrayBuffer>>>} a new array, row-major, for every output by name
   * @throws {TulleError} (rejects) for inputs that do not fit, a closed model, an engine that crashed
   */
  async run(inputs) {
    this.#checkOpen();
    const values = this.#inOrder(inputs).map((value, index) => check(this.inputs[index], value));
    this.#engine.wake();
    // In this thread the run ends before the inputs can change, so it needs no copies.
    const reply = await (this.worker
      ? this.#runInWorker(values)
      : this.#engine.call('run', { model: this.#handle, inputs: values }));
    this.#memoryBytes = reply.memoryBytes;
    return Object.fromEntries(this.outputs.map(({ name }, index) => [name, reply.outputs[index]]));
  }

  /**
   * Transfers copies of the inputs to the worker.
   * @param {InputData[]} values
   */
  async #runInWorker(values) {
    const buffers = this.#spare ?? this.inputs.map(({ shape }) => new ArrayBuffer(elements(shape) * 4));
    this.#spare = undefined;
    const inputs = values.map((value, index) => copy(value, buffers[index]));
    const reply = await this.#engine.call('run', { model: this.#handle, inputs }, buffers);
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

  #checkOpen() {
    if (this.#closed) throw new TulleError(`model ${JSON.stringify(this.info.name)} is closed`);
  }

  /**
   * @param {InputData | Record<string, InputData>} inputs
   * @returns {unknown[]} one for each input
   */
  #inOrder(inputs) {
    const names = this.inputs.map(({ name }) => JSON.stringify(name)).join(', ');
    if (typeof inputs !== 'object' || inputs === null || ArrayBuffer.isView(inputs) || isImage(inputs)) {
      if (this.inputs.length === 1) return [inputs];
      throw new TulleError(`this model has ${this.inputs.length} inputs: give an object with ${names}`);
    }
    for (const name of Object.keys(inputs)) {
      if (!this.inputs.some((input) => input.name === name)) {
        throw new TulleError(`the model has no input ${JSON.stringify(name)}; it has ${names}`);
      }
    }
    return this.inputs.map(({ name }) => {
      if (!Object.hasOwn(inputs, name)) throw new TulleError(`input ${JSON.stringify(name)} is missing`);
      return /** @type {Record<string, unknown>} */ (inputs)[name];
    });
  }
}

/**
 * @param {{ name: string, shape: number[] }} tensor
 * @returns {TensorInfo}
 */
function describe({ name, shape }) {
  return { name, shape: Object.freeze(shape), dtype: 'float32' };
}

/**
 * Checks the value given for an input.
 * @param {Readonly<InputInfo>} input
 * @param {unknown} value
 * @returns {InputData}
 */
function check({ name, shape, image }, value) {
  const it = `input ${JSON.stringify(name)} of shape [${shape.join(', ')}]`;
  if (isImage(value)) {
    if (!image) {
      throw new TulleError(`${it} takes no image, which needs shape [1, height, width, 3]: give a Float32Array`);
    }
    const [, height, width] = shape;
    if (value.height !== height || value.width !== width) {
      throw new TulleError(`${it} takes an image ${width} wide and ${height} high, `
        + `not ${value.width} by ${value.height}: resize it first, as CanvasRenderingContext2D.drawImage does`);
    }
    if (typeName(value.data) !== 'Uint8ClampedArray') {
      throw new TulleError(`${it} takes images with 8 bits per channel, not ${typeName(value.data)}`);
    }
    return value;
  }
  if (!isFloat32Array(value)) {
    throw new TulleError(`${it} takes a Float32Array${image ? ' or ImageData' : ''}, not ${typeName(value)}`);
  }
  const size = elements(shape);
  if (value.length !== size) throw new TulleError(`${it} takes ${size} numbers, not ${value.length}`);
  return value;
}

/**
 * A copy of one input, to be transferred to the engine.
 * @param {InputData} value
 * @param {ArrayBuffer} buffer has room for the input's floats; an image takes a third of that
 * @returns {Float32Array<ArrayBuffer> | import('./wasm.js').Pixels}
 */
function copy(value, buffer) {
  if (isImage(value)) {
    const data = new Uint8ClampedArray(buffer, 0, value.data.length);
    data.set(value.data);
    return { data, height: value.height, width: value.width };
  }
  const floats = new Float32Array(buffer);
  floats.set(value);
  return floats;
}

/** @param {readonly number[]} shape */
const elements = (shape) => shape.reduce((product, size) => product * size, 1);

/** @param {unknown} value @returns {value is ImageData} */
const isImage = (value) => typeName(value) === 'ImageData';

/** @param {unknown} value @returns {value is Float32Array} */
const isFloat32Array = (value) => typeName(value) === 'Float32Array';
