// The page's networks: each is loaded on first use, all into one engine.

import { load } from '../../web/src/index.js';
import { modelUrl } from '../lib/models.js';

/** @typedef {import('../../web/src/index.js').Model} Model */
/** @typedef {import('../../web/src/index.js').LoadOptions} LoadOptions */

export class Networks {
  #catalogue;
  /** @type {LoadOptions} */
  #options = {};
  /** @type {Map<string, Promise<Model>>} */
  #loaded = new Map();

  /** @param {import('../lib/models.js').Catalogue} catalogue */
  constructor(catalogue) {
    this.#catalogue = catalogue;
  }

  /**
   * @param {string} name in the catalogue
   * @returns {Promise<Model>}
   */
  get(name) {
    let model = this.#loaded.get(name);
    if (!model) {
      const facts = this.#catalogue[name];
      if (!facts) throw new Error(`models.json lists no ${name}: run \`make demo\` in the checkout, then reload this page.`);
      model = load(modelUrl(facts), this.#options);
      model.catch(() => this.#loaded.delete(name)); // the next request tries again
      this.#loaded.set(name, model);
    }
    return model;
  }

  /** Whether it was requested before. @param {string} name */
  has(name) {
    return this.#loaded.has(name);
  }

  /**
   * Closes all networks; later requests load them again.
   * @param {LoadOptions} options threads and variant for them
   */
  async restart(options) {
    const models = await Promise.allSettled(this.#loaded.values());
    this.#loaded.clear();
    this.#options = options;
    for (const model of models) if (model.status === 'fulfilled') await model.value.close();
  }
}
