// A small chart of one quantity against the share of zeros, in SVG: one line for each way of pruning.

import { line, svgElement, text, tickStep } from '../lib/chart.js';

const MARGIN = { top: 14, right: 18, bottom: 34, left: 44 };
const ZEROS = [0, 30, 50, 70, 90]; // labelled, percent

/**
 * Draws each line's points, in order, at the size that the element has on the page.
 * @param {SVGSVGElement} svg with the class `chart`
 * @param {{ tone: string, points: { zeros: number, value: number }[] }[]} lines zeros in percent; a NaN leaves a gap;
 *   `tone` is a class of base.css
 * @param {object} axis
 * @param {boolean} axis.fromZero whether the scale begins at 0, else a little below the lowest value
 * @param {(value: number) => string} axis.format of a tick
 */
export function drawPlot(svg, lines, { fromZero, format }) {
  const { width, height } = svg.getBoundingClientRect();
  if (width === 0) return;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const plot = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const values = lines.flatMap(({ points }) => points.map(({ value }) => value)).filter(Number.isFinite);
  const [low, high, step] = scale(values, fromZero);
  const x = (/** @type {number} */ zeros) => plot.left + ((plot.right - plot.left) * zeros) / 90;
  const y = (/** @type {number} */ value) => plot.bottom - ((plot.bottom - plot.top) * (value - low)) / (high - low);

  const parts = [];
  for (let tick = low; tick < high + step / 2; tick += step) {
    parts.push(svgElement('line', { x1: plot.left, x2: plot.right, y1: y(tick), y2: y(tick), class: 'grid' }));
    if (values.length) parts.push(text(plot.left - 8, y(tick) + 4, format(tick), 'axis end'));
  }
  for (const zeros of ZEROS) parts.push(text(x(zeros), height - 10, `${zeros} %`, 'axis middle'));
  for (const { tone, points } of lines) {
    const places = points.map(({ zeros, value }) => ({ x: x(zeros), y: y(value) }));
    parts.push(svgElement('path', { d: line(places), class: `average ${tone}` }));
    for (const { x: cx, y: cy } of places) {
      if (Number.isFinite(cy)) parts.push(svgElement('circle', { cx, cy, r: 4, class: `point ${tone}` }));
    }
  }
  svg.replaceChildren(...parts);
}

/**
 * @param {number[]} values
 * @param {boolean} fromZero
 * @returns {[number, number, number]} lowest and highest tick, and the step between ticks
 */
function scale(values, fromZero) {
  const highest = values.length ? Math.max(...values) : 1;
  const lowest = fromZero || !values.length ? 0 : Math.min(...values);
  const step = tickStep(highest - lowest || highest);
  return [Math.floor(lowest / step + 1e-9) * step, Math.ceil(highest / step - 1e-9) * step, step];
}
