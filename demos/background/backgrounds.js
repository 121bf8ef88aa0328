// Replacement backgrounds: gradients that come with the page, and the visitor's own picture.

/** The size that backgrounds are drawn at; the proportions are the stage's. */
const WIDTH = 640;
const HEIGHT = 480;

/**
 * A sky, light from one corner, and a glow where a lamp would be.
 * @typedef {{ name: string, from: string, to: string, glow: string }} Gradient
 */

/** @type {readonly Gradient[]} */
export const GRADIENTS = [
  { name: 'Dusk', from: '#ff9a76', to: '#3b1f6b', glow: '#ffd9a0' },
  { name: 'Sea', from: '#a6e3e0', to: '#134a6e', glow: '#e8fbf4' },
  { name: 'Paper', from: '#f6f2ea', to: '#cfc5b4', glow: '#ffffff' },
];

/**
 * @param {Gradient} gradient
 * @returns {HTMLCanvasElement}
 */
export function drawGradient({ from, to, glow }) {
  const { canvas, context } = blank();
  const slope = context.createLinearGradient(0, 0, WIDTH * 0.6, HEIGHT);
  slope.addColorStop(0, from);
  slope.addColorStop(1, to);
  context.fillStyle = slope;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  const lamp = context.createRadialGradient(WIDTH * 0.2, HEIGHT * 0.25, 0, WIDTH * 0.2, HEIGHT * 0.25, WIDTH * 0.5);
  lamp.addColorStop(0, glow);
  lamp.addColorStop(1, `${glow}00`);
  context.globalAlpha = 0.55;
  context.fillStyle = lamp;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  return canvas;
}

/**
 * The centre of a picture, cropped to the stage's proportions.
 * @param {File} file
 * @returns {Promise<HTMLCanvasElement>} rejects with an Error fit for the visitor when the file is not a picture
 */
export async function readBackground(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} is not a picture that this browser can read.`);
  });
  const { canvas } = blank();
  cover(canvas, bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return canvas;
}

/**
 * Fills a canvas with a picture, cropped to the canvas's proportions.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource} image
 * @param {number} width of the image
 * @param {number} height
 */
export function cover(canvas, image, width, height) {
  const context = context2d(canvas);
  const scale = Math.max(canvas.width / width, canvas.height / height);
  const w = width * scale;
  const h = height * scale;
  context.imageSmoothingQuality = scale < 0.5 ? 'medium' : 'low';
  context.drawImage(image, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
}

function blank() {
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = context2d(canvas);
  context.fillStyle = '#fff'; // behind transparent pictures
  context.fillRect(0, 0, WIDTH, HEIGHT);
  return { canvas, context };
}

/** @param {HTMLCanvasElement} canvas */
function context2d(canvas) {
  const context = canvas.getContext('2d', { alpha: false });
  if (!context) throw new Error('This browser gives no 2D canvas, which the demo needs to draw frames.');
  return context;
}
