// The page's side of an engine: starts its workers, sends it calls, and notices when it crashes. Without a worker
// (inline.js) the engine runs in this thread; everything else is the same.

import { compile } from './builds.js';
import { TulleError, messageOf } from './errors.js';
import { seconds } from './fetching.js';
import { InlineWorker } from './inline.js';
import { foreignWorker, isForeign, started } from './workers.js';

/**
 * What tells engines apart.
 * @typedef {Pick<import('./support.js').Configuration, 'variant' | 'threads' | 'worker'>} Setup
 */

/**
 * The engines of this page by setup: models loaded alike share one, with its threads and memory.
 * @type {Map<string, RemoteEngine>}
 */
const engines = new Map();

/**
 * The engine of this setup, started if there is none. Each acquire() needs a release().
 * @param {Setup} setup
 * @param {number} timeout milliseconds without an answer after which the engine counts as dead; of several, the longest
 */
export function acquire(setup, timeout) {
  const { variant, threads, worker } = setup;
  const key = `${variant}, ${threads} thread${threads === 1 ? '' : 's'}${worker ? '' : ', no worker'}`;
  const engine = engines.get(key) ?? new RemoteEngine(key, setup, timeout);
  engines.set(key, engine);
  engine.timeout = Math.max(engine.timeout, timeout);
  engine.users += 1;
  return engine;
}

const LOOKS = 4;
const MOST_TIMEOUT = 2 ** 31; // four times what setTimeout takes, at most

/** @typedef {{ resolve: (result: any) => void, reject: (error: TulleError) => void }} Pending */

export class RemoteEngine {
  users = 0;
  #key;
  /** The engine worker, which receives the calls, then the pool workers. @type {(Worker | InlineWorker)[]} */
  #workers = [];
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #lastId = 0;
  /** The engine's memory, if this thread shares it. @type {WebAssembly.Memory | undefined} */
  memory;
  /** The word at which the threads sleep. @type {Int32Array | undefined} */
  #bell;
  /** @type {string | undefined} */
  #failure;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watch;
  #answers = 0;

  /**
   * @param {string} key
   * @param {Setup} setup
   * @param {number} timeout
   */
  constructor(key, setup, timeout) {
    this.#key = key;
    this.timeout = timeout;
    /** Resolves when the engine and all its threads are ready. */
    this.started = this.#start(setup).catch((error) => {
      this.#fail(messageOf(error));
      throw error instanceof TulleError ? error : this.#crashed(messageOf(error));
    });
  }

  /**
   * Sends a call to the engine, which answers calls in order.
   * @param {import('./calls.js').CallName} call
   * @param {object} args
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  call(call, args, transfer) {
    return this.#send(this.#workers[0], { call, args }, transfer);
  }

  /** Wakes the engine's worker and threads. That takes a while, so it is called before a run's inputs are prepared. */
  wake() {
    const [engine] = this.#workers;
    if (!(engine instanceof InlineWorker)) engine.postMessage(undefined);
    if (this.#bell) Atomics.notify(this.#bell, 0);
  }

  /** The C library, if the engine is in this thread and runs. */
  get library() {
    const [engine] = this.#workers;
    return engine instanceof InlineWorker && this.#failure === undefined ? engine.library : undefined;
  }

  /** Whether everything asked for has been answered. */
  get idle() {
    return this.#pending.size === 0;
  }

  /** Releases one use. The last release shuts down the engine, its threads and its memory. */
  async release() {
    this.users -= 1;
    return this.users === 0 ? this.#end() : undefined;
  }

  /**
   * Compiles in this thread, so that the build is fetched at the same time as the workers' scripts.
   * @param {Setup} setup
   */
  async #start({ variant, threads, worker }) {
    this.#add(worker ? engineWorker(`tulle engine (${this.#key})`) : new InlineWorker());
    const helpers = Array.from({ length: threads - 1 }, (_, i) =>
      this.#add(threadWorker(`tulle thread ${i + 1} (${this.#key})`)));
    const module = await compile(variant, threads > 1, this.timeout);
    const { stacks, bell, ...shared } = await this.call('start', { module, threads });
    this.memory = shared.memory;
    if (shared.memory) this.#bell = new Int32Array(shared.memory.buffer, bell, 1);
    await Promise.all(helpers.map((worker, i) =>
      this.#send(worker, { args: { module, ...shared, index: i + 1, stack: stacks[i] } })));
  }

  /**
   * @template {Worker | InlineWorker} T
   * @param {T} worker
   */
  #add(worker) {
    worker.onmessage = (/** @type {{ data: import('./calls.js').Reply }} */ { data }) => {
      this.#answers += 1;
      const pending = this.#pending.get(data.id);
      this.#pending.delete(data.id);
      if (!pending) return;
      if (!('error' in data)) pending.resolve(data.result);
      else if (!data.fatal) pending.reject(new TulleError(data.error));
      else {
        pending.reject(this.#crashed(data.error));
        this.#fail(data.error);
      }
    };
    worker.onmessageerror = () => this.#fail('a message could not be read');
    worker.onerror = (event) => {
      event.preventDefault(); // reported through the calls that fail because of it
      this.#fail(event.message || 'a worker script could not be loaded (missing, blocked by COEP or CSP, or in a '
        + 'frame of no origin); with worker: false and one thread tulle needs none');
    };
    this.#workers.push(worker);
    return worker;
  }

  /**
   * @param {Worker | InlineWorker} worker
   * @param {object} message
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  #send(worker, message, transfer = []) {
    if (this.#failure !== undefined) return Promise.reject(this.#crashed(this.#failure));
    const id = (this.#lastId += 1);
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#watch ??= this.#look(0);
      try {
        worker.postMessage({ id, ...message }, transfer);
      } catch (error) {
        this.#pending.delete(id);
        reject(new TulleError(`this cannot be handed to the engine: ${messageOf(error)}`, { cause: error }));
      }
    });
  }

  /**
   * Notices an engine that answers no more, as one whose worker has been ended: no event tells of that. Looks while calls
   * are pending, four times in `timeout`: a computer or page that sleeps, and its workers with it, costs one look only.
   * @param {number} quiet looks without an answer
   */
  #look(quiet) {
    const { timeout } = this;
    const before = this.#answers;
    if (!(timeout < MOST_TIMEOUT)) return undefined;
    return setTimeout(() => {
      this.#watch = undefined;
      if (this.idle) return;
      const again = this.#answers === before ? quiet + 1 : 0;
      if (again < LOOKS) this.#watch = this.#look(again);
      else this.#fail(`it has not answered for ${seconds(timeout)} (the option timeout)`);
    }, timeout / LOOKS);
  }

  /**
   * Discards the engine because its state is unknown: pending calls are rejected, and the next load() starts a new one.
   * @param {string} reason
   */
  #fail(reason) {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    for (const { reject } of this.#pending.values()) reject(this.#crashed(reason));
    this.#pending.clear();
    this.#forget();
    this.#terminate();
  }

  /** Lets the pool workers return first: Chromium gives a sleeping worker 2 s to end, and keeps the memory. */
  async #end() {
    this.#forget();
    try {
      await this.started;
      await this.call('destroy', {});
    } catch {
      // The engine failed in the meantime, which is an end too.
    }
    this.#terminate();
  }

  #forget() {
    if (engines.get(this.#key) === this) engines.delete(this.#key);
  }

  #terminate() {
    clearTimeout(this.#watch);
    for (const worker of this.#workers) worker.terminate();
  }

  /** @param {string} reason */
  #crashed(reason) {
    return new TulleError(`the engine (${this.#key}) stopped: ${reason}; load the model again`);
  }
}

// Bundlers only find worker files in the exact expressions below, and must not find those in foreignWorker.

/** @param {string} name shown in developer tools */
function engineWorker(name) {
  if (isForeign(import.meta.url)) return foreignWorker('./engine.js', import.meta.url, name);
  return started(() => new Worker(new URL('./engine.js', import.meta.url), { type: 'module', name }));
}

/** @param {string} name */
function threadWorker(name) {
  if (isForeign(import.meta.url)) return foreignWorker('./thread.js', import.meta.url, name);
  return started(() => new Worker(new URL('./thread.js', import.meta.url), { type: 'module', name }));
}
