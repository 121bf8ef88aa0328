// The chart of milliseconds per frame: each frame as a faint line, the moving average over it as a strong one.

import { KEPT } from './timing.js';

/** @typedef {import('./timing.js').Frame} Frame */

const SVG = 'http://www.w3.org/2000/svg';
const MARGIN = { top: 22, right: 104, bottom: 30, left: 34 };
const NARROW = 560; // below this width the labels at the lines' ends go without the network's name

/**
 * Draws the frames into an SVG element at the size it has on the page, so that text keeps its size.
 * @param {SVGSVGElement} svg
 * @param {Frame[]} frames
 */
export function drawChart(svg, frames) {
  const { width, height } = svg.getBoundingClientRect();
  if (width === 0) return;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const right = width < NARROW ? 46 : MARGIN.right;
  const plot = { left: MARGIN.left, right: width - right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const top = ceiling(frames);
  const x = (/** @type {number} */ i) => plot.left + ((plot.right - plot.left) * i) / (KEPT - 1);
  const y = (/** @type {number} */ ms) => plot.bottom - ((plot.bottom - plot.top) * Math.min(ms, top)) / top;
  const first = KEPT - frames.length; // the newest frame is at the right edge

  const parts = [text(0, plot.top - 10, 'ms', 'axis')];
  for (const tick of ticks(top)) {
    parts.push(element('line', { x1: plot.left, x2: plot.right, y1: y(tick), y2: y(tick), class: 'grid' }));
    parts.push(text(plot.left - 8, y(tick) + 4, String(tick), 'axis end'));
  }
  parts.push(text(plot.left, height - 8, `${KEPT} frames ago`, 'axis'));
  parts.push(text(plot.right, height - 8, 'now', 'axis end'));
  frames.forEach((frame, i) => {
    if (!frame.start) return;
    const at = x(first + i);
    if (i > 0) parts.push(element('line', { x1: at, x2: at, y1: plot.top, y2: plot.bottom, class: 'mark' }));
    const fits = at < plot.right - 110;
    parts.push(text(fits ? at + 5 : at - 5, plot.top - 10, frame.start, fits ? 'axis' : 'axis end'));
  });
  for (const key of /** @type {const} */ (['dense', 'sparse'])) {
    parts.push(path(frames, (i) => x(first + i), (frame) => y(frame[key]), `${key} single`));
    parts.push(path(frames, (i) => x(first + i), (frame) => y(frame[`${key}Mean`]), `${key} average`));
  }
  const last = frames.at(-1);
  if (last) {
    let dense = y(last.denseMean);
    let sparse = y(last.sparseMean);
    const overlap = 18 - Math.abs(sparse - dense); // labels need a line each
    if (overlap > 0) {
      const sign = sparse >= dense ? 1 : -1;
      dense -= (sign * overlap) / 2;
      sparse += (sign * overlap) / 2;
    }
    const name = (/** @type {string} */ side) => (width < NARROW ? '' : `${side} `);
    parts.push(text(plot.right + 8, dense + 5, `${name('dense')}${last.denseMean.toFixed(1)}`, 'label dense'));
    parts.push(text(plot.right + 8, sparse + 5, `${name('sparse')}${last.sparseMean.toFixed(1)}`, 'label sparse'));
  }
  svg.replaceChildren(...parts);
}

/**
 * Upper end of the scale: over all but the slowest few frames, which run out of the picture.
 * @param {Frame[]} frames
 */
function ceiling(frames) {
  const times = frames.flatMap((frame) => [frame.dense, frame.sparse]).sort((a, b) => a - b);
  const highest = Math.max(1, times[Math.floor(times.length * 0.97)] ?? 1);
  const step = tickStep(highest * 1.25);
  return Math.ceil((highest * 1.25) / step) * step;
}

/** @param {number} top */
function tickStep(top) {
  const power = 10 ** Math.floor(Math.log10(top / 4));
  return power * ([1, 2, 5].find((factor) => factor * power * 5 >= top) ?? 10);
}

/** @param {number} top */
function ticks(top) {
  const step = tickStep(top);
  return Array.from({ length: Math.round(top / step) + 1 }, (_, i) => Number((i * step).toPrecision(3)));
}

/**
 * @param {Frame[]} frames
 * @param {(index: number) => number} x
 * @param {(frame: Frame) => number} y
 * @param {string} className
 */
function path(frames, x, y, className) {
  const points = frames.map((frame, i) => {
    const command = i === 0 || frame.start ? 'M' : 'L';
    return `${command}${x(i).toFixed(1)} ${y(frame).toFixed(1)}`;
  });
  return element('path', { d: points.join(''), class: className });
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {string} className
 */
function text(x, y, content, className) {
  const node = element('text', { x, y, class: className });
  node.textContent = content;
  return node;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function element(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}
