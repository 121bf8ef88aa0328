// The page: loads both networks, runs them frame after frame, and shows what came out.

import { Comparison, OUTPUT, SIDES } from './comparison.js';
import { drawChart } from './chart.js';
import { drawHand, meanDistance } from './landmarks.js';
import { showOperations } from './operations.js';
import { decodePicture, fetchPicture } from './pictures.js';
import { MAX_THREADS, support } from '../../web/src/index.js';

/** @typedef {import('./comparison.js').Side} Side */
/** @typedef {import('./pictures.js').Picture} Picture */

/**
 * One network in models.json, which scripts/build_demo.py writes.
 * @typedef {object} ModelFacts
 * @property {string} file the .tulle file beside models.json
 * @property {string} name of the .tflite file it was converted from, without ending
 * @property {string} source where that came from
 * @property {string} licence
 * @property {string | null} label what else a visitor should know of it
 * @property {number} tflite_bytes
 * @property {number} tulle_bytes
 * @property {number} weights in all convolutions and fully connected layers
 * @property {number} nonzero of these
 * @property {number} folded_weights left once channels that are always the same are folded away
 * @property {number} macs multiply-adds of a frame as published, all weights counted
 * @property {number} executed_macs multiply-adds that tulle carries out
 */

const MODELS = new URL('../models/', import.meta.url);
const PICTURE_TIME = 3000; // milliseconds until the next picture
const SHOW_EVERY = 250; // milliseconds between updates of the numbers, so that they can be read
const SHOW_EVERY_CALM = 1000; // the same for visitors who asked for less motion

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const comparison = new Comparison();

/** The bundled pictures, as the page lists them; images/README.md says where they are from. */
const bundled = [...document.querySelectorAll('.pictures label')].map((label) => ({
  radio: /** @type {HTMLInputElement} */ (label.querySelector('input')),
  url: /** @type {HTMLImageElement} */ (label.querySelector('img')).src,
  title: /** @type {HTMLImageElement} */ (label.querySelector('img')).alt,
}));
/** @type {Map<string, Promise<Picture>>} */
const fetched = new Map();

/** @type {Record<Side, ModelFacts>} */
let models;
/** @type {Picture} */
let picture;
/** @type {Record<Side, import('./comparison.js').Outputs> | undefined} */
let outputs;
let run = 0; // raised by play and pause; a frame loop goes on while it stays the same
let playing = false;
/** @type {Promise<unknown>} */
let turn = Promise.resolve();

// ---- the frame loop ----

/**
 * Everything that uses the networks waits for its turn here, so that nothing disturbs a frame that is being timed.
 * @template T
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
function inTurn(action) {
  const result = turn.then(action);
  turn = result.catch(() => {}); // the caller hears of it
  return result;
}

function play() {
  const thisRun = ++run;
  playing = true;
  element('play').textContent = 'Pause';
  runFrames(thisRun).catch((error) => {
    if (run === thisRun) fail(error); // else something else has failed and stopped it, and says why
  });
}

function pause() {
  playing = false;
  element('play').textContent = 'Play';
  run++;
}

/** @param {number} thisRun */
async function runFrames(thisRun) {
  let shown = 0;
  let pictureSince = performance.now();
  while (run === thisRun) {
    await inTurn(() => showFrame(true));
    const now = performance.now();
    if (now - shown >= (calm.matches ? SHOW_EVERY_CALM : SHOW_EVERY)) {
      shown = now;
      showTimes();
      showOperationTimes(comparison.operations);
    }
    if (!calm.matches && now - pictureSince > PICTURE_TIME && isBundled()) {
      pictureSince = now;
      await nextPicture();
    }
    await new Promise(requestAnimationFrame); // also rests while the page is hidden
  }
}

/**
 * Runs both networks on the picture and draws what they find.
 * @param {boolean} timed whether the frame counts for the averages
 */
async function showFrame(timed) {
  const shown = picture;
  const result = timed ? await comparison.frame(shown.input) : await comparison.runBoth(shown.input);
  if (shown !== picture || outputs) return; // another picture was chosen, or this one is drawn already
  outputs = result;
  drawPictures();
}

// ---- pictures ----

/** @param {Picture} chosen */
function setPicture(chosen) {
  picture = chosen;
  outputs = undefined;
  drawPictures();
  for (const side of SIDES) {
    element(`${side}-hand`).setAttribute('aria-label', `${chosen.title}, with the ${side} network's landmarks`);
  }
  if (!playing && comparison.loaded) inTurn(() => showFrame(false)).catch(fail);
}

/** @param {number} index */
function bundledPicture(index) {
  const { url, title } = bundled[index];
  const loading = fetched.get(url) ?? fetchPicture(url, title);
  fetched.set(url, loading);
  return loading;
}

function isBundled() {
  return bundled.some(({ radio }) => radio.checked);
}

async function nextPicture() {
  const next = (bundled.findIndex(({ radio }) => radio.checked) + 1) % bundled.length;
  bundled[next].radio.checked = true;
  await showBundled(next);
}

/** @param {number} index */
async function showBundled(index) {
  setPicture(await bundledPicture(index));
}

/** @param {File | undefined} file */
async function showOwn(file) {
  if (!file) return;
  try {
    const own = await decodePicture(file, file.name);
    for (const { radio } of bundled) radio.checked = false;
    setPicture(own);
    say(`${file.name}: the networks expect one hand, upright, that fills most of the square.`);
  } catch (error) {
    say(messageOf(error));
  }
}

// ---- showing ----

function drawPictures() {
  for (const side of SIDES) {
    const canvas = /** @type {HTMLCanvasElement} */ (element(`${side}-hand`));
    drawHand(canvas, picture.square, outputs?.[side][OUTPUT.landmarks]);
    const presence = outputs?.[side][OUTPUT.presence][0];
    if (presence !== undefined) setValue(`${side}-presence`, `${(100 * presence).toFixed(1)} %`);
  }
  if (!outputs) return;
  const apart = meanDistance(outputs.dense[OUTPUT.landmarks], outputs.sparse[OUTPUT.landmarks]);
  setValue('apart', `${apart.toFixed(2)} % of width`);
}

function showTimes() {
  const { dense, sparse, frames } = comparison.timeline.now;
  if (frames === 0) return;
  setValue('dense-ms', dense.toFixed(1));
  setValue('sparse-ms', sparse.toFixed(1));
  setValue('speedup', (dense / sparse).toFixed(2));
  setValue('window', String(frames));
  showChart();
  element('chart').setAttribute(
    'aria-label',
    `Milliseconds per frame, mean of the last ${frames} frames: dense ${dense.toFixed(1)}, sparse ${sparse.toFixed(1)}`,
  );
}

function showChart() {
  drawChart(/** @type {SVGSVGElement} */ (/** @type {unknown} */ (element('chart'))), comparison.timeline.frames);
}

/** @param {Record<Side, Map<string, number>>} times milliseconds by kind of operation */
function showOperationTimes(times) {
  const bars = { dense: element('dense-bar'), sparse: element('sparse-bar') };
  showOperations(bars, /** @type {HTMLTableElement} */ (element('ops-table')).tBodies[0], times);
}

function showFacts() {
  const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(2);
  const million = (/** @type {number} */ count, digits = 2) => `${(count / 1e6).toFixed(digits)} million`;
  for (const side of SIDES) {
    const facts = models[side];
    const kept = (100 * facts.nonzero) / facts.weights;
    setValue(`${side}-file`, megabytes(facts.tulle_bytes));
    setValue(`${side}-kept`, `${kept.toFixed(0)} %`);
    setValue(`${side}-model`, facts.label ? `${facts.name} (${facts.label})` : facts.name);
    setValue(`${side}-source`, facts.source);
    setValue(`${side}-licence`, facts.licence);
    setValue(`${side}-weight-count`, `${million(facts.weights)}, ${million(facts.nonzero)} of them not zero`);
    setValue(`${side}-folded`, million(facts.folded_weights));
    setValue(`${side}-macs`, `${million(facts.executed_macs, 0)} of ${million(facts.macs, 0)}`);
    setValue(`${side}-tflite`, `${megabytes(facts.tflite_bytes)} MB`);
    setValue(`${side}-tulle`, `${megabytes(facts.tulle_bytes)} MB`);
    showKept(element(`${side}-weights`), Math.round(kept));
  }
}

/**
 * Shows a share as a hundred squares of which some are filled.
 * @param {Element} svg with the view box 0 0 50 2
 * @param {number} percent
 */
function showKept(svg, percent) {
  const squares = { kept: '', zero: '' };
  let place = 1;
  for (let i = 0; i < 100; i++) {
    place = (place * 38) % 101; // visits 1 to 100 once each, in no order that the eye can see
    squares[place <= percent ? 'kept' : 'zero'] += `M${(i % 50) + 0.1} ${Math.floor(i / 50) + 0.1}h.8v.8h-.8z`;
  }
  svg.innerHTML = `<path class="zero" d="${squares.zero}"/><path class="kept" d="${squares.kept}"/>`;
  svg.setAttribute('aria-label', `${percent} of 100 weights are not zero`);
}

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

/** @param {unknown} error */
function fail(error) {
  pause();
  const notice = element('notice');
  notice.textContent = messageOf(error);
  notice.hidden = false;
  say('');
  console.error(error);
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * @param {string} name
 * @param {string} text
 */
function setValue(name, text) {
  for (const node of document.querySelectorAll(`[data-value="${name}"]`)) node.textContent = text;
}

/** @param {string} id */
function element(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`The page has no element #${id}.`);
  return node;
}

// ---- setting up ----

async function loadManifest() {
  const url = new URL('models.json', MODELS);
  const response = await fetch(url);
  if (response.status === 404) {
    throw new Error('The networks have not been converted yet: run `make demo` in the checkout, then reload this page.');
  }
  if (!response.ok) throw new Error(`${url} could not be loaded: HTTP ${response.status}.`);
  const { hand_landmark_full: dense, hand_landmark_sparse: sparse } = await response.json();
  return /** @type {Record<Side, ModelFacts>} */ ({ dense, sparse });
}

/** Loads both networks with the chosen settings; the selects then show what the engine really uses. */
async function loadModels(/** @type {{ threads?: number, variant?: 'simd' | 'relaxed' }} */ options) {
  element('notice').hidden = true;
  const urls = { dense: new URL(models.dense.file, MODELS).href, sparse: new URL(models.sparse.file, MODELS).href };
  await comparison.load(urls, options, (side) => {
    say(`Loading the ${side} network, ${(models[side].tulle_bytes / 1e6).toFixed(1)} MB`);
  });
  await showFrame(false); // the first landmarks are there while the warm-up goes on
  await comparison.warmUp(picture.input);
  const { threads, variant } = comparison.settings;
  selectOf('threads').value = String(threads);
  selectOf('variant').value = variant;
  for (const side of SIDES) {
    const engine = side === 'dense' ? ", with the engine's start" : '';
    setValue(`${side}-load`, `${comparison.loadTime[side].toFixed(0)} ms${engine}`);
    setValue(`${side}-runs`, `${threads} ${threads === 1 ? 'thread' : 'threads'}, ${variant} build`);
  }
  say('');
}

/** @param {string} id */
function selectOf(id) {
  return /** @type {HTMLSelectElement} */ (element(id));
}

function listen() {
  element('play').addEventListener('click', () => (playing ? pause() : play()));
  element('next').addEventListener('click', () => nextPicture().catch(fail));
  bundled.forEach(({ radio }, index) => radio.addEventListener('change', () => showBundled(index).catch(fail)));
  const changeSettings = () => {
    const threads = Number(selectOf('threads').value);
    const variant = selectOf('variant').value === 'simd' ? 'simd' : 'relaxed';
    inTurn(() => loadModels({ threads, variant })).catch(fail);
  };
  selectOf('threads').addEventListener('change', changeSettings);
  selectOf('variant').addEventListener('change', changeSettings);

  const own = /** @type {HTMLInputElement} */ (element('own'));
  own.addEventListener('change', () => showOwn(own.files?.[0]));
  const stage = element('stage');
  for (const kind of ['dragenter', 'dragover']) {
    stage.addEventListener(kind, (event) => {
      event.preventDefault();
      stage.classList.add('dropping');
    });
  }
  stage.addEventListener('dragleave', () => stage.classList.remove('dropping'));
  stage.addEventListener('drop', (event) => {
    event.preventDefault();
    stage.classList.remove('dropping');
    showOwn(event.dataTransfer?.files[0]);
  });

  new ResizeObserver(() => {
    if (picture) drawPictures();
    showChart();
  }).observe(stage);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => picture && drawPictures());
}

function offerSettings() {
  selectOf('variant').options[0].disabled = !support().relaxedSimd;
  const most = support().threads ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
  selectOf('threads').replaceChildren(...Array.from({ length: most }, (_, i) => new Option(String(i + 1))));
  if (support().threads) return;
  element('isolation').textContent =
    'One thread only: this page is not cross-origin isolated, so the browser shares no memory between threads. ' +
    'A server that sends the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: ' +
    'require-corp, as `make demo` does, allows more.';
  element('isolation').hidden = false;
}

async function start() {
  showChart();
  showOperationTimes({ dense: new Map(), sparse: new Map() });
  setPicture(await bundledPicture(0));
  if (!support().simd) {
    throw new Error(
      'This browser has no WebAssembly SIMD, which tulle needs. ' +
        'Chrome and Edge have it since version 91, Firefox since 89, Safari since 16.4.',
    );
  }
  models = await loadManifest();
  showFacts();
  offerSettings();
  await loadModels({});
  listen();
  for (const id of ['play', 'next', 'threads', 'variant', 'own']) element(id).removeAttribute('disabled');
  play();
}

const ready = start();
ready.catch(fail);

/**
 * For tests (tests/browser/test_demo.py): `ready` resolves once both networks run; `evaluate(index)` runs both on a
 * bundled picture and hands out the very pixels they saw with all that they answered.
 */
Object.assign(globalThis, {
  tulleDemo: {
    ready,
    pictures: bundled.map(({ url }) => url),
    evaluate: (/** @type {number} */ index) =>
      inTurn(async () => {
        const { input } = await bundledPicture(index);
        return { input, ...(await comparison.runBoth(input)) };
      }),
  },
});
