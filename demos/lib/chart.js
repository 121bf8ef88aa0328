// A live line chart in SVG, one value per frame and series: a faint line for frames, a strong one for the moving average.
//
//     <svg class="chart" id="chart" role="img" aria-label="Milliseconds per frame"></svg>
//
//     const chart = new LineChart(svg, [{ name: 'dense', tone: 'dense' }, { name: 'sparse', tone: 'sparse' }]);
//     chart.push({ dense: 12.4, sparse: 6.1 });   // one frame; a series left out has a gap
//     chart.draw();                               // as often as is pleasant to look at; also done on resize
//     chart.restart('2 threads, relaxed');        // new averages from here on, with a mark in the chart
//
// `tone` is a class of base.css that sets --series (dense, distilled, sparse). The helpers below serve other charts too.

import { MovingAverage } from './meter.js';

const SVG = 'http://www.w3.org/2000/svg';
const MARGIN = { top: 22, right: 150, bottom: 30, left: 34 };
const NARROW = 560; // below this width the labels at the lines' ends omit the series' name
const LABEL_HEIGHT = 18;

/** Frames the chart shows. */
export const SHOWN = 300;

/** @typedef {{ name: string, tone: string }} Series */

/**
 * @typedef {object} Frame
 * @property {Record<string, number>} values by series
 * @property {Record<string, number>} means
 * @property {string} [mark] set on the first frame after a restart: what has changed
 */

export class LineChart {
  #svg;
  #series;
  #unit;
  /** @type {Frame[]} */
  #frames = [];
  /** @type {Map<string, MovingAverage>} */
  #averages = new Map();
  /** @type {string | undefined} */
  #mark;

  /**
   * @param {SVGSVGElement} svg with the class `chart`
   * @param {readonly Series[]} series
   * @param {string} [unit]
   */
  constructor(svg, series, unit = 'ms') {
    this.#svg = svg;
    this.#series = series;
    this.#unit = unit;
    this.restart();
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  /** @param {Record<string, number>} values of one frame, by series */
  push(values) {
    const frame = { values, means: /** @type {Record<string, number>} */ ({}), mark: this.#mark };
    this.#mark = undefined;
    for (const [name, average] of this.#averages) {
      if (name in values) average.push(values[name]);
      frame.means[name] = average.mean;
    }
    this.#frames.push(frame);
    if (this.#frames.length > SHOWN) this.#frames.shift();
  }

  /**
   * Starts new averages, since the settings changed.
   * @param {string} [mark] what they are now
   */
  restart(mark) {
    this.#averages = new Map(this.#series.map(({ name }) => [name, new MovingAverage()]));
    this.#mark = mark;
  }

  /** Empties the chart, for other series if some are given. @param {readonly Series[]} [series] */
  clear(series = this.#series) {
    this.#series = series;
    this.#frames = [];
    this.restart();
    this.draw();
  }

  /**
   * Of the frames since the last restart.
   * @param {string} name of a series
   * @returns {MovingAverage}
   */
  average(name) {
    const average = this.#averages.get(name);
    if (!average) throw new Error(`The chart has no series ${name}.`);
    return average;
  }

  draw() {
    const frames = this.#frames;
    const { width, height } = this.#svg.getBoundingClientRect();
    if (width === 0) return;
    this.#svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const right = width < NARROW ? 46 : MARGIN.right;
    const plot = { left: MARGIN.left, right: width - right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const top = this.#ceiling();
    const x = (/** @type {number} */ i) => plot.left + ((plot.right - plot.left) * i) / (SHOWN - 1);
    const y = (/** @type {number} */ ms) => plot.bottom - ((plot.bottom - plot.top) * Math.min(ms, top)) / top;
    const first = SHOWN - frames.length; // the newest frame is at the right edge

    const parts = [text(0, plot.top - 10, this.#unit, 'axis')];
    for (const tick of ticks(top)) {
      parts.push(svgElement('line', { x1: plot.left, x2: plot.right, y1: y(tick), y2: y(tick), class: 'grid' }));
      parts.push(text(plot.left - 8, y(tick) + 4, String(tick), 'axis end'));
    }
    parts.push(text(plot.left, height - 8, `${SHOWN} frames ago`, 'axis'));
    parts.push(text(plot.right, height - 8, 'now', 'axis end'));
    frames.forEach(({ mark }, i) => {
      if (!mark) return;
      const at = x(first + i);
      if (i > 0) parts.push(svgElement('line', { x1: at, x2: at, y1: plot.top, y2: plot.bottom, class: 'mark' }));
      const fits = at < plot.right - 110;
      parts.push(text(fits ? at + 5 : at - 5, plot.top - 10, mark, fits ? 'axis' : 'axis end'));
    });
    for (const { name, tone } of this.#series) {
      for (const [key, kind] of /** @type {const} */ ([['values', 'single'], ['means', 'average']])) {
        const points = frames.map((frame, i) => ({ x: x(first + i), y: y(frame[key][name]), apart: !!frame.mark }));
        parts.push(svgElement('path', { d: line(points), class: `${tone} ${kind}` }));
      }
    }
    const last = frames.at(-1);
    const labels = this.#series.filter(({ name }) => Number.isFinite(last?.means[name]));
    const places = spread(labels.map(({ name }) => y(last?.means[name] ?? 0)), LABEL_HEIGHT, plot.top, plot.bottom);
    labels.forEach(({ name, tone }, i) => {
      const value = (last?.means[name] ?? 0).toFixed(1);
      parts.push(text(plot.right + 8, places[i] + 5, width < NARROW ? value : `${name} ${value}`, `label ${tone}`));
    });
    this.#svg.replaceChildren(...parts);
  }

  /** Upper end of the scale: above all but the slowest few frames, which are cut off. */
  #ceiling() {
    const times = this.#frames.flatMap(({ values }) => Object.values(values)).sort((a, b) => a - b);
    const highest = 1.25 * Math.max(1, times[Math.floor(times.length * 0.97)] ?? 1);
    const step = tickStep(highest);
    return Math.ceil(highest / step) * step;
  }
}

/** A round distance between about five ticks from 0 to `top`. @param {number} top */
export function tickStep(top) {
  const power = 10 ** Math.floor(Math.log10(top / 4));
  return power * ([1, 2, 5].find((factor) => factor * power * 5 >= top) ?? 10);
}

/** @param {number} top */
export function ticks(top) {
  const step = tickStep(top);
  return Array.from({ length: Math.round(top / step) + 1 }, (_, i) => Number((i * step).toPrecision(3)));
}

/**
 * The `d` of a path through the points; it has gaps where y is NaN and before points set apart.
 * @param {{ x: number, y: number, apart?: boolean }[]} points
 */
export function line(points) {
  let d = '';
  let pen = 'M';
  for (const point of points) {
    if (point.apart) pen = 'M';
    if (Number.isNaN(point.y)) {
      pen = 'M';
    } else {
      d += `${pen}${point.x.toFixed(1)} ${point.y.toFixed(1)}`;
      pen = 'L';
    }
  }
  return d;
}

/**
 * Moves overlapping labels apart, keeping their order.
 * @param {number[]} places
 * @param {number} distance
 * @param {number} top
 * @param {number} bottom
 * @returns {number[]}
 */
function spread(places, distance, top, bottom) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const moved = [...places];
  let last = top - distance;
  for (const i of order) last = moved[i] = Math.max(places[i], last + distance);
  let next = bottom + distance;
  for (const i of order.reverse()) next = moved[i] = Math.min(moved[i], next - distance);
  return moved;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {string} className
 */
export function text(x, y, content, className) {
  const node = svgElement('text', { x, y, class: className });
  node.textContent = content;
  return node;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
export function svgElement(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}
