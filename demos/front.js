// The front page's live result: a hand's landmarks from the sparse network, then its time and the dense network's.

import { loadCatalogue } from './lib/models.js';
import { requireSimd } from './lib/controls.js';
import { MovingAverage } from './lib/meter.js';
import { element, fetchBitmap, pixelsOf, setValue, showError } from './lib/page.js';
import { Race } from './lib/race.js';
import { drawSkeleton } from './lib/skeleton.js';
import { INPUT_SIZE, OUTPUT } from '../web/src/hands/landmarks.js';

const PICTURE = new URL('images/open-hand.jpg', import.meta.url);
const FRAMES = 40; // measured, then the page stays idle
const SHOW_EVERY = 5; // frames

const race = new Race();
const canvas = /** @type {HTMLCanvasElement} */ (element('hand'));
const again = /** @type {HTMLButtonElement} */ (element('again'));

async function start() {
  const loading = fetchBitmap(PICTURE);
  requireSimd();
  const models = await loadCatalogue();
  const [bitmap] = await Promise.all([loading, race.add(models.hand_landmark_tulle)]);
  const input = pixelsOf(bitmap, INPUT_SIZE, INPUT_SIZE);

  const [outputs] = (await race.runAll(input)).values();
  const draw = () => drawSkeleton(canvas, bitmap, outputs[OUTPUT.landmarks]);
  draw();
  performance.mark('first-result');
  canvas.setAttribute('aria-label', 'A hand with the 21 landmarks that the sparse network finds');
  new ResizeObserver(draw).observe(canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);

  say('Loading the dense network, to compare');
  await race.add(models.hand_landmark_full);
  await measure(input);
  again.addEventListener('click', () => measure(input).catch(showError));
}

/** Times both networks in turn. @param {ImageData} input */
async function measure(input) {
  again.disabled = true;
  say('Measuring');
  await race.warmUp(input);
  const [sparse, dense] = race.runners;
  const times = new Map(race.runners.map((runner) => [runner, new MovingAverage()]));
  for (let frame = 1; frame <= FRAMES; frame++) {
    const { took } = await race.frame(input);
    for (const [runner, ms] of took) times.get(runner)?.push(ms);
    if (frame % SHOW_EVERY === 0) show(times.get(sparse)?.median ?? NaN, times.get(dense)?.median ?? NaN);
    await new Promise(requestAnimationFrame); // also pauses while the page is hidden
  }
  const { threads } = sparse.model;
  say(`as fast as its dense twin here, on ${threads} ${threads === 1 ? 'thread' : 'threads'}`);
  again.disabled = false;
}

/**
 * @param {number} sparse milliseconds, median
 * @param {number} dense
 */
function show(sparse, dense) {
  setValue('sparse-ms', sparse.toFixed(1));
  setValue('dense-ms', dense.toFixed(1));
  setValue('speedup', (dense / sparse).toFixed(2));
  const slowest = Math.max(sparse, dense);
  element('sparse-bar').style.width = `${(100 * sparse) / slowest}%`;
  element('dense-bar').style.width = `${(100 * dense) / slowest}%`;
}

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

const ready = start();
ready.catch((error) => {
  say('');
  showError(error);
});

/** For tests: `ready` resolves once the figures are shown. */
Object.assign(globalThis, { tulleDemo: { ready } });
