// The converter's worker: starts Pyodide with the first task, and does one task at a time.

import { TulleError, messageOf } from '../errors.js';
import { DEFAULT_TIMEOUT, fetched, readBytes } from '../fetching.js';
import { lastLine, startPython } from './python.js';

/**
 * @typedef {object} Order
 * @property {string} pyodide folder with its files
 * @property {string} archive address of dist/tulle-python.zip
 * @property {import('./python.js').Task} [task] without one Python is only started
 */

/** @type {Promise<import('./python.js').Python> | undefined} */
let python;

self.onmessage = async (/** @type {MessageEvent<Order>} */ { data: { pyodide, archive, task } }) => {
  let fatal = true;
  try {
    python ??= start(pyodide, archive);
    const { run } = await python;
    fatal = false;
    const { result, bytes } = task ? await run(task, onStage) : {};
    self.postMessage({ result, bytes }, { transfer: bytes ? [bytes.buffer] : [] });
  } catch (error) {
    const known = error instanceof TulleError;
    // After anything else, such as memory that ran out, the interpreter cannot be trusted.
    fatal ||= !known;
    self.postMessage({ error: known ? error.message : `the converter failed: ${lastLine(error)}`, fatal });
  }
};

/** @param {import('./python.js').Stage} stage */
const onStage = (stage) => self.postMessage({ stage });

/**
 * @param {string} home
 * @param {string} archive
 */
async function start(home, archive) {
  onStage('pyodide');
  const module = new URL('pyodide.mjs', home).href;
  const bytes = fetchBytes(archive);
  bytes.catch(() => {}); // awaited below
  /** @type {(options: object) => Promise<any>} */
  let loadPyodide;
  try {
    ({ loadPyodide } = await import(/* webpackIgnore: true */ /* @vite-ignore */ module));
  } catch (error) {
    throw new Error(`Pyodide cannot be loaded from ${home}: ${messageOf(error)}; give another address as \`pyodide\`, or `
      + 'convert the file beforehand with `tulle convert`', { cause: error });
  }
  return startPython({ loadPyodide, indexURL: home, archive: await bytes, onStage });
}

/** @param {string} url */
async function fetchBytes(url) {
  try {
    return await fetched(url, { timeout: DEFAULT_TIMEOUT }, (response, progress) => {
      if (response.headers.get('Content-Type')?.startsWith('text/html')) throw new TulleError('the answer is a web page');
      return readBytes(response, progress);
    });
  } catch (error) {
    throw new TulleError(`the converter cannot be loaded from ${url}: ${messageOf(error)}`, { cause: error });
  }
}
