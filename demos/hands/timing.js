// What was measured, frame by frame, and its moving averages.

/** Frames a moving average covers, as in the article that tulle reproduces. */
export const WINDOW = 100;

/** Mean of the last WINDOW numbers pushed. */
export class MovingAverage {
  #values = /** @type {number[]} */ ([]);
  #next = 0;

  /** @param {number} value */
  push(value) {
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % WINDOW;
  }

  get count() {
    return this.#values.length;
  }

  /** NaN before the first number. */
  get mean() {
    return this.#values.reduce((sum, value) => sum + value, 0) / this.#values.length;
  }
}

/** Frames the timeline keeps for the chart. */
export const KEPT = 300;

/**
 * @typedef {object} Frame
 * @property {number} dense milliseconds
 * @property {number} sparse milliseconds
 * @property {number} denseMean of the last WINDOW frames since the settings changed
 * @property {number} sparseMean
 * @property {string} [start] set on the first frame after the settings changed: what they are now
 */

/** The last KEPT frames of both networks with their moving averages. */
export class Timeline {
  /** @type {Frame[]} */
  frames = [];
  #dense = new MovingAverage();
  #sparse = new MovingAverage();
  /** @type {string | undefined} */
  #start;

  /**
   * Starts new averages, since the settings changed.
   * @param {string} label of the new settings
   */
  restart(label) {
    this.#dense = new MovingAverage();
    this.#sparse = new MovingAverage();
    this.#start = label;
  }

  /**
   * @param {number} dense milliseconds
   * @param {number} sparse milliseconds
   */
  push(dense, sparse) {
    this.#dense.push(dense);
    this.#sparse.push(sparse);
    this.frames.push({ dense, sparse, denseMean: this.#dense.mean, sparseMean: this.#sparse.mean, start: this.#start });
    this.#start = undefined;
    if (this.frames.length > KEPT) this.frames.shift();
  }

  /** The latest averages and how many frames they cover; NaN and 0 after a restart. */
  get now() {
    return { dense: this.#dense.mean, sparse: this.#sparse.mean, frames: this.#dense.count };
  }
}
