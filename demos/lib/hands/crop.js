// Crops a region from a frame, rotated upright and scaled, as pixels for a network.

/** @typedef {import('./region.js').Region} Region */

export class Cropper {
  #context;
  #size;

  /** @param {number} size of the square that comes out, in pixels */
  constructor(size) {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = this.#size = size;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('This browser gives no 2D canvas, which the demo needs to read pictures.');
    this.#context = context;
  }

  /**
   * @param {CanvasImageSource} image
   * @param {Region} region in the image's pixels; parts outside of the image are black
   * @returns {ImageData} sampled bilinearly
   */
  crop(image, { x, y, size, angle }) {
    const context = this.#context;
    const side = this.#size;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, side, side);
    context.translate(side / 2, side / 2);
    context.scale(side / size, side / size);
    context.rotate(-angle);
    context.drawImage(image, -x, -y);
    return context.getImageData(0, 0, side, side);
  }
}
