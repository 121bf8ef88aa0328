// The wasm builds: where they are, and how they are compiled.

import { TulleError, messageOf } from './errors.js';

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
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compile(variant, threaded) {
  const url = BUILDS[threaded ? /** @type {const} */ (`${variant}-threads`) : variant]();
  try {
    const response = await fetch(url, { credentials: 'same-origin' });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    if (response.headers.get('Content-Type')?.startsWith('text/html')) throw new Error('the answer is a web page');
    const typed = response.headers.get('Content-Type')?.startsWith('application/wasm');
    // Streaming lets browsers cache the compiled code, but it requires the content type application/wasm.
    return await (typed ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer()));
  } catch (error) {
    throw new TulleError(`cannot load the engine ${url}: ${messageOf(error)}`, { cause: error });
  }
}
