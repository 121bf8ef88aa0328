// Pictures as pages have them: what is handed to the engine's thread, and how it reads the pixels there.
//
// take() runs where the page calls: it makes of a video, canvas or the like something that can be sent. read() runs
// where the engine is. Which part of the pixels a model sees, and how they become its input, is C (wasm/image).

import { TulleError, messageOf } from './errors.js';
import { checkNames } from './options.js';
import { typeName } from './types.js';

/**
 * @typedef {ImageData | ImageBitmap | VideoFrame | HTMLVideoElement | HTMLImageElement | HTMLCanvasElement
 *   | OffscreenCanvas | Blob} Picture A picture or frame, of any size.
 */

/**
 * @typedef {object} ViewOptions What of a picture a model sees, and how.
 * @property {{ x: number, y: number, width: number, height: number }} [crop] a rectangle in pixels of the picture; it
 *   may reach beyond it. Left out: the whole picture
 * @property {number} [rotation] of the rectangle around its centre, radians, clockwise: what is upright in the turned
 *   rectangle is upright in the input
 * @property {boolean} [flip] mirrors what was cut out, left for right
 * @property {'stretch' | 'contain' | 'cover'} [fit] where the rectangle has other proportions than the input: "stretch"
 *   (the default) it, "contain" all of it and what lies beside it, "cover" the input with a part of it
 * @property {'black' | 'edge'} [border] what lies beyond the picture: "black" (the default), or its nearest pixel
 */

/** Bytes of a picture, as a tulle_view of wasm/include/tulle.h describes them. */
export class Pixels {
  /**
   * @param {'RGBA' | 'BGRA' | 'RGB' | 'I420' | 'NV12'} format
   * @param {number} width
   * @param {number} height
   * @param {Uint8Array | Uint8ClampedArray} data
   * @param {{ offset: number, stride: number }[]} planes
   * @param {'bt601' | 'bt709' | 'bt2020'} matrix of I420 and NV12
   * @param {boolean} fullRange of these
   */
  constructor(format, width, height, data, planes, matrix = 'bt601', fullRange = false) {
    this.format = format;
    this.width = width;
    this.height = height;
    this.data = data;
    this.planes = planes;
    this.matrix = matrix;
    this.fullRange = fullRange;
  }
}
Object.defineProperty(Pixels.prototype, Symbol.toStringTag, { value: 'Pixels' }); // by which it is told from other objects

/** What take() makes of a picture: it can be sent to another thread, where Pixels arrive as a plain object.
 * @typedef {Pixels | VideoFrame | ImageBitmap | Blob} Sendable */

// Places in these lists are the numbers of tulle.h.
export const FORMATS = ['RGBA', 'BGRA', 'RGB', 'I420', 'NV12'];
const FITS = ['stretch', 'contain', 'cover'];
const BORDERS = ['black', 'edge'];
export const MATRICES = ['bt601', 'bt709', 'bt2020'];

const KINDS = ['ImageData', 'ImageBitmap', 'VideoFrame', 'HTMLVideoElement', 'HTMLImageElement', 'HTMLCanvasElement',
  'OffscreenCanvas', 'Blob', 'File', 'Pixels'];

/** @param {unknown} value @returns {value is Picture} */
export const isPicture = (value) => KINDS.includes(typeName(value));

/**
 * RGBA bytes without gaps.
 * @param {Uint8Array | Uint8ClampedArray} data
 * @param {number} width
 * @param {number} height
 */
export const rgba = (data, width, height) => new Pixels('RGBA', width, height, data, [{ offset: 0, stride: 4 * width }]);

// ---- in the caller's thread ----

/**
 * The picture as it is now, for another thread: what was shown later does not change it. Of ImageData the bytes are the
 * caller's own still; a VideoFrame is a further reference, to be closed; ImageBitmap and Blob are as given.
 * @param {Picture} picture
 * @returns {Sendable}
 * @throws {TulleError} for what cannot be read
 */
export function take(picture) {
  const kind = typeName(picture);
  switch (kind) {
    case 'ImageData': {
      const { data, width, height } = /** @type {ImageData} */ (picture);
      if (typeName(data) !== 'Uint8ClampedArray') {
        throw new TulleError(`images have 8 bits a channel, not ${typeName(data)}`);
      }
      return rgba(data, width, height);
    }
    case 'VideoFrame': {
      const frame = /** @type {VideoFrame} */ (picture);
      if (!frame.displayWidth) throw new TulleError('the VideoFrame is closed: close it after run() was called');
      return frame.clone();
    }
    case 'ImageBitmap': {
      const bitmap = /** @type {ImageBitmap} */ (picture);
      if (!bitmap.width) throw new TulleError('the ImageBitmap is closed, or was handed over to another thread');
      return bitmap;
    }
    case 'HTMLVideoElement': {
      const video = /** @type {HTMLVideoElement} */ (picture);
      if (video.readyState < HAVE_CURRENT_DATA || !video.videoWidth) {
        throw noFrame();
      }
      return capture(video, kind, video.videoWidth, video.videoHeight);
    }
    case 'HTMLImageElement': {
      const image = /** @type {HTMLImageElement} */ (picture);
      if (!image.complete) throw new TulleError('the image is not loaded yet: await its decode()');
      if (!image.naturalWidth) throw new TulleError(`the image could not be loaded: ${image.currentSrc || 'it has no src'}`);
      return capture(image, kind, image.naturalWidth, image.naturalHeight);
    }
    case 'HTMLCanvasElement':
    case 'OffscreenCanvas': {
      const canvas = /** @type {HTMLCanvasElement | OffscreenCanvas} */ (picture);
      if (!canvas.width || !canvas.height) throw new TulleError(`the ${kind} is empty: ${canvas.width} x ${canvas.height} pixels`);
      return capture(canvas, kind, canvas.width, canvas.height);
    }
    default:
      return /** @type {Blob | Pixels} */ (picture);
  }
}

const HAVE_CURRENT_DATA = 2; // HTMLMediaElement's, which workers do not have

/**
 * As a VideoFrame if there are such and it has no alpha: making one copies no pixels, and they are read in the engine's
 * thread.
 * @param {HTMLVideoElement | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas} source
 * @param {string} kind
 * @param {number} width
 * @param {number} height
 */
function capture(source, kind, width, height) {
  try {
    if (typeof VideoFrame === 'function') {
      const alpha = isOpaqueCanvas(source) ? 'discard' : 'keep';
      const frame = new VideoFrame(source, kind === 'HTMLVideoElement' ? {} : { timestamp: 0, alpha });
      // Chromium takes premultiplied colours for plain ones in frames of canvases and images with alpha.
      if (!frame.format?.endsWith('A')) return frame;
      frame.close();
    }
  } catch (error) {
    if (isTainted(error)) throw tainted(kind, error);
    // At its "loadeddata" event a video may have no frame for a moment more, and would be drawn as nothing at all.
    if (kind === 'HTMLVideoElement' && is(error, 'InvalidStateError')) throw noFrame(error);
    // Some browsers make frames of some of these only; drawing works in all.
  }
  return draw(source, width, height, kind);
}

/** Whether a canvas was made without alpha, for Chromium gives its frames some. @param {CanvasImageSource} source */
function isOpaqueCanvas(source) {
  if (!('getContext' in source)) return false;
  try {
    const context = /** @type {CanvasRenderingContext2D | null} */ (source.getContext('2d'));
    return context?.getContextAttributes().alpha === false;
  } catch {
    return false; // another thread draws on it
  }
}

/**
 * @param {unknown} error
 * @param {string} name
 */
const is = (error, name) => typeName(error) === 'DOMException' && /** @type {DOMException} */ (error).name === name;

/** @param {unknown} error */
const isTainted = (error) => is(error, 'SecurityError');

/** @param {unknown} [cause] */
const noFrame = (cause) => new TulleError('the video has no frame yet: wait for its "loadeddata" event and, if it does not '
  + 'play, for its requestVideoFrameCallback()', { cause });

/**
 * @param {string} kind
 * @param {unknown} cause
 */
const tainted = (kind, cause) => new TulleError(`the ${kind} holds pixels of another origin, which the browser lets no page read: `
  + 'load them with crossorigin="anonymous" from a server that sends Access-Control-Allow-Origin', { cause });

/** Of this thread, for pictures that only a canvas can read. @type {OffscreenCanvas | HTMLCanvasElement | undefined} */
let scratch;

/**
 * The pixels of whatever a canvas can draw.
 * @param {CanvasImageSource} source
 * @param {number} width
 * @param {number} height
 * @param {string} kind
 * @returns {Pixels}
 */
function draw(source, width, height, kind) {
  scratch ??= typeof OffscreenCanvas === 'function' ? new OffscreenCanvas(1, 1) : document.createElement('canvas');
  // In memory, not on the GPU, from where reading takes longest.
  const context = /** @type {OffscreenCanvasRenderingContext2D | null} */ (scratch.getContext('2d', { willReadFrequently: true }));
  if (!context) throw new TulleError(`the ${kind} cannot be read: this browser gives no 2D canvas`);
  if (scratch.width !== width || scratch.height !== height) Object.assign(scratch, { width, height });
  else context.clearRect(0, 0, width, height);
  try {
    context.drawImage(source, 0, 0, width, height);
    return rgba(context.getImageData(0, 0, width, height).data, width, height);
  } catch (error) {
    scratch = undefined; // a tainted canvas stays so
    if (isTainted(error)) throw tainted(kind, error);
    throw new TulleError(`the ${kind} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Whether a picture is transferred to another thread: frames, which are references, and bitmaps that the caller gives away.
 * @param {Sendable} picture
 * @param {boolean} transfer
 * @returns {picture is VideoFrame | ImageBitmap}
 */
export function isHandedOver(picture, transfer) {
  const kind = typeName(picture);
  return kind === 'VideoFrame' || (kind === 'ImageBitmap' && transfer);
}

/** Closes what take() made, where it was not sent; does nothing where it was. @param {Sendable} picture */
export function close(picture) {
  if (typeName(picture) === 'VideoFrame') /** @type {VideoFrame} */ (picture).close();
}

// ---- in the engine's thread ----

/** Formats whose bytes C reads as they are. */
const DIRECT = /** @type {const} */ ({ I420: 'I420', NV12: 'NV12', RGBX: 'RGBA', BGRX: 'BGRA', RGBA: 'RGBA', BGRA: 'BGRA' });

/** By VideoColorSpace.matrix. A frame that does not say is BT.601 to Chromium. */
const MATRIX = /** @type {const} */ ({ bt709: 'bt709', smpte170m: 'bt601', bt470bg: 'bt601', 'bt2020-ncl': 'bt2020' });

/** How a frame's luma and chroma belong to its colours. @param {VideoColorSpace} colorSpace */
export const coloursOf = ({ matrix, fullRange }) =>
  ({ matrix: MATRIX[/** @type {keyof typeof MATRIX} */ (matrix)] ?? 'bt601', fullRange: fullRange === true });

/**
 * The pixels of what take() made, which is closed unless it is the caller's own. At once for Pixels and ImageBitmap,
 * later for the others.
 * @param {Sendable} source
 * @param {(size: number) => Uint8Array} place gives the memory for that many bytes; if called again, the one before is of
 *   no use any more
 * @param {boolean} own whether the source was handed over and is to be closed
 * @returns {Pixels | Promise<Pixels>}
 */
export function read(source, place, own) {
  switch (typeName(source)) {
    case 'VideoFrame':
      return readFrame(/** @type {VideoFrame} */ (source), place);
    case 'ImageBitmap':
      return readBitmap(/** @type {ImageBitmap} */ (source), place, own);
    case 'Blob':
    case 'File':
      return readBlob(/** @type {Blob} */ (source), place);
    default:
      return put(/** @type {Pixels} */ (source), place);
  }
}

/**
 * The pixels of a source that came from another thread, as a picture that run() takes.
 * @param {Sendable} source
 * @param {(size: number) => Uint8Array} place
 * @returns {Promise<Pixels>}
 */
export async function readPixels(source, place) {
  const { format, width, height, data, planes, matrix, fullRange } = await read(source, place, true);
  return new Pixels(format, width, height, data, planes, matrix, fullRange);
}

/**
 * @param {Pixels} pixels
 * @param {(size: number) => Uint8Array} place
 * @returns {Pixels}
 */
function put(pixels, place) {
  const data = place(pixels.data.length);
  data.set(pixels.data);
  return { ...pixels, data };
}

/**
 * @param {ImageBitmap} bitmap
 * @param {(size: number) => Uint8Array} place
 * @param {boolean} own
 */
function readBitmap(bitmap, place, own) {
  try {
    return put(draw(bitmap, bitmap.width, bitmap.height, 'ImageBitmap'), place);
  } finally {
    if (own) bitmap.close();
  }
}

/**
 * @param {Blob} blob
 * @param {(size: number) => Uint8Array} place
 */
async function readBlob(blob, place) {
  const bitmap = await createImageBitmap(blob).catch((error) => {
    const type = blob.type ? ` of type ${blob.type}` : '';
    throw new TulleError(`the Blob${type} holds no picture that this browser reads: ${messageOf(error)}`, { cause: error });
  });
  return readBitmap(bitmap, place, true);
}

/**
 * @param {VideoFrame} frame
 * @param {(size: number) => Uint8Array} place
 * @returns {Promise<Pixels>}
 */
async function readFrame(frame, place) {
  try {
    const { displayWidth: width, displayHeight: height, colorSpace, visibleRect } = frame;
    const format = DIRECT[/** @type {keyof typeof DIRECT} */ (frame.format)];
    const { rotation = 0, flip = false } = /** @type {{ rotation?: number, flip?: boolean }} */ (frame);
    const upright = !rotation && !flip && visibleRect?.width === width && visibleRect.height === height;
    // A picture's own colours, such as a wide gamut, are for a canvas to translate.
    const plain = colorSpace.matrix !== 'rgb' || colorSpace.primaries === 'bt709';
    if (!format || !upright || !plain) return put(draw(frame, width, height, 'VideoFrame'), place);
    const data = place(frame.allocationSize());
    const planes = await frame.copyTo(data);
    // With alpha, the bytes are premultiplied in some frames and not in others.
    const opaque = !frame.format?.endsWith('A') || isOpaque(data);
    if (!opaque) return put(draw(frame, width, height, 'VideoFrame'), place);
    const { matrix, fullRange } = coloursOf(colorSpace);
    return new Pixels(format, width, height, data, planes, matrix, fullRange);
  } catch (error) {
    if (error instanceof TulleError) throw error;
    throw new TulleError(`the VideoFrame cannot be read: ${messageOf(error)}`, { cause: error });
  } finally {
    frame.close();
  }
}

/** @param {Uint8Array} data pixels of 4 bytes, aligned */
function isOpaque(data) {
  let all = -1;
  for (const pixel of new Uint32Array(data.buffer, data.byteOffset, data.length >> 2)) all &= pixel;
  return all >>> 24 === 255;
}

// ---- for C ----

/** Bytes of a tulle_view. */
export const VIEW_BYTES = 96;

/**
 * A tulle_view for these pixels. C checks its numbers.
 * @param {Pixels} pixels
 * @param {ViewOptions} options
 * @returns {Uint8Array}
 */
export function view({ format, width, height, planes, matrix, fullRange }, options) {
  const { crop = { x: 0, y: 0, width, height }, rotation = 0, flip = false, fit = 'stretch', border = 'black' } = options;
  const bytes = new DataView(new ArrayBuffer(VIEW_BYTES));
  [crop.x + crop.width / 2, crop.y + crop.height / 2, crop.width, crop.height, rotation]
    .forEach((value, index) => bytes.setFloat64(8 * index, value, true));
  const of = (/** @type {'offset' | 'stride'} */ what) => [0, 1, 2].map((index) => planes[index]?.[what] ?? 0);
  [+flip, FITS.indexOf(fit), BORDERS.indexOf(border), FORMATS.indexOf(format), width, height, ...of('offset'),
    ...of('stride'), MATRICES.indexOf(matrix), +fullRange]
    .forEach((value, index) => bytes.setUint32(40 + 4 * index, value, true));
  return new Uint8Array(bytes.buffer);
}

/**
 * Options that C cannot see to be wrong.
 * @param {ViewOptions} options
 * @throws {TulleError}
 */
export function checkOptions(options) {
  checkNames('run', options, ['crop', 'rotation', 'flip', 'fit', 'border', 'transfer']);
  const { crop, rotation, flip, fit, border } = options;
  if (crop !== undefined) {
    const sides = [crop?.x, crop?.y, crop?.width, crop?.height];
    if (!sides.every(Number.isFinite) || !(crop.width > 0 && crop.height > 0)) {
      throw new TulleError('crop is { x, y, width, height } in pixels, width and height above 0, '
        + `not { x: ${sides[0]}, y: ${sides[1]}, width: ${sides[2]}, height: ${sides[3]} }`);
    }
  }
  if (rotation !== undefined && !Number.isFinite(rotation)) throw new TulleError(`rotation is a number of radians, not ${String(rotation)}`);
  if (flip !== undefined && typeof flip !== 'boolean') throw new TulleError(`flip is true or false, not ${String(flip)}`);
  if (fit !== undefined && !FITS.includes(fit)) throw new TulleError(`fit is one of ${FITS.join(', ')}, not ${String(fit)}`);
  if (border !== undefined && !BORDERS.includes(border)) throw new TulleError(`border is one of ${BORDERS.join(', ')}, not ${String(border)}`);
}
