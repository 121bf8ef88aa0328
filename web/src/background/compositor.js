// Backgrounds in this thread: frames in the engine's memory, composited in C (wasm/compose).

import { TulleError, messageOf } from '../errors.js';
import { load } from '../index.js';
import { Model } from '../model.js';
import { checkNames } from '../options.js';
import { FORMATS, MATRICES } from '../pictures.js';
import { describeType, typeName } from '../types.js';

/** By tulle_effect. */
const EFFECTS = ['none', 'blur', 'picture', 'colour'];

/** Side of a frame, the most; as C has it. */
const MOST_SIDE = 16384;

/**
 * @typedef {'I420' | 'NV12' | 'RGBA'} FrameFormat
 * @typedef {'none' | 'blur' | 'picture' | 'colour'} Effect
 */

/**
 * @typedef {object} FrameBytes Bytes of a frame in the engine's memory.
 * @property {Uint8Array} bytes
 * @property {{ offset: number, stride: number }[]} layout of each plane, as `VideoFrame.copyTo` and `new VideoFrame` take it
 * @property {number} size in bytes
 */

/**
 * @typedef {object} CompositorRun
 * @property {Effect} [effect] default: "blur"
 * @property {number} [strength] of the blur, 0 to 1; default: 0.5
 * @property {readonly [red: number, green: number, blue: number]} [colour] 0 to 255, for the effect "colour"
 * @property {boolean} [fresh] false takes the last mask again, which spares the network; default: true
 */

/** The result of Compositor.create(), the only way to construct one. @hideconstructor */
export class Compositor {
  #model;
  #engine;
  #library;
  /** The tulle_compositor; 0 when closed. */
  #pointer;
  #mask;
  /** @type {FrameFormat | undefined} */
  #format;
  /** Why nothing can be called any more. @type {string | undefined} */
  #failure;

  /**
   * @internal
   * @param {Model} model
   */
  constructor(model) {
    const { engine, handle } = Model.inside(model);
    const { library } = engine;
    if (!library) throw new TulleError('the engine stopped while it was started');
    this.#model = model;
    this.#engine = engine;
    this.#library = library;
    this.#pointer = library.raw.exports.tulle_compositor_create(handle) >>> 0;
    if (!this.#pointer) throw library.error();
    const [, height, width] = model.inputs[0].shape;
    this.#mask = { width, height };
  }

  /**
   * Loads a segmentation network into this thread and makes a compositor with it.
   * @param {Parameters<typeof load>[0]} source a network that turns an image into one probability for each of its pixels
   * @param {Omit<import('../index.js').LoadOptions, 'worker'>} [options] of load()
   * @returns {Promise<Compositor>}
   * @throws {TulleError} (rejects) as load() does, and for a network of other inputs and outputs
   */
  static async create(source, options = {}) {
    if (options && 'worker' in options) throw new TulleError('a Compositor always runs in the thread that makes it');
    const model = await load(source, { ...options, worker: false });
    try {
      return new Compositor(model);
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /** The network, for its variant, threads, notes and memory. */
  get model() {
    return this.#model;
  }

  /**
   * Where the next frame is to be written. The view stays valid until input() is called with another size, a picture is
   * set or the compositor is closed; calling it again for each frame costs nothing. In builds with threads the memory is
   * shared, and views of it are refused by some functions of browsers.
   * @param {FrameFormat} format
   * @param {number} width pixels
   * @param {number} height
   * @param {{ matrix?: 'bt601' | 'bt709' | 'bt2020', fullRange?: boolean }} [colours] of I420 and NV12
   * @returns {FrameBytes}
   * @throws {TulleError} for a size or format that is none, and without memory for it
   */
  input(format, width, height, colours = {}) {
    this.#checkOpen();
    checkNames('input', colours, ['matrix', 'fullRange']);
    const { matrix = 'bt601', fullRange = false } = colours;
    if (!['I420', 'NV12', 'RGBA'].includes(format)) {
      throw new TulleError(`frames are I420, NV12 or RGBA, not ${String(format)}`);
    }
    if (!MATRICES.includes(matrix)) throw new TulleError(`matrix is ${MATRICES.join(', ')}, not ${String(matrix)}`);
    for (const side of [width, height]) {
      if (!(Number.isInteger(side) && side >= 1 && side <= MOST_SIDE)) {
        throw new TulleError(`frames have 1 to ${MOST_SIDE} pixels a side, not ${String(width)} x ${String(height)}`);
      }
    }
    const { tulle_compositor_set_size: setSize, tulle_compositor_input: input } = this.#exports;
    this.#call(() => setSize(this.#pointer, FORMATS.indexOf(format), width, height, MATRICES.indexOf(matrix), +fullRange));
    this.#format = format;
    this.#engine.wake(); // while the frame is written
    return this.#frame(input(this.#pointer));
  }

  /**
   * Composites the frame that was written to input().
   * @param {CompositorRun} [options]
   * @returns {FrameBytes & { ms: { input: number, network: number, mask: number, composite: number } }} valid until the
   *   next call; milliseconds of each part
   * @throws {TulleError} for options out of range, where there is no frame or no picture yet, and when closed
   */
  run(options = {}) {
    this.#checkOpen();
    checkNames('run', options, ['effect', 'strength', 'colour', 'fresh']);
    const { effect = 'blur', strength = 0.5, colour = [0, 0, 0], fresh = true } = options;
    const index = EFFECTS.indexOf(effect);
    if (index < 0) throw new TulleError(`effect is ${EFFECTS.join(', ')}, not ${String(effect)}`);
    if (!(strength >= 0 && strength <= 1)) throw new TulleError(`strength goes from 0 to 1, not to ${String(strength)}`);
    const rgb = Array.from(colour ?? []);
    if (rgb.length !== 3 || !rgb.every((value) => value >= 0 && value <= 255)) {
      throw new TulleError(`colour is three numbers of 0 to 255, not ${String(colour)}`);
    }
    const packed = rgb.reduce((sum, value) => sum * 256 + Math.round(value), 0);
    const { tulle_compositor_run: run, tulle_compositor_output: output, tulle_compositor_times: times } = this.#exports;
    this.#call(() => run(this.#pointer, index, Math.round(strength * 1000), packed, +fresh));
    const [read, network, mask, composite] =
      new Float64Array(this.#library.raw.memory.buffer, times(this.#pointer) >>> 0, 4);
    return { ...this.#frame(output(this.#pointer)), ms: { input: read, network, mask, composite } };
  }

  /**
   * Sets the background of the effect "picture", which covers the frame. It is copied.
   * @param {{ data: Uint8Array | Uint8ClampedArray, width: number, height: number } | null} picture RGBA, as ImageData has
   *   it; null frees the one before
   * @throws {TulleError} for what is no picture, and without memory for it
   */
  picture(picture) {
    this.#checkOpen();
    const { tulle_compositor_set_picture: set, tulle_alloc: alloc, tulle_free: free } = this.#exports;
    if (picture === null) {
      this.#call(() => set(this.#pointer, 0, 0, 0));
      return;
    }
    const { data, width, height } = picture ?? {};
    if (!['Uint8Array', 'Uint8ClampedArray'].includes(typeName(data))) {
      throw new TulleError(`a picture is ImageData, or its data, width and height, not ${describeType(picture)}`);
    }
    if (!(width >= 1 && height >= 1) || data.length !== 4 * width * height) {
      throw new TulleError(`a picture of ${String(width)} x ${String(height)} pixels has four bytes for each, not ${data.length} `
        + 'in all');
    }
    this.#call(() => {
      const address = alloc(data.length) >>> 0;
      if (!address) throw new TulleError(`out of memory: the engine has no room for a picture of ${data.length} bytes`);
      try {
        new Uint8Array(this.#library.raw.memory.buffer, address, data.length).set(data);
        return set(this.#pointer, address, width, height);
      } finally {
        free(address);
      }
    });
  }

  /**
   * The mask that the last run used, steadied over time.
   * @returns {{ data: Float32Array<ArrayBuffer>, width: number, height: number }} a copy, row-major: how likely each pixel
   *   is one of a person; empty before the first run, and after reset() or the effect "none"
   */
  mask() {
    this.#checkOpen();
    const { width, height } = this.#mask;
    const address = this.#exports.tulle_compositor_mask(this.#pointer) >>> 0;
    if (!address) return { data: new Float32Array(0), width: 0, height: 0 };
    return { data: new Float32Array(this.#library.raw.memory.buffer, address, width * height).slice(), width, height };
  }

  /** Forgets the frames before, as where another scene begins. */
  reset() {
    this.#checkOpen();
    this.#exports.tulle_compositor_reset(this.#pointer);
  }

  /** Frees the memory; closing twice does nothing. @returns {Promise<void>} */
  async close() {
    if (!this.#pointer) return;
    try {
      if (this.#engine.library && this.#failure === undefined) this.#exports.tulle_compositor_free(this.#pointer);
    } catch {
      // The engine failed before; its memory goes with it.
    }
    this.#pointer = 0;
    await this.#model.close();
  }

  get #exports() {
    return this.#library.raw.exports;
  }

  #checkOpen() {
    if (!this.#pointer) throw new TulleError('the compositor is closed');
    if (this.#failure !== undefined) throw new TulleError(this.#failure);
    if (!this.#engine.library) throw new TulleError('the engine stopped: make another compositor');
  }

  /** Calls C; a trap becomes a TulleError. @param {() => number} action */
  #call(action) {
    let status;
    try {
      status = action();
    } catch (error) {
      if (error instanceof TulleError) throw error;
      const why = this.#library.lastError; // a trap itself says little
      this.#failure = `the engine failed, make another compositor: ${messageOf(error)}${why ? `: ${why}` : ''}`;
      throw new TulleError(this.#failure, { cause: error });
    }
    if (status !== 0) throw this.#library.error();
  }

  /**
   * @param {number} address
   * @returns {FrameBytes}
   */
  #frame(address) {
    const { buffer } = this.#library.raw.memory;
    const layout = this.#exports.tulle_compositor_layout(this.#pointer) >>> 0;
    const [size, ...places] = new Uint32Array(buffer, layout, 7);
    const planes = { RGBA: 1, NV12: 2, I420: 3 }[/** @type {FrameFormat} */ (this.#format)];
    return {
      bytes: new Uint8Array(buffer, address >>> 0, size),
      layout: Array.from({ length: planes }, (_, i) => ({ offset: places[i], stride: places[3 + i] })),
      size,
    };
  }
}
