// What a model may ask for when it is loaded.

import { TulleError } from './errors.js';
import { show, typeName } from './types.js';

/**
 * @typedef {object} Limits How large a model may be.
 * @property {number} [fileBytes] of the file; default: 512 MiB
 * @property {number} [tensorBytes] of one tensor, as float32; default: 512 MiB
 * @property {number} [ops] default: 16384
 * @property {number} [memoryBytes] of activations, unpacked weights and the rest of the model's plan; default: 1 GiB
 * @property {number} [macs] multiply-adds of a run, as if no weight were zero, and as many for other work; default: 10^11
 */

/** @type {Readonly<Required<Limits>>} */
const DEFAULTS = Object.freeze({
  fileBytes: 2 ** 29, tensorBytes: 2 ** 29, ops: 2 ** 14, memoryBytes: 2 ** 30, macs: 1e11,
});

/**
 * @param {unknown} given
 * @returns {Required<Limits>}
 */
export function checkLimits(given) {
  if (given === undefined || given === null) return DEFAULTS;
  if (typeof given !== 'object') throw new TulleError(`limits are an object, not ${typeName(given)}`);
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new TulleError(`there is no limit ${JSON.stringify(name)}; there are ${Object.keys(DEFAULTS).join(', ')}`);
    }
    const bits = name === 'macs' ? 53 : 32;
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value < 2 ** bits)) {
      throw new TulleError(`limit ${name} must be an integer from 1 to 2^${bits} - 1, not ${show(value)}`);
    }
  }
  return { ...DEFAULTS, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
}

/**
 * @param {number} bytes
 * @param {Required<Limits>} limits
 */
export function checkFile(bytes, { fileBytes }) {
  if (bytes <= fileBytes) return;
  throw new TulleError(`the file has ${megabytes(bytes)}, the limit is ${megabytes(fileBytes)}`);
}

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
