// The wasm builds: where they are, and how they are compiled.

import { TulleError, messageOf } from './errors.js';
import { fetched, readBytes } from './fetching.js';

// Written out, since bundlers only find files in `new URL(<literal>, import.meta.url)`.
const BUILDS = {
  simd: () => new URL('../dist/tulle-simd.wasm', import.meta.url),
  relaxed: () => new URL('../dist/tulle-relaxed.wasm', import.meta.url),
  'simd-threads': () => new URL('../dist/tulle-simd-threads.wasm', import.meta.url),
  'relaxed-threads': () => new URL('../dist/tulle-relaxed-threads.wasm', import.meta.url),
};

/**
 * Downloads and compiles a build.
 * @param {import('./support.js').Variant} variant
 * @param {boolean} threaded
 * @param {number} timeout milliseconds without progress
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compile(variant, threaded, timeout) {
  const url = BUILDS[threaded ? /** @type {const} */ (`${variant}-threads`) : variant]();
  try {
    return await fetched(String(url), { timeout, credentials: 'same-origin' }, async (response, progress) => {
      const type = response.headers.get('Content-Type');
      if (type?.startsWith('text/html')) throw new TulleError('the answer is a web page');
      // Streaming lets browsers cache the compiled code, but it requires the content type application/wasm.
      if (!type?.startsWith('application/wasm')) return WebAssembly.compile(await readBytes(response, progress));
      // It does not say how far it is, so a copy is read beside it.
      const copy = readBytes(response.clone(), progress);
      const [module] = await Promise.all([WebAssembly.compileStreaming(response), copy]);
      return module;
    });
  } catch (error) {
    throw new TulleError(`cannot load the engine ${url}: ${messageOf(error)}`, { cause: error });
  }
}
