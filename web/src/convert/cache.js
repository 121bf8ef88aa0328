// load() of a .tflite or .onnx file: converts it, or takes what an earlier visit made of it.

import { TulleError, messageOf } from '../errors.js';
import { convert } from './index.js';
import { VERSION } from './python.js';

const CACHE = 'tulle-converted-1';

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
  if (keep && !(globalThis.caches && globalThis.crypto?.subtle)) {
    note.push('what was converted cannot be kept, since this page is not a secure context (https, or localhost)');
    keep = false;
  }
  if (!keep) return { bytes: await convert(bytes, options), note };
  try {
    const cache = await caches.open(CACHE);
    const key = await keyOf(bytes, options);
    const kept = await cache.match(key);
    if (kept) return { bytes: new Uint8Array(await kept.arrayBuffer()), note };
    const converted = await convert(bytes, options);
    await cache.put(key, new Response(converted)).catch((error) => {
      note.push(`what was converted could not be kept: ${messageOf(error)}`);
    });
    return { bytes: converted, note };
  } catch (error) {
    throw error instanceof TulleError ? error : new TulleError(`the browser's cache cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * An address that the cache can have: of the file, how it is converted, and which converter does it.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {import('./index.js').ConvertOptions} options
 */
async function keyOf(bytes, { signal, pyodide, onProgress, onnx, ...options }) {
  const text = new TextEncoder().encode(JSON.stringify([VERSION, Object.entries(options).sort()]));
  const digests = await Promise.all([bytes, text].map((data) => crypto.subtle.digest('SHA-256', data)));
  const hex = digests.map((digest) => [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  return new URL(`/tulle-converted/${hex.join('-')}`, location.origin).href;
}
