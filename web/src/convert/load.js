// load() of a .tflite or .onnx file: converts it, or takes what an earlier visit made of it.

import { throughCache } from './cache.js';
import { convert } from './index.js';

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {import('./index.js').ConvertOptions} options
 * @param {string} kind of the file, in words
 * @param {boolean} keep whether to look in the browser's cache, and to keep the result there
 * @returns {Promise<{ bytes: Uint8Array<ArrayBuffer>, note: string[] }>}
 */
export async function convertForLoad(bytes, options, kind, keep) {
  const note = [`this is ${kind}, converted in the page, which takes seconds: converting it beforehand is faster `
    + '(`tulle convert`, or `npx tulle convert`)'];
  const make = () => convert(bytes, options);
  const converted = keep ? await throughCache('convert', bytes, options, make, (text) => note.push(text)) : await make();
  return { bytes: converted, note };
}
