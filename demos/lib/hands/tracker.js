// Hands in a stream of frames: finds palms, looks at each hand closely, follows it from frame to frame.
//
//   const tracker = new HandTracker({ detector, landmarkers: [sparse] });     // models of tulle's load()
//   const { hands, times } = await tracker.track(frame.image, frame.mirrored);
//   hands[0].answers[0].points        // x, y of 21 landmarks in pixels of the frame
//
// Several landmark networks may answer on the same pixels; the first of them leads. As MediaPipe's hand tracking does,
// the palm detector runs only while hands are missing: on every frame while there is none, else now and then.

import { INPUT_SIZE, LANDMARKS, OUTPUT } from '../skeleton.js';
import { Cropper } from './crop.js';
import { DETECTOR_SIZE, findPalms } from './palms.js';
import { regionOfLandmarks, regionOfPalm, toFrame, wholeFrame, withoutDuplicates } from './region.js';

/** @typedef {import('../../../web/src/index.js').Model} Model */
/** @typedef {import('./region.js').Region} Region */

/** Names of the detector's outputs. */
const PALM_OUTPUT = { boxes: 'Identity', scores: 'Identity_1' };

const MIN_PRESENCE = 0.5;
const SEARCH_EVERY = 10; // frames, while some hands are followed but more may come

/**
 * What one landmark network says of a hand.
 * @typedef {object} Answer
 * @property {Float32Array} points x, y of each of the 21 landmarks, in pixels of the frame
 * @property {Float32Array} raw x, y, z of each as the network gives them, in pixels of its input
 * @property {number} presence 0 to 1: whether there is a hand at all
 * @property {number} right 0 to 1: whether it is a right hand
 */

/**
 * @typedef {object} Hand
 * @property {number} id the same as long as the hand is followed
 * @property {Region} region where the networks looked
 * @property {ImageData} pixels what they saw: INPUT_SIZE x INPUT_SIZE
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

  /** Forgets the hands it followed: for the first frame of something else. */
  reset() {
    this.#followed = [];
    this.#sinceSearch = SEARCH_EVERY;
  }

  /**
   * @param {CanvasImageSource & { width: number, height: number }} image must stay the same until this resolves
   * @param {boolean} [mirrored] whether left and right are exchanged in it
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
    // In turn, so that none waits for another; which goes first changes, so that none always finds the caches warm.
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
