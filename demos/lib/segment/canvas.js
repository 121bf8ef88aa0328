// The compositor without a GPU: the same formulas in JavaScript, and a 2D canvas to show the result.

import {
  COLOUR_FLOOR, SIGMA_COLOUR, SIGMA_SPACE, TAPS, WRAP, blurSigma, blurTaps, clamp, lightOf, mixedPlaces, withAlpha,
} from './composition.js';

/** @typedef {import('./composition.js').Layer} Layer */
/** @typedef {import('./composition.js').Compositor} Compositor */

/** Weights by squared distance between colours of 0 to 255, in steps of 16, which is too fine to be seen. */
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
    if (effect === 'mask') {
      drawMatte(result, matte, left);
    } else {
      const columns = { from: matte.across.first[left], to: matte.across.second[right - 1] + 1 };
      const far = withoutPerson(guide, input.width, input.height, blurSigma(blur, this.canvas, input), columns);
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
    const { first, second, share: part } = matte.across;
    const farRow = new Float32Array(4 * matte.width);
    const light = new Upsampled(this.#light, width, height);
    const data = result.data;
    for (let y = 0; y < height; y++) {
      interpolateRow(far, matte.width, matte.down, y, farRow);
      if (replaced) light.row(y);
      let to = 4 * y * result.width;
      let from = 4 * (y * width + left);
      for (let x = left; x < left + result.width; x++, from += 4, to += 4) {
        data[to + 3] = 255;
        const share = matte.at(x, y) / 255;
        const a = 4 * first[x];
        const b = 4 * second[x];
        if (share === 1 && farRow[a + 3] + farRow[b + 3] === 0) { // deep inside the person
          for (let c = 0; c < 3; c++) data[to + c] = frame[from + c];
          continue;
        }
        const near = farRow[a + 3] + (farRow[b + 3] - farRow[a + 3]) * part[x];
        const wrap = (WRAP * near) / 255;
        for (let c = 0; c < 3; c++) {
          const blurred = farRow[a + c] + (farRow[b + c] - farRow[a + c]) * part[x];
          const behind = replaced ? replaced[from + c] : blurred;
          if (share === 0) {
            data[to + c] = behind;
            continue;
          }
          const shine = replaced ? light.at(x, c) : blurred;
          const rim = frame[from + c] + (shine - frame[from + c]) * wrap;
          data[to + c] = behind + (rim - behind) * share;
        }
      }
    }
  }

  close() {
    this.canvas.width = this.canvas.height = 0; // frees its pixels at once, not at the next garbage collection
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
 * Where each of `large` pixels lies among `small` ones, in one direction; like a texture read, it blends two of them.
 * @typedef {object} Places
 * @property {Int32Array} floor the pixel before, which may lie outside
 * @property {Int32Array} first the same, inside
 * @property {Int32Array} second the pixel after, inside
 * @property {Float32Array} share of the second; the rest is the first's
 */

/**
 * @param {number} large
 * @param {number} small
 * @returns {Places}
 */
function places(large, small) {
  const [floor, first, second] = [new Int32Array(large), new Int32Array(large), new Int32Array(large)];
  const share = new Float32Array(large);
  for (let i = 0; i < large; i++) {
    const exact = ((i + 0.5) * small) / large - 0.5;
    floor[i] = Math.floor(exact);
    first[i] = clamp(floor[i], small);
    second[i] = clamp(floor[i] + 1, small);
    share[i] = exact - floor[i];
  }
  return { floor, first, second, share };
}

/**
 * @param {ArrayLike<number>} pixels four channels
 * @param {number} width
 * @param {Places} down
 * @param {number} y row of the larger picture
 * @param {Float32Array} row of the smaller one's width, to fill
 */
function interpolateRow(pixels, width, down, y, row) {
  const above = 4 * width * down.first[y];
  const below = 4 * width * down.second[y];
  const share = down.share[y];
  for (let i = 0; i < row.length; i++) row[i] = pixels[above + i] + (pixels[below + i] - pixels[above + i]) * share;
}

/** A picture interpolated linearly to a larger size, row by row. */
class Upsampled {
  #picture;
  #across;
  #down;
  #row;

  /**
   * @param {ImageData} picture
   * @param {number} width
   * @param {number} height
   */
  constructor(picture, width, height) {
    this.#picture = picture;
    this.#across = places(width, picture.width);
    this.#down = places(height, picture.height);
    this.#row = new Float32Array(4 * picture.width);
  }

  /** Moves to a row. @param {number} y */
  row(y) {
    interpolateRow(this.#picture.data, this.#picture.width, this.#down, y, this.#row);
  }

  /**
   * @param {number} x
   * @param {number} channel
   */
  at(x, channel) {
    const first = this.#row[4 * this.#across.first[x] + channel];
    return first + (this.#row[4 * this.#across.second[x] + channel] - first) * this.#across.share[x];
  }
}

/**
 * @param {ImageData} result some columns of the frame
 * @param {Matte} matte
 * @param {number} left the first column
 */
function drawMatte(result, matte, left) {
  let to = 0;
  for (let y = 0; y < result.height; y++) {
    for (let x = left; x < left + result.width; x++, to += 4) {
      result.data[to] = result.data[to + 1] = result.data[to + 2] = matte.at(x, y);
      result.data[to + 3] = 255;
    }
  }
}

/** The matte at the frame's size, pixel by pixel. */
class Matte {
  #guide;
  #frame;
  #soft;
  #mixed;
  #nearAcross;
  #nearDown;

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
    this.#mixed = mixedPlaces(guide, width, height);
    this.width = width;
    this.height = height;
    /** Where the frame's columns and rows lie in the mask. */
    this.across = places(frame.width, width);
    this.down = places(frame.height, height);
    this.#nearAcross = nearness(this.across);
    this.#nearDown = nearness(this.down);
  }

  /**
   * @param {number} x column of the frame
   * @param {number} y row
   * @returns {number} 0 to 255
   */
  at(x, y) {
    if (this.#mixed[(this.down.floor[y] + 1) * (this.width + 1) + this.across.floor[x] + 1]) {
      return this.#soft ? this.#bilateral(x, y) : this.#linear(x, y);
    }
    return this.#guide[4 * (this.down.first[y] * this.width + this.across.first[x]) + 3];
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #linear(x, y) {
    const { across, down } = this;
    const at = (/** @type {number} */ row, /** @type {number} */ column) =>
      this.#guide[4 * (row * this.width + column) + 3];
    const above = at(down.first[y], across.first[x]) * (1 - across.share[x])
      + at(down.first[y], across.second[x]) * across.share[x];
    const below = at(down.second[y], across.first[x]) * (1 - across.share[x])
      + at(down.second[y], across.second[x]) * across.share[x];
    return above * (1 - down.share[y]) + below * down.share[y];
  }

  /**
   * The mask around a pixel, weighted by distance and similarity of colour.
   * @param {number} x
   * @param {number} y
   */
  #bilateral(x, y) {
    const guide = this.#guide;
    const frame = this.#frame.data;
    const pixel = 4 * (y * this.#frame.width + x);
    const column = this.across.floor[x] - (TAPS / 2 - 1);
    const row = this.down.floor[y] - (TAPS / 2 - 1);
    let sum = 0;
    let weights = 0;
    for (let j = 0; j < TAPS; j++) {
      const line = clamp(row + j, this.height) * this.width;
      for (let i = 0; i < TAPS; i++) {
        const tap = 4 * (line + clamp(column + i, this.width));
        const red = guide[tap] - frame[pixel];
        const green = guide[tap + 1] - frame[pixel + 1];
        const blue = guide[tap + 2] - frame[pixel + 2];
        const alike = ALIKE[(red * red + green * green + blue * blue) >> 4];
        const weight = this.#nearAcross[TAPS * x + i] * this.#nearDown[TAPS * y + j] * alike;
        sum += weight * guide[tap + 3];
        weights += weight;
      }
    }
    return sum / weights;
  }
}

/**
 * Weights by distance in one dimension: a 2D Gaussian is the product of two 1D ones.
 * @param {Places} places
 * @returns {Float32Array} TAPS for each pixel
 */
function nearness({ share }) {
  const weights = new Float32Array(TAPS * share.length);
  for (let i = 0; i < weights.length; i++) {
    const way = (i % TAPS) - (TAPS / 2 - 1) - share[Math.floor(i / TAPS)];
    weights[i] = Math.exp(-(way ** 2) / (2 * SIGMA_SPACE ** 2));
  }
  return weights;
}

/**
 * The frame without the person, blurred.
 * @param {Uint8Array} guide alpha: the matte
 * @param {number} width
 * @param {number} height
 * @param {{ x: number, y: number }} sigma in pixels
 * @param {{ from: number, to: number }} columns that are wanted; the others stay 0
 * @returns {Float32Array} RGB of 0 to 255, and nearness of 0 to 255 as the fourth channel
 */
function withoutPerson(guide, width, height, sigma, columns) {
  const weighted = new Float32Array(guide.length);
  for (let i = 0; i < guide.length; i += 4) {
    const behind = 1 - guide[i + 3] / 255;
    for (let c = 0; c < 3; c++) weighted[i + c] = guide[i + c] * behind;
    weighted[i + 3] = 255 * behind;
  }
  const across = new Float32Array(guide.length);
  const kernelX = kernel(sigma.x);
  const reachX = (kernelX.length - 1) / 2;
  for (let y = 0; y < height; y++) {
    for (let x = columns.from; x < columns.to; x++) {
      const to = 4 * (y * width + x);
      let [red, green, blue, near] = [0, 0, 0, 0];
      for (let t = -reachX; t <= reachX; t++) {
        const from = 4 * (y * width + clamp(x + t, width));
        const weight = kernelX[t + reachX];
        red += weight * weighted[from];
        green += weight * weighted[from + 1];
        blue += weight * weighted[from + 2];
        near += weight * weighted[from + 3];
      }
      across[to] = red;
      across[to + 1] = green;
      across[to + 2] = blue;
      across[to + 3] = near;
    }
  }
  const blurred = new Float32Array(guide.length);
  const kernelY = kernel(sigma.y);
  const reachY = (kernelY.length - 1) / 2;
  for (let y = 0; y < height; y++) {
    const start = 4 * (y * width + columns.from);
    const end = 4 * (y * width + columns.to);
    for (let t = -reachY; t <= reachY; t++) {
      const step = 4 * width * (clamp(y + t, height) - y);
      const weight = kernelY[t + reachY];
      for (let i = start; i < end; i++) blurred[i] += weight * across[i + step];
    }
    for (let i = start; i < end; i += 4) {
      const scale = 255 / Math.max(1, blurred[i + 3]);
      for (let c = 0; c < 3; c++) blurred[i + c] *= scale;
    }
  }
  return blurred;
}

/**
 * @param {number} sigma
 * @returns {Float32Array} the Gaussian's weights, which add up to 1
 */
function kernel(sigma) {
  const taps = blurTaps(sigma);
  const weights = Float32Array.from({ length: 2 * taps + 1 }, (_, i) => Math.exp(-((i - taps) ** 2) / (2 * sigma ** 2)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
