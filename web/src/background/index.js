/**
 * Blurs or replaces the background of a camera's picture, on the CPU and in a worker of its own: a track in, a track out.
 *
 * ```js
 * const processor = await BackgroundProcessor.create();
 * const processed = await processor.process(track, { effect: 'blur', strength: 0.6 });
 * ```
 * @module tulle/background
 */

import { TulleError, messageOf } from '../errors.js';
import { checkNames } from '../options.js';
import { close, isPicture, take } from '../pictures.js';
import { configure } from '../support.js';
import { describeType, typeName } from '../types.js';
import { WorkerCalls, sendable } from '../worker_calls.js';
import { foreignWorker, isForeign, started } from '../workers.js';
import { chooseWay, throughCanvas, throughStreams, throughWorker } from './ways.js';

export { TulleError } from '../errors.js';

/** @typedef {import('../pictures.js').Picture} Picture */
/** @typedef {import('./ways.js').Way} Way How frames get to the worker and back: "streams", "worker" or "canvas". */
/** @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView} ModelSource Where to fetch a `.tulle` file, or its bytes. */
/** @typedef {'none' | 'blur' | 'picture' | 'colour'} Effect What is seen behind the person: the background as it is, blurred,
 *   a picture, or one colour. */

/**
 * @typedef {object} BackgroundOptions What is to be seen; left out: as it was. At first, a blur of strength 0.5.
 * @property {Effect} [effect]
 * @property {number} [strength] of the blur, 0 to 1
 * @property {readonly [number, number, number]} [colour] of the effect "colour": red, green and blue, each 0 to 255
 * @property {Picture | null} [picture] of the effect "picture": cropped to the frame's proportions; null frees its memory
 */

/**
 * @typedef {object} CreateOptions What only create() takes.
 * @property {ModelSource} [model] a selfie segmentation network in place of the package's own, sparse one: an image in, one
 *   probability per pixel out
 * @property {number} [threads] as of load()
 * @property {'simd' | 'relaxed' | 'auto'} [variant] as of load()
 * @property {(error: TulleError) => void} [onError] called once if the processor stops by itself: its track has ended then
 */

/** @typedef {BackgroundOptions & CreateOptions} BackgroundProcessorOptions Options of BackgroundProcessor.create(). */

/**
 * @typedef {object} FrameOptions Options of BackgroundProcessor.frame().
 * @property {boolean} [paced] true lets the mask of an earlier frame serve when the machine is slow, as for tracks: frames
 *   then have to come with their timestamps, as fast as they are shown. false (the default): a mask of each frame's own
 */

/** @typedef {{ data: Float32Array, width: number, height: number }} Mask Row by row, how likely a pixel is person: 0 to 1. */

/**
 * @typedef {object} StageTimes Milliseconds of a frame in the worker; NaN before the first.
 * @property {number} copy its pixels into the engine's memory
 * @property {number} scale the frame made the network's input
 * @property {number} network of the last frame on which it ran
 * @property {number} mask steadied over time
 * @property {number} composite the mask refined along the frame's edges, the background made, both mixed
 * @property {number} hand the new frame handed over
 */

/**
 * @typedef {object} BackgroundStats What a processor has done since its track began.
 * @property {Way | undefined} way undefined before the first track
 * @property {number} frames that came out
 * @property {number} fresh of these, those on which the network ran; the others have the mask of a frame before
 * @property {number} networkEvery the network runs on one frame in this many now: 1, or up to 4 on a machine too slow for more
 * @property {number} dropped frames that came too late and were dropped, as far as the browser tells
 * @property {number} fps frames per second that came out, over the last two seconds
 * @property {number} load share of the time from frame to frame that is in use; the network runs less often above 0.9
 * @property {number} width of the last frame, in pixels
 * @property {number} height
 * @property {StageTimes} ms of the last frame
 * @property {StageTimes} mean moving averages of these, over about ten frames
 * @property {number} open VideoFrames that the worker holds: 0 between frames
 * @property {number} memoryBytes of the engine
 */

const EFFECTS = ['none', 'blur', 'picture', 'colour'];
const UNKNOWN = { copy: NaN, scale: NaN, network: NaN, mask: NaN, composite: NaN, hand: NaN };
const LOOK = ['effect', 'strength', 'colour', 'picture'];

/** Milliseconds without a sign of life after which a worker that has a track counts as dead. */
const TIMEOUT = 10_000;
const LOOKS = 4;

/** Longest side of a picture behind the person, in pixels: that of a large camera frame. */
const MOST_SIDE = 1920;

/** Puts the person in a video before another background. create() makes these. */
export class BackgroundProcessor {
  #worker;
  /** @type {Required<Omit<BackgroundOptions, 'picture'>>} */
  #look = { effect: 'blur', strength: 0.5, colour: [0, 0, 0] };
  #hasPicture = false;
  /** @type {(import('./ways.js').Passage & { id: number, came: () => number }) | undefined} */
  #passage;
  #lastId = 0;
  #makesTracks = false;
  /** @type {((error: TulleError) => void) | undefined} */
  #onError;
  /** @type {BackgroundStats} */
  #stats = {
    way: undefined, frames: 0, fresh: 0, networkEvery: 1, dropped: 0, fps: 0, load: NaN, width: 0, height: 0,
    ms: UNKNOWN, mean: UNKNOWN, open: 0, memoryBytes: 0,
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watch;
  #signs = 0;

  /**
   * Loads the network and starts the worker.
   * @param {BackgroundProcessorOptions} [options]
   * @returns {Promise<BackgroundProcessor>}
   * @throws {TulleError} (rejects) when the network cannot be fetched or is none, and for options out of range
   */
  static async create(options = {}) {
    checkNames('BackgroundProcessor.create', options, [...LOOK, 'model', 'threads', 'variant', 'onError']);
    const { model, threads, variant, onError, ...look } = options;
    if (onError !== undefined && typeof onError !== 'function') {
      throw new TulleError(`onError is a function, not ${typeName(onError)}`);
    }
    // Settled here, where load() would settle it for a page.
    const { notes, ...engine } = configure(variant ?? 'auto', threads, true);
    const processor = new BackgroundProcessor();
    try {
      const found = await processor.#worker.call('create', {
        model: model && sendable(model), variant: engine.variant, threads: engine.threads,
      });
      processor.variant = engine.variant;
      processor.threads = engine.threads;
      processor.notes = Object.freeze([...notes, ...found.notes]);
      processor.#makesTracks = found.makesTracks;
      await processor.update(look);
      processor.#onError = onError; // what happened before is thrown here
      return processor;
    } catch (error) {
      processor.#worker.fail('create() failed');
      throw error;
    }
  }

  /** @hideconstructor use create() */
  constructor() {
    /** The wasm build in use. @type {'simd' | 'relaxed'} */
    this.variant = 'simd';
    /** Threads in use. */
    this.threads = 1;
    /** What create() did otherwise than asked, and why. @type {readonly string[]} */
    this.notes = [];
    this.#worker = new WorkerCalls('BackgroundProcessor', backgroundWorker(), {
      onEvent: (event) => this.#onEvent(event),
      onEnd: (error) => this.#onFailure(error),
    });
  }

  /** The effect in use. @returns {Effect} */
  get effect() {
    return this.#look.effect;
  }

  /** What was done, as of half a second ago at most. @returns {BackgroundStats} */
  get stats() {
    return { ...this.#stats };
  }

  /**
   * Processes a video track, in place of the one before. The track that is given stays the caller's: stop it as well when it
   * is needed no more.
   * @param {MediaStreamTrack} track of a camera, for example
   * @param {BackgroundOptions} [options] as of update()
   * @returns {Promise<MediaStreamTrack>} what to show or send in its place. It ends with `track`, and with stop()
   * @throws {TulleError} (rejects) for what is no live video track, options out of range, and a closed processor
   */
  async process(track, options) {
    if (typeName(track) !== 'MediaStreamTrack' && !/Track(Generator)?$/.test(typeName(track))) {
      throw new TulleError(`process() takes a MediaStreamTrack, not ${describeType(track)}`);
    }
    if (track.kind !== 'video') throw new TulleError(`process() takes a video track, not one of ${track.kind}`);
    if (track.readyState === 'ended') throw new TulleError('the track has ended');
    if (options !== undefined) await this.update(options);
    this.stop();
    const id = (this.#lastId += 1);
    const look = this.#look;
    /** @type {import('./ways.js').Call} */
    const call = (name, args, transfer) => this.#worker.call(name, args, transfer);
    const way = chooseWay(this.#makesTracks);
    const passage = await (way === 'streams' ? throughStreams(track, id, look, call)
      : way === 'worker' ? throughWorker(track, id, look, call) : this.#throughCanvas(track, id));
    if (id !== this.#lastId) { // another call was faster
      passage.stop();
      throw new TulleError('process() was called again, or stop()');
    }
    this.#passage = { id, ...passage, came: came(track) };
    this.#stats = { ...this.#stats, way, frames: 0, fresh: 0, dropped: 0, fps: 0, load: NaN };
    this.#signs = 0;
    clearTimeout(this.#watch);
    if (way !== 'canvas') this.#watch = this.#expectSign(0);
    return passage.track;
  }

  /**
   * Changes what is seen, while it runs.
   * @param {BackgroundOptions} options
   * @returns {Promise<void>} resolves when the next frame will show it
   * @throws {TulleError} (rejects) for options out of range, and a picture that cannot be read
   */
  async update(options) {
    checkNames('update', options, LOOK);
    const look = check({ ...this.#look, ...defined(options) });
    const { picture } = options;
    if (look.effect === 'picture' && !(picture === undefined ? this.#hasPicture : picture)) {
      throw new TulleError('the effect "picture" needs the option picture');
    }
    const bitmap = picture && (await toBitmap(picture));
    this.#look = look;
    if (picture !== undefined) this.#hasPicture = picture !== null;
    await this.#worker.call('update', { look, picture: bitmap }, bitmap ? [bitmap] : []);
  }

  /**
   * Processes one frame, apart from any track. Those before it steady its mask: give the frames of one video in their order,
   * and call reset() before another one. Frames queue up, so await each one, or skip frames while one is under way.
   * @template {Picture} T
   * @param {T} source taken as it is now; may be closed or overwritten at once
   * @param {FrameOptions} [options]
   * @returns {Promise<T extends ImageData ? ImageData : VideoFrame>} an ImageData for an ImageData, else a VideoFrame, which
   *   is the caller's to close; where the browser has no VideoFrame, always an ImageData
   * @throws {TulleError} (rejects) for what cannot be read, and a closed processor
   */
  async frame(source, options = {}) {
    checkNames('frame', options, ['paced']);
    return this.#frame(source, options.paced === true, 0);
  }

  /**
   * @param {Picture} source
   * @param {boolean} paced
   * @param {number} skipped frames before it that were dropped
   * @returns {Promise<any>}
   */
  async #frame(source, paced, skipped) {
    if (!isPicture(source)) throw new TulleError(`frame() takes a picture, as a video or canvas, not ${describeType(source)}`);
    const frame = take(source);
    const as = typeName(source) === 'ImageData' || typeof VideoFrame !== 'function' ? 'ImageData' : 'VideoFrame';
    const time = typeName(source) === 'VideoFrame' ? /** @type {VideoFrame} */ (source).timestamp / 1000 : performance.now();
    const answer = await this.#worker.call('frame', { frame, time, skipped, look: this.#look, paced, as }, typeName(frame) === 'VideoFrame'
      ? [/** @type {VideoFrame} */ (frame)] : []).catch((error) => {
      close(frame);
      throw error;
    });
    this.#note(answer.stats);
    return answer.frame ?? new ImageData(answer.data, answer.width, answer.height);
  }

  /**
   * The mask of the last frame, at the network's size, steadied over time.
   * @returns {Promise<Mask>}
   */
  async mask() {
    return this.#worker.call('mask', {});
  }

  /** Forgets the frames before, for frame() with another video. @returns {Promise<void>} */
  async reset() {
    await this.#worker.call('reset', {});
  }

  /** Stops processing: the track that process() gave ends. The processor can take another one. */
  stop() {
    this.#lastId += 1;
    const passage = this.#passage;
    this.#passage = undefined;
    clearTimeout(this.#watch);
    if (!passage) return;
    passage.stop();
  }

  /** Stops, and ends the worker, after the frames already given. @returns {Promise<void>} */
  async close() {
    this.stop();
    await this.#worker.close();
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {number} id
   */
  async #throughCanvas(track, id) {
    await this.reset();
    const work = (/** @type {HTMLVideoElement} */ video, /** @type {number} */ skipped) => this.#frame(video, true, skipped);
    return throughCanvas(track, work, (error) => this.#onEvent({
      event: 'ended', id, ...(error === undefined ? {} : { error: messageOf(error) }),
    }));
  }

  /** @param {{ event: 'stats', id: number, stats: any } | { event: 'ended', id: number, error?: string }} event */
  #onEvent(event) {
    if (event.id !== this.#passage?.id) return;
    this.#signs += 1;
    if (event.event === 'stats') {
      this.#note(event.stats);
      return;
    }
    this.#passage = undefined;
    clearTimeout(this.#watch);
    if (event.error !== undefined) this.#worker.fail(event.error);
  }

  /** @param {any} found stats() of the worker */
  #note({ every, ...found }) {
    const passage = this.#passage;
    const dropped = passage ? Math.max(this.#stats.dropped, passage.dropped(), passage.came() - found.frames) : this.#stats.dropped;
    this.#stats = { ...this.#stats, ...found, networkEvery: every, dropped };
  }

  /** @param {TulleError} error */
  #onFailure(error) {
    this.stop();
    this.#onError?.(error);
  }

  /**
   * Notices a worker that has died without an event. Looks a few times, since a computer or tab that sleeps, and its workers
   * with it, costs one look only.
   * @param {number} quiet looks without a sign
   * @returns {ReturnType<typeof setTimeout>}
   */
  #expectSign(quiet) {
    const before = this.#signs;
    return setTimeout(() => {
      const again = this.#signs === before ? quiet + 1 : 0;
      if (again < LOOKS) this.#watch = this.#expectSign(again);
      else this.#worker.fail('its worker has not answered for 10 s');
    }, TIMEOUT / LOOKS);
  }
}


/**
 * Counts the frames that a track delivers from now on, where the browser tells.
 * @param {MediaStreamTrack} track
 * @returns {() => number}
 */
function came(track) {
  const delivered = () => {
    try {
      return /** @type {{ stats?: { deliveredFrames?: number } }} */ (track).stats?.deliveredFrames ?? 0;
    } catch {
      return 0; // some tracks, as a canvas's, count nothing
    }
  };
  const first = delivered();
  return () => delivered() - first;
}

/**
 * @param {BackgroundOptions} options
 * @returns {Omit<BackgroundOptions, 'picture'>} those that are given
 */
function defined({ effect, strength, colour }) {
  return Object.fromEntries(Object.entries({ effect, strength, colour }).filter(([, value]) => value !== undefined));
}

/**
 * @template {Required<Omit<BackgroundOptions, 'picture'>>} T
 * @param {T} look
 * @returns {T}
 */
function check(look) {
  const { effect, strength, colour } = look;
  if (!EFFECTS.includes(effect)) throw new TulleError(`effect is one of ${EFFECTS.join(', ')}, not ${String(effect)}`);
  if (!(typeof strength === 'number' && strength >= 0 && strength <= 1)) {
    throw new TulleError(`strength is a number from 0 to 1, not ${String(strength)}`);
  }
  if (!(Array.isArray(colour) && colour.length === 3 && colour.every((part) => part >= 0 && part <= 255))) {
    throw new TulleError(`colour is [red, green, blue], each 0 to 255, not ${String(colour)}`);
  }
  return look;
}

/** @param {Picture} picture */
async function toBitmap(picture) {
  if (!isPicture(picture)) throw new TulleError(`picture is an image, as a Blob or canvas, not ${describeType(picture)}`);
  try {
    const bitmap = await createImageBitmap(/** @type {ImageBitmapSource} */ (picture));
    const scale = MOST_SIDE / Math.max(bitmap.width, bitmap.height);
    if (scale >= 1) return bitmap;
    const [resizeWidth, resizeHeight] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    const small = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: 'high' });
    bitmap.close();
    return small;
  } catch (error) {
    throw new TulleError(`the picture cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

// Bundlers only find the worker file in this exact expression.
function backgroundWorker() {
  const name = 'tulle background';
  if (isForeign(import.meta.url)) return foreignWorker('./worker.js', import.meta.url, name);
  return started(() => new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name }));
}
