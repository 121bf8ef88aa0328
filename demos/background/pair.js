// The measurement: a dense and a sparse network on the same frames, each in a BackgroundProcessor of its own, and the
// picture made with what they give.

import { BackgroundProcessor } from '../../web/src/background/index.js';
import { intersectionOverUnion, resampled } from '../lib/mask.js';
import { Meter } from '../lib/meter.js';
import { context2d } from '../lib/page.js';
import { alphaOf } from '../lib/segment/composition.js';
import { GpuCompositor } from '../lib/segment/gpu.js';

/** @typedef {'dense' | 'sparse'} Side */
/** @typedef {'split' | Side} View */
/** @typedef {import('../../web/src/background/index.js').Mask} Mask */

/** @type {readonly Side[]} */
export const SIDES = ['dense', 'sparse'];

/**
 * Stages of a frame. "dense" and "sparse" are the networks' inferences; "dense-frame" and "sparse-frame" what a page waits
 * for a whole frame: the way to the worker and back, and all that is done there.
 */
export const STAGES = /** @type {const} */ ([
  'capture', 'copy', 'dense', 'sparse', 'composite', 'dense-frame', 'sparse-frame',
]);

const WARM_UP = 8; // frames before timing, during which the browser's optimising compiler finishes

/** The blur's standard deviation at strength 1 in parts of the frame's height, for the GPU. */
const WIDEST_BLUR = 0.06;

/**
 * @typedef {object} Look
 * @property {View} view "split": dense to the left of `divider`, sparse to its right; else one network alone
 * @property {number} divider 0 to 1
 * @property {'blur' | 'replace' | 'mask' | 'none'} effect
 * @property {number} strength of the blur, 0 to 1
 */

/**
 * @typedef {object} Result
 * @property {Partial<Record<Side, ImageData>>} inputs what the networks were given; empty if that was the whole frame
 * @property {Partial<Record<Side, Mask>>} masks of the networks that ran
 * @property {number | undefined} iou of the two masks at the size of the dense network's, where both ran
 * @property {Partial<Record<Side, number>>} milliseconds of the inferences
 */

export class Pair {
  meter = new Meter(STAGES);
  /** Milliseconds from `load()` to ready, starting the engine included. @type {Record<Side, number>} */
  loadTime = { dense: NaN, sparse: NaN };
  /** Whether the networks have run often enough to be timed. */
  warm = false;
  /** Of the masks and of the networks' input, in pixels. */
  sizes = { dense: { width: 0, height: 0 }, sparse: { width: 0, height: 0 } };
  /** What draws instead of the processors. @type {GpuCompositor | undefined} */
  gpu;
  /** @type {Partial<Record<Side, BackgroundProcessor>>} */
  #processors = {};
  #canvas = document.createElement('canvas');
  #small = document.createElement('canvas');
  #frames = 0;
  /** What the processors were told last. */
  #told = '';
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
      this.#processors[side] = await BackgroundProcessor.create({ model: urls[side], ...options });
      this.loadTime[side] = performance.now() - start;
    }));
    const failed = loads.find((load) => load.status === 'rejected');
    if (failed) {
      await this.close();
      throw failed.reason;
    }
    const processors = this.#both();
    for (const side of SIDES) {
      await processors[side].frame(new ImageData(16, 9));
      const { width, height } = await processors[side].mask();
      this.sizes[side] = { width, height };
    }
    this.#told = '';
    this.restart();
  }

  /** Holds the picture, at the size of the frame. */
  get canvas() {
    return this.gpu?.canvas ?? this.#canvas;
  }

  get loaded() {
    return SIDES.every((side) => this.#processors[side]);
  }

  /** The sparse network's processor; both have its threads and variant. */
  get processor() {
    return this.#both().sparse;
  }

  /** Bytes of both engines. */
  get memoryBytes() {
    return SIDES.reduce((sum, side) => sum + this.#both()[side].stats.memoryBytes, 0);
  }

  /**
   * Warms up both networks, and starts new averages.
   * @param {HTMLCanvasElement} frame
   * @param {Look} look
   */
  async warmUp(frame, look) {
    for (let i = 0; i < WARM_UP; i++) await this.frame(frame, { ...look, view: 'split' });
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
    for (const side of SIDES) this.#processors[side]?.reset();
  }

  /**
   * Finds the person and draws the picture into `canvas`.
   * @param {HTMLCanvasElement} frame
   * @param {Look} look
   * @returns {Promise<Result>}
   */
  async frame(frame, look) {
    const processors = this.#both();
    const sides = look.view === 'split' ? this.#order() : [look.view];
    // Where the processors do not draw, a frame of the network's own size is enough for them.
    const whole = !this.gpu && (look.effect === 'blur' || look.effect === 'replace');
    await this.#tell(whole ? look : undefined);
    /** @type {Result} */
    const result = { inputs: {}, masks: {}, iou: undefined, milliseconds: {} };
    /** @type {Partial<Record<Side, VideoFrame | ImageData>>} */
    const pictures = {};
    const spent = [];
    for (const side of sides) {
      const processor = processors[side];
      const input = whole ? undefined : this.#shrink(frame, side);
      if (input) result.inputs[side] = input;
      const start = performance.now();
      const picture = await processor.frame(input ?? frame);
      const took = performance.now() - start;
      const { ms } = processor.stats;
      result.masks[side] = await processor.mask();
      result.milliseconds[side] = ms.network;
      this.meter.add(side, ms.network);
      if (!whole) continue;
      pictures[side] = picture;
      this.meter.add(`${side}-frame`, took);
      this.meter.add('copy', ms.copy);
      spent.push(ms.scale + ms.mask + ms.composite);
    }
    const { dense, sparse } = result.masks;
    if (dense && sparse) result.iou = intersectionOverUnion(dense.data, resampled(sparse, this.sizes.dense).data);
    if (whole) this.meter.add('composite', spent.reduce((sum, ms) => sum + ms, 0) / spent.length);
    const start = performance.now();
    this.#draw(frame, result, pictures, look);
    if (this.gpu) this.meter.add('composite', performance.now() - start);
    return result;
  }

  /**
   * @param {HTMLCanvasElement} frame
   * @param {Result} result
   * @param {Partial<Record<Side, VideoFrame | ImageData>>} pictures what the processors drew; closed here
   * @param {Look} look
   */
  #draw(frame, { inputs, masks }, pictures, { view, divider, effect, strength }) {
    const { width, height } = frame;
    const middle = Math.round(divider * width);
    const columns = {
      dense: { left: 0, right: view === 'split' ? middle : width },
      sparse: { left: view === 'split' ? middle : 0, right: width },
    };
    this.gpu?.begin(frame);
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const context = context2d(this.#canvas, { alpha: false });
    for (const side of SIDES) {
      const mask = masks[side];
      const input = inputs[side];
      if (!mask) continue;
      const { left, right } = columns[side];
      if (this.gpu && input) {
        this.gpu.draw({ input, alpha: alphaOf(mask.data), effect, blur: WIDEST_BLUR * strength, soft: true, left, right });
        continue;
      }
      const picture = pictures[side];
      const image = effect === 'mask' ? this.#show(mask) : picture && 'close' in picture ? picture : frame;
      const scale = effect === 'mask' ? mask.width / width : 1;
      const rows = effect === 'mask' ? mask.height : height;
      if (right > left) context.drawImage(image, left * scale, 0, (right - left) * scale, rows, left, 0, right - left, height);
      if (picture && 'close' in picture) picture.close();
    }
  }

  /** What is to be seen where the GPU does not draw it. @param {HTMLCanvasElement} background */
  setBackground(background) {
    this.#background = background;
    this.#told = '';
    this.gpu?.setBackground(background);
  }

  /** @param {'wasm' | 'gpu'} kind of compositor to use from now on */
  useCompositor(kind) {
    this.gpu?.close();
    this.gpu = kind === 'gpu' ? GpuCompositor.create() ?? undefined : undefined;
    if (kind === 'gpu' && !this.gpu) throw new Error('This browser offers no WebGL2 here.');
    if (this.#background) this.gpu?.setBackground(this.#background);
  }

  async close() {
    for (const side of SIDES) {
      await this.#processors[side]?.close();
      delete this.#processors[side];
    }
  }

  /** Tells the processors what to draw. @param {Look} [look] undefined: something cheap */
  async #tell(look) {
    const effect = look?.effect === 'replace' ? 'picture' : look ? 'blur' : 'colour';
    const strength = look?.strength ?? 0;
    if (this.#told === `${effect} ${strength}`) return;
    this.#told = `${effect} ${strength}`;
    const picture = effect === 'picture' ? this.#background : undefined;
    for (const processor of Object.values(this.#both())) await processor.update({ effect, strength, picture });
  }

  /**
   * The frame at the network's size.
   * @param {HTMLCanvasElement} frame
   * @param {Side} side
   */
  #shrink(frame, side) {
    const { width, height } = this.sizes[side];
    const context = this.#smallOf(width, height);
    context.imageSmoothingQuality = 'medium'; // averages when a frame is much larger; "low" skips pixels
    context.drawImage(frame, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  }

  /** @param {Mask} mask as a picture */
  #show({ data, width, height }) {
    const image = new ImageData(width, height);
    const alpha = alphaOf(data);
    for (let i = 0; i < alpha.length; i++) image.data.fill(alpha[i], 4 * i, 4 * i + 3).fill(255, 4 * i + 3, 4 * i + 4);
    this.#smallOf(width, height).putImageData(image, 0, 0);
    return this.#small;
  }

  /**
   * The small canvas at this size.
   * @param {number} width
   * @param {number} height
   */
  #smallOf(width, height) {
    if (this.#small.width !== width || this.#small.height !== height) Object.assign(this.#small, { width, height });
    return context2d(this.#small, { alpha: false, willReadFrequently: true });
  }

  /** Alternates the order, so that neither network always finds the caches warm. */
  #order() {
    return this.#frames++ % 2 ? SIDES : [...SIDES].reverse();
  }

  #both() {
    const { dense, sparse } = this.#processors;
    if (!dense || !sparse) throw new Error('The networks are not loaded.');
    return { dense, sparse };
  }
}
