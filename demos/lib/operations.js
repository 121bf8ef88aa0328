// Time by kind of operation: grouping the rows of model.profile(), and averaging the groups over frames.

import { MovingAverage } from './meter.js';

/** @typedef {import('../../web/src/index.js').ProfileRow} Row */

export const POINTWISE = '1×1 convolution';

/** In the order shown; a bar's parts get the classes tone-1 to tone-4 by it. */
export const KINDS = [POINTWISE, 'depthwise convolution', 'other convolution', 'everything else'];

/** One of KINDS. @param {Row} row */
export function kindOf({ op, path }) {
  if (op === 'depthwise_conv2d') return KINDS[1];
  if (op === 'transpose_conv2d') return KINDS[2];
  if (op !== 'conv2d') return KINDS[3];
  return path === 'conv' || path === 'entry' ? KINDS[2] : POINTWISE;
}

/**
 * @param {Iterable<Row>} profile
 * @returns {Map<string, number>} milliseconds for each of KINDS
 */
export function groupTimes(profile) {
  const times = new Map(KINDS.map((kind) => [kind, 0]));
  for (const row of profile) times.set(kindOf(row), (times.get(kindOf(row)) ?? 0) + row.ms);
  return times;
}

/** Moving averages of a model's time by kind of operation. */
export class OperationTimes {
  #averages = new Map(KINDS.map((kind) => [kind, new MovingAverage()]));

  /** @param {Iterable<Row>} profile of one run */
  push(profile) {
    for (const [kind, ms] of groupTimes(profile)) this.#averages.get(kind)?.push(ms);
  }

  /** Mean milliseconds for each of KINDS; zeros before the first run. */
  get means() {
    return new Map([...this.#averages].map(([kind, average]) => [kind, average.count ? average.mean : 0]));
  }

  /** Median milliseconds for each of KINDS; NaN before the first run. */
  get medians() {
    return new Map([...this.#averages].map(([kind, average]) => [kind, average.median]));
  }

  /** Mean milliseconds of all kinds in total. */
  get total() {
    return [...this.means.values()].reduce((sum, ms) => sum + ms, 0);
  }
}

/**
 * Fills a bar with a part for each kind.
 * @param {HTMLElement} bar with the class `bar` and the network's tone
 * @param {Map<string, number>} times milliseconds for each of KINDS
 * @param {number} scale milliseconds of the whole width
 */
export function showBar(bar, times, scale) {
  const parts = KINDS.map((kind, i) => {
    const share = (times.get(kind) ?? 0) / scale || 0; // 0 / 0 before the first frame
    const part = document.createElement('div');
    part.className = `tone-${i + 1}`;
    part.style.width = `${100 * share}%`;
    const words = kind.replace(' convolution', '');
    if (share * bar.clientWidth > 7 * words.length + 16) part.textContent = words; // where they fit
    return part;
  });
  bar.replaceChildren(...parts);
}
