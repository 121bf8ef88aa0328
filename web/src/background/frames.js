// Frames in and out of the compositor's memory, in the worker. Every VideoFrame that comes or is made here is counted until
// it is closed or handed over: cameras have few buffers, and stop when none come back.

import { TulleError, messageOf } from '../errors.js';
import { close, coloursOf, readPixels } from '../pictures.js';
import { typeName } from '../types.js';

/** @typedef {import('./compositor.js').Compositor} Compositor */
/** @typedef {import('../pictures.js').Sendable} Sendable */

/** Formats of VideoFrames that the compositor works on as they are. */
const DIRECT = /** @type {const} */ ({ I420: 'I420', NV12: 'NV12', RGBX: 'RGBA' });

/**
 * What is to be known of a frame whose pixels are in the compositor's memory.
 * @typedef {object} Taken
 * @property {'I420' | 'NV12' | 'RGBA'} format
 * @property {number} width in pixels
 * @property {number} height
 * @property {VideoFrameBufferInit} init of a VideoFrame like it, but for the layout
 */

/** VideoFrames held here now: 0 between frames, or one is lost. */
export class Held {
  count = 0;

  /** @template {Sendable} T @param {T} frame @returns {T} */
  take(frame) {
    if (typeName(frame) === 'VideoFrame') this.count += 1;
    return frame;
  }

  /** @param {Sendable} frame */
  close(frame) {
    if (typeName(frame) === 'VideoFrame') this.count -= 1;
    close(frame);
  }

  /** Forgets a frame that its new owner closes. @template {Sendable} T @param {T} frame @returns {T} */
  give(frame) {
    if (typeName(frame) === 'VideoFrame') this.count -= 1;
    return frame;
  }
}

/** Memory for pixels that have to be turned or converted first. */
let scratch = new Uint8Array();

/** @param {number} size */
function place(size) {
  if (scratch.length < size) scratch = new Uint8Array(size);
  return scratch.subarray(0, size);
}

/**
 * Copies the pixels of a frame or picture to where the compositor reads them. The frame is not closed.
 * @param {Compositor} compositor
 * @param {Sendable} source
 * @returns {Promise<Taken>}
 * @throws {TulleError} (rejects) if they cannot be read
 */
export async function readInto(compositor, source) {
  const direct = typeName(source) === 'VideoFrame' ? describe(/** @type {VideoFrame} */ (source)) : undefined;
  if (direct) {
    const { format, width, height } = direct;
    const { bytes, layout } = compositor.input(format, width, height, coloursOf(/** @type {VideoFrame} */ (source).colorSpace));
    try {
      await /** @type {VideoFrame} */ (source).copyTo(bytes, { layout });
    } catch (error) {
      throw new TulleError(`the VideoFrame cannot be read: ${messageOf(error)}`, { cause: error });
    }
    return direct;
  }
  // Turned, of another format, or no VideoFrame: upright RGBA.
  const copy = typeName(source) === 'VideoFrame' ? /** @type {VideoFrame} */ (source).clone() : source; // readPixels closes it
  const pixels = await readPixels(copy, place);
  const { width, height } = pixels;
  const { bytes, layout: [{ offset, stride }] } = compositor.input('RGBA', width, height);
  const from = pixels.planes[0];
  for (let row = 0; row < height; row++) {
    bytes.set(pixels.data.subarray(from.offset + row * from.stride, from.offset + row * from.stride + 4 * width), offset + row * stride);
  }
  if (pixels.format === 'BGRA') exchange(bytes, offset, stride, width, height);
  const { timestamp = 0, duration = undefined } = typeName(source) === 'VideoFrame' ? /** @type {VideoFrame} */ (source) : {};
  return {
    format: 'RGBA',
    width,
    height,
    init: { format: 'RGBX', codedWidth: width, codedHeight: height, timestamp, ...(duration ? { duration } : {}) },
  };
}

/**
 * A frame that can be copied as it is; else nothing. A turned one cannot: the network knows people upright only.
 * @param {VideoFrame} frame
 * @returns {Taken | undefined}
 */
function describe(frame) {
  const format = DIRECT[/** @type {keyof typeof DIRECT} */ (frame.format)];
  const { rotation = 0, flip = false } = /** @type {{ rotation?: number, flip?: boolean }} */ (frame);
  const { visibleRect, colorSpace, timestamp, duration } = frame;
  if (!format || !visibleRect || rotation) return undefined;
  const { width, height } = visibleRect;
  return {
    format,
    width,
    height,
    init: {
      format: format === 'RGBA' ? 'RGBX' : format,
      codedWidth: width,
      codedHeight: height,
      displayWidth: frame.displayWidth,
      displayHeight: frame.displayHeight,
      timestamp,
      ...(duration ? { duration } : {}),
      colorSpace: colorSpace.toJSON(),
      ...(flip ? { flip } : {}),
    },
  };
}

/** Exchanges red and blue. @param {Uint8Array} bytes @param {number} offset @param {number} stride @param {number} width @param {number} height */
function exchange(bytes, offset, stride, width, height) {
  for (let row = 0; row < height; row++) {
    const line = new Uint32Array(bytes.buffer, bytes.byteOffset + offset + row * stride, width);
    for (let i = 0; i < width; i++) {
      const pixel = line[i];
      line[i] = (pixel & 0xff00ff00) | ((pixel >>> 16) & 0xff) | ((pixel & 0xff) << 16);
    }
  }
}

/**
 * A VideoFrame of what the compositor made, with the times and colours of the frame it was made from.
 * @param {{ bytes: Uint8Array, layout: { offset: number, stride: number }[] }} result
 * @param {VideoFrameBufferInit} init
 */
export function toVideoFrame({ bytes, layout }, init) {
  try {
    return new VideoFrame(bytes, { ...init, layout });
  } catch (error) {
    // Not every browser reads memory that threads share.
    if (typeof SharedArrayBuffer === 'undefined' || !(bytes.buffer instanceof SharedArrayBuffer)) throw error;
    return new VideoFrame(bytes.slice(), { ...init, layout });
  }
}

/**
 * RGBA bytes without gaps, in memory of their own.
 * @param {{ bytes: Uint8Array, layout: { offset: number, stride: number }[] }} result of an RGBA frame
 * @param {number} width
 * @param {number} height
 */
export function toPixels({ bytes, layout: [{ offset, stride }] }, width, height) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    data.set(bytes.subarray(offset + row * stride, offset + row * stride + 4 * width), 4 * row * width);
  }
  return data;
}
