// The engine's side of calls: holds the wasm instance and its models, in a worker (engine.js) or not (inline.js).

import { TulleError, messageOf } from './errors.js';
import { Library } from './library.js';
import { createSharedMemory, instantiate } from './wasm.js';

/** @typedef {'start' | 'load' | 'run' | 'profile' | 'close' | 'destroy'} CallName */

/**
 * A request: `args` is the argument of the call of that name.
 * @typedef {{ id: number, call: CallName, args: any }} Request
 *
 * The answer: the result or, if the call failed, the reason. After a fatal error (a trap, a bug) the engine's state is
 * unknown, and the caller discards it.
 * @typedef {{ id: number, result: any } | { id: number, error: string, fatal: boolean }} Reply
 */

/** `ms`: of the run itself, without what came before it.
 * @typedef {{ outputs: import('./wasm.js').Elements[], ms: number, memoryBytes: number }} RunResult */

/**
 * A new engine, as the function that answers requests to it, in the order they come: with a promise for `start`, runs on
 * pictures that take time to read, and whatever comes while one of these is under way; at once otherwise.
 * @param {(library: Library) => void} [started] is given the library as soon as there is one, for calls without a queue
 * @returns {(request: Request) => Reply | Promise<Reply>}
 */
export function createEngine(started) {
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
      started?.(library);
      const stacks = Array.from({ length: library.threads - 1 }, (_, i) => library.workerStack(i + 1));
      return { memory: shared, engine: library.pointer, stacks, bell: library.bell };
    },

    /** @param {{ bytes: Uint8Array, limits: Required<import('./limits.js').Limits>, integers: boolean }} args */
    load({ bytes, limits, integers }) {
      return { ...library.load(bytes, limits, integers), memoryBytes: library.memoryBytes };
    },

    /** @param {{ model: number, inputs: import('./wasm.js').Input[] }} args */
    run({ model, inputs }) {
      /** @type {import('./wasm.js').ReadInput[]} */
      const ready = [];
      /** @returns {RunResult | Promise<RunResult>} */
      const proceed = () => {
        while (ready.length < inputs.length) {
          const reading = library.read(inputs[ready.length]);
          if (reading instanceof Promise) return reading.then((input) => (ready.push(input), proceed()));
          ready.push(reading);
        }
        const start = performance.now();
        const outputs = library.run(model, ready);
        return { outputs, ms: performance.now() - start, memoryBytes: library.memoryBytes };
      };
      const release = () => library.release(ready);
      return afterwards(proceed, release);
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

  /** What takes time and is not done yet. @type {Promise<Reply> | undefined} */
  let pending;
  return (request) => {
    const reply = pending ? pending.then(() => carryOut(request)) : carryOut(request);
    if (reply instanceof Promise) {
      pending = reply;
      reply.then(() => { if (pending === reply) pending = undefined; });
    }
    return reply;
  };

  /** @param {Request} request @returns {Reply | Promise<Reply>} */
  function carryOut({ id, call, args }) {
    const failed = (/** @type {unknown} */ error) => {
      const fatal = !(error instanceof TulleError);
      const why = fatal && library?.lastError; // a trap itself has no message
      return { id, error: why ? `${messageOf(error)}: ${why}` : messageOf(error), fatal };
    };
    try {
      const result = calls[call](args);
      return result instanceof Promise ? result.then((result) => ({ id, result }), failed) : { id, result };
    } catch (error) {
      return failed(error);
    }
  }
}

/**
 * What `action` gives, at once or as a promise; `then` is called when it is done, also if it fails.
 * @template T
 * @param {() => T | Promise<T>} action
 * @param {() => void} then
 * @returns {T | Promise<T>}
 */
function afterwards(action, then) {
  let result;
  try {
    result = action();
  } catch (error) {
    then();
    throw error;
  }
  if (result instanceof Promise) return result.finally(then);
  then();
  return result;
}
