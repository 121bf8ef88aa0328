const MIN_CUTOFF = 1.5; // Hz, at rest; lower is steadier
const BETA = 12; // Hz more per hand size per second; higher follows faster
const SPEED_CUTOFF = 1; // Hz, of the speed itself

/** The One Euro filter (Casiez, Roussel, Vogel, CHI 2012): smooths a hand at rest, follows a fast one. */
export class OneEuroFilter {
  /** @type {Float64Array | undefined} */
  #value;
  /** Units per second. */
  #speed = new Float64Array();
  #time = 0;

  /**
   * The next values, smoothed.
   * @param {Float32Array} values the same number every time
   * @param {number} time milliseconds
   * @param {number} scale length in the values' unit that speeds are measured in: the hand's size
   * @returns {Float32Array} smoothed
   */
  apply(values, time, scale) {
    const seconds = (time - this.#time) / 1000;
    this.#time = time;
    if (!this.#value || !(seconds > 0)) {
      this.#value = Float64Array.from(values);
      this.#speed = new Float64Array(values.length);
      return Float32Array.from(values);
    }
    const speedShare = share(SPEED_CUTOFF, seconds);
    for (let i = 0; i < values.length; i++) {
      this.#speed[i] += speedShare * ((values[i] - this.#value[i]) / seconds - this.#speed[i]);
      const cutoff = MIN_CUTOFF + (BETA * Math.abs(this.#speed[i])) / scale;
      this.#value[i] += share(cutoff, seconds) * (values[i] - this.#value[i]);
    }
    return Float32Array.from(this.#value);
  }
}

/**
 * Weight of a new value in a first-order low-pass filter.
 * @param {number} cutoff Hz
 * @param {number} seconds since the value before
 */
function share(cutoff, seconds) {
  const r = 2 * Math.PI * cutoff * seconds;
  return r / (r + 1);
}
