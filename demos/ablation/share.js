// The share of time that dense networks spend in 1×1 convolutions, measured in this browser on one thread.

import { load } from '../../web/src/index.js';
import { MovingAverage } from '../lib/meter.js';
import { KINDS, OperationTimes, POINTWISE } from '../lib/operations.js';

/**
 * A network in share.json, which scripts/demo_share.py writes.
 * @typedef {object} ShareNetwork
 * @property {string} name
 * @property {string} title
 * @property {string} paper
 * @property {string} file gzip of a .tulle file whose weights repeat
 * @property {number} bytes
 * @property {number} unpacked bytes
 * @property {number} article the article's figure, 0 to 1
 */

/**
 * @typedef {object} Share
 * @property {number} pointwise share of 1×1 convolutions, 0 to 1
 * @property {number} ms median of a run
 * @property {Map<string, number>} times median milliseconds for each of KINDS
 */

const MODELS = new URL('../models/', import.meta.url);
const WARM_UP = 5; // runs
const RUNS = 20;

/** @returns {Promise<ShareNetwork[]>} */
export async function loadNetworks() {
  const response = await fetch(new URL('share.json', MODELS));
  if (!response.ok) throw new Error('The networks of this table have not been made yet: run `make demo` in the checkout.');
  return (await response.json()).networks;
}

/**
 * @param {ShareNetwork} network
 * @param {'simd' | 'relaxed' | undefined} variant
 * @returns {Promise<Share>}
 */
export async function measureShare({ file }, variant) {
  const response = await fetch(new URL(file, MODELS));
  if (!response.ok) throw new Error(`${file} could not be loaded: HTTP ${response.status}.`);
  const packed = await response.blob();
  const unpacked = await new Response(packed.stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();
  const model = await load(unpacked, { threads: 1, variant });
  try {
    const [{ shape }] = model.inputs;
    const input = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < input.length; i++) input[i] = Math.random();
    const operations = new OperationTimes();
    const whole = new MovingAverage();
    for (let i = 0; i < WARM_UP; i++) await model.run(input);
    for (let i = 0; i < RUNS; i++) {
      const start = performance.now();
      await model.run(input);
      whole.push(performance.now() - start);
      operations.push(await model.profile());
      await new Promise(requestAnimationFrame);
    }
    const times = operations.medians;
    const total = KINDS.reduce((sum, kind) => sum + (times.get(kind) ?? 0), 0);
    return { pointwise: (times.get(POINTWISE) ?? 0) / total, ms: whole.median, times };
  } finally {
    await model.close();
  }
}
