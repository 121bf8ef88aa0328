// The 21 landmarks of a hand: comparing two sets, drawing them as a skeleton.

import { HAND_CONNECTIONS, INPUT_SIZE, LANDMARKS } from '../../web/src/hands/landmarks.js';

/**
 * @param {Float32Array} a 63 numbers: x, y, z of each landmark, in pixels of the input
 * @param {Float32Array} b the same
 * @returns {number} mean distance in the picture plane, in percent of the picture's side
 */
export function meanDistance(a, b) {
  let sum = 0;
  for (let i = 0; i < LANDMARKS; i++) sum += Math.hypot(a[3 * i] - b[3 * i], a[3 * i + 1] - b[3 * i + 1]);
  return (sum / LANDMARKS / INPUT_SIZE) * 100;
}

/**
 * Draws a square picture and, if there are landmarks, the skeleton over it. Takes the canvas's own CSS `color` for the
 * skeleton and `--halo` for the rim that sets it off from the picture, and its size on the page for the resolution.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource} square
 * @param {Float32Array} [landmarks]
 */
export function drawSkeleton(canvas, square, landmarks) {
  const side = canvas.clientWidth;
  const resolution = Math.max(1, Math.round(side * devicePixelRatio));
  if (canvas.width !== resolution || canvas.height !== resolution) canvas.width = canvas.height = resolution;
  const context = canvas.getContext('2d');
  if (!context || side === 0) return;
  context.imageSmoothingQuality = 'high';
  context.drawImage(square, 0, 0, resolution, resolution);
  if (!landmarks) return;

  const style = getComputedStyle(canvas);
  const unit = (resolution / side) * Math.max(0.6, Math.min(1.15, side / 340)); // thinner lines in a small picture
  const points = new Float32Array(2 * LANDMARKS);
  for (let i = 0; i < points.length; i++) points[i] = (landmarks[3 * (i >> 1) + (i % 2)] / INPUT_SIZE) * resolution;
  drawBones(context, points, { color: style.color, halo: style.getPropertyValue('--halo'), unit });
}

/**
 * How to draw.
 * @typedef {object} Style
 * @property {string} color of the skeleton
 * @property {string} halo colour of the rim that sets it off from the picture
 * @property {number} unit what one CSS pixel is in the context's units
 */

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} points x, y of the 21 landmarks, in the context's units
 * @param {Style} style
 */
export function drawBones(context, points, { color, halo, unit }) {
  const discs = (/** @type {number} */ radius) => {
    context.beginPath();
    for (let i = 0; i < LANDMARKS; i++) {
      context.moveTo(points[2 * i] + radius, points[2 * i + 1]);
      context.arc(points[2 * i], points[2 * i + 1], radius, 0, 2 * Math.PI);
    }
    context.fill();
  };
  context.lineCap = context.lineJoin = 'round';
  for (const [ink, rim] of /** @type {[string, number][]} */ ([[halo, 1.6], [color, 0]])) {
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = (2 + 2 * rim) * unit;
    context.beginPath();
    for (const [from, to] of HAND_CONNECTIONS) {
      context.moveTo(points[2 * from], points[2 * from + 1]);
      context.lineTo(points[2 * to], points[2 * to + 1]);
    }
    context.stroke();
    discs((3.6 + rim) * unit);
  }
  context.fillStyle = halo;
  discs(1.7 * unit);
}
