// The page side of bench/kernels.py, which drives it through `window.kernels`: one page for each wasm build.
import { load } from '../../web/src/index.js';

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The first model stays open: an engine is shut down with its last model, and its compiled code is lost. */
let first;

window.kernels = {
  /**
   * The profile of every one of `runs` inferences, after at least `warmup` milliseconds and 5 inferences that are not
   * counted: `steps` as model.profile() lists them, `milliseconds[run][step]`.
   */
  async measure({ url, variant, warmup, runs }) {
    const bytes = await fetchBytes(url);
    const model = await load(bytes, { threads: 1, variant });
    first ??= model;
    const values = Float32Array.from({ length: model.inputs[0].shape.reduce((a, b) => a * b) }, (_, i) => (i % 97) / 97);
    const begin = performance.now();
    for (let i = 0; i < 5 || performance.now() - begin < warmup; i++) await model.run(values);
    const profiles = [];
    for (let i = 0; i < runs; i++) profiles.push(await model.profile());
    const milliseconds = profiles.map((rows) => rows.map(({ ms }) => ms));
    const steps = profiles[0].map(({ name, op, kernel, path, macs }) => ({ name, op, kernel, path, macs }));
    if (model !== first) await model.close();
    return { steps, milliseconds };
  },

  /** The shortest of `runs` times, in milliseconds, that the module of harness/peak.py takes for `rounds` rounds. */
  async peak({ url, rounds, runs }) {
    const { instance } = await WebAssembly.instantiate(await fetchBytes(url));
    let best = Infinity;
    for (let i = 0; i < runs; i++) {
      const begin = performance.now();
      instance.exports.run(rounds);
      best = Math.min(best, performance.now() - begin);
      await new Promise((resolve) => setTimeout(resolve)); // lets the optimised code take over
    }
    return best;
  },
};
