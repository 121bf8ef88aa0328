// Hands in a stream of frames: finds palms, runs landmark networks on each hand, tracks it from frame to frame.
//
//   const tracker = new HandTracker({ detector, landmarkers: [sparse] });     // models of tulle's load()
//   const { hands, times } = await tracker.track(frame.image, frame.mirrored);
//   hands[0].answers[0].points        // x, y of 21 landmarks in pixels of the frame
//
// Several landmark networks may run on the same pixels; tracking follows the first. As in MediaPipe, the palm detector
// only runs while hands are missing: on every frame if there is none, otherwise now and then.

import { INPUT_SIZE, LANDMARKS, OUTPUT } from '../skeleton.js';
import { Cropper } from './crop.js';
import { DETECTOR_SIZE, findPalms } from './palms.js';
import { regionOfLandmarks, regionOfPalm, toFrame, wholeFrame, withoutDuplicates } from './region.js';

/** @typedef {import('../../../web/src/index.js').Model} Model */
/** @typedef {import('./region.js').Region} Region */

/** Names of the detector's outputs. */
const PALM_OUTPUT = { boxes: 'Identity', scores: 'Identity_1' };

const MIN_PRESENCE = 0.5;
const SEARCH_EVERY = 10; // frames between detections, while some hands are tracked but there may be more

/**
 * One landmark network's result for a hand.
 * @typedef {object} Answer
 * @property {Float32Array} points x, y of each of the 21 landmarks, in pixels of the frame
 * @property {Float32Array} raw x, y, z of each as the network gives them, in pixels of its input
 * @property {number} presence 0 to 1: whether there is a hand at all
 * @property {number} right 0 to 1: whether it is a right hand
 */

/**
 * @typedef {object} Hand
 * @property {number} id stays the same while the hand is tracked
 * @property {Region} region where the networks looked
 * @property {ImageData} pixels the networks' input: INPUT_SIZE x INPUT_SIZE
 * @property {Answer[]} answers one for each landmark network
 */

/**
 * Milliseconds.
 * @typedef {object} Times
 * @property {number | undefined} detect making the detector's input, running it and reading it; undefined if it did not
 * @property {number} crop making the landmark networks' inputs
 * @property {number[]} inference of each landmark network, all hands together
 * @property {number} seen how many hands these were, given up ones included
 */

export class HandTracker {
  /** @type {Model} */
  detector;
  /** @type {Model[]} */
  landmarkers;
  #maxHands;
  /** @type {{ id: number, region: Region }[]} */
  #followed = [];
  #nextId = 0;
  #sinceSearch = SEARCH_EVERY;
  #frames = 0;
  #detectorInput = new Cropper(DETECTOR_SIZE);
  #handInput = new Cropper(INPUT_SIZE);

  /**
   * @param {object} options
   * @param {Model} options.detector
   * @param {Model[]} options.landmarkers at least one; the first leads
   * @param {number} [options.maxHands]
   */
  constructor({ detector, landmarkers, maxHands = 2 }) {
    this.detector = detector;
    this.landmarkers = landmarkers;
    this.#maxHands = maxHands;
  }

  /** Forgets all tracked hands, before the first frame of another scene. */
  reset() {
    this.#followed = [];
    this.#sinceSearch = SEARCH_EVERY;
  }

  /**
   * @param {CanvasImageSource & { width: number, height: number }} image must stay the same until this resolves
   * @param {boolean} [mirrored] whether the frame is mirrored
   * @returns {Promise<{ hands: Hand[], times: Times }>}
   */
  async track(image, mirrored = false) {
    /** @type {Times} */
    const times = { detect: undefined, crop: 0, inference: this.landmarkers.map(() => 0), seen: 0 };
    const missing = this.#maxHands - this.#followed.length;
    this.#sinceSearch++;
    if (missing > 0 && (this.#followed.length === 0 || this.#sinceSearch >= SEARCH_EVERY)) {
      const start = performance.now();
      const found = await this.#search(image);
      const distinct = withoutDuplicates([...this.#followed, ...found]).slice(0, this.#maxHands);
      this.#followed = distinct.map(({ id = this.#nextId++, region }) => ({ id, region }));
      this.#sinceSearch = 0;
      times.detect = performance.now() - start;
    }

    /** @type {Hand[]} */
    const hands = [];
    for (const { id, region } of this.#followed) hands.push(await this.#look(image, id, region, mirrored, times));
    times.seen = hands.length;
    const present = hands.filter(({ answers }) => answers[0].presence >= MIN_PRESENCE);
    const next = present.map((hand) => ({ ...hand, hand, region: regionOfLandmarks(hand.answers[0].points) }));
    const distinct = withoutDuplicates(next);
    this.#followed = distinct.map(({ id, region }) => ({ id, region }));
    this.#frames++;
    return { hands: distinct.map(({ hand }) => hand), times };
  }

  /** @param {CanvasImageSource & { width: number, height: number }} image */
  async #search(image) {
    const seen = wholeFrame(image.width, image.height);
    const outputs = await this.detector.run(this.#detectorInput.crop(image, seen));
    const palms = findPalms(outputs[PALM_OUTPUT.boxes], outputs[PALM_OUTPUT.scores]);
    return palms.map((palm) => ({ id: undefined, region: regionOfPalm(palm, seen) }));
  }

  /**
   * @param {CanvasImageSource} image
   * @param {number} id
   * @param {Region} region
   * @param {boolean} mirrored
   * @param {Times} times added to
   * @returns {Promise<Hand>}
   */
  async #look(image, id, region, mirrored, times) {
    const start = performance.now();
    const pixels = this.#handInput.crop(image, region);
    times.crop += performance.now() - start;
    /** @type {Answer[]} */
    const answers = [];
    // One after another, so that none waits in the queue; the order changes, so that none always finds the caches warm.
    for (let i = 0; i < this.landmarkers.length; i++) {
      const which = (i + this.#frames) % this.landmarkers.length;
      const start = performance.now();
      const outputs = await this.landmarkers[which].run(pixels);
      times.inference[which] += performance.now() - start;
      answers[which] = readAnswer(outputs, region, mirrored);
    }
    return { id, region, pixels, answers };
  }
}

/**
 * @param {Record<string, Float32Array>} outputs of a landmark network
 * @param {Region} region
 * @param {boolean} mirrored
 * @returns {Answer}
 */
function readAnswer(outputs, region, mirrored) {
  const raw = outputs[OUTPUT.landmarks];
  const points = new Float32Array(2 * LANDMARKS);
  for (let i = 0; i < LANDMARKS; i++) {
    const { x, y } = toFrame(region, raw[3 * i] / INPUT_SIZE, raw[3 * i + 1] / INPUT_SIZE);
    points[2 * i] = x;
    points[2 * i + 1] = y;
  }
  const looksRight = outputs[OUTPUT.handedness][0];
  return { points, raw, presence: outputs[OUTPUT.presence][0], right: mirrored ? 1 - looksRight : looksRight };
}
