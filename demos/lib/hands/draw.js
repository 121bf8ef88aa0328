// Draws a followed hand over its frame: skeleton, whether it is a left or right hand, and where the network looked.

import { BONES, LANDMARKS } from '../skeleton.js';

/**
 * How to draw.
 * @typedef {object} Style
 * @property {string} color of the skeleton
 * @property {string} halo colour of the rim that sets it off from the picture
 * @property {number} unit what one CSS pixel is in the context's units
 */

/**
 * @param {CanvasRenderingContext2D} context in pixels of the frame
 * @param {Float32Array} points x, y of the 21 landmarks
 * @param {Style} style
 */
export function drawSkeleton(context, points, { color, halo, unit }) {
  const x = (/** @type {number} */ i) => points[2 * i];
  const y = (/** @type {number} */ i) => points[2 * i + 1];
  context.lineCap = context.lineJoin = 'round';
  for (const [ink, rim] of /** @type {[string, number][]} */ ([[halo, 1.6], [color, 0]])) {
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = (2 + 2 * rim) * unit;
    context.beginPath();
    for (const [from, to] of BONES) {
      context.moveTo(x(from), y(from));
      context.lineTo(x(to), y(to));
    }
    context.stroke();
    dots(context, points, (3.6 + rim) * unit);
  }
  context.fillStyle = halo;
  dots(context, points, 1.7 * unit);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} points
 * @param {number} radius
 */
function dots(context, points, radius) {
  context.beginPath();
  for (let i = 0; i < LANDMARKS; i++) {
    context.moveTo(points[2 * i] + radius, points[2 * i + 1]);
    context.arc(points[2 * i], points[2 * i + 1], radius, 0, 2 * Math.PI);
  }
  context.fill();
}

/**
 * A word below the wrist, or above it at the lower edge of the frame.
 * @param {CanvasRenderingContext2D} context
 * @param {string} word
 * @param {Float32Array} points
 * @param {number} bottom height of the frame
 * @param {Style} style
 */
export function drawLabel(context, word, points, bottom, { color, halo, unit }) {
  context.font = `500 ${14 * unit}px Geist, system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  const y = Math.min(points[1] + 20 * unit, bottom - 14 * unit);
  const width = context.measureText(word).width + 14 * unit;
  context.fillStyle = color;
  context.beginPath();
  context.roundRect(points[0] - width / 2, y - 11 * unit, width, 22 * unit, 11 * unit);
  context.fill();
  context.fillStyle = halo;
  context.fillText(word, points[0], y + unit);
}

/**
 * The square the network looked at, with a bar at its top.
 * @param {CanvasRenderingContext2D} context
 * @param {import('./region.js').Region} region
 * @param {Style} style
 */
export function drawRegion(context, { x, y, size, angle }, { color, halo, unit }) {
  context.save();
  context.translate(x, y);
  context.rotate(angle);
  for (const [ink, width] of /** @type {[string, number][]} */ ([[halo, 3.5], [color, 1.5]])) {
    context.strokeStyle = ink;
    context.lineWidth = width * unit;
    context.strokeRect(-size / 2, -size / 2, size, size);
    context.beginPath();
    context.moveTo(-12 * unit, -size / 2 + 5 * unit);
    context.lineTo(12 * unit, -size / 2 + 5 * unit);
    context.stroke();
  }
  context.restore();
}
