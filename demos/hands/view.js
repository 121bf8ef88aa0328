// One picture on the page: the frame, with one network's results drawn over it.

import { OneEuroFilter } from '../../web/src/hands/index.js';
import { context2d } from '../lib/page.js';
import { drawBones } from '../lib/skeleton.js';
import { drawLabel, drawRegion } from './draw.js';

/** @typedef {import('../../web/src/hands/index.js').Hand} Hand */

const SHOWN = 0.5; // presence below which a network's landmarks are not drawn
const SETTLING = 0.15; // weight of one frame in the decision whether a hand is right or left

export class View {
  #canvas;
  #context;
  #style = { color: '', halo: '', unit: 1 };
  /** State of each hand. @type {Map<number, { filter: OneEuroFilter, right: number }>} */
  #memories = new Map();

  /** @param {HTMLCanvasElement} canvas its CSS `color` is the skeleton's, `--halo` that of its rim */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = context2d(canvas);
    this.restyle();
  }

  /** Reads colours and size again, after either has changed. */
  restyle() {
    const canvas = this.#canvas;
    const style = getComputedStyle(canvas);
    const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.#style = { color: style.color, halo: style.getPropertyValue('--halo'), unit: 1 };
  }

  /**
   * @param {HTMLCanvasElement} image the frame, shown as large as fits
   * @param {Hand[]} hands
   * @param {number} which of their answers
   * @param {{ smooth: boolean, regions: boolean, time: number }} options `time` of the frame, milliseconds
   */
  draw(image, hands, which, { smooth, regions, time }) {
    const canvas = this.#canvas;
    const context = this.#context;
    const scale = Math.min(canvas.width / image.width, canvas.height / image.height);
    const left = (canvas.width - image.width * scale) / 2;
    const top = (canvas.height - image.height * scale) / 2;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, left, top);
    context.drawImage(image, 0, 0);
    // Thinner lines on a phone.
    const thickness = Math.max(0.7, Math.min(1.15, canvas.clientWidth / 420));
    const style = { ...this.#style, unit: (devicePixelRatio / scale) * thickness };
    this.#forget(hands);
    for (const { id, region, answers } of hands) {
      if (regions) drawRegion(context, region, style);
      if (!answers[which] || answers[which].presence < SHOWN) continue; // a newly chosen network has no answer yet
      const { points, right } = answers[which];
      const memory = this.#memory(id, right);
      memory.right += SETTLING * (right - memory.right);
      const shown = smooth ? memory.filter.apply(points, time, region.size) : points;
      drawBones(context, shown, style);
      drawLabel(context, memory.right > 0.5 ? 'Right' : 'Left', shown, image.height, style);
    }
  }

  /**
   * @param {number} id of a hand
   * @param {number} right the network's answer, used directly for a new hand
   */
  #memory(id, right) {
    const memory = this.#memories.get(id) ?? { filter: new OneEuroFilter(), right };
    this.#memories.set(id, memory);
    return memory;
  }

  /** @param {Hand[]} hands */
  #forget(hands) {
    for (const id of this.#memories.keys()) if (!hands.some((hand) => hand.id === id)) this.#memories.delete(id);
  }
}
