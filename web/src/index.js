/**
 * Runs sparse convolutional networks in the page: the package's public names, and load().
 * @module tulle
 */

import { TulleError, messageOf } from './errors.js';
import { DEFAULT_TIMEOUT, fetched, readBytes } from './fetching.js';
import { checkIntegrity, parseIntegrity } from './integrity.js';
import { checkFile, checkLimits } from './limits.js';
import { Model } from './model.js';
import { checkNames } from './options.js';
import { acquire } from './remote.js';
import { configure } from './support.js';
import { bytesOf, describeType, isBuffer, show, typeName } from './types.js';
// What these import, too: browsers find out all at once what to fetch, not one module after another.
import './builds.js';
import './calls.js';
import './inline.js';
import './library.js';
import './pictures.js';
import './wasm.js';
import './workers.js';

export { TulleError } from './errors.js';
export { Model } from './model.js';
export { MAX_THREADS, VARIANTS, support } from './support.js';

/**
 * @template {string} [Name=string]
 * @typedef {import('./model.js').TensorInfo<Name>} TensorInfo
 */
/** @typedef {import('./model.js').InputInfo} InputInfo */
/** @typedef {import('./model.js').InputData} InputData */
/** @typedef {import('./model.js').OutputData} OutputData */
/** @typedef {import('./model.js').DType} DType */
/** @typedef {import('./model.js').NumberArray} NumberArray */
/** @typedef {import('./model.js').ImageInputInfo} ImageInputInfo */
/** @typedef {import('./model.js').RunOptions} RunOptions */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./pictures.js').ViewOptions} ViewOptions */
/** @typedef {import('./model.js').ModelInfo} ModelInfo */
/** @typedef {import('./model.js').ProfileRow} ProfileRow */
/** @typedef {import('./support.js').Variant} Variant */
/** @typedef {import('./limits.js').Limits} Limits */
/** @import { ConversionOptions, PythonOptions } from './convert/index.js' */
/** @typedef {ConversionOptions & Pick<PythonOptions, 'pyodide' | 'onnx'>} LoadConvertOptions How load() converts a model file. */

/**
 * @typedef {object} LoadOptions Options of load().
 * @property {number} [threads] how many threads to run on, the engine's own included: 1 to MAX_THREADS. Default: one
 *   per processor, at most four. A page without cross-origin isolation gets one (`model.threads`, `model.notes`).
 * @property {Variant | 'auto'} [variant] which wasm build; "auto" (the default) takes the fastest the browser can run
 * @property {boolean | 'auto'} [worker] true: the model runs in a worker. false: in the calling thread, and on one thread unless
 *   `threads` says otherwise. The run is complete when run() returns its promise, and blocks that thread until then. Meant
 *   for your own workers; a page does not respond while load() unpacks the file and while run() runs. "auto" (the default): tiny
 *   models, which take less time than the messages to a worker and back, run in the calling thread as with false, and
 *   all others in a worker (`model.worker`).
 * @property {(progress: { loaded: number, total: number }) => void} [onProgress] called as the file arrives, in bytes;
 *   `total` is 0 if the server does not send the size
 * @property {AbortSignal} [signal] cancels loading
 * @property {string} [integrity] what the file has to be: its hash as in HTML, "sha384-BASE64"; of several, separated by
 *   spaces, one of the strongest kind has to fit
 * @property {Limits} [limits] how large file, tensors and memory may be: more is refused before memory is taken
 * @property {boolean} [integers] false: a quantised model computes in float32 throughout. By default it computes with 8-bit
 *   integers where the build "relaxed" is faster so
 * @property {number} [timeout] milliseconds without any progress (bytes that arrive, an answer of the engine) after which
 *   load(), and later run(), give up. Default: 30,000; Infinity waits for ever
 * @property {LoadConvertOptions} [convert] how a .tflite or .onnx file is converted: options of `convert` in tulle/convert
 * @property {boolean} [cache] true keeps what was made of a .tflite or .onnx file in the browser's Cache API, by the file's
 *   contents and the options, so that the next visit converts nothing
 */

/**
 * Loads a `.tulle` model; a .tflite or .onnx file is converted first, by `tulle/convert`.
 * @template {string} [Output=string] in TypeScript, names of the outputs: `load<'boxes' | 'scores'>(url)`
 * @template {OutputData} [Data=Float32Array<ArrayBuffer>] what they hold, if the file has integers: `load<string, Int8Array>`
 * @param {string | URL | Blob | ArrayBuffer | ArrayBufferView} source where to fetch the file, or its bytes (copied)
 * @param {LoadOptions} [options]
 * @returns {Promise<Model<Output, Data>>}
 * @throws {TulleError} (rejects) when the file cannot be fetched or is not a valid model, for options out of range,
 *   when the engine cannot be started, and when `signal` is aborted (`cause` is its reason)
 */
export async function load(source, options = {}) {
  const what = describe(source);
  checkNames('load', options ?? {}, OPTIONS);
  const { threads, variant = 'auto', worker = 'auto', onProgress, signal, timeout = DEFAULT_TIMEOUT } = options ?? {};
  if (!(timeout > 0)) throw new TulleError(`timeout must be a number of milliseconds above 0, not ${show(timeout)}`);
  const limits = checkLimits(options?.limits);
  const integers = checkIntegers(options?.integers);
  const integrity = parseIntegrity(options?.integrity);
  stopIfAborted(signal, what);
  /** @type {import('./support.js').Configuration} */
  let configuration = configure(variant, threads, worker === 'auto' || worker);
  let engine = acquire(configuration, timeout);
  try {
    const reading = read(source, what, { onProgress, signal, timeout, limits }).then(async ({ bytes, from }) => {
      const refused = (/** @type {unknown} */ error) => {
        throw new TulleError(`cannot load ${from}: ${messageOf(error)}`);
      };
      if (integrity) await checkIntegrity(bytes, integrity).catch(refused);
      return { refused, ...await tulleBytes(bytes, source, { ...options?.convert, signal }, options?.cache) };
    });
    const [{ bytes, refused, note }] = await Promise.all([reading, engine.started]);
    stopIfAborted(signal, what);
    const kept = worker === 'auto' && bytes.length <= TINY_FILE ? bytes.slice() : undefined;
    let loaded = await engine.call('load', { bytes, limits, integers }, [bytes.buffer]).catch(refused);
    if (kept && isTiny(loaded.info)) {
      const here = { ...configure(variant, threads, false), yields: true };
      const own = acquire(here, timeout);
      const again = await own.started.then(() => own.call('load', { bytes: kept, limits, integers })).catch(() => undefined);
      if (again) await engine.call('close', { model: loaded.model }).catch(() => {});
      (again ? engine : own).release(); // where there is no room for one more engine, it stays in the worker
      if (again) [engine, loaded, configuration] = [own, again, here];
    }
    const notes = [...configuration.notes, ...note, ...aboutNormalisation(loaded.info)];
    const model = /** @type {Model<Output, Data>} */ (new Model(engine, loaded, { ...configuration, notes }));
    if (signal?.aborted) await engine.call('close', { model: loaded.model });
    stopIfAborted(signal, what);
    return model;
  } catch (error) {
    engine.release();
    throw error;
  }
}

const OPTIONS = [
  'threads', 'variant', 'worker', 'onProgress', 'signal', 'integrity', 'limits', 'integers', 'timeout', 'convert',
  'cache',
];

/**
 * A model that takes about a quarter of a millisecond on a laptop: less than a message to a worker and back can, and even
 * on a slow phone a small part of the time between two frames of a page.
 */
const TINY_WORK = 4e6;
/** Bytes of a file that may be a tiny model's: more weights than this come from memory at every run. */
const TINY_FILE = 2 ** 21;

/**
 * Judged by what the C library makes of the file, after its checks: multiply-adds, and all memory for every step.
 * @param {import('./wasm.js').CInfo} info
 */
function isTiny({ steps, arena_bytes: bytes }) {
  const work = steps.reduce((sum, { macs }) => sum + macs, steps.length * bytes / 4);
  return work <= TINY_WORK;
}

/** @param {unknown} given */
function checkIntegers(given = true) {
  if (typeof given === 'boolean') return given;
  throw new TulleError(`integers must be true or false, not ${typeName(given)}`);
}

/**
 * A file as `.tulle`, with a note if it was not one. The converter is only imported for one that is not.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {unknown} source
 * @param {import('./convert/index.js').ConvertOptions} options
 * @param {boolean} [cache]
 * @returns {Promise<{ bytes: Uint8Array<ArrayBuffer>, note: string[] }>}
 */
async function tulleBytes(bytes, source, options, cache) {
  const kind = foreignKind(bytes);
  if (!kind) return { bytes, note: [] };
  const { convertForLoad } = await import('./convert/load.js').catch((error) => {
    throw new TulleError(`this is ${kind}, and the converter cannot be loaded (${messageOf(error)}): convert it beforehand, `
      + 'with `tulle convert`', { cause: error });
  });
  const path = isA(source, 'File') ? /** @type {File} */ (source).name : isA(source, 'String', 'URL') ? String(source) : '';
  const name = path.replace(/[?#].*/, '').split('/').at(-1) || 'model';
  return convertForLoad(bytes, { name, ...options }, kind, cache === true);
}

/**
 * ONNX files have no identifier, but begin with the number of their format, a protobuf field, and what made them.
 * @param {Uint8Array} bytes
 */
function foreignKind(bytes) {
  const identifier = String.fromCharCode(...bytes.subarray(4, 8));
  if (identifier === 'TFL3') return 'a TFLite file';
  return bytes[0] === 0x08 && bytes[1] < 32 && [0x12, 0x3a].includes(bytes[2]) ? 'an ONNX file' : undefined;
}

/**
 * @param {import('./wasm.js').CInfo} info
 * @returns {string[]} a note for each image input that would get pixels as they are, or divided by too little
 */
function aboutNormalisation({ inputs }) {
  return inputs.filter(({ rgba8 }) => rgba8).flatMap(({ name, mean, std }) => {
    if (mean === 0 && std === 1) {
      return `no normalisation is stored for input ${JSON.stringify(name)}, so pixels go in as 0 to 255; if the model was trained `
        + 'on other numbers, convert it with --input-mean and --input-std';
    }
    return std > 0 && std < 1 ? `input ${JSON.stringify(name)} gets (pixel - ${mean}) / ${std} of pixels from 0 to 255; a mean `
      + 'and std of pixels from 0 to 1 are to be multiplied by 255' : [];
  });
}

/**
 * @param {unknown} source
 * @returns {string} how errors name it
 */
function describe(source) {
  if (typeof source === 'string' || isA(source, 'URL')) return String(source);
  if (isA(source, 'Blob', 'File')) return 'the model in a Blob';
  if (isBuffer(source)) return 'the model in memory';
  throw new TulleError(`load() takes a URL, a Blob, an ArrayBuffer or a typed array, not ${describeType(source)}`);
}

/**
 * @param {unknown} value
 * @param {string[]} names
 */
const isA = (value, ...names) => names.includes(typeName(value));

/**
 * The bytes of the file, in a separate buffer.
 * @param {string | URL | Blob | ArrayBuffer | ArrayBufferView} source
 * @param {string} what
 * @param {Pick<LoadOptions, 'onProgress' | 'signal'> & { timeout: number, limits: Required<Limits> }} options
 * @returns {Promise<{ bytes: Uint8Array<ArrayBuffer>, from: string }>} and how errors name it from now on
 */
async function read(source, what, { onProgress, limits, ...options }) {
  if (isBuffer(source)) return { bytes: copy(source, what, limits), from: what };
  try {
    if (isA(source, 'Blob', 'File')) {
      checkFile(/** @type {Blob} */ (source).size, limits);
      return { bytes: new Uint8Array(await /** @type {Blob} */ (source).arrayBuffer()), from: what };
    }
    return await fetched(String(source), options, async (response, progress) => ({
      bytes: await download(response, progress, limits, onProgress),
      from: response.redirected ? `${what} (redirected to ${response.url})` : what,
    }));
  } catch (error) {
    stopIfAborted(options.signal, what);
    throw new TulleError(`cannot fetch ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * @param {ArrayBuffer | ArrayBufferView} source
 * @param {string} what
 * @param {Required<Limits>} limits
 */
function copy(source, what, limits) {
  const bytes = bytesOf(source, what);
  try {
    checkFile(bytes.length, limits);
  } catch (error) {
    throw new TulleError(`cannot load ${what}: ${messageOf(error)}`);
  }
  return new Uint8Array(bytes); // Uint8Array.from() takes ten times as long
}

/**
 * @param {Response} response
 * @param {() => void} progress
 * @param {Required<Limits>} limits
 * @param {LoadOptions['onProgress']} onProgress
 */
async function download(response, progress, limits, onProgress) {
  // If the response is compressed, Content-Length counts the compressed bytes.
  const length = response.headers.has('Content-Encoding') ? 0 : Number(response.headers.get('Content-Length'));
  checkFile(length, limits);
  return readBytes(response, (loaded) => {
    progress();
    checkFile(loaded, limits);
    onProgress?.({ loaded, total: loaded > length ? 0 : length });
  });
}

/**
 * @param {AbortSignal | undefined} signal
 * @param {string} what
 */
function stopIfAborted(signal, what) {
  if (!signal?.aborted) return;
  throw new TulleError(`loading ${what} was aborted: ${messageOf(signal.reason)}`, { cause: signal.reason });
}
