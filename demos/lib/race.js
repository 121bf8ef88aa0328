// The measurement: several networks in one engine take turns on the same pixels, and their times.

import { load } from '../../web/src/index.js';
import { modelUrl } from './models.js';
import { OperationTimes } from './operations.js';

/** @typedef {import('./models.js').ModelFacts} ModelFacts */
/** @typedef {import('../../web/src/index.js').Model} Model */
/** @typedef {Record<string, Float32Array>} Outputs by output name */

/**
 * @typedef {object} Runner
 * @property {ModelFacts} facts
 * @property {Model} model
 * @property {number} loadTime milliseconds from load() to ready; the first network's includes starting the engine
 * @property {OperationTimes} operations
 */

const WARM_UP = 10; // runs before timing, during which the browser's optimising compiler finishes

export class Race {
  /** In the order they were loaded. @type {Runner[]} */
  runners = [];
  #frames = 0;

  /**
   * Loads the networks, after closing those loaded before.
   * @param {ModelFacts[]} networks
   * @param {{ threads?: number, variant?: 'simd' | 'relaxed' }} options left out: what suits this device
   * @param {(facts: ModelFacts) => void} onStart called before each
   */
  async load(networks, options, onStart) {
    await this.close();
    for (const facts of networks) {
      onStart(facts);
      await this.add(facts, options);
    }
  }

  /**
   * Loads another network. Give all of them the same options, so that they share an engine.
   * @param {ModelFacts} facts
   * @param {{ threads?: number, variant?: 'simd' | 'relaxed' }} [options]
   */
  async add(facts, options) {
    const start = performance.now();
    const model = await load(modelUrl(facts), options);
    this.runners.push({ facts, model, loadTime: performance.now() - start, operations: new OperationTimes() });
  }

  /** @param {ImageData} input */
  async warmUp(input) {
    for (let i = 0; i < WARM_UP; i++) await this.runAll(input);
  }

  /**
   * Runs all networks without timing them.
   * @param {ImageData} input
   * @returns {Promise<Map<Runner, Outputs>>}
   */
  async runAll(input) {
    const outputs = new Map();
    for (const runner of this.runners) outputs.set(runner, await runner.model.run(input));
    return outputs;
  }

  /**
   * Runs all networks, one after the other, and times each. A time includes sending the pixels to the engine's
   * worker and the outputs back.
   * @param {ImageData} input
   * @returns {Promise<{ outputs: Map<Runner, Outputs>, took: Map<Runner, number> }>} milliseconds
   */
  async frame(input) {
    const first = this.#frames++ % this.runners.length; // so that none always follows the same other one
    const order = [...this.runners.slice(first), ...this.runners.slice(0, first)];
    if (this.#frames % 2) order.reverse();
    const outputs = new Map();
    const took = new Map();
    for (const runner of order) {
      const start = performance.now();
      outputs.set(runner, await runner.model.run(input));
      took.set(runner, performance.now() - start);
      // profile() is another run, so not after each.
      if (this.#frames % 4 === 1) runner.operations.push(await runner.model.profile());
    }
    return { outputs, took };
  }

  async close() {
    for (const { model } of this.runners.splice(0)) await model.close();
  }
}
