// Loaded by the tests' page: the package under `tulle`, and helpers for the snippets that the tests evaluate.

import * as all from '/web/src/index.js';

// Models of these tests are tiny, and would run in the page. Most tests are about workers: they ask for one unless they say
// otherwise. `loadByDefault` is what pages have.
const { load: loadByDefault } = all;
const load = (source, options) => loadByDefault(source, typeof options === 'string' ? options : { worker: true, ...options });
const tulle = { ...all, load };

/** The outcome of a promise as JSON: a rejection counts only if it is a TulleError. */
async function outcome(promise) {
  try {
    return { value: await promise };
  } catch (error) {
    return { error: error.message, isTulleError: error instanceof tulle.TulleError, name: error.name };
  }
}

const bytes = async (url) => (await fetch(url)).arrayBuffer();
const floats = async (url) => new Float32Array(await bytes(url));

/** The exact bits of arrays by name, as base64. */
const encode = (arrays) => Object.fromEntries(Object.entries(arrays).map(([name, { buffer, byteOffset, byteLength }]) => {
  let text = '';
  for (const byte of new Uint8Array(buffer, byteOffset, byteLength)) text += String.fromCharCode(byte);
  return [name, btoa(text)];
}));

Object.assign(window, { tulle, loadByDefault, outcome, bytes, floats, encode, ready: true });
