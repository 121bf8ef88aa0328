// Loaded by the tests' page: the package under `tulle`, and helpers for the snippets that the tests evaluate.

import * as tulle from '/web/src/index.js';

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

Object.assign(window, { tulle, outcome, bytes, floats, encode, ready: true });
