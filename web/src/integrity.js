// Checks a file against a hash, given as in HTML's `integrity` attribute.

import { TulleError } from './errors.js';

/** From the weakest to the strongest: only hashes of the strongest one given count, as in HTML. */
const ALGORITHMS = ['sha256', 'sha384', 'sha512'];
const HASH = /^(sha256|sha384|sha512)-([A-Za-z0-9+/]+={0,2})(\?[\x21-\x7e]*)?$/;

/**
 * @param {unknown} integrity as https://www.w3.org/TR/SRI/ has it: "sha256-BASE64", or several with spaces between
 * @returns {{ algorithm: string, hashes: string[] } | undefined} undefined if none is given
 */
export function parseIntegrity(integrity) {
  if (integrity === undefined || integrity === null) return undefined;
  const parts = String(integrity).trim().split(/\s+/).map((part) => HASH.exec(part));
  if (parts.includes(null)) { // browsers skip what they do not know; here that would check nothing
    throw new TulleError(`integrity must be like "sha256-..." (or sha384, sha512) in base64, not ${JSON.stringify(integrity)}`);
  }
  if (!globalThis.crypto?.subtle) {
    throw new TulleError('integrity needs crypto.subtle, which browsers give to pages served over HTTPS or from localhost');
  }
  const given = /** @type {RegExpExecArray[]} */ (parts);
  const algorithm = ALGORITHMS.filter((name) => given.some((part) => part[1] === name)).at(-1) ?? '';
  return { algorithm, hashes: given.filter((part) => part[1] === algorithm).map((part) => part[2]) };
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {NonNullable<ReturnType<typeof parseIntegrity>>} expected
 */
export async function checkIntegrity(bytes, { algorithm, hashes }) {
  const digest = new Uint8Array(await crypto.subtle.digest(algorithm.replace('sha', 'SHA-'), bytes));
  const hash = btoa(String.fromCharCode(...digest));
  if (hashes.includes(hash)) return;
  throw new TulleError(`its hash is ${algorithm}-${hash}, which is not in the option integrity: it is another file, or damaged`);
}
