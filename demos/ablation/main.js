// The page: the selfie network at every tenth of zeros, timed and compared with the dense one; then the share table.

import { describeEngine, EngineControls, requireSimd } from '../lib/controls.js';
import { copyOnClick, deviceLines, markdownTable } from '../lib/device.js';
import { drawMask, HEIGHT, maskOf, WIDTH } from '../lib/mask.js';
import { MovingAverage } from '../lib/meter.js';
import { fileSize, loadCatalogue, sparsity } from '../lib/models.js';
import { showBar } from '../lib/operations.js';
import { element, fetchBitmap, messageOf, pixelsOf, setValue, showError, svg } from '../lib/page.js';
import { Race } from '../lib/race.js';
import { intersectionOverUnion } from '../lib/segment/matte.js';
import { drawPlot } from './plot.js';
import { loadNetworks, measureShare } from './share.js';

/** @typedef {import('../lib/models.js').ModelFacts} ModelFacts */
/** @typedef {import('../lib/race.js').Runner} Runner */

const DENSE = 'selfie_segmentation_landscape';
const ZEROS = [10, 20, 30, 40, 50, 60, 70, 80, 90]; // percent, of the models DENSE_10 and so on
const FRAMES = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => new URL(`../images/person/${number}.jpg`, import.meta.url));
const ROUNDS = 5; // over all frames

/** What was measured of a network. */
class Level {
  time = new MovingAverage();
  overlap = new MovingAverage();

  /** @param {number} zeros percent */
  constructor(zeros) {
    this.zeros = zeros;
  }
}

const race = new Race();
const again = /** @type {HTMLButtonElement} */ (element('again'));
const controls = new EngineControls(element('settings'), () => inTurn(measureAll).catch(fail));
let levels = [0, ...ZEROS].map((zeros) => new Level(zeros));
/** @type {ModelFacts[]} */
let networks = [];
/** @type {Promise<ImageData[]> | undefined} */
let frames;
/** @type {Promise<unknown>} */
let turn = Promise.resolve();

/**
 * Measurements wait for each other.
 * @param {() => Promise<void>} action
 */
function inTurn(action) {
  const result = turn.then(action);
  turn = result.catch(() => {}); // the caller hears of it
  return result;
}

async function measureAll() {
  element('notice').hidden = true;
  again.disabled = controls.disabled = true;
  await measureLevels();
  await measureShares();
  controls.disabled = again.disabled = false;
  say('Done. Nothing runs now.');
}

// ---- sparsity against time and overlap ----

async function measureLevels() {
  levels = levels.map(({ zeros }) => new Level(zeros));
  frames ??= Promise.all(FRAMES.map(async (url) => pixelsOf(await fetchBitmap(url), WIDTH, HEIGHT)));
  const pictures = await frames;
  await race.load(networks, controls.options, ({ title }) => say(`Loading: ${title}`));
  controls.show(race.runners[0].model);
  controls.disabled = true;
  say(`Measuring on ${describeEngine(race.runners[0].model)}`);
  await race.warmUp(pictures[0]);
  for (let round = 0; round < ROUNDS; round++) {
    for (const picture of pictures) {
      const { outputs, took } = await race.frame(picture);
      const dense = outputs.get(race.runners[0]);
      race.runners.forEach((runner, i) => {
        const own = outputs.get(runner);
        if (!own || !dense) return;
        levels[i].time.push(took.get(runner) ?? NaN);
        levels[i].overlap.push(intersectionOverUnion(maskOf(dense), maskOf(own)));
        if (picture === pictures[0] && round === 0) drawMask(thumbnail(i), picture, maskOf(own));
      });
      await new Promise(requestAnimationFrame); // also rests while the page is hidden
    }
    showLevels();
  }
  await race.close();
}

function showLevels() {
  const dense = levels[0].time.median;
  levels.forEach(({ time, overlap }, i) => {
    const values = [time.median.toFixed(2), (dense / time.median).toFixed(2), (100 * overlap.mean).toFixed(1)];
    values.forEach((value, column) => (row('levels', i).cells[column + 3].textContent = value));
    setValue('overlap', `IoU ${(100 * overlap.mean).toFixed(1)} %`, element('masks').children[i]);
  });
  drawPlots();
}

function drawPlots() {
  const times = levels.map(({ zeros, time }) => ({ zeros, value: time.median }));
  drawPlot(svg('time-plot'), times, { fromZero: true, format: (ms) => String(Number(ms.toPrecision(3))) });
  const overlaps = levels.map(({ zeros, overlap }) => ({ zeros, value: 100 * overlap.mean }));
  drawPlot(svg('overlap-plot'), overlaps, { fromZero: false, format: (share) => `${Math.round(share)} %` });
}

function showFacts() {
  networks.forEach((facts, i) => {
    row('levels', i).cells[1].textContent = `${(100 * sparsity(facts)).toFixed(0)} %`;
    row('levels', i).cells[2].textContent = fileSize(facts.tulle_bytes);
  });
  const labels = new Set(networks.slice(1).map(({ label }) => (label ?? '').replace(/\d+ ?%/, 'so many')));
  setValue('made', [...labels].join('; '));
}

// ---- the share of 1×1 convolutions ----

async function measureShares() {
  const table = await loadNetworks();
  for (const [i, network] of table.entries()) {
    say(`Measuring ${network.title}, dense, on one thread`);
    const { pointwise, ms, times } = await measureShare(network, controls.options.variant);
    const cells = row('shares', i).cells;
    cells[1].textContent = `${(100 * pointwise).toFixed(0)} %`;
    cells[2].textContent = `${(100 * network.article).toFixed(0)} %`;
    cells[3].textContent = ms.toFixed(1);
    const total = [...times.values()].reduce((sum, time) => sum + time, 0);
    showBar(/** @type {HTMLElement} */ (cells[4].firstElementChild), times, total);
  }
}

// ---- the page ----

/**
 * @param {string} table
 * @param {number} index
 */
function row(table, index) {
  return /** @type {HTMLTableElement} */ (element(table)).tBodies[0].rows[index];
}

/** @param {number} index */
function thumbnail(index) {
  return /** @type {HTMLCanvasElement} */ (element('masks').children[index].querySelector('canvas'));
}

/** What the button copies: both tables as Markdown. */
function results() {
  const table = (/** @type {string} */ id, /** @type {number} */ columns) => {
    const { tHead, tBodies } = /** @type {HTMLTableElement} */ (element(id));
    const texts = (/** @type {HTMLTableRowElement} */ row) =>
      [...row.cells].slice(0, columns).map(({ textContent }) => textContent ?? '');
    return markdownTable(texts(/** @type {HTMLTableSectionElement} */ (tHead).rows[0]), [...tBodies[0].rows].map(texts));
  };
  return [
    `tulle, ${DENSE} at shares of zeros:`, table('levels', 6),
    'Share of 1×1 convolutions in dense networks, one thread:', table('shares', 4),
    deviceLines(),
  ].join('\n\n');
}

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

/** @param {unknown} error */
function fail(error) {
  say(`Stopped: ${messageOf(error)}`);
  again.disabled = false;
  showError(error);
}

async function start() {
  drawPlots();
  new ResizeObserver(drawPlots).observe(element('time-plot'));
  requireSimd();
  const models = await loadCatalogue();
  networks = [models[DENSE], ...ZEROS.map((zeros) => models[`${DENSE}_${zeros}`])];
  showFacts();
  again.addEventListener('click', () => inTurn(measureAll).catch(fail));
  const copy = /** @type {HTMLButtonElement} */ (element('copy'));
  await inTurn(measureAll);
  copyOnClick(copy, results);
  copy.disabled = false;
}

const ready = start();
ready.catch(fail);

/** For tests: `ready` resolves once everything has been measured. */
Object.assign(globalThis, { tulleDemo: { ready, results } });
