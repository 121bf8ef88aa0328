// Options of the package's functions.

import { TulleError } from './errors.js';
import { typeName } from './types.js';

/**
 * @param {string} call how errors name the function
 * @param {unknown} options
 * @param {readonly string[]} known
 */
export function checkNames(call, options, known) {
  if (typeof options !== 'object' || options === null) {
    throw new TulleError(`the options of ${call}() are an object, not ${typeName(options)}`);
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TulleError(`${call}() has no option ${JSON.stringify(unknown)}; it has ${known.join(', ')}`);
}
