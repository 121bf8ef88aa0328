// Calls of functions in a worker: the page's side and the worker's. Whatever is under way fails when the worker does.

import { TulleError, messageOf } from './errors.js';
import { typeName } from './types.js';

/**
 * @typedef {{ id: number, call: string, args: any }} Request
 * @typedef {{ id: number, result: any } | { id: number, error: string, fatal: boolean }} Reply `fatal`: the worker's state
 *   is unknown, and it is not to be used any more
 */

/** A worker whose functions can be called, until it ends. */
export class WorkerCalls {
  #name;
  #worker;
  #onEnd;
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: TulleError) => void }>} */
  #pending = new Map();
  #lastId = 0;
  /** @type {string | undefined} */
  #failure;

  /**
   * @param {string} name of the class that owns the worker, for errors
   * @param {Worker} worker
   * @param {object} [handlers]
   * @param {(event: any) => void} [handlers.onEvent] takes what the worker sends without being asked
   * @param {(error: TulleError) => void} [handlers.onEnd] called if the worker ends by itself
   */
  constructor(name, worker, { onEvent, onEnd } = {}) {
    this.#name = name;
    this.#worker = worker;
    this.#onEnd = onEnd;
    worker.onmessage = ({ data }) => ('event' in data ? onEvent?.(data) : this.#settle(data));
    worker.onmessageerror = () => this.fail('the worker sent what cannot be read');
    worker.onerror = (event) => {
      event.preventDefault(); // reported through the calls it makes fail
      this.fail(event.message || 'the worker script could not be loaded (missing, or blocked by COEP or CSP)');
    };
  }

  /** Whether the worker has ended, or is about to. */
  get ended() {
    return this.#failure !== undefined;
  }

  /**
   * @param {string} call
   * @param {object} args
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  call(call, args, transfer = []) {
    if (this.#failure !== undefined) return Promise.reject(new TulleError(this.#failure));
    const id = (this.#lastId += 1);
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      try {
        this.#worker.postMessage({ id, call, args }, transfer);
      } catch (error) {
        this.#pending.delete(id);
        reject(new TulleError(`this cannot be handed to the worker of the ${this.#name}: ${messageOf(error)}`, { cause: error }));
      }
    });
  }

  /** Ends the worker after the calls already made; its last one is "close". @returns {Promise<void>} */
  async close() {
    if (this.#failure !== undefined) return;
    const closing = this.call('close', {});
    this.#failure = `the ${this.#name} is closed`;
    await closing.catch(() => {}); // it crashed meanwhile, which is an end too
    this.#worker.terminate();
  }

  /** Ends the worker now. @param {string} reason why nothing can be called any more */
  fail(reason) {
    const alone = this.#failure === undefined;
    this.#failure ??= `the ${this.#name} stopped: ${reason}; create another one`;
    const error = new TulleError(this.#failure);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#worker.terminate();
    if (alone) this.#onEnd?.(error);
  }

  /** @param {Reply} reply */
  #settle(reply) {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (!('error' in reply)) {
      pending?.resolve(reply.result);
      return;
    }
    pending?.reject(new TulleError(reply.error));
    if (reply.fatal) this.fail(reply.error);
  }
}

/**
 * A model for the worker, whose address is another one.
 * @param {string | URL | Blob | ArrayBuffer | ArrayBufferView} source
 */
export function sendable(source) {
  return typeof source === 'string' || typeName(source) === 'URL' ? new URL(/** @type {string} */ (source), location.href).href : source;
}

/** Milliseconds that pool threads are given to end. */
const ENDING = 100;

/** Chromium 156 never ends a worker that is terminated while workers of its own are still ending. */
const workersEnd = () => new Promise((resolve) => { setTimeout(resolve, ENDING); });

/**
 * In a worker: answers calls one after the other, in their order. What is no TulleError is fatal.
 * @param {Record<string, (args: any) => any>} calls by name; "close" comes last
 * @param {(result: any) => Transferable[]} [transferred] what of a result is handed over
 */
export function answerCalls(calls, transferred = () => []) {
  /** @type {Promise<unknown>} */
  let turn = Promise.resolve();
  self.onmessage = (/** @type {MessageEvent<Request>} */ { data: { id, call, args } }) => {
    turn = turn.then(() => calls[call](args)).then(async (result) => {
      if (call === 'close') await workersEnd();
      self.postMessage({ id, result }, { transfer: transferred(result) });
    }).catch(async (error) => {
      if (call === 'create') await workersEnd();
      self.postMessage({ id, error: messageOf(error), fatal: !(error instanceof TulleError) });
    });
  };
}
