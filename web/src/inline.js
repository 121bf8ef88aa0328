// An engine in the calling thread, instead of an engine worker.

import { createEngine } from './calls.js';

/** Has the part of Worker's interface that remote.js uses. */
export class InlineWorker {
  /** @type {((event: { data: import('./calls.js').Reply }) => void) | null} */
  onmessage = null;
  // Never called here, only for workers: in this thread errors are part of the answer.
  onmessageerror = null;
  onerror = null;
  /** @type {ReturnType<typeof createEngine> | undefined} */
  #answer = createEngine((library) => { this.library = library; });
  /** Once it is started: for who calls the C library in this thread. @type {import('./library.js').Library | undefined} */
  library;

  /**
   * Carries out the call and answers before it returns, unless that takes time (calls.js).
   * @param {any} request a Request of calls.js
   * @param {Transferable[]} _transfer stays where it is
   */
  postMessage(request, _transfer) {
    const reply = this.#answer?.(request);
    if (reply instanceof Promise) reply.then((data) => this.onmessage?.({ data }));
    else if (reply) this.onmessage?.({ data: reply });
  }

  /** Releases the wasm memory, which nothing else references. */
  terminate() {
    this.#answer = undefined;
    this.library = undefined;
  }
}
