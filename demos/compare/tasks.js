// The tasks to compare networks on: their pictures, and how results are drawn and compared.

import { drawMask, HEIGHT, intersectionOverUnion, maskOf, WIDTH } from '../lib/mask.js';
import { fetchBitmap, pixelsOf } from '../lib/page.js';
import { drawSkeleton, meanDistance } from '../lib/skeleton.js';
import { INPUT_SIZE, OUTPUT } from '../../web/src/hands/landmarks.js';

/** @typedef {import('../lib/race.js').Outputs} Outputs */
/** @typedef {{ bitmap: ImageBitmap, input: ImageData }} Picture */

/**
 * @typedef {object} Task
 * @property {string} name as of ModelFacts.task
 * @property {string[]} pictures addresses
 * @property {[number, number]} size width and height of the networks' input, in pixels
 * @property {(canvas: HTMLCanvasElement, picture: Picture, outputs?: Outputs) => void} draw
 * @property {string} agreement the column heading for the value of `agree`
 * @property {(dense: Outputs, other: Outputs) => string} agree
 */

const HANDS = ['open-hand', 'two-fingers', 'ring', 'thumb-and-two', 'finger-and-thumb', 'pointing', 'middle-down', 'four-fingers'];
const PERSONS = [1, 2, 3, 4, 5, 6, 7, 8];

const picture = (/** @type {string} */ name) => new URL(`../images/${name}.jpg`, import.meta.url).href;

/** @type {Record<string, Task>} */
export const TASKS = {
  hand: {
    name: 'hand',
    pictures: HANDS.map(picture),
    size: [INPUT_SIZE, INPUT_SIZE],
    draw: (canvas, { bitmap }, outputs) => drawSkeleton(canvas, bitmap, outputs?.[OUTPUT.landmarks]),
    agreement: 'landmark difference, of width',
    agree: (dense, other) => `${meanDistance(dense[OUTPUT.landmarks], other[OUTPUT.landmarks]).toFixed(2)} %`,
  },
  selfie: {
    name: 'selfie',
    pictures: PERSONS.map((number) => picture(`person/${number}`)),
    size: [WIDTH, HEIGHT],
    draw: (canvas, { input }, outputs) => drawMask(canvas, input, outputs && maskOf(outputs)),
    agreement: 'mask’s IoU with dense',
    agree: (dense, other) => `${(100 * intersectionOverUnion(maskOf(dense), maskOf(other))).toFixed(1)} %`,
  },
};

/** @type {Map<string, Promise<Picture>>} */
const fetched = new Map();

/**
 * A picture of a task, fetched once.
 * @param {Task} task
 * @param {number} index
 */
export function pictureOf(task, index) {
  const url = task.pictures[index];
  const [width, height] = task.size;
  const loading = fetched.get(url) ?? fetchBitmap(url).then((bitmap) => ({ bitmap, input: pixelsOf(bitmap, width, height) }));
  fetched.set(url, loading);
  return loading;
}
