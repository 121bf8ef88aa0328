// Hands in a stream of frames: finds palms, runs landmark networks on each hand, tracks it from frame to frame.
//
// Several landmark networks may run on the same regions; tracking follows the first. As in MediaPipe, the palm detector
// only runs while hands are missing: on every frame if there is none, otherwise now and then.

import { readAnswer } from './answer.js';
import { findPalms } from './palms.js';
import { regionOfLandmarks, regionOfPalm, wholeFrame, withoutDuplicates } from './region.js';

/** @typedef {import('../model.js').Model} Model */
/** @typedef {import('../pictures.js').Pixels} Pixels */
/** @typedef {import('./answer.js').Answer} Answer */
/** @typedef {import('./region.js').Region} Region */

/** Names of the detector's outputs. */
const PALM_OUTPUT = { boxes: 'Identity', scores: 'Identity_1' };

const MIN_PRESENCE = 0.5;
const SEARCH_EVERY = 10; // frames between detections, while some hands are tracked but there may be more

/**
 * @typedef {object} TrackedHand
 * @property {number} id stays the same while the hand is tracked
 * @property {Region} region where the networks looked
 * @property {Answer[]} answers one for each landmark network
 */

/**
 * Milliseconds.
 * @typedef {object} Times
 * @property {number | undefined} detect cropping for the detector, running it and reading it; undefined if it did not run
 * @property {number[]} landmarks of each landmark network, all hands together, cropping included
 * @property {number} seen how many hands these were, dropped ones included
 */

export class Tracking {
  #detector;
  #landmarkers;
  #maxHands;
  /** @type {{ id: number, region: Region }[]} */
  #followed = [];
  #nextId = 0;
  #sinceSearch = SEARCH_EVERY;
  #frames = 0;

  /**
   * @param {object} options
   * @param {Model} options.detector
   * @param {Model[]} options.landmarkers at least one; the first leads
   * @param {number} options.maxHands
   */
  constructor({ detector, landmarkers, maxHands }) {
    this.#detector = detector;
    this.#landmarkers = landmarkers;
    this.#maxHands = maxHands;
  }

  /** Forgets all tracked hands, before the first frame of another scene. */
  reset() {
    this.#followed = [];
    this.#sinceSearch = SEARCH_EVERY;
  }

  /**
   * @param {Pixels} frame
   * @param {boolean} mirrored whether left and right are exchanged in it
   * @returns {Promise<{ hands: TrackedHand[], times: Times }>}
   */
  async track(frame, mirrored) {
    /** @type {Times} */
    const times = { detect: undefined, landmarks: this.#landmarkers.map(() => 0), seen: 0 };
    const missing = this.#maxHands - this.#followed.length;
    this.#sinceSearch++;
    if (missing > 0 && (this.#followed.length === 0 || this.#sinceSearch >= SEARCH_EVERY)) {
      const start = performance.now();
      const found = await this.#search(frame);
      const distinct = withoutDuplicates([...this.#followed, ...found]).slice(0, this.#maxHands);
      this.#followed = distinct.map(({ id = this.#nextId++, region }) => ({ id, region }));
      this.#sinceSearch = 0;
      times.detect = performance.now() - start;
    }

    /** @type {TrackedHand[]} */
    const hands = [];
    for (const { id, region } of this.#followed) hands.push(await this.#look(frame, id, region, mirrored, times));
    times.seen = hands.length;
    const present = hands.filter(({ answers }) => answers[0].presence >= MIN_PRESENCE);
    const next = present.map((hand) => ({ id: hand.id, hand, region: regionOfLandmarks(hand.answers[0].points) }));
    const distinct = withoutDuplicates(next.filter(isSound));
    this.#followed = distinct.map(({ id, region }) => ({ id, region }));
    this.#frames++;
    return { hands: distinct.map(({ hand }) => hand), times };
  }

  /** @param {Pixels} frame */
  async #search(frame) {
    const seen = wholeFrame(frame.width, frame.height);
    const outputs = await runOn(this.#detector, frame, seen);
    const palms = findPalms(outputs[PALM_OUTPUT.boxes], outputs[PALM_OUTPUT.scores]);
    return palms.map((palm) => ({ id: undefined, region: regionOfPalm(palm, seen) })).filter(isSound);
  }

  /**
   * @param {Pixels} frame
   * @param {number} id
   * @param {Region} region
   * @param {boolean} mirrored
   * @param {Times} times added to
   * @returns {Promise<TrackedHand>}
   */
  async #look(frame, id, region, mirrored, times) {
    /** @type {Answer[]} */
    const answers = [];
    // One after the other, so that none waits for another; the order changes, so that none always finds warm caches.
    for (let i = 0; i < this.#landmarkers.length; i++) {
      const which = (i + this.#frames) % this.#landmarkers.length;
      const start = performance.now();
      const outputs = await runOn(this.#landmarkers[which], frame, region);
      times.landmarks[which] += performance.now() - start;
      answers[which] = readAnswer(outputs, region, mirrored);
    }
    return { id, region, answers };
  }
}

/** Whether a network's numbers make a region at all: those of a model of one's own may not. @param {{ region: Region }} _ */
function isSound({ region: { x, y, size, angle } }) {
  return size > 0 && [x, y, size, angle].every((value) => Math.abs(value) < 1e5);
}

/**
 * @param {Model} model
 * @param {Pixels} frame a picture to run(), though its documentation does not say so
 * @param {Region} region what lies outside the frame is black
 */
function runOn(model, frame, { x, y, size, angle }) {
  const crop = { x: x - size / 2, y: y - size / 2, width: size, height: size };
  return model.run(/** @type {any} */ (frame), { crop, rotation: angle });
}
