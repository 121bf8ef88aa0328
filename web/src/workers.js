// Starting workers, also those of a package that lies on another origin, as on a CDN. Browsers refuse worker scripts from
// there, but a worker made from a Blob may import one.

import { TulleError, messageOf } from './errors.js';

/**
 * Service workers, and Node, have no Worker; frames of no origin, and some policies, forbid it.
 * @param {() => Worker} start
 */
export function started(start) {
  try {
    return start();
  } catch (error) {
    throw new TulleError(`no worker can be started here (${messageOf(error)}): load with worker: false and one thread, `
      + 'which needs none', { cause: error });
  }
}

/** Whether a module is of another origin than the page. @param {string} module its import.meta.url */
export function isForeign(module) {
  const { protocol, origin } = new URL(module);
  return protocol.startsWith('http') && origin !== self.origin; // webpack inserts a file: URL here
}

/**
 * @param {string} file relative to the module
 * @param {string} module its import.meta.url
 * @param {string} name shown in developer tools
 */
export function foreignWorker(file, module, name) {
  const script = `import ${JSON.stringify(new URL(file, module))};`;
  const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  const worker = started(() => new Worker(url, { type: 'module', name }));
  worker.addEventListener('message', () => URL.revokeObjectURL(url), { once: true });
  return worker;
}
