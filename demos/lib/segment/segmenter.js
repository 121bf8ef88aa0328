// A selfie segmentation network: takes a frame, returns the probability of a person for every pixel of a small mask.
//
//     const segmenter = await Segmenter.load('selfie_segmentation_landscape.tulle');
//     const input = segmenter.read(video);          // the frame at the network's size
//     const mask = await segmenter.run(input);      // Float32Array(width * height), 0 to 1
//
// As in MediaPipe (selfie_segmentation.pbtxt), the input is the whole frame, stretched to the network's size whatever
// its proportions, as RGB from 0 to 1. The output is one channel with the sigmoid already applied.

import { load } from '../../../web/src/index.js';

/** @typedef {import('../../../web/src/index.js').LoadOptions} LoadOptions */
/** @typedef {import('../../../web/src/index.js').Model} Model */

export class Segmenter {
  #context;

  /**
   * @param {Model} model
   * @param {number} width
   * @param {number} height
   */
  constructor(model, width, height) {
    /** The network, for its threads, variant and profile. */
    this.model = model;
    /** Of the network's input and of the mask, in pixels. */
    this.width = width;
    this.height = height;
    this.#context = smallContext(width, height);
  }

  /**
   * @param {Parameters<typeof load>[0]} source of the .tulle file, converted with pixels normalised to 0 to 1
   * @param {LoadOptions} [options]
   * @returns {Promise<Segmenter>}
   * @throws {import('../../../web/src/index.js').TulleError} as load() does
   * @throws {Error} for a network that does not turn one image into one mask of the same size
   */
  static async load(source, options) {
    const model = await load(source, options);
    const [input] = model.inputs;
    const [, height, width] = input.shape;
    const mask = `1,${height},${width},1`;
    if (model.inputs.length !== 1 || !input.image || model.outputs.length !== 1 || String(model.outputs[0].shape) !== mask) {
      const shapes = (/** @type {readonly { shape: readonly number[] }[]} */ list) =>
        list.map(({ shape }) => `[${shape.join(', ')}]`).join(' and ');
      await model.close();
      throw new Error(`${model.info.name} is no selfie segmentation network: it turns ${shapes(model.inputs)} into `
        + `${shapes(model.outputs)}, not an image [1, h, w, 3] into a mask [1, h, w, 1].`);
    }
    return new Segmenter(model, width, height);
  }

  /**
   * The frame at the network's size.
   * @param {CanvasImageSource} frame
   * @returns {ImageData} width x height, RGBA
   */
  read(frame) {
    this.#context.drawImage(frame, 0, 0, this.width, this.height);
    return this.#context.getImageData(0, 0, this.width, this.height);
  }

  /**
   * @param {ImageData} input as `read` gives it
   * @returns {Promise<Float32Array>} row-major [height, width]: the probability that a pixel belongs to a person
   */
  async run(input) {
    const outputs = await this.model.run(input);
    return outputs[this.model.outputs[0].name];
  }

  close() {
    return this.model.close();
  }
}

/**
 * @param {number} width
 * @param {number} height
 */
function smallContext(width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false });
  if (!context) throw new Error('This browser gives no 2D canvas, which is needed to read frames.');
  context.imageSmoothingQuality = 'medium'; // averages when a frame is much larger; "low" skips pixels
  return context;
}
