// Fetching what load() needs, with an end to waiting.

import { TulleError, messageOf } from './errors.js';

/** Milliseconds without any progress after which load() and run() give up. */
export const DEFAULT_TIMEOUT = 30_000;

const MOST_TIMEOUT = 2 ** 31 - 1; // of setTimeout

/**
 * A signal that is aborted `timeout` milliseconds after the last progress(), or with another signal.
 * @param {number} timeout
 * @param {AbortSignal} [outer]
 */
export function patience(timeout, outer) {
  const controller = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const giveUp = () => controller.abort(new TulleError(`nothing came for ${seconds(timeout)} (the option timeout)`));
  const follow = () => controller.abort(outer?.reason);
  outer?.addEventListener('abort', follow);
  return {
    signal: controller.signal,
    progress() {
      clearTimeout(timer);
      if (timeout <= MOST_TIMEOUT) timer = setTimeout(giveUp, timeout);
    },
    /** Ends a download too that was not read to its end. */
    end() {
      controller.abort();
      clearTimeout(timer);
      outer?.removeEventListener('abort', follow);
    },
  };
}

/** @param {number} milliseconds */
export const seconds = (milliseconds) => `${milliseconds / 1000} s`;

/**
 * @param {string} url
 * @param {{ timeout: number, signal?: AbortSignal, credentials?: RequestCredentials }} options
 * @param {(response: Response, progress: () => void) => Promise<T>} use reads the answer, and says when some of it came
 * @returns {Promise<T>}
 * @template T
 */
export async function fetched(url, { timeout, signal, credentials }, use) {
  const waiting = patience(timeout, signal);
  waiting.progress();
  /** @type {Response | undefined} */
  let response;
  try {
    response = await fetch(url, { signal: waiting.signal, ...(credentials && { credentials }) });
    if (!response.ok) throw new TulleError(`HTTP ${response.status} ${response.statusText}`.trim());
    return await use(response, waiting.progress);
  } catch (error) {
    const reason = waiting.signal.aborted ? waiting.signal.reason : error;
    const redirected = response?.redirected ? ` (redirected to ${response.url})` : '';
    throw new TulleError(`${explained(reason, response)}${redirected}`, { cause: reason });
  } finally {
    waiting.end();
  }
}

/**
 * The bytes of an answer.
 * @param {Response} response
 * @param {(loaded: number) => void} onProgress called as they come, with how many there are
 */
export async function readBytes(response, onProgress) {
  if (!response.body) return new Uint8Array(await response.arrayBuffer());
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const chunks = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    chunks.push(value);
    loaded += value.length;
    onProgress(loaded);
  }
}

/**
 * Browsers say no more than "Failed to fetch" or "network error", so that pages learn nothing of other sites.
 * @param {unknown} error
 * @param {Response | undefined} response what had come by then
 */
function explained(error, response) {
  if (!(error instanceof TypeError)) return messageOf(error);
  const said = messageOf(error).replace(/\.$/, '');
  return response
    ? `the connection broke before the end (${said}): try again`
    : `${said}: the server cannot be reached, or it is of another origin and does not allow this page (CORS), `
      + 'or a Content-Security-Policy forbids it (connect-src)';
}
