// A pool worker: another instance on the engine's shared memory, which waits in C for tasks.

import './errors.js'; // at once, as in index.js
import { instantiate } from './wasm.js';

/**
 * @typedef {object} ThreadStart
 * @property {WebAssembly.Module} module
 * @property {WebAssembly.Memory} memory
 * @property {number} engine address of the tulle_engine
 * @property {number} index of this worker, from 1 up
 * @property {number} stack what the stack pointer is set to before any C runs here
 */

self.onmessage = async (/** @type {MessageEvent<{ id: number, args: ThreadStart }>} */ { data: { id, args } }) => {
  const { module, memory, engine, index, stack } = args;
  /** @type {import('./wasm.js').Exports | undefined} */
  let exports;
  try {
    exports = await instantiate(module, memory);
    /** @type {WebAssembly.Global} */ (exports.__stack_pointer).value = stack;
    self.postMessage({ id, result: undefined });
    exports.tulle_engine_worker(engine, index);
  } catch (error) {
    // For a thread that computes now and hears no events, as the page's own.
    exports?.tulle_engine_worker_failed(engine);
    // Outside of this promise an error becomes the worker's `error` event, which the page gets even while the engine
    // waits for this thread.
    setTimeout(() => { throw error; });
  }
};
