// The page: the selfie network at 0, 10, ... 90 % zeros, timed and compared with the dense one; then the share table.

import { describeEngine, EngineControls, requireSimd } from '../lib/controls.js';
import { copyOnClick, deviceLines, markdownTable } from '../lib/device.js';
import { drawMask, HEIGHT, intersectionOverUnion, maskOf, WIDTH } from '../lib/mask.js';
import { MovingAverage } from '../lib/meter.js';
import { fileSize, loadCatalogue, sparsity } from '../lib/models.js';
import { showBar } from '../lib/operations.js';
import { element, fetchBitmap, messageOf, pixelsOf, setValue, showError, svg } from '../lib/page.js';
import { Race } from '../lib/race.js';
import { drawPlot } from './plot.js';
import { loadNetworks, measureShare } from './share.js';

/** @typedef {import('../lib/models.js').ModelFacts} ModelFacts */
/** @typedef {import('../lib/race.js').Runner} Runner */

const DENSE = 'selfie_segmentation_landscape';
const ZEROS = [10, 20, 30, 40, 50, 60, 70, 80, 90]; // percent, of the models DENSE_10 and so on, and DENSE_tulle_10
const FRAMES = [1, 2, 3, 4, 5, 6, 7, 8].map((number) => new URL(`../images/person/${number}.jpg`, import.meta.url));
const ROUNDS = 5; // over all frames

/** A network at one share of zeros, and its measurements. */
class Level {
  time = new MovingAverage();
  overlap = new MovingAverage();

  /**
   * @param {number} zeros percent
   * @param {ModelFacts} facts
   */
  constructor(zeros, facts) {
    this.zeros = zeros;
    this.facts = facts;
  }

  /** Whether the remaining weights were solved for, not just kept. */
  get solved() {
    return this.facts.role === 'own';
  }
}

const race = new Race();
const again = /** @type {HTMLButtonElement} */ (element('again'));
const controls = new EngineControls(element('settings'), () => inTurn(measureAll).catch(fail));
/** The dense network, then those pruned by magnitude, then those solved for, each by rising zeros. @type {Level[]} */
let levels = [];
/** @type {Promise<ImageData[]> | undefined} */
let frames;
/** @type {Promise<unknown>} */
let turn = Promise.resolve();

/**
 * Runs one measurement at a time.
 * @param {() => Promise<void>} action
 */
function inTurn(action) {
  const result = turn.then(action);
  turn = result.catch(() => {}); // the caller gets the error
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
  levels = levels.map(({ zeros, facts }) => new Level(zeros, facts));
  frames ??= Promise.all(FRAMES.map(async (url) => pixelsOf(await fetchBitmap(url), WIDTH, HEIGHT)));
  const pictures = await frames;
  const networks = levels.map(({ facts }) => facts);
  await race.load(networks, controls.options, ({ title }) => say(`Loading: ${title}`));
  const [{ model }] = race.runners;
  controls.show(model);
  controls.disabled = true;
  say(`Measuring on ${describeEngine(model)}`);
  await race.warmUp(pictures[0]);
  for (let round = 0; round < ROUNDS; round++) {
    for (const picture of pictures) {
      const { outputs, took } = await race.frame(picture);
      const masks = race.runners.map((runner) => maskOf(outputs.get(runner) ?? {}));
      race.runners.forEach((runner, i) => {
        levels[i].time.push(took.get(runner) ?? NaN);
        levels[i].overlap.push(intersectionOverUnion(masks[0], masks[i]));
        // Those solved for come last and are drawn over their pruned twins' masks.
        if (picture === pictures[0] && round === 0) drawMask(thumbnail(levels[i]), picture, masks[i]);
      });
      await new Promise(requestAnimationFrame); // also pauses while the page is hidden
    }
    showLevels();
  }
  await race.close();
}

function showLevels() {
  const dense = levels[0].time.median;
  for (const level of levels) {
    const { cells } = rowOf(level);
    const overlap = (100 * level.overlap.mean).toFixed(1);
    setValue('overlap', `IoU ${overlap} %`, maskOfLevel(level));
    cells[level.solved ? 6 : 5].textContent = overlap;
    if (level.solved) continue;
    cells[3].textContent = level.time.median.toFixed(2);
    cells[4].textContent = (dense / level.time.median).toFixed(2);
  }
  drawPlots();
}

function drawPlots() {
  const [dense, ...sparse] = levels;
  const lines = (/** @type {(level: Level) => number} */ value) =>
    [false, true].map((solved) => ({
      tone: solved ? 'own' : 'sparse',
      points: sparse.filter((level) => level.solved === solved).length === 0 ? [] : [dense, ...sparse]
        .filter((level) => level === dense || level.solved === solved)
        .map((level) => ({ zeros: level.zeros, value: value(level) })),
    }));
  const times = lines(({ time }) => time.median);
  drawPlot(svg('time-plot'), times, { fromZero: true, format: (ms) => String(Number(ms.toPrecision(3))) });
  const overlaps = lines(({ overlap }) => 100 * overlap.mean);
  drawPlot(svg('overlap-plot'), overlaps, { fromZero: false, format: (share) => `${Math.round(share)} %` });
}

function showFacts() {
  for (const level of levels) {
    if (level.solved) continue;
    rowOf(level).cells[1].textContent = `${(100 * sparsity(level.facts)).toFixed(0)} %`;
    rowOf(level).cells[2].textContent = fileSize(level.facts.tulle_bytes);
  }
  const solved = levels.find((level) => level.solved);
  element('main').classList.toggle('unsolved', !solved);
  setValue('solved', solved?.facts.label ?? '');
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

/** The table's row for a level, the same for pruned and solved. @param {Level} level */
function rowOf({ zeros }) {
  return row('levels', zeros / 10);
}

/** @param {Level} level */
function maskOfLevel({ zeros }) {
  return element('masks').children[zeros / 10];
}

/** @param {Level} level */
function thumbnail(level) {
  return /** @type {HTMLCanvasElement} */ (maskOfLevel(level).querySelector('canvas'));
}

/** The text that the button copies: both tables as Markdown. */
function results() {
  const table = (/** @type {string} */ id, /** @type {number} */ columns) => {
    const { tHead, tBodies } = /** @type {HTMLTableElement} */ (element(id));
    const texts = (/** @type {HTMLTableRowElement} */ row) =>
      [...row.cells].slice(0, columns).map(({ textContent }) => textContent ?? '');
    return markdownTable(texts(/** @type {HTMLTableSectionElement} */ (tHead).rows[0]), [...tBodies[0].rows].map(texts));
  };
  return [
    `tulle, ${DENSE} at shares of zeros:`, table('levels', levels.some(({ solved }) => solved) ? 7 : 6),
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
  levels = [new Level(0, models[DENSE])];
  for (const made of ['', 'tulle_']) {
    for (const zeros of ZEROS) {
      const facts = models[`${DENSE}_${made}${zeros}`];
      if (facts) levels.push(new Level(zeros, facts));
    }
  }
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
