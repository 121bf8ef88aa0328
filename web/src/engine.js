// The engine worker: holds the wasm instance and its models, and answers the page's calls one after another.

import { TulleError, messageOf } from './errors.js';
import { Library, createSharedMemory, instantiate } from './wasm.js';

/**
 * What the page asks: `call` names a function of `calls`, `args` is its argument.
 * @typedef {{ id: number, call: keyof typeof calls, args: any }} Request
 *
 * What it is answered: the result or, where the call failed, why. After a fatal error (a trap, a bug) the engine's
 * state is unknown and the page drops it.
 * @typedef {{ id: number, result: any } | { id: number, error: string, fatal: boolean }} Reply
 */

/** @type {Library} */
let library;

const calls = {
  /**
   * Called once, first. With threads, `stacks` are the stack pointers of pool workers 1, 2, ..., which the page starts.
   * @param {{ module: WebAssembly.Module, threads: number }} args
   */
  async start({ module, threads }) {
    const shared = threads > 1 ? createSharedMemory() : undefined;
    const exports = await instantiate(module, shared);
    library = new Library(exports, /** @type {WebAssembly.Memory} */ (shared ?? exports.memory), threads);
    const stacks = Array.from({ length: library.threads - 1 }, (_, i) => library.workerStack(i + 1));
    return { result: { memory: shared, engine: library.pointer, stacks } };
  },

  /** @param {{ bytes: Uint8Array }} args */
  load({ bytes }) {
    return { result: { ...library.load(bytes), memoryBytes: library.memoryBytes } };
  },

  /**
   * Gives the inputs' buffers back, to be filled again.
   * @param {{ model: number, inputs: (Float32Array<ArrayBuffer> | import('./wasm.js').Pixels)[] }} args
   */
  run({ model, inputs }) {
    const { outputs, milliseconds } = library.run(model, inputs);
    const buffers = inputs.map((data) => (data instanceof Float32Array ? data : data.pixels).buffer);
    return {
      result: { outputs, milliseconds, buffers, memoryBytes: library.memoryBytes },
      transfer: [...outputs.map((output) => output.buffer), ...buffers],
    };
  },

  /** @param {{ model: number }} args */
  close({ model }) {
    library.free(model);
    return { result: undefined };
  },

  /** Lets the pool workers return. The last call. */
  destroy() {
    library.destroy();
    return { result: undefined };
  },
};

self.onmessage = async (/** @type {MessageEvent<Request>} */ { data: { id, call, args } }) => {
  try {
    /** @type {{ result: any, transfer?: Transferable[] }} */
    const { result, transfer } = await calls[call](args);
    self.postMessage({ id, result }, { transfer });
  } catch (error) {
    self.postMessage({ id, error: messageOf(error), fatal: !(error instanceof TulleError) });
  }
};
