// The page: reads frames, runs both networks on them, shows picture, times and agreement, and calls itself.

import { EngineControls, describeEngine, requireSimd } from '../lib/controls.js';
import { LineChart } from '../lib/chart.js';
import { fileSize, loadCatalogue, modelUrl, modelsFor, sparsity } from '../lib/models.js';
import { MovingAverage } from '../lib/meter.js';
import { calm, element, messageOf, setValue, showError, showEvery, svg } from '../lib/page.js';
import { FrameSource, acceptFiles } from '../lib/source.js';
import { GRADIENTS, cover, drawGradient, readBackground } from './backgrounds.js';
import { LoopbackCall } from './call.js';
import { Pair, SIDES } from './pair.js';

/** @typedef {import('../lib/models.js').ModelFacts} ModelFacts */
/** @typedef {import('./pair.js').Side} Side */
/** @typedef {import('./pair.js').Look} Look */

const STAGE = { width: 640, height: 480 }; // pixels of the frame, whatever the source has

/** Tasks in the catalogue that list each network's sparse versions. */
const SPARSE_TASKS = { selfie: ['selfie', 'background', 'ablation'], 'selfie-square': ['selfie-square'] };

/**
 * The share of zeros among all weights to start with: if there are only networks pruned by magnitude, 20 % in the 1x1
 * convolutions, since without training masks fall apart beyond that; else tulle's own of about 50 %.
 */
const FIRST_SPARSITY = { pruned: 0.1, own: 0.25 };

const clip = {
  kind: /** @type {const} */ ('clip'),
  url: new URL('../clips/carphone.webm', import.meta.url).href,
  title: 'Clip',
  /** The clip as a camera. @type {HTMLVideoElement | undefined} */
  captured: undefined,
};

const pair = new Pair();
const frame = document.createElement('canvas');
Object.assign(frame, STAGE);
const chart = new LineChart(svg('chart'), SIDES.map((side) => ({ name: side, tone: side })));
let agreement = new MovingAverage();

/** @type {Look} */
const look = { view: 'split', divider: 0.5, effect: 'blur', strength: 0.5 };

/** @type {import('../lib/models.js').Catalogue} */
let catalogue;
/** @type {EngineControls} */
let controls;
/** @type {Record<Side, ModelFacts>} */
let models;
/** @type {HTMLCanvasElement} */
let background;
/** @type {LoopbackCall | undefined} */
let call;
/** @type {Promise<unknown>} */
let turn = Promise.resolve();
let shown = 0; // when the numbers were last updated
let counted = 0; // frames shown
/** @type {((result: import('./pair.js').Result) => void)[]} */
let waiting = [];

const source = new FrameSource({
  fallback: clip,
  onChange({ title, note, kind }) {
    inTurn(async () => pair.newScene()); // after the current frame, which is of the old scene
    say(note || (kind === 'camera' ? 'Your camera: its pictures stay on this device.' : title));
    element('play').hidden = kind === 'picture';
  },
});

// ---- frames ----

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

async function runFrames() {
  for await (const { image, width, height, capture } of source.frames()) {
    await inTurn(async () => {
      const start = performance.now();
      cover(frame, image, width, height);
      if (!pair.loaded) return; // the notice shows the error; other settings may help
      pair.meter.add('capture', capture + performance.now() - start);
      await process();
      pair.meter.endFrame();
    }).catch(fail);
  }
}

/** Runs the networks on the frame, and draws. */
async function process() {
  const result = await pair.frame(frame, look);
  if (!pair.canvas.isConnected) placeCanvas(); // not before there is something to show
  if (pair.gpu?.lost) {
    switchCompositor('wasm');
    say('The browser withdrew the GPU; WebAssembly takes over.');
  }
  counted++;
  for (const resolve of waiting.splice(0)) resolve(result);
  if (!pair.warm) { // shows the picture during the warm-up
    await pair.warmUp(frame, look);
    return redraw();
  }
  chart.push(result.milliseconds);
  if (result.iou !== undefined) agreement.push(result.iou);
  const now = performance.now();
  if (now - shown < showEvery()) return;
  shown = now;
  showTimes();
}

/** Draws the frame again if no new one comes, because the settings changed. */
function redraw() {
  if (!source.playing && pair.loaded) inTurn(process).then(showTimes).catch(fail);
}

// ---- showing ----

function showTimes() {
  const { meter } = pair;
  for (const [stage, name] of /** @type {const} */ ([
    ['capture', 'capture'], ['copy', 'copy'], ['composite', 'composite'], ['dense', 'dense-ms'], ['sparse', 'sparse-ms'],
    ['dense-frame', 'dense-frame'], ['sparse-frame', 'sparse-frame'],
  ])) {
    setValue(name, decimals(meter.stage(stage).mean, 1));
  }
  const { dense, sparse } = { dense: meter.stage('dense'), sparse: meter.stage('sparse') };
  setValue('speedup', decimals(dense.mean / sparse.mean, 2));
  setValue('window', String(Math.max(dense.count, sparse.count)));
  setValue('fps', decimals(meter.framesPerSecond, 1));
  setValue('iou', decimals(agreement.mean, 3));
  chart.draw();
}

/** @param {number} value @param {number} digits */
function decimals(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits) : '–';
}

function showFacts() {
  const million = (/** @type {number} */ count, digits = 2) => `${(count / 1e6).toFixed(digits)} million`;
  for (const side of SIDES) {
    const facts = models[side];
    setValue(`${side}-model`, facts.label ? `${facts.name} (${facts.label})` : facts.name);
    setValue(`${side}-source`, facts.source);
    setValue(`${side}-licence`, facts.licence);
    setValue(`${side}-weights`, `${million(facts.weights, 3)}, ${percent(sparsity(facts))} of them zero`);
    setValue(`${side}-macs`, `${million(facts.executed_macs, 1)} of ${million(facts.macs, 1)}`);
    setValue(`${side}-file`, fileSize(facts.tulle_bytes));
    setValue(`${side}-zeros`, percent(sparsity(facts)));
  }
}

/** @param {number} share */
function percent(share) {
  return `${(100 * share).toFixed(0)} %`;
}

/** Shows the parts of the stage that the chosen view needs. */
function showLook() {
  for (const side of SIDES) element(`${side}-label`).hidden = look.view !== 'split' && look.view !== side;
  element('divider').hidden = look.view !== 'split';
  element('blur-option').hidden = look.effect !== 'blur';
  element('replace-option').hidden = look.effect !== 'replace';
  const effects = { blur: 'blurred', replace: 'replaced', mask: 'black, the person white', none: 'as it is' };
  const networks = look.view === 'split' ? 'the dense network left, the sparse one right' : `the ${look.view} network`;
  pair.canvas.setAttribute('aria-label', `The picture, its background ${effects[look.effect]}; ${networks}`);
}

function placeCanvas() {
  const { canvas } = pair;
  canvas.setAttribute('role', 'img');
  element('picture').querySelector('canvas')?.remove();
  element('picture').prepend(canvas);
  showLook();
}

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

/** @param {unknown} error */
function fail(error) {
  source.pause();
  element('play').textContent = 'Play';
  say('');
  showError(error);
}

const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (element(id));
const select = (/** @type {string} */ id) => /** @type {HTMLSelectElement} */ (element(id));

// ---- settings ----

/** Loads the two chosen networks with the chosen threads and build. */
async function loadModels() {
  element('notice').hidden = true;
  const urls = { dense: modelUrl(models.dense), sparse: modelUrl(models.sparse) };
  say(`Loading the two networks, ${SIDES.map((side) => fileSize(models[side].tulle_bytes)).join(' and ')}`);
  await pair.load(urls, controls.options);
  controls.show(pair.processor);
  for (const side of SIDES) {
    const { width, height } = pair.sizes[side];
    setValue(`${side}-load`, `${pair.loadTime[side].toFixed(0)} ms, both at once`);
    setValue(`${side}-runs`, `${describeEngine(pair.processor)} build, ${width} × ${height} pixels`);
  }
  showFacts();
  restart(describeEngine(pair.processor));
  say(source.info?.title ?? '');
}

/** Starts new averages, since the settings changed. @param {string} [mark] of the chart */
function restart(mark) {
  pair.restart();
  agreement = new MovingAverage();
  chart.restart(mark);
}

function reload() {
  inTurn(loadModels).then(redraw).catch(fail);
}

/** Lists the sparse versions of the chosen network, and selects the one made for this page or else a mild one. */
function offerSparse() {
  const task = select('network').value === 'selfie-square' ? 'selfie-square' : 'selfie';
  const dense = modelsFor(catalogue, task).find(({ role }) => role === 'dense');
  const sparse = SPARSE_TASKS[task].flatMap((name) => modelsFor(catalogue, name)).filter(({ role }) => role !== 'dense');
  if (!dense || sparse.length === 0) throw new Error('models.json lists no such network: run `make demo` again.');
  sparse.sort((a, b) => sparsity(a) - sparsity(b));
  select('sparse-model').replaceChildren(...sparse.map((facts) => new Option(nameOf(facts), facts.name)));
  const own = sparse.filter(({ role }) => role === 'own');
  const level = own.length ? FIRST_SPARSITY.own : FIRST_SPARSITY.pruned;
  const distance = (/** @type {ModelFacts} */ facts) => Math.abs(sparsity(facts) - level);
  const first = own.find((facts) => facts.task === 'background') // made for this page
    ?? (own.length ? own : sparse).reduce((best, facts) => (distance(facts) < distance(best) ? facts : best));
  select('sparse-model').value = first.name;
  models = { dense, sparse: first };
}

/**
 * @param {ModelFacts} facts
 * @returns {string} what distinguishes a sparse network from the others
 */
function nameOf({ task, role, title }) {
  if (role !== 'own') return `${title}, pruned`;
  return task === 'ablation' ? `${title}, solved for` : title;
}

/** @param {'wasm' | 'gpu'} kind */
function switchCompositor(kind) {
  pair.useCompositor(kind);
  select('compositor').value = kind;
  placeCanvas();
  pair.meter.reset();
}

// ---- the call ----

/** What a call shows of the chosen look: it has no mask to show. */
function callLook() {
  const effects = /** @type {const} */ ({ blur: 'blur', replace: 'picture', mask: 'none', none: 'none' });
  return { effect: effects[look.effect], strength: look.strength, picture: background };
}

async function startCall() {
  element('call').textContent = 'End the call';
  setPlaying(false); // the processors are for the call now
  try {
    const track = await callTrack();
    call = await LoopbackCall.start(track, {
      ...callLook(), ...controls.options, model: modelUrl(models.sparse), onError: (error) => endCall(error),
    });
    track.addEventListener('ended', () => endCall());
    const video = /** @type {HTMLVideoElement} */ (element('far-end'));
    video.srcObject = call.received;
    await video.play();
    showCall();
  } catch (error) {
    await endCall(error);
  }
}

/** @param {unknown} [error] why */
async function endCall(error) {
  const ended = call;
  call = undefined;
  element('call').textContent = 'Start the call';
  element('call-status').textContent = error === undefined ? 'No call.' : messageOf(error);
  await ended?.end();
  clip.captured?.pause();
}

function updateCall() {
  call?.update(callLook()).catch((error) => endCall(error));
}

/** The camera or, where there is none, the clip. */
async function callTrack() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
    return stream.getVideoTracks()[0];
  } catch {
    clip.captured ??= Object.assign(document.createElement('video'), { muted: true, loop: true, playsInline: true, src: clip.url });
    await clip.captured.play();
    const video = /** @type {any} */ (clip.captured); // Firefox has its own name for it
    return (video.captureStream?.() ?? video.mozCaptureStream()).getVideoTracks()[0];
  }
}

function showCall() {
  if (!call) return;
  const { width, height, fps, networkEvery, dropped, mean, way } = call.stats;
  const total = mean.copy + mean.scale + mean.network / networkEvery + mean.mask + mean.composite + mean.hand;
  element('call-status').textContent = !width ? 'Connecting' : `${width} × ${height}, ${decimals(fps, 0)} frames per second, `
    + `${decimals(total, 1)} ms of work a frame, the network on ${networkEvery === 1 ? 'every frame' : `one frame in ${networkEvery}`}, `
    + `${dropped} dropped; by way of ${way}`;
  setTimeout(showCall, 500);
}

function offerBackgrounds() {
  const choices = GRADIENTS.map((gradient, i) => {
    const label = document.createElement('label');
    const radio = document.createElement('input');
    Object.assign(radio, { type: 'radio', name: 'background', className: 'hidden-label', checked: i === 0 });
    radio.setAttribute('aria-label', gradient.name);
    const canvas = drawGradient(gradient);
    radio.addEventListener('change', () => setBackground(canvas));
    label.title = gradient.name;
    label.append(radio, canvas);
    return { label, canvas };
  });
  element('backgrounds').append(...choices.map(({ label }) => label));
  background = choices[0].canvas;
  pair.setBackground(background);
}

/** @param {HTMLCanvasElement} canvas */
function setBackground(canvas) {
  background = canvas;
  pair.setBackground(canvas);
  redraw();
  updateCall();
}

function listen() {
  element('camera').addEventListener('click', () => open({ kind: 'camera' }));
  element('clip').addEventListener('click', () => open(clip));
  acceptFiles(source, { input: input('own'), area: element('stage'), onError: (error) => say(messageOf(error)) });
  element('play').addEventListener('click', () => setPlaying(!source.playing));

  for (const radio of document.querySelectorAll('#effects input, #views input')) {
    radio.addEventListener('change', () => {
      look.effect = /** @type {Look['effect']} */ (checked('effect'));
      const view = /** @type {Look['view']} */ (checked('view'));
      if (view !== look.view) inTurn(async () => restart(view === 'split' ? 'both' : `${view} only`));
      look.view = view;
      showLook();
      redraw();
      updateCall();
    });
  }
  for (const id of ['divider', 'strength']) {
    input(id).addEventListener('input', () => {
      look.divider = Number(input('divider').value) / 100;
      look.strength = Number(input('strength').value);
      redraw();
      updateCall();
    });
  }
  input('background').addEventListener('change', async () => {
    const [file] = input('background').files ?? [];
    input('background').value = ''; // so that the same file can be chosen again
    if (!file) return;
    try {
      setBackground(await readBackground(file));
      for (const radio of element('backgrounds').querySelectorAll('input')) radio.checked = false;
    } catch (error) {
      say(messageOf(error));
    }
  });

  element('call').addEventListener('click', () => (call ? endCall() : startCall()));
  select('network').addEventListener('change', () => {
    offerSparse();
    reload();
  });
  select('sparse-model').addEventListener('change', () => {
    models.sparse = catalogue[select('sparse-model').value];
    reload();
  });
  select('compositor').addEventListener('change', () => {
    inTurn(async () => switchCompositor(select('compositor').value === 'gpu' ? 'gpu' : 'wasm')).then(redraw).catch(fail);
  });
}

/** @param {import('../lib/source.js').Origin} origin */
function open(origin) {
  source.open(origin).then(() => setPlaying(true), fail);
}

/** @param {boolean} playing */
function setPlaying(playing) {
  if (playing) source.play();
  else source.pause();
  element('play').textContent = playing ? 'Pause' : 'Play';
}

/** @param {string} name of a group of radio buttons */
function checked(name) {
  return /** @type {HTMLInputElement} */ (document.querySelector(`input[name="${name}"]:checked`)).value;
}

// ---- setting up ----

async function start() {
  showLook();
  chart.draw();
  offerBackgrounds();
  requireSimd();
  catalogue = await loadCatalogue();
  offerSparse();
  controls = new EngineControls(element('settings'), reload);
  const opening = source.open(clip);
  await loadModels();
  await opening;
  listen();
  select('compositor').options[1].disabled = !document.createElement('canvas').getContext('webgl2');
  for (const id of ['camera', 'clip', 'own', 'play', 'network', 'sparse-model', 'compositor', 'call']) {
    element(id).removeAttribute('disabled');
  }
  setPlaying(!calm.matches); // a still picture for visitors who want less motion, until they press Play
  runFrames();
  await nextResult();
  performance.mark('first-result');
}

/** @returns {Promise<import('./pair.js').Result>} of the next frame that is shown */
function nextResult() {
  return new Promise((resolve) => waiting.push(resolve));
}

const ready = start();
ready.catch(fail);

/**
 * For tests (tests/browser/test_demo_background.py): `ready` resolves once a picture is shown, `next` returns the exact
 * pixels that the networks see in the next frame where the processors do not draw it, with their masks.
 */
Object.assign(globalThis, {
  tulleDemo: {
    ready,
    next: nextResult,
    /** The next frame as if it were the first, whose masks are as the networks give them. */
    async fresh() {
      await inTurn(async () => pair.newScene());
      return nextResult();
    },
    get frames() {
      return counted;
    },
    get memoryBytes() {
      return pair.memoryBytes;
    },
    get canvas() {
      return pair.canvas;
    },
    get gpu() {
      return pair.gpu;
    },
    get call() {
      return call;
    },
    models: () => models,
  },
});
