/**
 * Tracks hands in videos and pictures. Everything runs in a worker of its own.
 *
 * ```js
 * const tracker = await HandTracker.create({ maxHands: 2 });
 * const { hands } = await tracker.detect(video, timestamp);
 * ```
 * @module tulle/hands
 */

import { TulleError } from '../errors.js';
import { close, isHandedOver, isPicture, take } from '../pictures.js';
import { configure } from '../support.js';
import { describeType, show } from '../types.js';
import { WorkerCalls, sendable } from '../worker_calls.js';
import { foreignWorker, isForeign, started } from '../workers.js';
import { LANDMARKS, INPUT_SIZE } from './landmarks.js';
import { OneEuroFilter } from './smoothing.js';

export { HAND_CONNECTIONS } from './landmarks.js';
export { OneEuroFilter } from './smoothing.js';

/** @typedef {import('../pictures.js').Picture} Picture */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./region.js').Region} Region */
/** @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView} ModelSource Where to fetch a `.tulle` file, or its bytes. */

/**
 * @typedef {object} HandTrackerOptions Options of HandTracker.create().
 * @property {number} [maxHands] most hands tracked at once: 2 if left out
 * @property {ModelSource | ModelSource[]} [model] a hand landmark network in place of the package's own, sparse one, as
 *   load() takes it. Of several, all run on each hand, to compare them: `hands[i].answers` has each one's results, and the
 *   first one is followed.
 * @property {ModelSource} [detector] a palm detector in place of the package's own
 * @property {number} [threads] as of load()
 * @property {'simd' | 'relaxed' | 'auto'} [variant] as of load()
 * @property {boolean} [smoothing] steadies the landmarks from frame to frame with a one-euro filter; `answers` stay as they
 *   are. For videos; the timestamps have to be those of the frames.
 */

/**
 * @typedef {object} DetectOptions Options of HandTracker.detect().
 * @property {boolean} [mirrored] whether left and right are exchanged in the picture, as in a selfie view that was drawn
 *   mirrored: hands are then named the other way round
 * @property {boolean} [transfer] gives an ImageBitmap away: it is closed, and not copied
 */

/** @typedef {{ x: number, y: number, z: number }} Point A landmark. */

/**
 * @typedef {object} Hand A hand in a frame.
 * @property {number} id stays the same while the hand is tracked
 * @property {Point[]} landmarks 21 of them; x and y from 0 to 1 across the picture, z in the same unit as x, smaller nearer
 * @property {Point[]} pixels the same in pixels of the picture
 * @property {Point[]} worldLandmarks the same in metres, from the middle of the hand; empty if the network gives none
 * @property {'Left' | 'Right'} handedness
 * @property {number} score of the handedness, 0.5 to 1
 * @property {number} presence 0.5 to 1: how sure the network is that there is a hand
 * @property {Region} region the turned square of the picture that the network saw, in pixels
 * @property {Answer[]} answers what each network says
 */

/**
 * @typedef {{ index: number, score: number, categoryName: string, displayName: string }} Category A class and its score,
 *   as MediaPipe's Category.
 */

/**
 * @typedef {object} HandTrackerResult What detect() found. `landmarks`, `worldLandmarks` and `handedness` are those of
 *   `hands` in the shape of MediaPipe's HandLandmarkerResult.
 * @property {Hand[]} hands
 * @property {Point[][]} landmarks
 * @property {Point[][]} worldLandmarks
 * @property {Category[][]} handedness
 * @property {Category[][]} handednesses the same
 * @property {number} timestamp
 * @property {Times} times
 */

/**
 * @typedef {object} Times Milliseconds in the worker.
 * @property {number} read of the frame's pixels
 * @property {number | undefined} detect the palm detector; undefined if it did not run
 * @property {number[]} landmarks of each landmark network, all hands together
 * @property {number} seen how many hands these were, dropped ones included
 */

const MAX_HANDS = 16;

/** Finds hands in a video or picture and follows them. create() makes these. */
export class HandTracker {
  #worker = new WorkerCalls('HandTracker', handsWorker());
  #smoothing;
  /** @type {Map<number, OneEuroFilter>} */
  #filters = new Map();

  /**
   * Loads the networks and starts the worker.
   * @param {HandTrackerOptions} [options]
   * @returns {Promise<HandTracker>}
   * @throws {TulleError} (rejects) when a network cannot be fetched or is none, and for options out of range
   */
  static async create({ maxHands = 2, model, detector, threads, variant, smoothing = false } = {}) {
    if (!(Number.isInteger(maxHands) && maxHands >= 1 && maxHands <= MAX_HANDS)) {
      throw new TulleError(`maxHands must be an integer from 1 to ${MAX_HANDS}, not ${show(maxHands)}`);
    }
    const models = model === undefined ? undefined : Array.isArray(model) ? model : [model];
    if (models?.length === 0) throw new TulleError('model is an empty list: name a network, or leave it out');
    // Settled here, where load() would settle it for a page.
    const { notes, ...engine } = configure(variant ?? 'auto', threads, true);
    const tracker = new HandTracker(smoothing);
    try {
      const found = await tracker.#worker.call('create', {
        detector: detector && sendable(detector),
        landmarkers: models?.map(sendable),
        maxHands,
        options: { variant: engine.variant, threads: engine.threads },
      });
      tracker.variant = engine.variant;
      tracker.threads = engine.threads;
      tracker.notes = Object.freeze([...notes, ...found.notes]);
      return tracker;
    } catch (error) {
      tracker.#worker.fail('create() failed');
      throw error;
    }
  }

  /**
   * @param {boolean} smoothing
   * @hideconstructor use create()
   */
  constructor(smoothing) {
    this.#smoothing = smoothing;
    /** The wasm build in use. @type {'simd' | 'relaxed'} */
    this.variant = 'simd';
    /** Threads in use. */
    this.threads = 1;
    /** What create() did otherwise than asked, and why. @type {readonly string[]} */
    this.notes = [];
    /** Bytes of the engine's memory after the last frame. */
    this.memoryBytes = 0;
  }

  /**
   * The hands in a frame. Those of the frame before are followed, so give the frames of one video in their order; frames
   * queue up, so await each one, or skip frames while one is under way.
   * @param {Picture} source taken as it is now; may be closed or overwritten at once
   * @param {number} [timestamp] of the frame, in milliseconds
   * @param {DetectOptions} [options]
   * @returns {Promise<HandTrackerResult>}
   * @throws {TulleError} (rejects) for what cannot be read, a closed tracker, an engine that crashed
   */
  async detect(source, timestamp = performance.now(), { mirrored = false, transfer = false } = {}) {
    if (!isPicture(source)) throw new TulleError(`detect() takes a picture, as a video or canvas, not ${describeType(source)}`);
    const frame = take(source);
    const found = await this.#worker.call('detect', { frame, mirrored }, isHandedOver(frame, transfer) ? [frame] : [])
      .catch((error) => {
        close(frame);
        throw error;
      });
    this.memoryBytes = found.memoryBytes;
    const hands = found.hands.map((/** @type {import('./tracking.js').TrackedHand} */ hand) =>
      this.#describe(hand, timestamp, found.width, found.height));
    this.#forget(hands);
    const handedness = hands.map(category);
    return {
      hands,
      landmarks: hands.map((/** @type {Hand} */ hand) => hand.landmarks),
      worldLandmarks: hands.map((/** @type {Hand} */ hand) => hand.worldLandmarks),
      handedness,
      handednesses: handedness,
      timestamp,
      times: found.times,
    };
  }

  /** Forgets all hands, before the first frame of another scene. @returns {Promise<void>} */
  async reset() {
    this.#filters.clear();
    await this.#worker.call('reset', {});
  }

  /** Ends the worker, after the frames already given. @returns {Promise<void>} */
  async close() {
    await this.#worker.close();
  }

  /**
   * @param {import('./tracking.js').TrackedHand} hand
   * @param {number} timestamp
   * @param {number} width
   * @param {number} height
   * @returns {Hand}
   */
  #describe({ id, region, answers }, timestamp, width, height) {
    const [{ points, raw, world, presence, right }] = answers;
    const scale = region.size / INPUT_SIZE;
    /** @type {Float32Array} */
    let values = new Float32Array(3 * LANDMARKS);
    for (let i = 0; i < LANDMARKS; i++) values.set([points[2 * i], points[2 * i + 1], scale * raw[3 * i + 2]], 3 * i);
    if (this.#smoothing) {
      const filter = this.#filters.get(id) ?? new OneEuroFilter();
      this.#filters.set(id, filter);
      values = filter.apply(values, timestamp, region.size);
    }
    const pixels = toPoints(values);
    return {
      id,
      landmarks: pixels.map(({ x, y, z }) => ({ x: x / width, y: y / height, z: z / width })),
      pixels,
      worldLandmarks: world ? toPoints(world) : [],
      handedness: right > 0.5 ? 'Right' : 'Left',
      score: right > 0.5 ? right : 1 - right,
      presence,
      region,
      answers,
    };
  }

  /** Drops the filters of hands that are gone. @param {Hand[]} hands */
  #forget(hands) {
    for (const id of this.#filters.keys()) if (!hands.some((hand) => hand.id === id)) this.#filters.delete(id);
  }
}

/** @param {Float32Array} values x, y, z of each */
function toPoints(values) {
  return Array.from({ length: values.length / 3 }, (_, i) => ({ x: values[3 * i], y: values[3 * i + 1], z: values[3 * i + 2] }));
}

/** @param {Hand} hand @returns {Category[]} */
function category({ handedness, score }) {
  return [{ index: handedness === 'Right' ? 0 : 1, score, categoryName: handedness, displayName: handedness }];
}

// Bundlers only find the worker file in this exact expression.
function handsWorker() {
  const name = 'tulle hands';
  if (isForeign(import.meta.url)) return foreignWorker('./worker.js', import.meta.url, name);
  return started(() => new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name }));
}
