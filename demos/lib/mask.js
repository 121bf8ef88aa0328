// Masks of people: reading them from the landscape selfie model's output, drawing one over its picture, comparing two.

/** Size of the landscape model's input and mask, in pixels. */
export const WIDTH = 256;
export const HEIGHT = 144;

/**
 * The mask in the outputs of a run. The landscape model gives one channel, person.
 * @param {Record<string, Float32Array>} outputs
 * @returns {Float32Array} HEIGHT x WIDTH, 0 to 1
 */
export function maskOf(outputs) {
  const [mask] = Object.values(outputs);
  if (mask.length !== WIDTH * HEIGHT) throw new Error(`The mask has ${mask.length} values, expected ${WIDTH * HEIGHT}.`);
  return mask;
}

/**
 * Draws a picture with everything but the person tinted in the canvas's CSS color.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageData} pixels WIDTH x HEIGHT
 * @param {Float32Array} [mask]
 */
export function drawMask(canvas, pixels, mask) {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d');
  if (!context) return;
  const shown = new ImageData(new Uint8ClampedArray(pixels.data), WIDTH, HEIGHT);
  if (mask) {
    const tint = (getComputedStyle(canvas).color.match(/[\d.]+/g) ?? []).map(Number);
    mask.forEach((person, i) => {
      const away = 0.8 * (1 - person);
      for (let c = 0; c < 3; c++) shown.data[4 * i + c] += away * (tint[c] - shown.data[4 * i + c]);
    });
  }
  context.putImageData(shown, 0, 0);
}

/**
 * The mask at another size, interpolated linearly between the centres of its pixels; itself if it has that size.
 * @typedef {{ data: Float32Array, width: number, height: number }} Mask
 * @param {Mask} mask
 * @param {{ width: number, height: number }} size
 * @returns {Mask}
 */
export function resampled(mask, { width, height }) {
  if (mask.width === width && mask.height === height) return mask;
  const data = new Float32Array(width * height);
  const columns = places(mask.width, width);
  places(mask.height, height).forEach((row, y) => {
    const [upper, lower] = [row.first, row.second].map((line) => line * mask.width);
    columns.forEach((column, x) => {
      const along = (/** @type {number} */ line) => mask.data[line + column.first]
        + column.part * (mask.data[line + column.second] - mask.data[line + column.first]);
      data[y * width + x] = along(upper) + row.part * (along(lower) - along(upper));
    });
  });
  return { data, width, height };
}

/**
 * For each of `to` pixels the two of `from` that its centre lies between, and how far towards the second.
 * @param {number} from
 * @param {number} to
 */
function places(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const place = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const first = Math.floor(place);
    return { first, second: Math.min(from - 1, first + 1), part: place - first };
  });
}

/**
 * Intersection over union of two masks: the pixels that are person in both, divided by those that are in either.
 * @param {Float32Array} a probabilities
 * @param {Float32Array} b as many
 * @returns {number} 0 to 1; 1 where neither sees anybody
 */
export function intersectionOverUnion(a, b) {
  let both = 0;
  let either = 0;
  for (let i = 0; i < a.length; i++) {
    const inA = a[i] > 0.5;
    const inB = b[i] > 0.5;
    if (inA && inB) both++;
    if (inA || inB) either++;
  }
  return either === 0 ? 1 : both / either;
}
