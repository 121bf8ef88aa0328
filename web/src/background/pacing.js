// How often the network runs. On a machine that is too slow for every frame, the mask of a frame serves the next ones as
// well, so that the video keeps its rate; frames are lost only if that is not enough.

/** The most frames that one mask serves: at 30 frames per second, a mask is then at most 100 ms late. */
export const MOST_FRAMES = 4;

/** Shares of the time between two frames: above BUSY the network runs less often, below FREE more often again. */
const BUSY = 0.9;
const FREE = 0.7;

/** Frames between two changes: sooner when there is too much to do, later when there is room. */
const PATIENCE = { busy: 8, free: 45 };

/** Weight of a new measurement in the moving averages. */
const WEIGHT = 1 / 8;

/** Milliseconds above which frames have not come slowly but stood still: a muted camera, a tab that slept. */
export const PAUSE = 1000;

/**
 * @typedef {object} Pace
 * @property {number} every the network runs on one frame in this many, 1 to MOST_FRAMES
 * @property {number} network milliseconds, moving average; NaN before the first
 * @property {number} rest of a frame's time without the network
 * @property {number} interval from frame to frame of the camera
 * @property {number} settled frames since `every` changed
 * @property {number} served frames since the network ran
 */

/** @type {Readonly<Pace>} */
export const START = Object.freeze({ every: 1, network: NaN, rest: NaN, interval: NaN, settled: 0, served: MOST_FRAMES });

/** Whether the network is to run on the next frame. @param {Pace} pace */
export const isDue = ({ every, served }) => served >= every;

/**
 * The pace after another frame.
 * @param {Pace} pace
 * @param {{ network: number | undefined, rest: number, interval: number | undefined }} frame milliseconds; `network` is
 *   undefined where it did not run, `interval` where the frame before is not known
 * @returns {Pace}
 */
export function after(pace, { network, rest, interval }) {
  const next = {
    ...pace,
    rest: average(pace.rest, rest),
    network: network === undefined ? pace.network : average(pace.network, network),
    interval: interval === undefined || interval > PAUSE ? pace.interval : shortest(pace.interval, interval),
    settled: pace.settled + 1,
    served: network === undefined ? pace.served + 1 : 1,
  };
  if (next.settled >= PATIENCE.busy && load(next, next.every) > BUSY && next.every < MOST_FRAMES) {
    return { ...next, every: next.every + 1, settled: 0 };
  }
  if (next.settled >= PATIENCE.free && next.every > 1 && load(next, next.every - 1) < FREE) {
    return { ...next, every: next.every - 1, settled: 0 };
  }
  return next;
}

/**
 * The share of the time that is in use if the network runs on one frame in `every`; NaN as long as nothing is known.
 * @param {Pace} pace
 * @param {number} every
 */
export const load = ({ network, rest, interval }, every) => (rest + network / every) / interval;

/**
 * A moving average; NaN before its first value.
 * @param {number} before
 * @param {number} value
 */
export const average = (before, value) => (Number.isNaN(before) ? value : before + WEIGHT * (value - before));

/**
 * Follows short intervals fast and long ones slowly: where frames are dropped, the camera's own interval is the short one.
 * @param {number} before
 * @param {number} value
 */
const shortest = (before, value) =>
  (Number.isNaN(before) ? value : before + (value - before) * (value < before ? 1 / 4 : 1 / 64));
