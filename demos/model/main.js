// The page: a model file of the visitor's is converted, run, timed and looked into, on this device.

import { convert, inspect, prepare } from '../../web/src/convert/index.js';
import { load } from '../../web/src/index.js';
import { describeEngine, EngineControls, requireSimd } from '../lib/controls.js';
import { copyOnClick } from '../lib/device.js';
import { fileSize, loadCatalogue, modelUrl } from '../lib/models.js';
import { context2d, element, fetchBitmap, messageOf, setValue, showError } from '../lib/page.js';
import { showOutput } from './outputs.js';
import { median, noise, takeTurns } from './timing.js';

/** @typedef {import('../../web/src/index.js').Model} Model */
/** @typedef {import('../../web/src/index.js').ProfileRow} ProfileRow */
/** @typedef {import('../../web/src/convert/index.js').ModelReport} ModelReport */

/**
 * What the page shows.
 * @typedef {object} Opened
 * @property {string} name without ending
 * @property {Blob | undefined} source the .tflite or .onnx file, if it was one
 * @property {Uint8Array<ArrayBuffer>} bytes the .tulle file
 * @property {Model} model
 * @property {ModelReport} [report] of the source
 * @property {string[]} [outputs] tensors that it was converted up to
 */

const FIRST = 'hand_landmark_tulle';
const PROFILES = 11; // whose median is an operator's time
const LEVELS = [0.3, 0.5, 0.7, 0.8, 0.9];
/**
 * Where Python and its packages come from, for tests and for sites that serve them themselves.
 * @type {Pick<import('../../web/src/convert/index.js').PythonOptions, 'pyodide' | 'onnx'>}
 */
const python = /** @type {any} */ (globalThis).tullePython ?? {};
const MOST_KEPT = 32e6; // bytes of a file of which the browser keeps what was made
const VISITED = 'tulle-python'; // in localStorage: Python is in the browser's cache
const SAMPLE = new URL('../images/open-hand.jpg', import.meta.url);
const STAGES = {
  pyodide: 'Loading Python for the browser: some 10 MB the first time',
  packages: 'Loading the converter\'s packages',
  converting: 'Converting',
};

const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (element(id));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (element(id));
const controls = new EngineControls(element('settings'), () => begin(reload));

/** @type {Opened | undefined} */
let opened;
/** Ends what is going on. */
let work = new AbortController();
/** Everything that uses a model, one after the other. @type {Promise<unknown>} */
let turn = Promise.resolve();
/** @type {ImageBitmap | undefined} */
let shownPicture;

/** Python's start, which timing waits for. @type {Promise<void> | undefined} */
let starting;

/** Thrown by `check` when other work has begun. */
class Stopped extends Error {}

/**
 * Ends what is going on and begins something else.
 * @param {(signal: AbortSignal) => Promise<void>} action
 */
function begin(action) {
  work.abort(new Stopped('cancelled'));
  work = new AbortController();
  const { signal } = work;
  element('notice').hidden = element('part').hidden = true;
  const result = turn.then(async () => {
    check(signal);
    enable(false);
    await action(signal);
  }).catch((error) => {
    if (signal.aborted) return;
    say('');
    showFailure(error);
  }).finally(() => {
    if (work.signal === signal) enable(true);
  });
  turn = result;
  return result;
}

/** @param {AbortSignal} signal */
function check(signal) {
  if (signal.aborted) throw signal.reason;
}

/** @param {boolean} idle */
function enable(idle) {
  button('cancel').disabled = idle;
  controls.disabled = input('worker').disabled = !idle || !opened;
  for (const id of ['download', 'report', 'copy']) button(id).disabled = !opened;
  button('prune').disabled = !idle || !opened?.source;
  for (const id of ['picture', 'sample']) input(id).disabled = !idle || !takesPicture();
}

/** Options of load() that the visitor has chosen. */
const engine = () => ({ ...controls.options, worker: input('worker').checked });

const takesPicture = () => opened?.model.inputs.filter(({ image }) => image).length === 1;

// ---- opening a model ----

/**
 * @param {Blob} file
 * @param {string} fileName
 * @param {AbortSignal} signal
 * @param {string[]} [outputs]
 */
async function open(file, fileName, signal, outputs) {
  const name = fileName.replace(/\.\w+$/, '') || 'model';
  say(`Reading ${fileName}, ${fileSize(file.size)}`);
  const identifier = new TextDecoder('latin1').decode(await file.slice(4, 8).arrayBuffer());
  const options = { ...python, name: fileName, signal, cache: file.size < MOST_KEPT, onProgress: (/** @type {{ stage: keyof typeof STAGES }} */ { stage }) => say(STAGES[stage]) };
  /** @type {Omit<Opened, 'model'>} */
  let found;
  if (identifier === 'TULL') {
    found = { name, source: undefined, bytes: new Uint8Array(await file.arrayBuffer()) };
  } else {
    const bytes = await convert(file, { ...options, ...normalisation(), outputs });
    say('Looking into it');
    const report = outputs ? undefined : await inspect(file, { ...options, onProgress: undefined });
    found = { name, source: file, bytes, report, outputs };
    remember();
  }
  check(signal);
  say('Starting it');
  const model = await load(found.bytes, { ...engine(), signal });
  await opened?.model.close();
  opened = { ...found, model };
  await show(signal);
}

/** Starts Python before there is a file. What fails here fails again, and is shown, when there is one. */
function startPython() {
  starting ??= prepare({ ...python.pyodide && { pyodide: python.pyodide } }).catch(() => {
    starting = undefined;
  });
}

/** For the next visit, which starts Python when the page is idle. */
function remember() {
  try {
    localStorage.setItem(VISITED, 'yes');
  } catch {} // storage may be switched off
}

function visitedBefore() {
  try {
    return localStorage.getItem(VISITED) !== null;
  } catch {
    return false;
  }
}

function normalisation() {
  const [inputMean, inputStd] = ['mean', 'std'].map((id) => input(id).valueAsNumber);
  if (!Number.isFinite(inputMean) || !(inputStd > 0)) throw new Error('Give a mean, and a standard deviation above 0.');
  return { inputMean, inputStd };
}

/** With other threads, another build or in another thread. @param {AbortSignal} signal */
async function reload(signal) {
  if (!opened) return;
  say('Starting it');
  const model = await load(opened.bytes, { ...engine(), signal });
  await opened.model.close();
  opened = { ...opened, model };
  await show(signal);
}

/** @param {AbortSignal} signal */
async function show(signal) {
  if (!opened) return;
  const { name, model, bytes, source, report, outputs } = opened;
  controls.show(model);
  fillLevels();
  setValue('ms', '–');
  setValue('runs', 'median of 0 runs');
  setValue('name', name);
  element('outputs').replaceChildren();
  await model.run(noise(model));
  const [rows] = await profiles(model, 1); // for all but the times
  const macs = sum(rows, 'macs');
  const [weights, nnz] = [sum(rows, 'weights'), sum(rows, 'nnz')];
  const zeros = weights ? 1 - nnz / weights : 0;
  setValue('summary', `${fileSize(bytes.length)}, ${millions(macs)} multiply-adds a run, ${percent(zeros)} of ${millions(weights)} weights are zero`);
  setValue('source', report ? `The .${report.format} file has ${fileSize(report.file_bytes)}, ${millions(report.macs)} multiply-adds, `
    + `${percent(report.zeros)} zeros${report.dead_channels ? `, ${report.dead_channels} channels that are always the same` : ''}.`
    : outputs ? `Only the part up to ${outputs.join(', ')}.` : source ? '' : 'A .tulle file.');
  showPorts(model);
  showOperators(rows, undefined);
  setValue('picture', takesPicture() ? 'Outputs appear here.' : 'This model has no input that takes pictures, so it was run on random numbers.');
  element('prune-note').textContent = source ? 'About a minute.' : 'Needs the .tflite or .onnx file.';
  const how = `${describeEngine(model)} build${input('worker').checked ? '' : ', in the page itself'}`;
  await starting;
  check(signal);
  say(`Timing it on ${how}`);
  const { medians: [ms], runs } = await takeTurns([model], () => check(signal));
  setValue('ms', milliseconds(ms));
  setValue('runs', `median of ${runs} runs, ${how}`);
  const timed = await profiles(model, PROFILES);
  showOperators(rows, rows.map((_, row) => median(timed.map((profile) => profile[row].ms))));
  if (takesPicture() && shownPicture) await runPicture(shownPicture);
  say('Ready');
}

/** @param {Model} model */
function showPorts(model) {
  const takes = (/** @type {import('../../web/src/index.js').InputInfo} */ { image, mean, std }) =>
    (image ? `input, takes pictures: (pixel − ${mean}) / ${std}` : 'input');
  fill('ports', [
    ...model.inputs.map((port) => [port.name, takes(port), port.shape.join(' × ')]),
    ...model.outputs.map(({ name, shape }) => [name, 'output', shape.join(' × ')]),
  ]);
}

/** @param {Model} model @param {number} count */
async function profiles(model, count) {
  const all = [];
  for (let i = 0; i < count; i++) all.push([...await model.profile()]);
  return all;
}

/**
 * @param {ProfileRow[]} rows
 * @param {number[] | undefined} times milliseconds of each; undefined while they are not known
 */
function showOperators(rows, times) {
  /** @type {Map<string, ProfileRow[]>} */
  const kinds = new Map();
  rows.forEach((row, i) => {
    const timed = { ...row, ms: times ? times[i] : NaN };
    kinds.set(kindOf(row), [...kinds.get(kindOf(row)) ?? [], timed]);
  });
  const lines = [...kinds].map(([kind, of]) => ({ kind, count: of.length, ms: sum(of, 'ms'), macs: sum(of, 'macs'), weights: sum(of, 'weights'), nnz: sum(of, 'nnz') }));
  lines.sort((a, b) => b.ms - a.ms || b.macs - a.macs);
  fill('operators', lines.map(({ kind, count, ms, macs, weights, nnz }) => [kind, String(count), times ? ms.toFixed(2) : '–', macs ? millions(macs) : '',
    weights ? millions(weights) : '', weights ? percent(1 - nnz / weights) : '']));
}

/** @param {ProfileRow} row */
const kindOf = ({ op, path }) => (op.replaceAll('_', ' ') === path ? path : `${op.replaceAll('_', ' ')}, ${path.replaceAll('_', ' ')}`);

// ---- with zeros ----

function fillLevels() {
  fill('levels', LEVELS.map((level) => [percent(level), '–', '–', '–', '–']));
}

/** @param {AbortSignal} signal */
async function prune(signal) {
  if (!opened?.source) return;
  const { source, model: dense, name, outputs } = opened;
  fillLevels();
  const body = /** @type {HTMLTableElement} */ (element('levels')).tBodies[0];
  for (const [index, sparsity] of LEVELS.entries()) {
    say(`Pruning to ${percent(sparsity)} zeros`);
    const bytes = await convert(source, { ...python, name, signal, sparsity, outputs, ...normalisation() });
    check(signal);
    const sparse = await load(bytes, engine());
    try {
      say(`Timing ${percent(sparsity)} zeros and dense in turn`);
      const { medians: [denseMs, sparseMs] } = await takeTurns([dense, sparse], () => check(signal));
      const cells = body.rows[index].cells;
      [milliseconds(sparseMs), milliseconds(denseMs), `${(denseMs / sparseMs).toFixed(2)}×`, fileSize(bytes.length)]
        .forEach((text, column) => (cells[column + 1].textContent = text));
    } finally {
      await sparse.close();
    }
  }
  say('Ready');
}

// ---- a picture ----

/** @param {ImageBitmap} bitmap */
async function runPicture(bitmap) {
  if (!opened) return;
  shownPicture = bitmap;
  const { model } = opened;
  const port = model.inputs.find(({ image }) => image);
  if (!port) return;
  const [, height, width] = port.shape;
  const canvas = /** @type {HTMLCanvasElement} */ (element('shown'));
  [canvas.width, canvas.height] = [width, height];
  const context = context2d(canvas, { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  const outputs = await model.run({ ...noise(model), [port.name]: context.getImageData(0, 0, width, height) });
  element('outputs').replaceChildren(...model.outputs.map(({ name, shape }) => showOutput(name, shape, outputs[name])));
  setValue('picture', '');
}

/** @param {Blob} file */
async function pictureOf(file) {
  try {
    return await createImageBitmap(file);
  } catch (error) {
    throw new Error(`This picture cannot be read: ${messageOf(error)}`);
  }
}

// ---- showing ----

/** @param {unknown} error */
function showFailure(error) {
  showError(error);
  const message = messageOf(error);
  if (!message.includes('not supported')) return;
  const [, list = ''] = /option --outputs\) are (.*)$/m.exec(message) ?? [];
  const names = [...list.matchAll(/'([^']+)'/g)].map(([, name]) => name);
  element('part').hidden = false;
  element('part-button').hidden = !names.length || !attempt;
  partOutputs = names;
}

/** What was last opened, for another attempt. @type {{ file: Blob, name: string } | undefined} */
let attempt;
/** @type {string[]} */
let partOutputs = [];

/**
 * @param {string} table
 * @param {string[][]} rows
 */
function fill(table, rows) {
  const body = /** @type {HTMLTableElement} */ (element(table)).tBodies[0];
  body.replaceChildren(...rows.map(([heading, ...values]) => {
    const row = document.createElement('tr');
    const th = document.createElement('th');
    th.scope = 'row';
    th.textContent = heading;
    row.append(th);
    for (const value of values) row.insertCell().textContent = value;
    return row;
  }));
}

/**
 * @template {string} Key
 * @param {Record<Key, number>[]} rows
 * @param {Key} key
 */
const sum = (rows, key) => rows.reduce((total, row) => total + row[key], 0);
const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)} %`;
const millions = (/** @type {number} */ count) => (count < 1e5 ? String(count) : `${(count / 1e6).toFixed(1)} M`);
const milliseconds = (/** @type {number} */ ms) => ms.toFixed(ms < 10 ? 2 : 1);

/** @param {string} text */
function say(text) {
  element('status').textContent = text;
}

/** Offers a file to the visitor. @param {BlobPart} content @param {string} type @param {string} name */
function offer(content, type, name) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement('a');
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** What the page shows, as Markdown. */
function reportText() {
  const shown = (/** @type {string} */ name) => document.querySelector(`[data-value=${name}]`)?.textContent?.trim() ?? '';
  const table = (/** @type {string} */ id) => {
    const [head, ...body] = [.../** @type {HTMLTableElement} */ (element(id)).rows]
      .map((row) => `| ${[...row.cells].map(({ textContent }) => textContent?.replaceAll('|', '\\|')).join(' | ')} |`);
    return [head, head.replace(/[^|]+/g, ' --- '), ...body].join('\n');
  };
  return `# ${shown('name')}

${shown('summary')}. ${shown('source')}

${shown('ms')} milliseconds a run, ${shown('runs')}, on ${navigator.userAgent}, ${navigator.hardwareConcurrency} logical cores.

## With zeros, pruned by magnitude: speed, not quality

${table('levels')}

## Inputs and outputs

${table('ports')}

## Operators

${table('operators')}
`;
}

/** The text that the button copies. */
function code() {
  const { name = 'model', model } = opened ?? {};
  const given = model?.inputs.map((port) => `${JSON.stringify(port.name)}: ${port.image ? 'picture' : 'numbers'}`).join(', ');
  const taken = model?.outputs.map((port) => `// ${JSON.stringify(port.name)}: ${port.shape.join(' x ')}`).join('\n');
  return `import { load } from 'tulle';

const model = await load('${name}.tulle');
// A picture is a canvas, video, image, ImageBitmap or ImageData; numbers are a Float32Array.
const outputs = await model.run({ ${given} });
${taken}
`;
}

// ---- setting up ----

/** @param {File | undefined} file */
function accept(file) {
  if (!file) return;
  /** @type {HTMLSelectElement} */ (element('shipped')).value = '';
  attempt = { file, name: file.name };
  begin((signal) => open(file, file.name, signal));
}

/** @param {import('../lib/models.js').ModelFacts} facts @param {AbortSignal} signal */
async function openShipped(facts, signal) {
  say(`Loading ${facts.name}, ${fileSize(facts.tulle_bytes)}`);
  const response = await fetch(modelUrl(facts), { signal });
  if (!response.ok) throw new Error(`${facts.file} could not be loaded: HTTP ${response.status}.`);
  await open(await response.blob(), facts.file, signal);
}

function wire() {
  const file = input('file');
  file.addEventListener('click', startPython);
  document.addEventListener('dragenter', ({ dataTransfer }) => {
    if (dataTransfer?.types.includes('Files')) startPython();
  });
  file.addEventListener('change', () => {
    accept(file.files?.[0]);
    file.value = ''; // so that the same file can be chosen again
  });
  const area = element('drop');
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      area.classList.toggle('dropping', kind === 'dragenter' || kind === 'dragover');
      if (kind === 'drop') accept(/** @type {DragEvent} */ (event).dataTransfer?.files[0]);
    });
  }
  button('cancel').addEventListener('click', () => {
    work.abort(new Stopped('cancelled'));
    say('Cancelled');
    turn.then(() => enable(true));
  });
  button('part-button').addEventListener('click', () => {
    const { file: again, name } = /** @type {NonNullable<typeof attempt>} */ (attempt);
    begin((signal) => open(again, name, signal, partOutputs));
  });
  button('prune').addEventListener('click', () => begin(prune));
  button('download').addEventListener('click', () => {
    if (opened) offer(opened.bytes, 'application/octet-stream', `${opened.name}.tulle`);
  });
  button('report').addEventListener('click', () => offer(reportText(), 'text/markdown', `${opened?.name}.md`));
  input('worker').addEventListener('change', () => begin(reload));
  copyOnClick(button('copy'), code);
  const picture = input('picture');
  picture.addEventListener('change', () => {
    const chosen = picture.files?.[0];
    picture.value = '';
    if (chosen) begin(async () => runPicture(await pictureOf(chosen)));
  });
  button('sample').addEventListener('click', () => begin(async () => runPicture(await fetchBitmap(SAMPLE))));
}

async function start() {
  fillLevels();
  requireSimd();
  wire();
  const catalogue = await loadCatalogue();
  const shipped = /** @type {HTMLSelectElement} */ (element('shipped'));
  shipped.append(...Object.values(catalogue).map(({ name }) => new Option(name.replaceAll('_', ' '), name)));
  shipped.addEventListener('change', () => {
    const facts = catalogue[shipped.value];
    if (facts) begin((signal) => openShipped(facts, signal));
  });
  shipped.disabled = input('file').disabled = false;
  shipped.value = FIRST in catalogue ? FIRST : Object.keys(catalogue)[0];
  await begin((signal) => openShipped(catalogue[shipped.value], signal));
  if (visitedBefore()) startPython();
}

const ready = start();
ready.catch(showError);

/** For tests (tests/browser/test_site_model.py). */
Object.assign(globalThis, { tulleDemo: { ready, code, model: () => opened?.model } });
