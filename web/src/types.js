// What values are, by their tag, and the bytes of those that hold some.

import { TulleError } from './errors.js';

/**
 * "ArrayBuffer", "ImageData" ...: unlike instanceof it recognises values made in an iframe, an extension's world or a
 * test runner's, whose classes are other ones.
 * @param {unknown} value
 * @returns {string}
 */
export const typeName = (value) => (ArrayBuffer.isView(value)
  ? /** @type {any} */ (value)[Symbol.toStringTag] // the same, sooner: each run asks several times
  : Object.prototype.toString.call(value).slice('[object '.length, -1));

/** Usual mistakes, and what to do about them. @type {Record<string, string>} */
const HINTS = {
  Promise: 'await it first',
  Response: 'await its arrayBuffer() or blob() first',
  CanvasRenderingContext2D: 'give its canvas',
  WebGLRenderingContext: 'give its canvas',
  WebGL2RenderingContext: 'give its canvas',
  Array: 'make it a typed array',
  Float64Array: 'make it a Float32Array',
};

/** How errors name a value of a wrong type. @param {unknown} value */
export function describeType(value) {
  const name = typeName(value);
  return name in HINTS ? `${name}: ${HINTS[name]}` : name;
}

/** How errors show a value that is out of range. @param {unknown} value */
export const show = (value) => (typeof value === 'string' ? JSON.stringify(value) : String(value));

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
