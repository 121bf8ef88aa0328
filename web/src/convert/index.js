/**
 * Makes .tulle models of TFLite and ONNX files in the page. The converter is tulle's own in Python, which runs in Pyodide in
 * a worker; both are loaded with the first call.
 *
 * ```js
 * const bytes = await convert(await file.arrayBuffer(), { inputMean: 0, inputStd: 255 });
 * const model = await load(bytes);
 * ```
 * @module tulle/convert
 */

import { TulleError, messageOf } from '../errors.js';
import { checkNames } from '../options.js';
import { bytesOf, describeType, isBuffer, typeName } from '../types.js';
import { foreignWorker, isForeign } from '../workers.js';
import { throughCache } from './cache.js';
import { ONNX, PYODIDE_CDN, PYODIDE_VERSION } from './python.js';

/** @import { Job } from './python.js' */

export { TulleError } from '../errors.js';
export { PYODIDE_VERSION };

/** @typedef {import('./python.js').Stage} Stage */
/** @typedef {Blob | ArrayBuffer | ArrayBufferView} ModelFile the bytes of a model file */

/**
 * @typedef {object} PythonOptions How Python runs.
 * @property {string} [name] of the file; by default a File's own name, else "model"
 * @property {string | URL} [pyodide] folder with the files of Pyodide `PYODIDE_VERSION`. Default: jsDelivr's copy
 * @property {readonly string[]} [onnx] what micropip installs before it reads the first ONNX file: names, or URLs of wheels.
 *   Default: the package onnx of the Python package index
 * @property {(progress: { stage: Stage }) => void} [onProgress] called as each stage begins
 * @property {boolean} [cache] true: keep the answer in the browser's Cache API, by the file's contents and the options, and
 *   take it from there the next time, without starting Python. The last 32 are kept
 * @property {AbortSignal} [signal] ends the work
 */

/**
 * @typedef {object} ConversionOptions How a model is converted.
 * @property {number} [inputMean] image inputs given as bytes are fed as (pixel - mean) / std
 * @property {number} [inputStd]
 * @property {number} [sparsity] share of the weights of 1x1 convolutions to be zero, 0 to less than 1: the smallest ones.
 *   That makes a model faster and, without training, worse
 * @property {'auto' | 'fp32' | 'fp16' | 'int8'} [weights] how weights are stored; "auto" (the default): as int8 or float16
 *   where that is lossless, else float32
 * @property {string[]} [outputs] names of tensors to convert up to, in place of the model's outputs
 * @property {Record<string, number[]>} [inputShapes] by name, shapes of an ONNX file's inputs that have dynamic sizes
 * @property {boolean} [quantizedIo] true: int8 and uint8 inputs and outputs of a quantised TFLite file stay integers, in
 *   place of float32. Not together with `sparsity`
 */

/** @typedef {PythonOptions & ConversionOptions} ConvertOptions Options of convert(). */

/**
 * @typedef {object} ModelReport What a model file contains: the report of `tulle inspect --json`.
 * @property {string} name
 * @property {'tflite' | 'onnx' | 'tulle'} format
 * @property {number} file_bytes
 * @property {{ name: string, shape: number[], dtype: string, mean: number, std: number }[]} inputs
 * @property {{ name: string, shape: number[], dtype: string, mean: number, std: number }[]} outputs
 * @property {number} macs multiply-adds of a run as if dense
 * @property {number} nonzero_macs those whose weight is not zero
 * @property {number} parameters
 * @property {number} weights of the layers
 * @property {number} zeros share of the weights that is zero, 0 to 1
 * @property {number} dead_channels output channels whose weights are all zero
 * @property {{ op: string, count: number, macs: number, share: number }[]} ops from most multiply-adds to least
 * @property {{ name: string, op: string, output_shape: number[], macs: number, nonzero_macs: number, parameters: number,
 *   zeros: number, dead_channels: number, output_channels: number }[]} layers
 */

/**
 * Converts a TFLite or ONNX model.
 * @param {ModelFile} source
 * @param {ConvertOptions} [options]
 * @returns {Promise<Uint8Array<ArrayBuffer>>} the `.tulle` file
 * @throws {TulleError} (rejects) with the converter's own message; when Pyodide cannot be had; when `signal` is aborted
 *   (`cause` is its reason)
 */
export async function convert(source, options = {}) {
  checkNames('convert', options, [...PYTHON_OPTIONS, ...CONVERSION_OPTIONS]);
  const { inputMean, inputStd, sparsity, weights, outputs, inputShapes, quantizedIo } = options;
  const settings = Object.fromEntries(Object.entries({
    input_mean: inputMean, input_std: inputStd, sparsity, weights, outputs, input_shapes: inputShapes, quantized_io: quantizedIo,
  }).filter(([, value]) => value !== undefined));
  if (sparsity !== undefined && quantizedIo) throw new TulleError('sparsity and quantizedIo do not go together');
  const task = sparsity === undefined ? 'convert' : 'sparsify';
  return answer('convert', source, options, async (bytes, named) => (await submit(task, bytes, named, settings)).bytes);
}

/**
 * What is in a .tflite, .onnx or .tulle file.
 * @param {ModelFile} source
 * @param {PythonOptions} [options]
 * @returns {Promise<ModelReport>}
 * @throws {TulleError} (rejects) as `convert`
 */
export async function inspect(source, options = {}) {
  checkNames('inspect', options, PYTHON_OPTIONS);
  const json = await answer('inspect', source, options, async (bytes, named) =>
    new TextEncoder().encode(JSON.stringify((await submit('inspect', bytes, named, {})).result)));
  return JSON.parse(new TextDecoder().decode(json));
}

/**
 * Starts Python ahead of the first call, which then waits less: when a page knows that a file is about to come.
 * @param {Pick<PythonOptions, 'pyodide' | 'onProgress'>} [options]
 * @returns {Promise<void>} when it has started
 * @throws {TulleError} (rejects) when Pyodide cannot be had
 */
export async function prepare(options = {}) {
  checkNames('prepare', options, ['pyodide', 'onProgress']);
  await converterAt(options.pyodide).submit(undefined, options.onProgress);
}

/** Ends the worker and frees its memory. The next call starts it again. Calls that wait are rejected. */
export function shutDown() {
  converter?.end(new TulleError('the converter was shut down'));
}

const PYTHON_OPTIONS = ['name', 'pyodide', 'onnx', 'onProgress', 'cache', 'signal'];
const CONVERSION_OPTIONS = ['inputMean', 'inputStd', 'sparsity', 'weights', 'outputs', 'inputShapes', 'quantizedIo'];

/**
 * @param {'convert' | 'inspect'} task
 * @param {ModelFile} source
 * @param {ConvertOptions} options
 * @param {(bytes: Uint8Array<ArrayBuffer>, options: ConvertOptions & { name: string }) => Promise<Uint8Array<ArrayBuffer>>} make
 */
async function answer(task, source, options, make) {
  const named = { ...options, name: options.name ?? nameOf(source) };
  stopIfAborted(named.signal);
  const bytes = await read(source);
  const now = () => make(bytes, named);
  return named.cache ? throughCache(task, bytes, named, now) : now();
}

/**
 * @param {import('./python.js').Task['task']} task
 * @param {Uint8Array} bytes
 * @param {ConvertOptions & { name: string }} options
 * @param {Record<string, unknown>} settings
 */
function submit(task, bytes, { name, pyodide, onnx = ONNX, onProgress, signal }, settings) {
  stopIfAborted(signal);
  return converterAt(pyodide).submit({ task, bytes, name, onnx: [...onnx], settings }, onProgress, signal);
}

/** @param {string | URL} [pyodide] */
function converterAt(pyodide = PYODIDE_CDN) {
  const home = folder(pyodide);
  if (converter?.home !== home || converter.ended) converter = new Converter(home);
  return converter;
}

/** @param {ModelFile} source */
function nameOf(source) {
  return typeName(source) === 'File' ? /** @type {File} */ (source).name : 'model';
}

/** @param {string | URL} address */
function folder(address) {
  const text = String(address);
  return new URL(text.endsWith('/') ? text : `${text}/`, globalThis.location?.href).href;
}

/**
 * The file's bytes, in a separate buffer.
 * @param {ModelFile} source
 */
async function read(source) {
  const type = typeName(source);
  if (type === 'Blob' || type === 'File') {
    try {
      return new Uint8Array(await /** @type {Blob} */ (source).arrayBuffer());
    } catch (error) {
      throw new TulleError(`the model cannot be read: ${messageOf(error)}`, { cause: error });
    }
  }
  if (isBuffer(source)) return Uint8Array.from(bytesOf(source, 'the model'));
  throw new TulleError(`a model is a Blob, an ArrayBuffer or a typed array here, not ${describeType(source)}`);
}

/** @param {AbortSignal | undefined} signal */
function stopIfAborted(signal) {
  if (signal?.aborted) throw aborted(signal);
}

/** @param {AbortSignal} signal */
const aborted = (signal) =>
  new TulleError(`the conversion was aborted: ${messageOf(signal.reason)}`, { cause: signal.reason });

/** The page's converter: a worker, and the jobs that wait for it. */
class Converter {
  /** @type {Worker | undefined} */
  #worker;
  /** The first one is being done. @type {Job[]} */
  #jobs = [];
  /** The last that began. @type {Stage | undefined} */
  #stage;
  ended = false;

  /** @param {string} home where Pyodide is */
  constructor(home) {
    this.home = home;
  }

  /**
   * @param {import('./python.js').Task | undefined} task without one Python is only started
   * @param {PythonOptions['onProgress']} [onProgress]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  submit(task, onProgress, signal) {
    return new Promise((resolve, reject) => {
      /** @type {Job} */
      const job = { task, onProgress, resolve, reject };
      const abort = () => this.#drop(job, aborted(/** @type {AbortSignal} */ (signal)));
      job.resolve = (value) => (signal?.removeEventListener('abort', abort), resolve(value));
      job.reject = (error) => (signal?.removeEventListener('abort', abort), reject(error));
      signal?.addEventListener('abort', abort);
      this.#jobs.push(job);
      if (this.#jobs.length === 1) this.#next();
      else if (this.#isStarting(job) && this.#stage) onProgress?.({ stage: this.#stage });
    });
  }

  /** @param {TulleError} error */
  end(error) {
    this.ended = true;
    this.#stop();
    for (const { reject } of this.#jobs.splice(0)) reject(error);
  }

  #next() {
    const job = this.#jobs[0];
    if (!job) return;
    try {
      this.#worker ??= this.#start();
      const archive = new URL('../../dist/tulle-python.zip', import.meta.url).href;
      this.#worker.postMessage({ pyodide: this.home, archive, task: job.task });
    } catch (error) {
      this.#drop(job, error instanceof TulleError ? error : new TulleError(messageOf(error), { cause: error }));
    }
  }

  /** Whether what goes on is the beginning of this job: its own, or Python's start that it waits for. @param {Job} job */
  #isStarting(job) {
    return this.#jobs.slice(0, this.#jobs.indexOf(job)).every(({ task }) => !task);
  }

  #start() {
    this.#stage = undefined;
    const worker = startWorker();
    worker.onmessage = ({ data }) => {
      const job = this.#jobs[0];
      if (data.stage) {
        this.#stage = data.stage;
        for (const waiting of this.#jobs.filter((other) => this.#isStarting(other))) waiting.onProgress?.({ stage: data.stage });
      } else if (data.error !== undefined) {
        this.#drop(job, new TulleError(data.error), data.fatal);
      } else {
        this.#jobs.shift();
        job.resolve(data);
        this.#next();
      }
    };
    worker.onerror = (event) => {
      event.preventDefault(); // the job reports it
      this.#drop(this.#jobs[0], new TulleError(`the converter's worker stopped: ${event.message
        || 'its script could not be loaded (missing, or blocked by COEP or CSP)'}`));
    };
    return worker;
  }

  /**
   * Rejects a job. One that is being done takes the worker with it, unless `fatal` is false.
   * @param {Job} job
   * @param {TulleError} error
   * @param {boolean} [fatal]
   */
  #drop(job, error, fatal = true) {
    const place = this.#jobs.indexOf(job);
    if (place < 0) return;
    this.#jobs.splice(place, 1);
    job.reject(error);
    if (place > 0) return;
    if (fatal) this.#stop();
    this.#next();
  }

  #stop() {
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}

/** @type {Converter | undefined} */
let converter;

// Bundlers find worker files in this exact expression only.
function startWorker() {
  const name = 'tulle converter';
  if (isForeign(import.meta.url)) return foreignWorker('./worker.js', import.meta.url, name);
  try {
    return new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name });
  } catch (error) {
    throw new TulleError(`the converter needs a worker, and none can be started here: ${messageOf(error)}`, { cause: error });
  }
}
