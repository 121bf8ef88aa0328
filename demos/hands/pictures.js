// Pictures of hands: the bundled ones and the visitor's own, cut to the square the networks take.

/** Side of the square input of the hand landmark networks, in pixels. */
export const INPUT_SIZE = 224;

/**
 * @typedef {object} Picture
 * @property {string} title for people
 * @property {HTMLCanvasElement} square the picture cut to a square at its own resolution, for showing
 * @property {ImageData} input INPUT_SIZE x INPUT_SIZE pixels, for the networks
 */

/**
 * Fetches and decodes a picture.
 * @param {string} url
 * @param {string} title
 * @returns {Promise<Picture>}
 */
export async function fetchPicture(url, title) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The picture ${url} could not be loaded: HTTP ${response.status}.`);
  return decodePicture(await response.blob(), title);
}

/**
 * Decodes an image file, cuts its middle square out and scales that to the networks' input.
 * @param {Blob} file
 * @param {string} title
 * @returns {Promise<Picture>} rejects with an Error fit for the visitor when the file is not an image
 */
export async function decodePicture(file, title) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${title} is not an image that this browser can read.`);
  }
  const side = Math.min(bitmap.width, bitmap.height);
  const left = (bitmap.width - side) / 2;
  const top = (bitmap.height - side) / 2;
  const shownSide = Math.min(side, 1024); // a phone's photograph is many times larger than the panel
  const square = drawSquare(bitmap, left, top, side, shownSide);
  const small = drawSquare(bitmap, left, top, side, INPUT_SIZE);
  bitmap.close();
  const input = context2d(small).getImageData(0, 0, INPUT_SIZE, INPUT_SIZE);
  return { title, square, input };
}

/**
 * @param {ImageBitmap} bitmap
 * @param {number} left
 * @param {number} top
 * @param {number} side of the square taken, in the bitmap's pixels
 * @param {number} size of the canvas returned
 */
function drawSquare(bitmap, left, top, side, size) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const context = context2d(canvas);
  context.fillStyle = '#fff'; // under transparent pictures
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, left, top, side, side, 0, 0, size, size);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas */
function context2d(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('This browser gives no 2D canvas, which the demo needs to read pictures.');
  return context;
}
