// What was made of model files, kept for the next visit in the browser's Cache API.

import { TulleError, messageOf } from '../errors.js';
import { VERSION } from './python.js';

const CACHE = 'tulle-converted-1';
const MOST = 32; // results, of which the oldest goes first

/**
 * What an earlier visit made of a file, or what `make` makes now.
 * @param {'convert' | 'inspect'} task
 * @param {Uint8Array<ArrayBuffer>} bytes of the file
 * @param {import('./index.js').ConvertOptions} options that it depends on
 * @param {() => Promise<Uint8Array<ArrayBuffer>>} make
 * @param {(text: string) => void} [onFailure] told why a result is not kept
 */
export async function throughCache(task, bytes, options, make, onFailure = () => {}) {
  if (!(globalThis.caches && globalThis.crypto?.subtle)) {
    onFailure('what was converted cannot be kept, since this page is not a secure context (https, or localhost)');
    return make();
  }
  try {
    const cache = await caches.open(CACHE);
    const key = await keyOf(task, bytes, options);
    const kept = await cache.match(key);
    if (kept) return new Uint8Array(await kept.arrayBuffer());
    const made = await make();
    await put(cache, key, made).catch((error) => onFailure(`what was converted could not be kept: ${messageOf(error)}`));
    return made;
  } catch (error) {
    throw error instanceof TulleError ? error : new TulleError(`the browser's cache cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

/** @param {Cache} cache @param {string} key @param {Uint8Array<ArrayBuffer>} made */
async function put(cache, key, made) {
  await cache.put(key, new Response(made));
  for (const old of (await cache.keys()).slice(0, -MOST)) await cache.delete(old);
}

/**
 * An address that the cache can have: of the file, what is made of it, and which converter does it.
 * @param {string} task
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {import('./index.js').ConvertOptions} options
 */
async function keyOf(task, bytes, { signal, pyodide, onProgress, onnx, cache, ...options }) {
  const made = Object.entries(options).filter(([, value]) => value !== undefined).sort();
  const text = new TextEncoder().encode(JSON.stringify([VERSION, task, made]));
  const digests = await Promise.all([bytes, text].map((data) => crypto.subtle.digest('SHA-256', data)));
  const hex = digests.map((digest) => [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  return new URL(`/tulle-converted/${hex.join('-')}`, location.origin).href;
}
