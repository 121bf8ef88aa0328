// tulle: runs sparse convolutional networks in the page. The package's public names, and load().

import { TulleError, messageOf } from './errors.js';
import { Model } from './model.js';
import { acquire } from './remote.js';
import { configure } from './support.js';

export { TulleError } from './errors.js';
export { Model } from './model.js';
export { MAX_THREADS, VARIANTS, support } from './support.js';

/** @typedef {import('./model.js').TensorInfo} TensorInfo */
/** @typedef {import('./model.js').InputInfo} InputInfo */
/** @typedef {import('./model.js').InputData} InputData */
/** @typedef {import('./model.js').ModelInfo} ModelInfo */
/** @typedef {import('./model.js').ProfileRow} ProfileRow */
/** @typedef {import('./support.js').Variant} Variant */

/**
 * @typedef {object} LoadOptions
 * @property {number} [threads] how many threads to run on, the engine's own included: 1 to MAX_THREADS. Default: one
 *   per processor, at most four. A page without cross-origin isolation gets one (`model.threads`, `model.notes`).
 * @property {Variant | 'auto'} [variant] which wasm build; "auto" (the default) takes the fastest the browser can run
 * @property {boolean} [worker] false runs the model in the calling thread, and on one thread unless `threads` says
 *   otherwise. The run is complete when run() returns its promise, and blocks that thread until then. Saves small
 *   models the messages to a worker and back. Meant for your own workers; a page does not respond while load() unpacks
 *   the file and while run() runs.
 * @property {(progress: { loaded: number, total: number }) => void} [onProgress] called as the file arrives, in bytes;
 *   `total` is 0 if the server does not send the size
 * @property {AbortSignal} [signal] cancels loading
 */

/**
 * Loads a `.tulle` model.
 * @param {string | URL | Blob | ArrayBuffer | ArrayBufferView} source where to fetch the file, or its bytes (copied)
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 * @throws {TulleError} (rejects) when the file cannot be fetched or is not a valid model, for options out of range,
 *   when the engine cannot be started, and when `signal` is aborted (`cause` is its reason)
 */
export async function load(source, { threads, variant = 'auto', worker = true, onProgress, signal } = {}) {
  const what = describe(source);
  stopIfAborted(signal, what);
  const configuration = configure(variant, threads, worker);
  const engine = acquire(configuration);
  try {
    const [bytes] = await Promise.all([read(source, what, onProgress, signal), engine.started]);
    stopIfAborted(signal, what);
    const loaded = await engine.call('load', { bytes }, [bytes.buffer]).catch((error) => {
      throw new TulleError(`cannot load ${what}: ${messageOf(error)}`);
    });
    const model = new Model(engine, loaded, configuration);
    if (signal?.aborted) await engine.call('close', { model: loaded.model });
    stopIfAborted(signal, what);
    return model;
  } catch (error) {
    engine.release();
    throw error;
  }
}

/**
 * @param {unknown} source
 * @returns {string} how errors name it
 */
function describe(source) {
  if (typeof source === 'string' || source instanceof URL) return String(source);
  if (source instanceof Blob) return 'the model in a Blob';
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return 'the model in memory';
  throw new TulleError('load() takes a URL, a Blob, an ArrayBuffer or a typed array, '
    + `not ${Object.prototype.toString.call(source).slice('[object '.length, -1)}`);
}

/**
 * The bytes of the file, in a separate buffer.
 * @param {string | URL | Blob | ArrayBuffer | ArrayBufferView} source
 * @param {string} what
 * @param {LoadOptions['onProgress']} onProgress
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function read(source, what, onProgress, signal) {
  if (source instanceof ArrayBuffer) return new Uint8Array(source).slice();
  if (ArrayBuffer.isView(source)) {
    return Uint8Array.from(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
  }
  try {
    if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
    const response = await fetch(source, { signal });
    if (!response.ok) throw new Error(`HTTP ${response.status} ${response.statusText}`);
    return await download(response, onProgress);
  } catch (error) {
    stopIfAborted(signal, what);
    throw new TulleError(`cannot fetch ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * @param {Response} response
 * @param {LoadOptions['onProgress']} onProgress
 */
async function download(response, onProgress) {
  if (!onProgress || !response.body) return new Uint8Array(await response.arrayBuffer());
  // If the response is compressed, Content-Length counts the compressed bytes.
  const length = response.headers.has('Content-Encoding') ? 0 : Number(response.headers.get('Content-Length'));
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const chunks = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    loaded += value.length;
    onProgress({ loaded, total: loaded > length ? 0 : length });
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/**
 * @param {AbortSignal | undefined} signal
 * @param {string} what
 */
function stopIfAborted(signal, what) {
  if (!signal?.aborted) return;
  throw new TulleError(`loading ${what} was aborted: ${messageOf(signal.reason)}`, { cause: signal.reason });
}
