// The pages' catalogue of models, models/models.json, which scripts/build_demo.py writes.
//
//     const models = await loadCatalogue();               // by name, as of the TFLite file
//     const facts = models.hand_landmark_tulle;           // or modelsFor(models, 'hand')
//     const model = await load(modelUrl(facts), options);

/**
 * @typedef {object} ModelFacts
 * @property {string} name of the TFLite file it was converted from, without ending
 * @property {string} file the .tulle file beside models.json
 * @property {string} task what it is for: "hand", "palm", "selfie", "ablation" (further degrees of the selfie model) or
 *   "background" (tulle's own, of another input size)
 * @property {string} role a class of base.css: "dense", "distilled", "sparse", "published" (made sparse by its makers; not
 *   on every machine) or "own" (made sparse by tulle, where "sparse" is pruned by magnitude)
 * @property {string} title for people
 * @property {string} source where the TFLite file came from
 * @property {string} licence
 * @property {string | null} label what else a visitor should know of it
 * @property {string} card its model card in docs/model-cards, without ending
 * @property {number | null} tflite_bytes null where there is no such file: pruned when this site was built
 * @property {number} tulle_bytes
 * @property {number} weights in all convolutions and fully connected layers
 * @property {number} nonzero of these
 * @property {number} folded_weights left once channels that are always the same are folded away
 * @property {number} macs multiply-adds of a frame as published, all weights counted
 * @property {number} executed_macs multiply-adds that tulle carries out
 */

/** @typedef {Record<string, ModelFacts>} Catalogue by name */

const MODELS = new URL('../models/', import.meta.url);

/**
 * @returns {Promise<Catalogue>} rejects with an Error fit for the visitor
 */
export async function loadCatalogue() {
  const url = new URL('models.json', MODELS);
  const response = await fetch(url);
  if (response.status === 404) {
    throw new Error('The models have not been converted yet: run `make demo` in the checkout, then reload this page.');
  }
  if (!response.ok) throw new Error(`${url} could not be loaded: HTTP ${response.status}.`);
  return await response.json();
}

/**
 * All models for a task, in the order of the catalogue.
 * @param {Catalogue} models
 * @param {string} task
 * @returns {ModelFacts[]}
 */
export function modelsFor(models, task) {
  return Object.values(models).filter((facts) => facts.task === task);
}

/**
 * @param {ModelFacts} facts
 * @returns {string} where its .tulle file is
 */
export function modelUrl(facts) {
  return new URL(facts.file, MODELS).href;
}

/**
 * @param {ModelFacts} facts
 * @returns {number} share of the weights that are zero, 0 to 1
 */
export function sparsity(facts) {
  return 1 - facts.nonzero / facts.weights;
}

/**
 * @param {number} bytes
 * @returns {string} like "1.45 MB" or "240 kB"
 */
export function fileSize(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}
