// The page: tracks hands in frames from a camera, moving pictures or a file, with one network or two side by side.

import { LineChart } from '../lib/chart.js';
import { describeEngine, EngineControls, requireSimd } from '../lib/controls.js';
import { HandTracker } from '../../web/src/hands/index.js';
import { Meter, MovingAverage } from '../lib/meter.js';
import { fileSize, loadCatalogue, modelsFor, modelUrl, sparsity } from '../lib/models.js';
import { calm, element, fetchBitmap, messageOf, setValue, showError, showEvery, svg } from '../lib/page.js';
import { meanDistance } from '../lib/skeleton.js';
import { acceptFiles, FrameSource } from '../lib/source.js';
import { movingHands } from './moving.js';
import { View } from './view.js';

/** @typedef {import('../lib/source.js').Frame} Frame */
/** @typedef {import('../lib/source.js').SourceInfo} SourceInfo */
/** @typedef {import('../../web/src/hands/index.js').Hand} Hand */

const DETECTOR = 'palm_detection_lite';
const PICTURES = [
  'open-hand', 'two-fingers', 'ring', 'thumb-and-two', 'finger-and-thumb', 'pointing', 'middle-down', 'four-fingers',
];

/** The two pictures of the page; the second one is there only side by side. */
const figures = [...document.querySelectorAll('.view')].map((node) => /** @type {HTMLElement} */ (node));
const canvases = figures.map((figure) => /** @type {HTMLCanvasElement} */ (figure.querySelector('canvas')));
const views = canvases.map((canvas) => new View(canvas));
const radios = [...document.querySelectorAll('#networks input')].map((node) => /** @type {HTMLInputElement} */ (node));
const beside = /** @type {HTMLSelectElement} */ (element('beside'));
const smooth = /** @type {HTMLInputElement} */ (element('smooth'));
const regions = /** @type {HTMLInputElement} */ (element('regions'));

const chart = new LineChart(svg('chart'), []);
const meter = new Meter(/** @type {const} */ (['capture', 'read', 'detect', 'first', 'second', 'draw']));
const controls = new EngineControls(element('settings'), () => changeEngine().catch(fail));

/** @type {import('../lib/models.js').Catalogue} */
let catalogue;
/** @type {HandTracker} */
let tracker;
/** @type {FrameSource} */
let source;
/** Milliseconds for the landmarks of a hand, by network at work. */
let perHand = [new MovingAverage(), new MovingAverage()];
let apart = new MovingAverage();
/** What was drawn last. @type {{ frame: Frame, hands: Hand[] } | undefined} */
let last;
/** Names of the networks at work, in the tracker's order. */
let shown = /** @type {string[]} */ ([]);
let frames = 0; // drawn so far
/** @type {Promise<unknown>} */
let turn = Promise.resolve();

// ---- the frame loop ----

/**
 * Runs everything that uses or replaces the networks one at a time, so that nothing disturbs a frame.
 * @template T
 * @param {() => T | Promise<T>} action
 * @returns {Promise<T>}
 */
function inTurn(action) {
  const result = turn.then(action);
  turn = result.catch(() => {}); // the caller gets the error
  return result;
}

/** @param {() => void} onFirst called when the first frame is on the page */
async function runFrames(onFirst) {
  let updated = 0;
  for await (const frame of source.frames()) {
    await inTurn(() => showFrame(frame));
    onFirst();
    if (performance.now() - updated >= showEvery()) {
      updated = performance.now();
      showFigures();
    }
  }
}

/** @param {Frame} frame */
async function showFrame(frame) {
  const { hands, times } = await tracker.detect(frame.image, performance.now(), { mirrored: frame.mirrored });
  const start = performance.now();
  draw(frame, hands);
  meter.add('draw', performance.now() - start);
  meter.add('capture', frame.capture);
  meter.add('read', times.read);
  meter.add('detect', times.detect ?? 0);
  meter.add('first', times.landmarks[0]);
  if (times.landmarks.length > 1) meter.add('second', times.landmarks[1]);
  meter.endFrame();
  frames++;
  if (!times.seen) return;
  times.landmarks.forEach((ms, i) => perHand[i].push(ms / times.seen));
  chart.push(Object.fromEntries(times.landmarks.map((ms, i) => [seriesOf(i), ms / times.seen])));
  if (times.landmarks.length > 1) for (const { answers: [a, b] } of hands) apart.push(meanDistance(a.raw, b.raw));
}

/**
 * @param {Frame} frame
 * @param {Hand[]} hands
 */
function draw(frame, hands) {
  last = { frame, hands };
  const options = { smooth: smooth.checked && source.playing, regions: regions.checked, time: performance.now() };
  shown.forEach((_, i) => views[i].draw(frame.image, hands, i, options));
}

// ---- networks ----

/** The names of the networks the visitor wants: one, or two side by side. */
function chosen() {
  const first = radios.find(({ checked }) => checked)?.value ?? '';
  return beside.value && beside.value !== first ? [first, beside.value] : [first];
}

/** @param {number} which of the networks at work */
function seriesOf(which) {
  return catalogue[shown[which]].title;
}

/** A tracker with the chosen networks, on the chosen engine. @param {string[]} names */
function createTracker(names) {
  const [detector, ...model] = [DETECTOR, ...names].map((name) => {
    if (!catalogue[name]) throw new Error(`models.json lists no ${name}: run \`make demo\` in the checkout, then reload this page.`);
    return modelUrl(catalogue[name]);
  });
  return HandTracker.create({ detector, model, ...controls.options });
}

/** Loads the chosen networks and shows them from the next frame on. */
function changeNetworks() {
  const names = chosen();
  return changeTracker(`Loading ${names.map((name) => catalogue[name].title).join(' and ')}`);
}

/** Loads all networks that are shown into another engine. */
function changeEngine() {
  controls.disabled = true;
  return changeTracker('Restarting the engine');
}

/** @param {string} doing what to say meanwhile */
async function changeTracker(doing) {
  element('notice').hidden = true;
  const names = chosen();
  const { options } = controls;
  say(doing);
  const next = await createTracker(names);
  await inTurn(async () => {
    if (String(names) !== String(chosen()) || options !== controls.options) return next.close(); // another choice was made
    const last = tracker;
    tracker = next;
    controls.show(tracker);
    showNetworks(names);
    await last.close();
  });
  unsay(doing);
  source.again();
}

/**
 * Updates the page for the networks at work, and restarts their averages.
 * @param {string[]} names
 */
function showNetworks(names) {
  shown = names;
  figures.forEach((figure, i) => {
    figure.hidden = i >= names.length;
    if (figure.hidden) return;
    const { role, title } = catalogue[names[i]];
    figure.className = `view ${role}`;
    setValue('title', title, figure);
  });
  for (const node of document.querySelectorAll('.second')) /** @type {HTMLElement} */ (node).hidden = names.length < 2;
  for (const option of beside.options) option.disabled = option.value === names[0];
  if (beside.value === names[0]) beside.value = '';
  element('result').className = `result ${catalogue[names[0]].role}`;
  setValue('first-name', names.length > 1 ? `, ${seriesOf(0).toLowerCase()}` : '');
  setValue('second-name', names.length > 1 ? `, ${seriesOf(1).toLowerCase()}` : '');
  chart.clear(names.map((name) => ({ name: catalogue[name].title, tone: catalogue[name].role })));
  chart.restart(describeEngine(tracker));
  forgetTimes();
  restyle();
}

function forgetTimes() {
  meter.reset();
  perHand = [new MovingAverage(), new MovingAverage()];
  apart = new MovingAverage();
}

// ---- showing ----

function showFigures() {
  const two = shown.length > 1;
  const [first, second] = perHand.map(({ mean }) => mean);
  for (const stage of meter.stages) setValue(stage, number(meter.stage(stage).mean));
  setValue('together', number(meter.total));
  setValue('rate', source.playing ? number(meter.framesPerSecond) : '–');
  setValue('window', String(meter.stage('capture').count));
  setValue('apart', apart.count ? `${apart.mean.toFixed(1)} %` : '–');
  figures.forEach((figure, i) => setValue('ms', number(perHand[i].mean), figure));
  setValue('headline', two ? number(Math.max(first, second) / Math.min(first, second)) : number(first));
  setValue('unit', two ? '×' : 'ms');
  const [fast, slow] = first < second ? [0, 1] : [1, 0];
  setValue('meaning', two ? `as fast: ${seriesOf(fast)} against ${seriesOf(slow)}` : 'for the landmarks of a hand');
  chart.draw();
  describe();
}

/** @param {number} value */
function number(value) {
  return Number.isFinite(value) ? value.toFixed(1) : '–';
}

/** Describes the picture, for screen readers. */
function describe() {
  if (!last || !source.info) return;
  const { hands } = last;
  const what = hands.map(({ answers }) => (answers[0].right > 0.5 ? 'a right hand' : 'a left hand')).join(' and ');
  shown.forEach((name, i) => {
    const label = `${source.info?.title}, ${catalogue[name].title.toLowerCase()} network: ${what || 'no hand'}`;
    if (canvases[i].getAttribute('aria-label') !== label) canvases[i].setAttribute('aria-label', label);
  });
}

function showFacts() {
  const rows = [...modelsFor(catalogue, 'hand'), catalogue[DETECTOR]].map((facts) => {
    const row = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    head.className = facts.task === 'hand' ? facts.role : '';
    head.textContent = facts.title;
    row.append(head);
    const million = (/** @type {number} */ count) => (count / 1e6).toFixed(0);
    for (const text of [
      fileSize(facts.tulle_bytes),
      `${(100 * sparsity(facts)).toFixed(0)} %`,
      `${million(facts.executed_macs)} of ${million(facts.macs)} million`,
      facts.label ?? facts.source,
      facts.licence,
    ]) {
      row.insertCell().textContent = text;
    }
    return row;
  });
  /** @type {HTMLTableElement} */ (element('facts')).tBodies[0].replaceChildren(...rows);
}

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

/** Clears a message, unless another one has replaced it. @param {string} text */
function unsay(text) {
  if (element('status').textContent === text) say('');
}

/** @param {unknown} error */
function fail(error) {
  say('');
  showError(error);
}

/** @param {SourceInfo} info */
function showSource({ kind, title, width, height, note }) {
  inTurn(() => tracker?.reset()).catch(fail);
  forgetTimes();
  const aspect = Math.min(16 / 9, Math.max(3 / 4, width / height)); // a phone's camera is upright
  element('views').style.setProperty('--aspect', String(aspect));
  element('camera').setAttribute('aria-pressed', String(kind === 'camera'));
  element('moving').setAttribute('aria-pressed', String(kind === 'animation'));
  say(note || (kind === 'animation' ? '' : `${title}, ${width} × ${height}`));
}

/** Colours and sizes of the canvases, after they have changed. */
function restyle() {
  for (const view of views) view.restyle();
  if (last) draw(last.frame, last.hands);
}

// ---- setting up ----

function listen() {
  for (const control of [...radios, beside]) control.addEventListener('change', () => changeNetworks().catch(fail));
  for (const box of [smooth, regions]) box.addEventListener('change', () => last && draw(last.frame, last.hands));
  const open = (/** @type {import('../lib/source.js').Origin} */ origin) => {
    setPlaying(true);
    return source.open(origin).catch((error) => say(messageOf(error)));
  };
  element('camera').addEventListener('click', () => {
    say('Waiting for the camera');
    open({ kind: 'camera' });
  });
  element('moving').addEventListener('click', () => open(source.fallback));
  element('play').addEventListener('click', () => setPlaying(!source.playing));
  acceptFiles(source, {
    input: /** @type {HTMLInputElement} */ (element('own')),
    area: element('stage'),
    onError: (error) => say(messageOf(error)),
  });
  new ResizeObserver(restyle).observe(element('views'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', restyle);
}

/** @param {boolean} playing */
function setPlaying(playing) {
  if (playing) source.play();
  else source.pause();
  element('play').textContent = playing ? 'Pause' : 'Play';
  meter.reset();
}

async function start() {
  chart.draw();
  requireSimd();
  const pictures = Promise.all(PICTURES.map((name) => fetchBitmap(new URL(`../images/${name}.jpg`, import.meta.url))));
  pictures.catch(() => {}); // its errors are handled below, after the networks
  catalogue = await loadCatalogue();
  for (const { name, title, role } of modelsFor(catalogue, 'hand')) {
    if (role === 'published') beside.add(new Option(title, name)); // only some machines have it
  }
  const names = chosen();
  const creating = createTracker(names);
  showFacts();
  tracker = await creating;
  source = new FrameSource({
    fallback: { kind: 'animation', ...movingHands(await pictures) },
    onChange: showSource,
    willReadFrequently: true,
  });
  showNetworks(names);
  controls.show(tracker);
  listen();
  await source.open(source.fallback);
  if (calm.matches) setPlaying(false);
  const first = new Promise((resolve) => runFrames(() => resolve(undefined)).catch(fail));
  for (const control of document.querySelectorAll('main :disabled:not(option)')) control.removeAttribute('disabled');
  await first;
  performance.mark('first-result');
  showFigures();
}

const ready = start();
ready.catch(fail);

/**
 * For tests (tests/browser/test_demo_hands.py): `ready` resolves once the first frame is drawn; `look()` starts over on
 * the present frame, follows it for a few more, and hands out the frame and each time's hands.
 */
Object.assign(globalThis, {
  tulleDemo: {
    ready,
    get last() {
      return last;
    },
    get frames() {
      return frames;
    },
    get memoryBytes() {
      return tracker.memoryBytes;
    },
    look: (/** @type {number} */ times) =>
      inTurn(async () => {
        if (!last) throw new Error('There is no frame yet.');
        const { image, mirrored } = last.frame;
        await tracker.reset();
        const hands = [];
        for (let i = 0; i < times; i++) hands.push((await tracker.detect(image, performance.now(), { mirrored })).hands);
        return { image, hands };
      }),
  },
});
