// Decodes the palm detector's outputs: anchors, boxes, weighted non-maximum suppression, as MediaPipe's palm_detection
// graph is configured for its 192 x 192 model (SsdAnchorsCalculator, TensorsToDetectionsCalculator,
// NonMaxSuppressionCalculator); the paper is https://arxiv.org/abs/2006.10214.

import { TulleError } from '../errors.js';

/** Side of the detector's square input, in pixels. */
export const DETECTOR_SIZE = 192;

const STRIDES = [8, 16, 16, 16];
const ANCHORS_A_LAYER = 2; // one of the layer's scale, one between it and the next; both of size 1 in this model
const VALUES = 18; // an anchor: x, y, width, height of the box, then x, y of seven points
const POINTS = 7; // of the palm: 0 the wrist, 2 the middle finger's knuckle
const MIN_SCORE = 0.5;
const MIN_OVERLAP = 0.3;

/**
 * @typedef {object} Palm
 * @property {number} score 0.5 to 1
 * @property {Box} box in units of the input's side: 0 left and top, 1 right and bottom
 * @property {[x: number, y: number][]} points the seven points, in the same units
 */

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Box */

/**
 * Centres of the detector's anchors, in units of the input's side. Layers of the same stride share their centres.
 * @returns {Float32Array} x and y of each, in the order of the model's outputs
 */
export function anchorCentres() {
  const centres = [];
  for (let layer = 0; layer < STRIDES.length; ) {
    const stride = STRIDES[layer];
    const same = STRIDES.filter((other) => other === stride).length;
    const cells = DETECTOR_SIZE / stride;
    for (let y = 0; y < cells; y++) {
      for (let x = 0; x < cells; x++) {
        for (let i = 0; i < ANCHORS_A_LAYER * same; i++) centres.push((x + 0.5) / cells, (y + 0.5) / cells);
      }
    }
    layer += same;
  }
  return Float32Array.from(centres);
}

const ANCHORS = anchorCentres();

/**
 * The palms that the detector found, best first.
 * @param {Float32Array} boxes [2016, 18]: the model's first output
 * @param {Float32Array} scores [2016, 1] logits: its second
 * @returns {Palm[]}
 */
export function findPalms(boxes, scores) {
  const anchors = ANCHORS.length / 2;
  if (boxes?.length !== anchors * VALUES || scores?.length !== anchors) {
    throw new TulleError(`this is no palm detector: ${boxes?.length} and ${scores?.length} numbers for ${anchors} anchors`);
  }
  const palms = [];
  for (let anchor = 0; anchor < anchors; anchor++) {
    const score = 1 / (1 + Math.exp(-scores[anchor]));
    if (score >= MIN_SCORE) palms.push(decode(boxes, anchor, score));
  }
  return mergeOverlapping(palms);
}

/**
 * @param {Float32Array} boxes
 * @param {number} anchor
 * @param {number} score
 * @returns {Palm}
 */
function decode(boxes, anchor, score) {
  const at = anchor * VALUES;
  const x = (/** @type {number} */ i) => boxes[at + i] / DETECTOR_SIZE + ANCHORS[2 * anchor];
  const y = (/** @type {number} */ i) => boxes[at + i] / DETECTOR_SIZE + ANCHORS[2 * anchor + 1];
  const halfWidth = boxes[at + 2] / DETECTOR_SIZE / 2;
  const halfHeight = boxes[at + 3] / DETECTOR_SIZE / 2;
  return {
    score,
    box: { left: x(0) - halfWidth, top: y(1) - halfHeight, right: x(0) + halfWidth, bottom: y(1) + halfHeight },
    points: Array.from({ length: POINTS }, (_, i) => [x(4 + 2 * i), y(5 + 2 * i)]),
  };
}

/**
 * Weighted non-maximum suppression: the best palm and all that overlap it are merged into one, the mean of their boxes
 * and points weighted by score; then the best of the rest, and so on.
 * @param {Palm[]} palms
 * @returns {Palm[]} best first
 */
export function mergeOverlapping(palms) {
  let rest = [...palms].sort((a, b) => b.score - a.score);
  const merged = [];
  while (rest.length) {
    const best = rest[0];
    const same = rest.filter((palm) => palm === best || overlap(best.box, palm.box) > MIN_OVERLAP);
    merged.push(weightedMean(same));
    rest = rest.filter((palm) => !same.includes(palm));
  }
  return merged;
}

/**
 * @param {Palm[]} palms the best one first, whose score the mean keeps
 * @returns {Palm}
 */
function weightedMean(palms) {
  const total = palms.reduce((sum, { score }) => sum + score, 0);
  const mean = (/** @type {(palm: Palm) => number} */ of) =>
    palms.reduce((sum, palm) => sum + of(palm) * palm.score, 0) / total;
  return {
    score: palms[0].score,
    box: {
      left: mean(({ box }) => box.left),
      top: mean(({ box }) => box.top),
      right: mean(({ box }) => box.right),
      bottom: mean(({ box }) => box.bottom),
    },
    points: palms[0].points.map((_, i) => [mean(({ points }) => points[i][0]), mean(({ points }) => points[i][1])]),
  };
}

/**
 * Intersection over union.
 * @param {Box} a
 * @param {Box} b
 */
export function overlap(a, b) {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (width <= 0 || height <= 0) return 0;
  const area = (/** @type {Box} */ box) => (box.right - box.left) * (box.bottom - box.top);
  const both = width * height;
  return both / (area(a) + area(b) - both);
}
