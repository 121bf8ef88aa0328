// The page: the networks of a task take turns on each frame, and their times on this device are shown.

import { LineChart } from '../lib/chart.js';
import { describeEngine, EngineControls, requireSimd } from '../lib/controls.js';
import { copyOnClick, deviceLines, markdownTable } from '../lib/device.js';
import { WINDOW } from '../lib/meter.js';
import { fileSize, loadCatalogue, modelsFor, sparsity } from '../lib/models.js';
import { KINDS, showBar } from '../lib/operations.js';
import { calm, element, setValue, showError, showEvery, svg } from '../lib/page.js';
import { Race } from '../lib/race.js';
import { pictureOf, TASKS } from './tasks.js';

/** @typedef {import('../lib/models.js').ModelFacts} ModelFacts */
/** @typedef {import('../lib/race.js').Runner} Runner */

const PICTURE_TIME = 3000; // milliseconds until the next picture

const race = new Race();
const chart = new LineChart(svg('chart'), []);
const controls = new EngineControls(element('settings'), () => inTurn(loadTask).catch(fail));
const copyButton = /** @type {HTMLButtonElement} */ (element('copy'));
const playButton = /** @type {HTMLButtonElement} */ (element('play'));

/** @type {import('../lib/models.js').Catalogue} */
let catalogue;
let task = TASKS.hand;
/** The task whose networks the panels, bars and tables show. @type {import('./tasks.js').Task | undefined} */
let shownTask;
let place = 0; // of the picture shown
let run = 0; // incremented by play and pause; a frame loop runs until it changes
let playing = false;
/** @type {Promise<unknown>} */
let turn = Promise.resolve();

// ---- the frame loop ----

/**
 * Runs everything that uses the networks one at a time, so that nothing disturbs a frame that is being timed.
 * @template T
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
function inTurn(action) {
  const result = turn.then(action);
  turn = result.catch(() => {}); // the caller gets the error
  return result;
}

function play() {
  const thisRun = ++run;
  playing = true;
  playButton.textContent = 'Pause';
  runFrames(thisRun).catch((error) => {
    if (run === thisRun) fail(error); // else something else has failed and stopped it, and says why
  });
}

function pause() {
  run++;
  playing = false;
  playButton.textContent = 'Play';
}

/** @param {number} thisRun */
async function runFrames(thisRun) {
  let shown = 0;
  let pictureSince = performance.now();
  while (run === thisRun) {
    await inTurn(async () => {
      const { input } = await pictureOf(task, place);
      const { outputs, took } = await race.frame(input);
      chart.push(Object.fromEntries([...took].map(([{ facts }, ms]) => [facts.title, ms])));
      const now = performance.now();
      if (now - shown < showEvery()) return;
      shown = now;
      await showOutputs(outputs);
      showTimes();
    });
    if (!calm.matches && performance.now() - pictureSince > PICTURE_TIME) {
      pictureSince = performance.now();
      place = (place + 1) % task.pictures.length;
    }
    await new Promise(requestAnimationFrame); // also pauses while the page is hidden
  }
}

/** Loads the task's networks with the settings chosen, and starts new averages. */
async function loadTask() {
  element('notice').hidden = true;
  playButton.disabled = copyButton.disabled = true;
  const networks = modelsFor(catalogue, task.name);
  if (shownTask !== task) showFacts(networks);
  shownTask = task;
  const picture = await pictureOf(task, place);
  lanes().forEach((lane) => task.draw(canvasOf(lane), picture));
  await race.load(networks, controls.options, (facts) => say(`Loading ${facts.name}, ${fileSize(facts.tulle_bytes)}`));
  await showOutputs(await race.runAll(picture.input)); // shows the first results during the warm-up
  say('Warming up');
  await race.warmUp(picture.input);
  const [{ model }] = race.runners;
  controls.show(model);
  chart.restart(describeEngine(model));
  say(`Taking turns on ${describeEngine(model)} build`);
  playButton.disabled = false;
}

// ---- showing ----

/** The networks' panels, first the dense one's. */
function lanes() {
  return /** @type {HTMLElement[]} */ ([...element('lanes').children]);
}

/** @param {HTMLElement} lane */
function canvasOf(lane) {
  return /** @type {HTMLCanvasElement} */ (lane.querySelector('canvas'));
}

/**
 * Makes the panels, bars and table rows of a task's networks.
 * @param {ModelFacts[]} networks
 */
function showFacts(networks) {
  element('lanes').className = `lanes ${task.name}`;
  for (const id of ['lanes', 'bars']) {
    const place = element(id);
    while (place.children.length > networks.length) place.lastElementChild?.remove();
    while (place.children.length < networks.length) place.append(place.children[0].cloneNode(true));
  }
  networks.forEach((facts, i) => {
    const lane = lanes()[i];
    lane.className = `lane ${facts.role}`;
    setValue('title', facts.title, lane);
    setValue('size', `${fileSize(facts.tulle_bytes)}, ${(100 * sparsity(facts)).toFixed(0)} % zeros`, lane);
    setValue('ms', '–', lane);
    setValue('faster', i ? '–' : 'the reference', lane);
    const task = facts.task === 'hand' ? 'landmarks of a hand' : 'mask of a person';
    canvasOf(lane).setAttribute('aria-label', `${facts.title}: the ${task} it finds`);
    const row = /** @type {HTMLElement} */ (element('bars').children[i]);
    setValue('title', facts.title, row);
    /** @type {HTMLElement} */ (row.querySelector('.bar')).className = `bar ${facts.role}`;
  });
  element('agreement').textContent = task.agreement;
  tableBody('figures').replaceChildren(...networks.map((facts) => tableRow(facts, [
    '–', '–', '–', '–', fileSize(facts.tulle_bytes), `${(100 * sparsity(facts)).toFixed(0)} %`,
    `${(facts.executed_macs / 1e6).toFixed(0)} of ${(facts.macs / 1e6).toFixed(0)} M`, '–',
  ])));
  tableBody('operations').replaceChildren(...networks.map((facts) => tableRow(facts, [...KINDS, ''].map(() => '–'))));
  tableBody('facts').replaceChildren(...networks.map((facts) => tableRow(facts, [
    facts.name + (facts.label ? ` (${facts.label})` : ''), facts.source, facts.licence,
    facts.tflite_bytes ? fileSize(facts.tflite_bytes) : '–', '–',
  ])));
  chart.clear(networks.map(({ title, role }) => ({ name: title, tone: role })));
}

/** @param {Map<Runner, import('../lib/race.js').Outputs>} outputs */
async function showOutputs(outputs) {
  const picture = await pictureOf(task, place);
  const dense = outputs.get(race.runners[0]);
  race.runners.forEach((runner, i) => {
    const own = outputs.get(runner);
    if (!own || !dense) return;
    task.draw(canvasOf(lanes()[i]), picture, own);
    cell('figures', i, 7).textContent = i ? task.agree(dense, own) : '–';
  });
}

function showTimes() {
  const dense = chart.average(race.runners[0].facts.title).mean;
  const scale = Math.max(...race.runners.map(({ operations }) => operations.total));
  /** @type {string[]} */
  const words = [];
  race.runners.forEach(({ facts, operations, loadTime }, i) => {
    const { mean, median, p90 } = chart.average(facts.title);
    const faster = i ? `${(dense / mean).toFixed(2)}×` : '1';
    const lane = lanes()[i];
    setValue('ms', mean.toFixed(1), lane);
    if (i) setValue('faster', `${faster} as fast`, lane);
    [mean.toFixed(2), median.toFixed(2), p90.toFixed(2), faster].forEach((value, column) => {
      cell('figures', i, column).textContent = value;
    });
    const times = [...operations.means.values(), operations.total];
    times.forEach((ms, column) => (cell('operations', i, column).textContent = ms.toFixed(2)));
    cell('facts', i, 4).textContent = `${loadTime.toFixed(0)} ms`;
    showBar(/** @type {HTMLElement} */ (element('bars').children[i].querySelector('.bar')), operations.means, scale);
    words.push(`${facts.title} ${mean.toFixed(1)}`);
  });
  const sparse = race.runners.findLast(({ facts: { role } }) => role === 'sparse' || role === 'own');
  if (sparse) setValue('speedup', (dense / chart.average(sparse.facts.title).mean).toFixed(2));
  setValue('frames', `mean of ${chart.average(race.runners[0].facts.title).count} frames`);
  copyButton.disabled = false;
  chart.draw();
  element('chart').setAttribute('aria-label', `Milliseconds per frame, moving averages: ${words.join(', ')}`);
}

/**
 * @param {ModelFacts} facts
 * @param {string[]} values
 */
function tableRow(facts, values) {
  const row = document.createElement('tr');
  const heading = document.createElement('th');
  heading.scope = 'row';
  heading.className = facts.role;
  heading.textContent = facts.title;
  row.append(heading);
  for (const value of values) row.insertCell().textContent = value;
  return row;
}

/** @param {string} table */
function tableBody(table) {
  return /** @type {HTMLTableElement} */ (element(table)).tBodies[0];
}

/**
 * @param {string} table
 * @param {number} row
 * @param {number} column not counting the heading
 */
function cell(table, row, column) {
  return tableBody(table).rows[row].cells[column + 1];
}

/** The text that the button copies: the figures shown, as Markdown. */
function results() {
  const table = (/** @type {string} */ id) => {
    const { tHead, tBodies } = /** @type {HTMLTableElement} */ (element(id));
    const texts = (/** @type {HTMLTableRowElement} */ row) => [...row.cells].map(({ textContent }) => textContent ?? '');
    return markdownTable(texts(/** @type {HTMLTableSectionElement} */ (tHead).rows[0]), [...tBodies[0].rows].map(texts));
  };
  const [{ model }] = race.runners;
  const frames = chart.average(race.runners[0].facts.title).count;
  return [
    `tulle, ${describeEngine(model)} build, the last ${frames} frames:`,
    table('figures'),
    'Milliseconds by kind of operation:',
    table('operations'),
    deviceLines(),
  ].join('\n\n');
}

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

/** @param {unknown} error */
function fail(error) {
  pause();
  say('');
  showError(error);
}

// ---- setting up ----

async function start() {
  chart.draw();
  requireSimd();
  catalogue = await loadCatalogue();
  await inTurn(loadTask);
  playButton.addEventListener('click', () => (playing ? pause() : play()));
  for (const radio of document.querySelectorAll('[name="task"]')) {
    radio.addEventListener('change', () => {
      const chosen = TASKS[/** @type {HTMLInputElement} */ (radio).value];
      inTurn(() => {
        task = chosen; // not before: a frame of the other task may still be running
        place = 0;
        return loadTask();
      }).catch(fail);
    });
    radio.removeAttribute('disabled');
  }
  copyOnClick(copyButton, results);
  play();
}

setValue('window', String(WINDOW));
const ready = start();
ready.catch(fail);

/**
 * For tests (tests/browser/test_site_compare.py): `ready` resolves once the networks run; `evaluate(index)` runs all of
 * them on a picture and hands out the very pixels they saw with all that they answered, by name.
 */
Object.assign(globalThis, {
  tulleDemo: {
    ready,
    results,
    evaluate: (/** @type {number} */ index) =>
      inTurn(async () => {
        const { input } = await pictureOf(task, index);
        const outputs = [...(await race.runAll(input))].map(([{ facts }, values]) => [facts.name, values]);
        return { input, outputs: Object.fromEntries(outputs) };
      }),
  },
});
