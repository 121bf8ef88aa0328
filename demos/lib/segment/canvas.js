// The compositor without a graphics processor: the same sums in JavaScript, and a 2D canvas to show them.

import {
  COLOUR_FLOOR, SIGMA_COLOUR, SIGMA_SPACE, TAPS, WRAP, blurSigma, blurTaps, clamp, lightOf, mixedPlaces, withAlpha,
} from './composition.js';

/** @typedef {import('./composition.js').Layer} Layer */
/** @typedef {import('./composition.js').Compositor} Compositor */

/** Weights by squared distance in colours of 0 to 255, in steps of 16: finer than anyone could see. */
const ALIKE = Float32Array.from({ length: Math.ceil((3 * 255 ** 2) / 16) + 1 }, (_, i) =>
  Math.exp(-(i * 16) / 255 ** 2 / (2 * SIGMA_COLOUR ** 2)) + COLOUR_FLOOR);

/** @implements {Compositor} */
export class CanvasCompositor {
  kind = /** @type {const} */ ('canvas');
  lost = false;
  #context;
  /** @type {ImageData} */
  #frame = new ImageData(1, 1);
  /** @type {HTMLCanvasElement | undefined} */
  #background;
  /** The background at the frame's size, made when first needed. @type {ImageData | undefined} */
  #stretched;
  #light = new ImageData(1, 1);

  constructor() {
    this.canvas = document.createElement('canvas');
    const context = this.canvas.getContext('2d', { willReadFrequently: true, alpha: false });
    if (!context) throw new Error('This browser gives no 2D canvas, which is needed to composite.');
    this.#context = context;
  }

  /** @param {HTMLCanvasElement} frame */
  begin(frame) {
    const { width, height } = frame;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.#stretched = undefined;
    }
    this.#context.drawImage(frame, 0, 0);
    this.#frame = this.#context.getImageData(0, 0, width, height);
  }

  /** @param {HTMLCanvasElement} background */
  setBackground(background) {
    this.#background = background;
    this.#stretched = undefined;
    this.#light = lightOf(background);
  }

  /** @param {Layer} layer */
  draw({ input, alpha, effect, blur, soft, left, right }) {
    const { height } = this.canvas;
    if (right <= left) return;
    if (effect === 'none') {
      this.#context.putImageData(this.#frame, 0, 0, left, 0, right - left, height);
      return;
    }
    const result = new ImageData(right - left, height);
    const guide = withAlpha(input, alpha);
    const matte = new Matte(guide, input.width, input.height, this.#frame, soft);
    if (effect === 'mask') drawMatte(result, matte, left);
    else {
      const far = withoutPerson(guide, input.width, input.height, blurSigma(blur, this.canvas, input));
      this.#mix(result, matte, far, effect === 'replace' ? this.#replacement() : undefined, left);
    }
    this.#context.putImageData(result, left, 0);
  }

  /**
   * @param {ImageData} result some columns of the frame
   * @param {Matte} matte
   * @param {Float32Array} far the frame without the person, and nearness, at the mask's size
   * @param {Uint8ClampedArray | undefined} replaced the background at the frame's size; none for the blurred frame
   * @param {number} left the first column
   */
  #mix(result, matte, far, replaced, left) {
    const frame = this.#frame.data;
    const { width, height } = this.#frame;
    const light = this.#light;
    const lightAcross = places(width, light.width);
    const lightDown = places(height, light.height);
    const behind = new Float32Array(4);
    const shine = new Float32Array(4);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < result.width; x++) {
        const column = left + x;
        const from = 4 * (y * width + column);
        const to = 4 * (y * result.width + x);
        result.data[to + 3] = 255;
        const share = matte.at(column, y) / 255;
        if (replaced && share === 0) {
          for (let c = 0; c < 3; c++) result.data[to + c] = replaced[from + c];
          continue;
        }
        linear(far, matte.width, matte.across[column], matte.down[y], behind);
        if (replaced) linear(light.data, light.width, lightAcross[column], lightDown[y], shine);
        const wrap = (WRAP * behind[3]) / 255;
        for (let c = 0; c < 3; c++) {
          const back = replaced ? replaced[from + c] : behind[c];
          const rim = frame[from + c] + ((replaced ? shine[c] : back) - frame[from + c]) * wrap;
          result.data[to + c] = back + (rim - back) * share;
        }
      }
    }
  }

  close() {
    this.canvas.width = this.canvas.height = 0; // frees its pixels at once, not with the next collection
  }

  /** @returns {Uint8ClampedArray} the background at the frame's size, RGBA */
  #replacement() {
    const { width, height } = this.canvas;
    if (!this.#stretched) {
      const canvas = document.createElement('canvas');
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext('2d', { alpha: false });
      if (!context) throw new Error('This browser gives no 2D canvas, which is needed to composite.');
      if (this.#background) context.drawImage(this.#background, 0, 0, width, height);
      this.#stretched = context.getImageData(0, 0, width, height);
    }
    return this.#stretched.data;
  }
}

/**
 * A place between two pixels, as textures are read: `share` of the second, the rest of the first.
 * @typedef {object} Place
 * @property {number} floor the pixel before, which may lie outside
 * @property {number} first the same, inside
 * @property {number} second the pixel after, inside
 * @property {number} share
 */

/**
 * Where a pixel of a larger picture lies in a smaller one, in one direction.
 * @param {number} i
 * @param {number} large
 * @param {number} small
 * @returns {Place}
 */
function place(i, large, small) {
  const exact = ((i + 0.5) * small) / large - 0.5;
  const floor = Math.floor(exact);
  return { floor, first: clamp(floor, small), second: clamp(floor + 1, small), share: exact - floor };
}

/**
 * @param {number} large
 * @param {number} small
 */
function places(large, small) {
  return Array.from({ length: large }, (_, i) => place(i, large, small));
}

/**
 * One pixel of an RGBA picture, interpolated linearly.
 * @param {ArrayLike<number>} pixels
 * @param {number} width
 * @param {Place} x
 * @param {Place} y
 * @param {Float32Array} result four channels
 */
function linear(pixels, width, x, y, result) {
  const a = 4 * (y.first * width + x.first);
  const b = 4 * (y.first * width + x.second);
  const c = 4 * (y.second * width + x.first);
  const d = 4 * (y.second * width + x.second);
  for (let i = 0; i < 4; i++) {
    const top = pixels[a + i] + (pixels[b + i] - pixels[a + i]) * x.share;
    const bottom = pixels[c + i] + (pixels[d + i] - pixels[c + i]) * x.share;
    result[i] = top + (bottom - top) * y.share;
  }
}

/**
 * @param {ImageData} result some columns of the frame
 * @param {Matte} matte
 * @param {number} left the first column
 */
function drawMatte(result, matte, left) {
  const pixels = new Uint32Array(result.data.buffer); // red, green, blue, alpha from the lowest byte up
  for (let i = 0; i < pixels.length; i++) {
    const share = Math.round(matte.at(left + (i % result.width), Math.floor(i / result.width)));
    pixels[i] = 0xff000000 | (share * 0x010101);
  }
}

/** The matte at the frame's size, pixel by pixel. */
class Matte {
  #guide;
  #frame;
  #soft;
  #mixed;

  /**
   * @param {Uint8Array} guide the frame at the mask's size, alpha: the matte
   * @param {number} width of the guide
   * @param {number} height
   * @param {ImageData} frame
   * @param {boolean} soft whether it follows the frame's edges
   */
  constructor(guide, width, height, frame, soft) {
    this.#guide = guide;
    this.#frame = frame;
    this.#soft = soft;
    this.width = width;
    this.height = height;
    /** Where the frame's columns and rows lie in the mask. */
    this.across = places(frame.width, width);
    this.down = places(frame.height, height);
    this.#mixed = mixedPlaces(guide, width, height);
  }

  /**
   * @param {number} x column of the frame
   * @param {number} y row
   * @returns {number} 0 to 255
   */
  at(x, y) {
    const column = this.across[x];
    const row = this.down[y];
    if (!this.#mixed[(row.floor + 1) * (this.width + 1) + column.floor + 1]) {
      return this.#guide[4 * (row.first * this.width + column.first) + 3];
    }
    return this.#soft ? this.#bilateral(column, row, 4 * (y * this.#frame.width + x)) : this.#linear(column, row);
  }

  /**
   * @param {Place} x
   * @param {Place} y
   */
  #linear(x, y) {
    const at = (/** @type {number} */ row, /** @type {number} */ column) =>
      this.#guide[4 * (row * this.width + column) + 3];
    const top = at(y.first, x.first) * (1 - x.share) + at(y.first, x.second) * x.share;
    const bottom = at(y.second, x.first) * (1 - x.share) + at(y.second, x.second) * x.share;
    return top * (1 - y.share) + bottom * y.share;
  }

  /**
   * The mask's pixels around, those of a like colour first.
   * @param {Place} x
   * @param {Place} y
   * @param {number} pixel where in the frame's data
   */
  #bilateral(x, y, pixel) {
    const guide = this.#guide;
    const frame = this.#frame.data;
    let sum = 0;
    let weights = 0;
    for (let j = 1 - TAPS / 2; j <= TAPS / 2; j++) {
      const line = clamp(y.floor + j, this.height) * this.width;
      for (let i = 1 - TAPS / 2; i <= TAPS / 2; i++) {
        const tap = 4 * (line + clamp(x.floor + i, this.width));
        const red = guide[tap] - frame[pixel];
        const green = guide[tap + 1] - frame[pixel + 1];
        const blue = guide[tap + 2] - frame[pixel + 2];
        const way = (i - x.share) ** 2 + (j - y.share) ** 2;
        const alike = ALIKE[(red * red + green * green + blue * blue) >> 4];
        const weight = Math.exp(-way / (2 * SIGMA_SPACE ** 2)) * alike;
        sum += weight * guide[tap + 3];
        weights += weight;
      }
    }
    return sum / weights;
  }
}

/**
 * The frame without the person, blurred.
 * @param {Uint8Array} guide alpha: the matte
 * @param {number} width
 * @param {number} height
 * @param {{ x: number, y: number }} sigma in pixels
 * @returns {Float32Array} RGB of 0 to 255, and nearness of 0 to 255 as the fourth channel
 */
function withoutPerson(guide, width, height, sigma) {
  const weighted = new Float32Array(guide.length);
  for (let i = 0; i < guide.length; i += 4) {
    const behind = 1 - guide[i + 3] / 255;
    for (let c = 0; c < 3; c++) weighted[i + c] = guide[i + c] * behind;
    weighted[i + 3] = 255 * behind;
  }
  const across = blurLines(weighted, width, height, 4, 4 * width, sigma.x);
  const blurred = blurLines(across, height, width, 4 * width, 4, sigma.y);
  for (let i = 0; i < blurred.length; i += 4) {
    const scale = 255 / Math.max(1, blurred[i + 3]);
    for (let c = 0; c < 3; c++) blurred[i + c] *= scale;
  }
  return blurred;
}

/**
 * Blurs along one direction.
 * @param {Float32Array} pixels four channels
 * @param {number} length of a line
 * @param {number} lines
 * @param {number} step from a pixel to the next of its line
 * @param {number} lineStep from a line to the next
 * @param {number} sigma
 */
function blurLines(pixels, length, lines, step, lineStep, sigma) {
  const taps = blurTaps(sigma);
  const kernel = Float32Array.from({ length: 2 * taps + 1 }, (_, i) => Math.exp(-((i - taps) ** 2) / (2 * sigma ** 2)));
  const total = kernel.reduce((sum, weight) => sum + weight, 0);
  const result = new Float32Array(pixels.length);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < length; i++) {
      const to = line * lineStep + i * step;
      let [red, green, blue, near] = [0, 0, 0, 0];
      for (let t = 0; t < kernel.length; t++) {
        const from = line * lineStep + clamp(i + t - taps, length) * step;
        const weight = kernel[t];
        red += weight * pixels[from];
        green += weight * pixels[from + 1];
        blue += weight * pixels[from + 2];
        near += weight * pixels[from + 3];
      }
      result[to] = red / total;
      result[to + 1] = green / total;
      result[to + 2] = blue / total;
      result[to + 3] = near / total;
    }
  }
  return result;
}
