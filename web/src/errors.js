/**
 * The only error that this package throws: its message says what is wrong and what to do. `cause`, if there is one,
 * is the underlying error (an abort reason, a network error).
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
