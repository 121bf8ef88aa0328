// The converter's worker: starts Pyodide with the first task, and does one task at a time.

import { TulleError, messageOf } from '../errors.js';
import { lastLine, startPython } from './python.js';

/** @typedef {{ pyodide: string, archive: string, task: import('./python.js').Task }} Order */

/** @type {Promise<import('./python.js').Python> | undefined} */
let python;

self.onmessage = async (/** @type {MessageEvent<Order>} */ { data: { pyodide, archive, task } }) => {
  let fatal = true;
  try {
    python ??= start(pyodide, archive);
    const { run } = await python;
    fatal = false;
    const { result, bytes } = await run(task, onStage);
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
  const response = await fetch(url).catch((error) => {
    throw new Error(`the converter cannot be loaded from ${url}: ${messageOf(error)}`);
  });
  if (!response.ok) throw new Error(`the converter cannot be loaded from ${url}: HTTP ${response.status}`);
  return response.arrayBuffer();
}
