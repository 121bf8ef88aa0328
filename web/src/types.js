// What values are, by their tag, and the bytes of those that hold some.

import { TulleError } from './errors.js';

/**
 * "ArrayBuffer", "ImageData" ...: unlike instanceof it recognises values made in an iframe, an extension's world or a
 * test runner's, whose classes are other ones.
 * @param {unknown} value
 */
export const typeName = (value) => Object.prototype.toString.call(value).slice('[object '.length, -1);

/** @param {unknown} value @returns {value is ArrayBuffer | ArrayBufferView} or a SharedArrayBuffer */
export const isBuffer = (value) => ArrayBuffer.isView(value) || ['ArrayBuffer', 'SharedArrayBuffer'].includes(typeName(value));

/**
 * The bytes themselves, not a copy.
 * @param {ArrayBuffer | ArrayBufferView} source
 * @param {string} what how errors name it
 */
export function bytesOf(source, what) {
  try {
    return ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength) : new Uint8Array(source);
  } catch (error) {
    throw new TulleError(`cannot read ${what}: its ArrayBuffer is detached, as after a transfer to a worker`,
      { cause: error });
  }
}
