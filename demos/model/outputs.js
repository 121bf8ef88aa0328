// Outputs as what they look like: pictures, scores of classes, or numbers.

import { context2d } from '../lib/page.js';

const LARGEST = 5; // scores shown
const FIRST = 6; // numbers shown of any other output
const CLASSES = 20; // numbers in a row that are taken for scores, from so many on

/**
 * @param {string} name
 * @param {readonly number[]} shape
 * @param {Float32Array} values
 * @returns {HTMLElement}
 */
export function showOutput(name, shape, values) {
  const figure = document.createElement('section');
  const title = document.createElement('h3');
  title.textContent = name;
  const size = document.createElement('p');
  size.className = 'quiet';
  const [least, most] = range(values);
  size.textContent = `${shape.join(' × ')}, from ${short(least)} to ${short(most)}`;
  figure.append(title, size, isPicture(shape) ? picture(name, shape, values, least, most)
    : isScores(shape, values) ? largest(values) : first(values));
  return figure;
}

/** @param {readonly number[]} shape */
function isPicture([batch, height, width, channels, ...more]) {
  return batch === 1 && height >= 8 && width >= 8 && channels >= 1 && more.length === 0;
}

/** @param {readonly number[]} shape @param {Float32Array} values */
function isScores(shape, values) {
  return values.length >= CLASSES && shape.at(-1) === values.length && values.every((value) => value >= 0 && value <= 1);
}

/**
 * Three channels as colours, else the first one as grey.
 * @param {string} name
 * @param {readonly number[]} shape
 * @param {Float32Array} values
 * @param {number} least
 * @param {number} most
 */
function picture(name, [, height, width, channels], values, least, most) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', `${name} as a picture`);
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = values[pixel * channels + (channels === 3 ? channel : 0)];
      image.data[4 * pixel + channel] = 255 * (value - least) / (most - least || 1);
    }
    image.data[4 * pixel + 3] = 255;
  }
  context2d(canvas).putImageData(image, 0, 0);
  return canvas;
}

/** @param {Float32Array} values */
function largest(values) {
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, LARGEST);
  return table(order.map((index) => [`class ${index}`, `${(100 * values[index]).toFixed(1)} %`]));
}

/** @param {Float32Array} values */
function first(values) {
  const rows = [...values.subarray(0, FIRST)].map((value, index) => [String(index), short(value)]);
  return table(values.length > FIRST ? [...rows, ['…', `${values.length} in all`]] : rows);
}

/** @param {string[][]} rows */
function table(rows) {
  const result = document.createElement('table');
  for (const [name, value] of rows) {
    const row = result.insertRow();
    row.insertCell().textContent = name;
    row.cells[0].style.textAlign = 'left';
    row.insertCell().textContent = value;
  }
  return result;
}

/** @param {Float32Array} values */
function range(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
  return [least, most];
}

/** @param {number} value */
const short = (value) => String(Number(value.toPrecision(4)));
