// Turns the network's mask of a frame into a matte's alpha: stable over time, and 0 or 1 where the network is sure.

/** How much of the previous mask is kept where the network is undecided: edges are stable, yet follow quickly. */
const KEEP = 0.6;

/**
 * Probabilities up to FLOOR are background, from CEILING on person: without this the background shimmers. Both are
 * chosen high, since a rim of the old background is more visible than a missing rim of the person.
 */
const FLOOR = 0.4;
const CEILING = 0.9;

/** Smooths one network's masks over time. Make one for each network, and `reset` it when the scene changes. */
export class MatteMaker {
  /** @type {Float32Array | undefined} */
  #before;

  /** Forgets earlier frames. */
  reset() {
    this.#before = undefined;
  }

  /**
   * Blends each probability with the previous one by its uncertainty, 1 at 0.5 and 0 at 0 and 1, like MediaPipe's
   * SegmentationSmoothingCalculator: a pixel that the network is sure of changes at once.
   * @param {Float32Array} mask probabilities of the latest frame, row-major
   * @returns {Uint8ClampedArray} as many values, 0 background to 255 foreground
   */
  next(mask) {
    const before = this.#before?.length === mask.length ? this.#before : mask;
    const smooth = new Float32Array(mask.length);
    const alpha = new Uint8ClampedArray(mask.length);
    for (let i = 0; i < mask.length; i++) {
      const centred = 2 * mask[i] - 1;
      smooth[i] = mask[i] + (before[i] - mask[i]) * KEEP * (1 - centred * centred);
      const t = Math.min(1, Math.max(0, (smooth[i] - FLOOR) / (CEILING - FLOOR)));
      alpha[i] = 255 * t * t * (3 - 2 * t); // the cubic that GLSL calls smoothstep
    }
    this.#before = smooth;
    return alpha;
  }
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
