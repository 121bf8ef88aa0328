// An engine in the calling thread, in place of an engine worker.

import { createEngine } from './calls.js';

/** What remote.js uses of a Worker. */
export class InlineWorker {
  /** @type {((event: { data: import('./calls.js').Reply }) => void) | null} */
  onmessage = null;
  // What follows happens to workers only: here, errors are part of the answer.
  onmessageerror = null;
  onerror = null;
  /** @type {ReturnType<typeof createEngine> | undefined} */
  #answer = createEngine();

  /**
   * Carries out the call before it returns (`start` apart) and answers after, as a worker does.
   * @param {any} request a Request of calls.js
   * @param {Transferable[]} _transfer stays where it is
   */
  async postMessage(request, _transfer) {
    const data = await this.#answer?.(request);
    if (data) this.onmessage?.({ data });
  }

  /** Lets go of the wasm memory, which nothing else holds. */
  terminate() {
    this.#answer = undefined;
  }
}
