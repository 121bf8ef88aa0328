// Reads the outputs of a hand landmark network.

import { TulleError } from '../errors.js';
import { INPUT_SIZE, LANDMARKS, OUTPUT } from './landmarks.js';
import { toFrame } from './region.js';

/**
 * @typedef {object} Answer One landmark network's result for a hand.
 * @property {Float32Array} points x, y of each of the 21 landmarks, in pixels of the frame
 * @property {Float32Array} raw x, y, z of each as the network gives them, in pixels of its input
 * @property {Float32Array | undefined} world x, y, z of each in metres, from the middle of the hand, turned as the hand is
 *   in the frame; undefined where the network does not give it
 * @property {number} presence 0 to 1: whether there is a hand at all
 * @property {number} right 0 to 1: whether it is a right hand
 */

/**
 * @param {Record<string, Float32Array>} outputs of a landmark network
 * @param {import('./region.js').Region} region what it saw
 * @param {boolean} mirrored whether left and right are exchanged in the frame
 * @returns {Answer}
 */
export function readAnswer(outputs, region, mirrored) {
  const { [OUTPUT.landmarks]: raw, [OUTPUT.presence]: presence, [OUTPUT.handedness]: handedness } = outputs;
  if (raw?.length !== 3 * LANDMARKS || presence?.length !== 1 || handedness?.length !== 1) {
    throw new TulleError(`this is no hand landmark network: its outputs are ${Object.keys(outputs).join(', ')}, `
      + `not ${OUTPUT.landmarks} of ${3 * LANDMARKS} numbers, ${OUTPUT.presence} and ${OUTPUT.handedness} of one`);
  }
  const points = new Float32Array(2 * LANDMARKS);
  for (let i = 0; i < LANDMARKS; i++) {
    const { x, y } = toFrame(region, raw[3 * i] / INPUT_SIZE, raw[3 * i + 1] / INPUT_SIZE);
    points[2 * i] = x;
    points[2 * i + 1] = y;
  }
  const world = outputs[OUTPUT.world]?.length === raw.length ? turned(outputs[OUTPUT.world], region.angle) : undefined;
  return { points, raw, world, presence: presence[0], right: mirrored ? 1 - handedness[0] : handedness[0] };
}

/**
 * As MediaPipe's WorldLandmarkProjectionCalculator.
 * @param {Float32Array} points x, y, z of each
 * @param {number} angle
 */
function turned(points, angle) {
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  const result = Float32Array.from(points);
  for (let i = 0; i < result.length; i += 3) {
    result[i] = cos * points[i] - sin * points[i + 1];
    result[i + 1] = sin * points[i] + cos * points[i + 1];
  }
  return result;
}
