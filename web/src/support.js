// What this browser supports, and the wasm build and number of threads that follow for a load().

import { TulleError } from './errors.js';
import { show } from './types.js';

/** @typedef {'simd' | 'relaxed'} Variant A wasm build, see VARIANTS. */

/** The instruction sets tulle is built for: SIMD128, and SIMD128 with the relaxed instructions (fused multiply-add). */
export const VARIANTS = Object.freeze(/** @type {Variant[]} */ (['simd', 'relaxed']));

/** The maximum number of threads of an engine: TULLE_MAX_THREADS in tulle.h. */
export const MAX_THREADS = 16;

/** The default number of threads: small networks gain little from more, and the page needs cores too. */
const DEFAULT_THREADS = 4;

/**
 * A wasm module with one function () -> v128 of the given code; `WebAssembly.validate` says whether the engine supports
 * its instructions. Two such probes, 40 and 80 bytes, save the package a dependency.
 * @param {number[]} code
 */
const probe = (code) => new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // "\0asm", version 1
  1, 5, 1, 0x60, 0, 1, 0x7b, // types: () -> v128
  3, 2, 1, 0, // functions: one, of type 0
  10, code.length + 4, 1, code.length + 2, 0, ...code, 0x0b, // code: one body, no locals, end
]);
/** @param {number[]} code */
const runs = (code) => typeof WebAssembly !== 'undefined' && WebAssembly.validate(probe(code));
const V128_ZERO = [0xfd, 0x0c, ...new Array(16).fill(0)]; // v128.const 0
const F32X4_RELAXED_MADD = [0xfd, 0x85, 0x02];

/**
 * What this browser supports on this page.
 * @returns {{ simd: boolean, relaxedSimd: boolean, threads: boolean, crossOriginIsolated: boolean }} `threads` needs
 *   the page to be cross-origin isolated: served with `Cross-Origin-Opener-Policy: same-origin` and
 *   `Cross-Origin-Embedder-Policy: require-corp` (or `credentialless`).
 */
export function support() {
  const crossOriginIsolated = globalThis.crossOriginIsolated === true;
  return {
    simd: runs(V128_ZERO),
    relaxedSimd: runs([...V128_ZERO, ...V128_ZERO, ...V128_ZERO, ...F32X4_RELAXED_MADD]),
    threads: crossOriginIsolated && typeof SharedArrayBuffer !== 'undefined',
    crossOriginIsolated,
  };
}

/**
 * @typedef {object} Configuration
 * @property {Variant} variant
 * @property {number} threads
 * @property {boolean} worker
 * @property {boolean} [yields] whether a model without a worker lets its thread do other things between runs
 * @property {string[]} notes where this differs from what was asked
 */

/**
 * Chooses the configuration for a load().
 * @param {Variant | 'auto'} variant
 * @param {number | undefined} threads
 * @param {boolean} worker
 * @returns {Configuration}
 */
export function configure(variant, threads, worker) {
  if (variant !== 'auto' && !VARIANTS.includes(variant)) {
    throw new TulleError(`variant must be "auto" or one of ${VARIANTS.join(', ')}, not ${show(variant)}`);
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
    throw new TulleError(`threads must be an integer from 1 to ${MAX_THREADS}, not ${show(threads)}`);
  }
  if (typeof worker !== 'boolean') throw new TulleError(`worker must be "auto", true or false, not ${show(worker)}`);
  const able = support();
  if (!able.simd) {
    throw new TulleError(typeof WebAssembly === 'undefined'
      ? 'this browser has no WebAssembly, which tulle needs; it may be turned off, as in Lockdown Mode'
      : 'this browser has no WebAssembly SIMD, which tulle needs');
  }
  if (variant === 'relaxed' && !able.relaxedSimd) {
    throw new TulleError('this browser has no WebAssembly relaxed SIMD: use variant "auto" or "simd"');
  }
  const chosen = variant === 'auto' ? (able.relaxedSimd ? 'relaxed' : 'simd') : variant;
  const wanted = threads ?? (worker ? Math.min(DEFAULT_THREADS, globalThis.navigator?.hardwareConcurrency || 1) : 1);
  if (wanted === 1 || able.threads) return { variant: chosen, threads: wanted, worker, notes: [] };
  const note = `one thread instead of ${wanted}: the page is not cross-origin isolated; `
    + 'serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp';
  return { variant: chosen, threads: 1, worker, notes: [note] };
}
