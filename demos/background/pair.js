// The measurement: a dense and a sparse network on the same pixels, and the picture made with their masks.

import { MatteMaker, Segmenter, createCompositor, intersectionOverUnion } from '../lib/segment/index.js';
import { Meter } from '../lib/meter.js';

/** @typedef {'dense' | 'sparse'} Side */
/** @typedef {'split' | Side} View */
/** @typedef {import('../lib/segment/index.js').Compositor} Compositor */
/** @typedef {import('../lib/segment/index.js').Effect} Effect */

/** @type {readonly Side[]} */
export const SIDES = ['dense', 'sparse'];

/** Stages of a frame. "dense" and "sparse" are the networks' inferences. */
export const STAGES = /** @type {const} */ (['capture', 'prepare', 'dense', 'sparse', 'composite']);

const WARM_UP = 8; // runs before timing, during which the browser's optimising compiler finishes

/**
 * @typedef {object} Look
 * @property {View} view "split": dense to the left of `divider`, sparse to its right; else one network alone
 * @property {number} divider 0 to 1
 * @property {Effect} effect
 * @property {number} blur see Layer in lib/segment/composition.js
 * @property {boolean} soft
 */

/**
 * @typedef {object} Result
 * @property {ImageData} input what the networks saw
 * @property {Partial<Record<Side, Float32Array>>} masks of the networks that ran
 * @property {number | undefined} iou of the two masks, where both ran
 * @property {Partial<Record<Side, number>>} milliseconds of the inferences
 */

export class Pair {
  meter = new Meter(STAGES);
  /** @type {Compositor} */
  compositor = createCompositor();
  /** Milliseconds from `load()` to ready, starting the engine included. @type {Record<Side, number>} */
  loadTime = { dense: NaN, sparse: NaN };
  /** Whether the networks have run often enough to be timed. */
  warm = false;
  /** @type {Partial<Record<Side, Segmenter>>} */
  #segmenters = {};
  #mattes = { dense: new MatteMaker(), sparse: new MatteMaker() };
  #frames = 0;
  /** @type {HTMLCanvasElement | undefined} */
  #background;

  /**
   * Loads both networks at once, after closing those loaded before.
   * @param {Record<Side, string>} urls of the two .tulle files
   * @param {{ threads?: number, variant?: 'simd' | 'relaxed' }} options left out: what suits this device
   */
  async load(urls, options) {
    await this.close();
    this.warm = false;
    const start = performance.now();
    const loads = await Promise.allSettled(SIDES.map(async (side) => {
      this.#segmenters[side] = await Segmenter.load(urls[side], options);
      this.loadTime[side] = performance.now() - start;
    }));
    const failed = loads.find((load) => load.status === 'rejected');
    if (failed) {
      await this.close();
      throw failed.reason;
    }
    const { dense, sparse } = this.#both();
    if (dense.width !== sparse.width || dense.height !== sparse.height) {
      await this.close();
      throw new Error('The dense and the sparse network take pictures of different sizes, so they cannot be compared.');
    }
    this.restart();
  }

  get loaded() {
    return SIDES.every((side) => this.#segmenters[side]);
  }

  /** The sparse network's model; both networks have its threads and variant. */
  get model() {
    return this.#both().sparse.model;
  }

  /** Of the masks, in pixels. */
  get size() {
    const { width, height } = this.#both().dense;
    return { width, height };
  }

  /**
   * Warms up both networks, and starts new averages.
   * @param {HTMLCanvasElement} frame
   */
  async warmUp(frame) {
    const { dense, sparse } = this.#both();
    const input = dense.read(frame);
    for (let i = 0; i < WARM_UP; i++) {
      await dense.run(input);
      await sparse.run(input);
    }
    this.warm = true;
    this.meter.reset();
  }

  /** Starts new averages, since the settings changed. */
  restart() {
    this.meter.reset();
    this.newScene();
  }

  /** Forgets earlier masks, since the scene changed. */
  newScene() {
    for (const side of SIDES) this.#mattes[side].reset();
  }

  /**
   * Finds the person and draws the picture into `compositor.canvas`.
   * @param {HTMLCanvasElement} frame
   * @param {Look} look
   * @returns {Promise<Result>}
   */
  async frame(frame, look) {
    const segmenters = this.#both();
    const sides = look.view === 'split' ? this.#order() : [look.view];
    const input = await this.meter.time('prepare', () => segmenters.dense.read(frame));
    /** @type {Result} */
    const result = { input, masks: {}, iou: undefined, milliseconds: {} };
    for (const side of sides) {
      result.masks[side] = await this.meter.time(side, () => segmenters[side].run(input));
      result.milliseconds[side] = this.meter.stage(side).last;
    }
    const { dense, sparse } = result.masks;
    if (dense && sparse) result.iou = intersectionOverUnion(dense, sparse);
    await this.meter.time('composite', () => this.#draw(frame, result, look));
    return result;
  }

  /**
   * @param {HTMLCanvasElement} frame
   * @param {Result} result
   * @param {Look} look
   */
  #draw(frame, { input, masks }, { view, divider, effect, blur, soft }) {
    const middle = Math.round(divider * frame.width);
    const columns = {
      dense: { left: 0, right: view === 'split' ? middle : frame.width },
      sparse: { left: view === 'split' ? middle : 0, right: frame.width },
    };
    this.compositor.begin(frame);
    for (const side of SIDES) {
      const mask = masks[side];
      if (!mask) continue;
      const alpha = this.#mattes[side].next(mask);
      this.compositor.draw({ input, alpha, effect, blur, soft, ...columns[side] });
    }
  }

  /** @param {HTMLCanvasElement} background */
  setBackground(background) {
    this.#background = background;
    this.compositor.setBackground(background);
  }

  /** @param {'gpu' | 'canvas'} kind of compositor to use from now on */
  useCompositor(kind) {
    const compositor = createCompositor(kind);
    if (this.#background) compositor.setBackground(this.#background);
    this.compositor.close();
    this.compositor = compositor;
  }

  async close() {
    for (const side of SIDES) {
      await this.#segmenters[side]?.close();
      delete this.#segmenters[side];
    }
  }

  /** Alternates the order, so that neither network always finds the caches warm. */
  #order() {
    return this.#frames++ % 2 ? SIDES : [...SIDES].reverse();
  }

  #both() {
    const { dense, sparse } = this.#segmenters;
    if (!dense || !sparse) throw new Error('The networks are not loaded.');
    return { dense, sparse };
  }
}
