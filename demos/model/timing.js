// Times of models on this device.

/** @typedef {import('../../web/src/index.js').Model} Model */

const WARM_UP = 5; // runs during which the browser's optimising compiler finishes
const RUNS = 40;
const ENOUGH = 2000; // milliseconds of runs, after which fewer do
const FEWEST = 5;

/**
 * Random numbers for every input, 0 to 1.
 * @param {Model} model
 * @returns {Record<string, Float32Array>}
 */
export function noise(model) {
  return Object.fromEntries(model.inputs.map(({ name, shape }) =>
    [name, Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, Math.random)]));
}

/**
 * Median milliseconds of models that take turns. A time includes sending the input to the engine's worker and the outputs
 * back.
 * @param {Model[]} models with the same inputs
 * @param {() => void} check called before each run; throws to stop
 * @returns {Promise<{ medians: number[], runs: number }>}
 */
export async function takeTurns(models, check) {
  const input = noise(models[0]);
  /** @type {number[][]} */
  const times = models.map(() => []);
  const start = performance.now();
  for (let run = -WARM_UP; run < RUNS; run++) {
    if (run >= FEWEST && performance.now() - start > ENOUGH * models.length) break;
    for (const [index, model] of models.entries()) {
      check();
      const before = performance.now();
      await model.run(input);
      if (run >= 0) times[index].push(performance.now() - before);
    }
  }
  return { medians: times.map(median), runs: times[0].length };
}

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
