/**
 * The one error this package throws: its message says what was wrong and what to do; `cause`, where there is one,
 * is the error underneath (an abort reason, a network error).
 */
export class TulleError extends Error {
  /**
   * @param {string} message
   * @param {{ cause?: unknown }} [options]
   */
  constructor(message, options) {
    super(message, options);
    this.name = 'TulleError';
  }
}

/**
 * The message of anything that can be thrown.
 * @param {unknown} error
 * @returns {string}
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));
