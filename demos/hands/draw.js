// Drawn beside a hand's skeleton: whether it is a left or a right hand, and the region that the network saw.

/** @typedef {import('../lib/skeleton.js').Style} Style */

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
 * The square that the network saw, with a bar at its top.
 * @param {CanvasRenderingContext2D} context
 * @param {import('../../web/src/hands/index.js').Region} region
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
