// The tracker's worker: reads the pixels of a frame once and runs all networks on them, with the engine in this thread.

import { load } from '../index.js';
import { readPixels } from '../pictures.js';
import { answerCalls } from '../worker_calls.js';
import { Tracking } from './tracking.js';

/** @typedef {import('../model.js').Model} Model */

/**
 * @typedef {{ detector?: ModelSource, landmarkers?: ModelSource[], maxHands: number,
 *   options: import('../index.js').LoadOptions }} CreateArgs `detector` and `landmarkers` are the package's own if left out
 * @typedef {{ frame: import('../pictures.js').Sendable, mirrored: boolean }} DetectArgs
 * @typedef {string | Blob | ArrayBuffer | ArrayBufferView} ModelSource
 */

const DETECTOR = new URL('../../models/palm_detection.tulle', import.meta.url).href;
const LANDMARKS = new URL('../../models/hand_landmark.tulle', import.meta.url).href;

/** @type {Model} */
let detector;
/** @type {Model[]} */
let landmarkers = [];
/** @type {Tracking} */
let tracking;
/** The last frame's bytes, for the next one: new memory costs more than the copy. */
let buffer = new Uint8Array();

/** @type {Record<string, (args: any) => any>} */
const calls = {
  /** @param {CreateArgs} args */
  async create({ detector: palms = DETECTOR, landmarkers: networks = [LANDMARKS], maxHands, options }) {
    const [first, ...rest] = await Promise.all([palms, ...networks].map((source) => load(source, { ...options, worker: false })));
    [detector, landmarkers] = [first, rest];
    tracking = new Tracking({ detector, landmarkers, maxHands });
    return { notes: [...new Set([detector, ...landmarkers].flatMap(({ notes }) => notes))] };
  },

  /** @param {DetectArgs} args */
  async detect({ frame, mirrored }) {
    const start = performance.now();
    const pixels = await readPixels(frame, place);
    const read = performance.now() - start;
    const { hands, times } = await tracking.track(pixels, mirrored);
    const { width, height } = pixels;
    return { hands, times: { read, ...times }, width, height, memoryBytes: detector.info.memoryBytes };
  },

  reset() {
    tracking.reset();
  },

  async close() {
    await Promise.all([detector, ...landmarkers].map((model) => model?.close()));
  },
};

/** @param {number} size */
function place(size) {
  if (buffer.length < size) buffer = new Uint8Array(size);
  return buffer.subarray(0, size);
}

answerCalls(calls);
