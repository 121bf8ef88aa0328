// The measurement: two networks loaded into one engine, run in turn on the same pixels, and what that took.

import { load } from '../../web/src/index.js';
import { MovingAverage, Timeline } from './timing.js';
import { groupTimes } from './operations.js';

/** @typedef {'dense' | 'sparse'} Side */
/** @typedef {Record<string, Float32Array>} Outputs by output name */
/** @typedef {import('../../web/src/index.js').Model} Model */

/** @type {readonly Side[]} */
export const SIDES = ['dense', 'sparse'];

/** Names of the networks' outputs, the same in both. */
export const OUTPUT = { landmarks: 'Identity', presence: 'Identity_1', handedness: 'Identity_2' };

const WARM_UP = 10; // runs before timing, in which the browser compiles the kernels anew, optimised

export class Comparison {
  timeline = new Timeline();
  /** Milliseconds from `load()` to ready; the dense one, loaded first, starts the engine too. @type {Record<Side, number>} */
  loadTime = { dense: NaN, sparse: NaN };
  /** @type {Record<Side, Model | undefined>} */
  #models = { dense: undefined, sparse: undefined };
  /** Milliseconds by kind of operation. @type {Record<Side, Map<string, MovingAverage>>} */
  #operations = { dense: new Map(), sparse: new Map() };
  #frames = 0;

  /**
   * Loads both networks, after closing those loaded before.
   * @param {Record<Side, string>} urls of the two .tulle files
   * @param {{ threads?: number, variant?: 'simd' | 'relaxed' }} options left out: what suits this device
   * @param {(side: Side) => void} onStart called before each
   */
  async load(urls, options, onStart) {
    await this.close();
    for (const side of SIDES) {
      onStart(side);
      const start = performance.now();
      this.#models[side] = await load(urls[side], options);
      this.loadTime[side] = performance.now() - start;
    }
    const { threads, variant } = this.settings;
    this.timeline.restart(`${threads} ${threads === 1 ? 'thread' : 'threads'}, ${variant}`);
  }

  /** What the engine runs with, which may be less than was asked for. */
  get settings() {
    const model = this.#model('sparse');
    return { threads: model.threads, variant: model.variant };
  }

  /** @param {ImageData} input */
  async warmUp(input) {
    for (let i = 0; i < WARM_UP; i++) await this.runBoth(input);
  }

  /**
   * Runs both networks without timing them.
   * @param {ImageData} input
   * @returns {Promise<Record<Side, Outputs>>}
   */
  async runBoth(input) {
    return { dense: await this.#run('dense', input), sparse: await this.#run('sparse', input) };
  }

  /**
   * Runs both networks, one after the other, and adds their times to the timeline.
   * @param {ImageData} input
   * @returns {Promise<Record<Side, Outputs>>}
   */
  async frame(input) {
    const order = this.#frames++ % 2 ? SIDES : [...SIDES].reverse(); // neither always finds the caches warm
    const outputs = /** @type {Record<Side, Outputs>} */ ({});
    const took = { dense: 0, sparse: 0 };
    for (const side of order) {
      const start = performance.now();
      outputs[side] = await this.#run(side, input);
      took[side] = performance.now() - start;
      this.#addOperations(side);
    }
    this.timeline.push(took.dense, took.sparse);
    return outputs;
  }

  /**
   * Mean milliseconds by kind of operation over the timeline's latest frames.
   * @returns {Record<Side, Map<string, number>>}
   */
  get operations() {
    const means = { dense: new Map(), sparse: new Map() };
    for (const side of SIDES) {
      for (const [kind, average] of this.#operations[side]) means[side].set(kind, average.mean);
    }
    return means;
  }

  async close() {
    for (const side of SIDES) {
      await this.#models[side]?.close();
      this.#models[side] = undefined;
      this.#operations[side].clear();
    }
  }

  /** @param {Side} side that has just run */
  #addOperations(side) {
    const averages = this.#operations[side];
    for (const [kind, time] of groupTimes(this.#model(side).profile())) {
      const average = averages.get(kind) ?? new MovingAverage();
      averages.set(kind, average);
      average.push(time);
    }
  }

  get loaded() {
    return SIDES.every((side) => this.#models[side]);
  }

  /**
   * @param {Side} side
   * @param {ImageData} input
   * @returns {Promise<Outputs>}
   */
  #run(side, input) {
    const model = this.#model(side);
    return model.run({ [model.inputs[0].name]: input });
  }

  /** @param {Side} side */
  #model(side) {
    const model = this.#models[side];
    if (!model) throw new Error(`The ${side} network is not loaded.`);
    return model;
  }
}
