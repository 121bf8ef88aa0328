// Regions of interest: where in the frame a hand is, from the palm for a new hand and from the last landmarks for a
// tracked one. Proportions as in MediaPipe (palm_detection_detection_to_roi, hand_landmark_landmarks_to_roi).

import { overlap } from './palms.js';

/** @typedef {import('./palms.js').Box} Box */

/**
 * @typedef {object} Region A square in the frame, possibly rotated. Lengths in the frame's pixels, y down.
 * @property {number} x of its centre
 * @property {number} y
 * @property {number} size of its side
 * @property {number} angle in radians, clockwise; at 0 its top is up in the frame
 */

const WRIST = 0;
const PALM_POINT_OF_MIDDLE_FINGER = 2;
const KNUCKLE = { index: 5, middle: 9, ring: 13 };
/** All landmarks but the outer two joints of the fingers and the thumb's tip, which move more than the hand itself. */
const STEADY = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18];

// The region around a palm contains the whole hand; one around landmarks leaves room for motion until the next frame.
const PALM = { scale: 2.6, up: 0.5 };
const LANDMARKS = { scale: 2.0, up: 0.1 };

const SAME_HAND = 0.5; // overlap from which two regions show the same hand

/**
 * The square around a frame of this size, with the same centre: the palm detector's input.
 * @param {number} width
 * @param {number} height
 * @returns {Region}
 */
export function wholeFrame(width, height) {
  return { x: width / 2, y: height / 2, size: Math.max(width, height), angle: 0 };
}

/**
 * @param {import('./palms.js').Palm} palm
 * @param {Region} seen where in the frame the detector looked
 * @returns {Region} with the middle finger pointing up
 */
export function regionOfPalm({ box, points }, seen) {
  const centre = toFrame(seen, (box.left + box.right) / 2, (box.top + box.bottom) / 2);
  const angle = uprightAngle(
    toFrame(seen, ...points[WRIST]),
    toFrame(seen, ...points[PALM_POINT_OF_MIDDLE_FINGER]),
  );
  return grow({ ...centre, angle }, (box.right - box.left) * seen.size, (box.bottom - box.top) * seen.size, PALM);
}

/**
 * The region of the same hand in the next frame.
 * @param {Float32Array} points x and y of the 21 landmarks, in pixels of the frame
 * @returns {Region}
 */
export function regionOfLandmarks(points) {
  const at = (/** @type {number} */ i) => ({ x: points[2 * i], y: points[2 * i + 1] });
  const index = at(KNUCKLE.index);
  const middle = at(KNUCKLE.middle);
  const ring = at(KNUCKLE.ring);
  const knuckles = { x: (index.x + 2 * middle.x + ring.x) / 4, y: (index.y + 2 * middle.y + ring.y) / 4 };
  const angle = uprightAngle(at(WRIST), knuckles);

  // The smallest box of that angle around the steady landmarks.
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  const across = STEADY.map((i) => at(i).x * cos + at(i).y * sin);
  const along = STEADY.map((i) => at(i).y * cos - at(i).x * sin);
  const [left, right, top, bottom] = [Math.min(...across), Math.max(...across), Math.min(...along), Math.max(...along)];
  const u = (left + right) / 2;
  const v = (top + bottom) / 2;
  const centre = { x: u * cos - v * sin, y: u * sin + v * cos };
  return grow({ ...centre, angle }, right - left, bottom - top, LANDMARKS);
}

/**
 * @param {{ x: number, y: number, angle: number }} box
 * @param {number} width of the box, before it becomes a square
 * @param {number} height
 * @param {{ scale: number, up: number }} by `up`: how far the square is moved towards the finger tips, in box heights
 * @returns {Region}
 */
function grow({ x, y, angle }, width, height, { scale, up }) {
  return {
    x: x + up * height * Math.sin(angle),
    y: y - up * height * Math.cos(angle),
    size: scale * Math.max(width, height),
    angle,
  };
}

/**
 * The angle to rotate the picture by so that `to` lies straight above `from`.
 * @param {{ x: number, y: number }} from
 * @param {{ x: number, y: number }} to
 * @returns {number} radians, clockwise, above -pi up to pi
 */
function uprightAngle(from, to) {
  return Math.atan2(to.x - from.x, from.y - to.y);
}

/**
 * A place in a region as a place in the frame.
 * @param {Region} region
 * @param {number} u across, 0 to 1 from the region's left to its right
 * @param {number} v down, 0 to 1
 */
export function toFrame({ x, y, size, angle }, u, v) {
  const right = (u - 0.5) * size;
  const down = (v - 0.5) * size;
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  return { x: x + right * cos - down * sin, y: y + right * sin + down * cos };
}

/**
 * Keeps only the first of several regions that show the same hand. Angles are ignored, as in MediaPipe.
 * @template {{ region: Region }} T
 * @param {T[]} candidates
 * @returns {T[]}
 */
export function withoutDuplicates(candidates) {
  /** @type {T[]} */
  const kept = [];
  for (const candidate of candidates) {
    const known = kept.some(({ region }) => overlap(boxOf(region), boxOf(candidate.region)) > SAME_HAND);
    if (!known) kept.push(candidate);
  }
  return kept;
}

/**
 * @param {Region} region
 * @returns {Box}
 */
function boxOf({ x, y, size }) {
  return { left: x - size / 2, top: y - size / 2, right: x + size / 2, bottom: y + size / 2 };
}
