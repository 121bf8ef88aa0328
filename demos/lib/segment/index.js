// Person segmentation for video in a page: a network's mask, a matte stable over time, a compositor with soft edges.
// README.md shows how to use it.

import { CanvasCompositor } from './canvas.js';
import { GpuCompositor } from './gpu.js';

export { EFFECTS } from './composition.js';
export { MatteMaker, intersectionOverUnion } from './matte.js';
export { Segmenter } from './segmenter.js';

/** @typedef {import('./composition.js').Compositor} Compositor */
/** @typedef {import('./composition.js').Effect} Effect */
/** @typedef {import('./composition.js').Layer} Layer */

/**
 * @param {'gpu' | 'canvas' | 'auto'} [kind] "auto" takes WebGL2 where hardware does it, and else the 2D canvas
 * @returns {Compositor}
 * @throws {Error} when "gpu" was asked for and there is no WebGL2, and when there is no 2D canvas either
 */
export function createCompositor(kind = 'auto') {
  const gpu = kind === 'canvas' ? null : GpuCompositor.create(kind === 'auto');
  if (!gpu && kind === 'gpu') throw new Error('This browser offers no WebGL2 here.');
  return gpu ?? new CanvasCompositor();
}

/**
 * @returns {('gpu' | 'canvas')[]} the kinds of compositor that this browser can be asked for
 */
export function compositorKinds() {
  const gpu = GpuCompositor.create(false);
  gpu?.close();
  return gpu ? ['gpu', 'canvas'] : ['canvas'];
}
