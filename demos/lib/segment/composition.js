// Puts a person in front of another background on the GPU: the formulas, as gpu.js implements them. tulle/background has
// the same idea in C, for the CPU.
//
// 1. At the mask's size, the frame without the person is blurred: rgb * (1 - alpha) and 1 - alpha by the same
//    Gaussian, then the first divided by the second, so that the person's colours leave no halo in the background. The
//    blurred 1 - alpha, `nearness`, also says how close a pixel of the person is to the background.
// 2. The matte is upsampled to the frame's size, with edges where the frame has edges: joint bilateral upsampling
//    (Kopf et al. 2007) over the TAPS x TAPS pixels of the mask around each pixel of the frame.
// 3. Person and background are blended by the matte. Near its edge the person takes on some of the background's light.

/** @typedef {'blur' | 'replace' | 'mask' | 'none'} Effect */

/** @type {readonly Effect[]} */
export const EFFECTS = ['blur', 'replace', 'mask', 'none'];

/**
 * @typedef {object} Layer
 * @property {ImageData} input the frame at the mask's size
 * @property {Uint8ClampedArray} alpha of the matte, one byte per pixel of `input`: 0 background, 255 person
 * @property {Effect} effect "mask" shows the upsampled matte itself
 * @property {number} blur standard deviation of the blur in parts of the frame's height, 0 to 0.1
 * @property {boolean} soft whether the matte follows the frame's edges; else it is interpolated linearly
 * @property {number} left first column of the frame to draw
 * @property {number} right column to stop before
 */

/** How many of the mask's pixels a pixel of the frame is made from, in each direction. */
export const TAPS = 4;

/** Standard deviations of the upsampling: in pixels of the mask, and in colour, whose channels go from 0 to 1. */
export const SIGMA_SPACE = 1.1;
export const SIGMA_COLOUR = 0.09;

/** Added to each colour weight, so that where no colour fits, distance alone decides. */
export const COLOUR_FLOOR = 0.004;

/** The most of the background's light that the edge takes on. */
export const WRAP = 0.35;

/** The most pixels that the blur reads on each side. */
export const MOST_TAPS = 24;

/** Side of the square that a replacement background is reduced to for its light, in pixels. */
export const LIGHT_SIZE = 16;

/**
 * Probabilities up to FLOOR are background, from CEILING on person: without this the background shimmers. Both are
 * chosen high, since a rim of the old background is more visible than a missing rim of the person.
 */
const FLOOR = 0.4;
const CEILING = 0.9;

/**
 * @param {Float32Array} mask probabilities
 * @returns {Uint8ClampedArray} as many values, 0 background to 255 person
 */
export function alphaOf(mask) {
  const alpha = new Uint8ClampedArray(mask.length);
  for (let i = 0; i < mask.length; i++) {
    const t = Math.min(1, Math.max(0, (mask[i] - FLOOR) / (CEILING - FLOOR)));
    alpha[i] = 255 * t * t * (3 - 2 * t); // the cubic that GLSL calls smoothstep
  }
  return alpha;
}

/**
 * Standard deviation of the blur in pixels of the mask, at least half a pixel.
 * @param {number} blur in parts of the frame's height
 * @param {{ width: number, height: number }} frame
 * @param {{ width: number, height: number }} mask
 * @returns {{ x: number, y: number }}
 */
export function blurSigma(blur, frame, mask) {
  const pixels = blur * frame.height;
  const x = (pixels * mask.width) / frame.width;
  const y = (pixels * mask.height) / frame.height;
  return { x: Math.max(0.5, x), y: Math.max(0.5, y) };
}

/** @param {number} sigma */
export function blurTaps(sigma) {
  return Math.min(MOST_TAPS, Math.ceil(2.5 * sigma));
}

/**
 * The frame at the mask's size with the matte as its alpha, not premultiplied.
 * @param {ImageData} input
 * @param {Uint8ClampedArray} alpha
 * @returns {Uint8Array} RGBA
 */
export function withAlpha(input, alpha) {
  const guide = new Uint8Array(input.data);
  for (let i = 0; i < alpha.length; i++) guide[4 * i + 3] = alpha[i];
  return guide;
}

/**
 * Where the matte needs upsampling: not within the person or the background, which is most of a frame.
 * @param {Uint8Array} guide as `withAlpha` gives it
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} [height + 1, width + 1], by place between pixels of the mask, from above and left of the first to
 *   below and right of the last: 0 where all TAPS x TAPS pixels around have one alpha, else 255
 */
export function mixedPlaces(guide, width, height) {
  const mixed = new Uint8Array((height + 1) * (width + 1));
  for (let row = -1; row < height; row++) {
    for (let column = -1; column < width; column++) {
      const value = guide[4 * (clamp(row, height) * width + clamp(column, width)) + 3];
      const place = (row + 1) * (width + 1) + column + 1;
      for (let j = 1 - TAPS / 2; j <= TAPS / 2 && !mixed[place]; j++) {
        const line = clamp(row + j, height) * width;
        for (let i = 1 - TAPS / 2; i <= TAPS / 2; i++) {
          if (guide[4 * (line + clamp(column + i, width)) + 3] !== value) mixed[place] = 255;
        }
      }
    }
  }
  return mixed;
}

/**
 * @param {number} i
 * @param {number} size
 * @returns {number} the nearest of 0 to size - 1
 */
export function clamp(i, size) {
  return i < 0 ? 0 : i >= size ? size - 1 : i;
}

/**
 * The light of a replacement background: the background itself, so small that only large shapes are left.
 * @param {HTMLCanvasElement} background
 * @returns {ImageData} LIGHT_SIZE x LIGHT_SIZE
 */
export function lightOf(background) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = LIGHT_SIZE;
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  if (!context) throw new Error('This browser gives no 2D canvas, which is needed to composite.');
  context.imageSmoothingQuality = 'high';
  context.drawImage(background, 0, 0, LIGHT_SIZE, LIGHT_SIZE);
  return context.getImageData(0, 0, LIGHT_SIZE, LIGHT_SIZE);
}
