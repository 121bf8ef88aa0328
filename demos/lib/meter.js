// Measures named stages of a frame: moving averages, medians and 90th percentiles over the last 100 frames.
//
//     const meter = new Meter(['capture', 'inference', 'draw']);
//     const outputs = await meter.time('inference', () => model.run(pixels));
//     meter.add('draw', milliseconds);       // or a time measured elsewhere
//     meter.endFrame();                      // once per frame, for framesPerSecond
//     meter.stage('inference').mean;         // also .median, .p90, .last, .count; NaN before the first
//     meter.reset();                         // when the settings change

/** Frames a moving average covers, as in the article that tulle reproduces. */
export const WINDOW = 100;

/** The last WINDOW numbers pushed, and their mean, median and 90th percentile (NaN before the first). */
export class MovingAverage {
  #values = /** @type {number[]} */ ([]);
  #next = 0;
  /** The number pushed last. */
  last = NaN;

  /** @param {number} value */
  push(value) {
    this.last = value;
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % WINDOW;
  }

  /** How many numbers the mean covers: at most WINDOW. */
  get count() {
    return this.#values.length;
  }

  get mean() {
    return this.#values.reduce((sum, value) => sum + value, 0) / this.#values.length;
  }

  get median() {
    return this.#quantile(0.5);
  }

  get p90() {
    return this.#quantile(0.9);
  }

  /** @param {number} share 0 to 1; interpolates linearly between two numbers */
  #quantile(share) {
    const sorted = [...this.#values].sort((a, b) => a - b);
    const place = share * (sorted.length - 1);
    const below = Math.floor(place);
    const low = sorted[below] ?? NaN;
    return low + (place - below) * ((sorted[below + 1] ?? low) - low);
  }
}

/**
 * Times of the stages of a frame.
 * @template {string} Stage
 */
export class Meter {
  /** @type {readonly Stage[]} */
  stages;
  /** @type {Map<Stage, MovingAverage>} */
  #averages = new Map();
  #intervals = new MovingAverage();
  /** @type {number | undefined} */
  #lastEnd;

  /** @param {readonly Stage[]} stages their names, in the order of the frame */
  constructor(stages) {
    this.stages = stages;
    this.reset();
  }

  /** Forgets everything measured. */
  reset() {
    for (const stage of this.stages) this.#averages.set(stage, new MovingAverage());
    this.#intervals = new MovingAverage();
    this.#lastEnd = undefined;
  }

  /**
   * @param {Stage} stage
   * @param {number} milliseconds
   */
  add(stage, milliseconds) {
    this.stage(stage).push(milliseconds);
  }

  /**
   * Runs an action and adds the time it took, unless it fails.
   * @template T
   * @param {Stage} stage
   * @param {() => T | Promise<T>} action
   * @returns {Promise<T>}
   */
  async time(stage, action) {
    const start = performance.now();
    const result = await action();
    this.add(stage, performance.now() - start);
    return result;
  }

  /** Call once per frame. */
  endFrame() {
    const now = performance.now();
    if (this.#lastEnd !== undefined) this.#intervals.push(now - this.#lastEnd);
    this.#lastEnd = now;
  }

  /** Over the last WINDOW frames; NaN before the second. */
  get framesPerSecond() {
    return 1000 / this.#intervals.mean;
  }

  /**
   * @param {Stage} stage
   * @returns {MovingAverage} of its milliseconds
   */
  stage(stage) {
    const average = this.#averages.get(stage);
    if (!average) throw new Error(`The meter has no stage ${stage}.`);
    return average;
  }

  /** Sum of the stages' means: a whole frame. */
  get total() {
    return this.stages.reduce((sum, stage) => sum + (this.stage(stage).mean || 0), 0);
  }
}
