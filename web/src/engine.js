// The engine worker: answers the page's calls one after another.

import { createEngine } from './calls.js';
// All at once, as in index.js.
import './errors.js';
import './library.js';
import './options.js';
import './pictures.js';
import './types.js';
import './wasm.js';

const answer = createEngine();

self.onmessage = async (/** @type {MessageEvent<import('./calls.js').Request | undefined>} */ { data: request }) => {
  if (!request) return; // only to wake this thread
  const reply = await answer(request);
  if (request.call !== 'run' || 'error' in reply) {
    self.postMessage(reply);
    return;
  }
  const { outputs } = reply.result;
  /** @type {import('./wasm.js').Input[]} */
  const inputs = request.args.inputs;
  // The inputs' buffers are returned for reuse.
  const buffers = inputs.map(bufferOf);
  const transfer = [...outputs.map((/** @type {import('./wasm.js').Elements} */ it) => it.buffer), ...buffers.filter((it) => it)];
  self.postMessage({ ...reply, result: { ...reply.result, buffers } }, { transfer });
};

/** @param {import('./wasm.js').Input} input */
function bufferOf(input) {
  if ('placed' in input) return undefined;
  const bytes = 'picture' in input ? input.picture : input;
  return 'buffer' in bytes ? bytes.buffer : 'data' in bytes ? bytes.data.buffer : undefined;
}
