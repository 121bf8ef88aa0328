// The engine worker: answers the page's calls one after another.

import { createEngine } from './calls.js';

const answer = createEngine();

self.onmessage = async (/** @type {MessageEvent<import('./calls.js').Request>} */ { data: request }) => {
  const reply = await answer(request);
  if (request.call !== 'run' || 'error' in reply) {
    self.postMessage(reply);
    return;
  }
  const { outputs } = reply.result;
  /** @type {(Float32Array | import('./wasm.js').Pixels)[]} */
  const inputs = request.args.inputs;
  // The inputs' buffers are returned for reuse.
  const buffers = inputs.map((input) => ('data' in input ? input.data : input).buffer);
  const transfer = [...outputs.map((/** @type {Float32Array} */ output) => output.buffer), ...buffers];
  self.postMessage({ ...reply, result: { ...reply.result, buffers } }, { transfer });
};
