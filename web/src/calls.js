// The engine's side of calls: holds the wasm instance and its models, in a worker (engine.js) or not (inline.js).

import { TulleError, messageOf } from './errors.js';
import { Library, createSharedMemory, instantiate } from './wasm.js';

/** @typedef {'start' | 'load' | 'run' | 'profile' | 'close' | 'destroy'} CallName */

/**
 * A request: `args` is the argument of the call of that name.
 * @typedef {{ id: number, call: CallName, args: any }} Request
 *
 * The answer: the result or, if the call failed, the reason. After a fatal error (a trap, a bug) the engine's state is
 * unknown, and the caller discards it.
 * @typedef {{ id: number, result: any } | { id: number, error: string, fatal: boolean }} Reply
 */

/**
 * A new engine, as the function that answers requests to it. Every call but `start` has been carried out when that
 * function returns its promise.
 * @returns {(request: Request) => Promise<Reply>}
 */
export function createEngine() {
  /** @type {Library} */
  let library;

  /** @type {Record<CallName, (args: any) => any>} */
  const calls = {
    /**
     * Called once, first. With threads, `stacks` are the stack pointers of pool workers 1, 2, ..., which remote.js
     * starts.
     * @param {{ module: WebAssembly.Module, threads: number }} args
     */
    async start({ module, threads }) {
      const shared = threads > 1 ? createSharedMemory() : undefined;
      const exports = await instantiate(module, shared);
      library = new Library(exports, /** @type {WebAssembly.Memory} */ (shared ?? exports.memory), threads);
      const stacks = Array.from({ length: library.threads - 1 }, (_, i) => library.workerStack(i + 1));
      return { memory: shared, engine: library.pointer, stacks, bell: library.bell };
    },

    /** @param {{ bytes: Uint8Array }} args */
    load({ bytes }) {
      return { ...library.load(bytes), memoryBytes: library.memoryBytes };
    },

    /** @param {{ model: number, inputs: (Float32Array | import('./wasm.js').Pixels)[] }} args */
    run({ model, inputs }) {
      return { outputs: library.run(model, inputs), memoryBytes: library.memoryBytes };
    },

    /** @param {{ model: number }} args */
    profile({ model }) {
      return library.profile(model);
    },

    /** @param {{ model: number }} args */
    close({ model }) {
      library.free(model);
    },

    /** Lets the pool workers return. The last call. */
    destroy() {
      library.destroy();
    },
  };

  return async ({ id, call, args }) => {
    try {
      return { id, result: await calls[call](args) };
    } catch (error) {
      return { id, error: messageOf(error), fatal: !(error instanceof TulleError) };
    }
  };
}
