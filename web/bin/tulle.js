#!/usr/bin/env node
// The commands convert, sparsify and inspect for those who have Node and no Python: tulle's Python converter in Pyodide.

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { TulleError, messageOf } from '../src/errors.js';
import { PYODIDE_VERSION, VERSION, startPython } from '../src/convert/python.js';

const HELP = `tulle ${VERSION}: sparse convolutional networks, fast, in the browser

    tulle convert IN -o OUT.tulle [--input-mean M] [--input-std S] [--weights auto|fp32|fp16|int8]
                  [--sparse auto|always|never] [--outputs TENSOR]... [--input-shape NAME=1,3,320,320]...
                  [--quantized-io]
    tulle sparsify IN -o OUT.tulle|OUT.tflite [--sparsity 0.7] [--method magnitude] [--weights auto|fp32|fp16]
                  [--input-mean M] [--input-std S] [--input-shape NAME=1,3,320,320]...
    tulle inspect FILE [--json]

IN is a .tflite or .onnx file; FILE may be a .tulle file too. All commands take
    --pyodide FOLDER    a folder with Pyodide ${PYODIDE_VERSION}; by default the npm package pyodide
    --onnx WHEEL        what micropip installs to read ONNX, in place of the package onnx; may be repeated

These do what the Python package's commands of the same names do, and write the same files. Python's has more:
verify, compress, hotspots, sparsify with calibration pictures, training.
`;

const GET_PYODIDE = `the converter runs in Pyodide, and there is no npm package pyodide here. Either
    npm install pyodide@${PYODIDE_VERSION}
beside the package tulle, or in one go
    npx -p tulle -p pyodide@${PYODIDE_VERSION} tulle ...`;

const text = { type: 'string' };
const several = { type: 'string', multiple: true };
const COMMON = { pyodide: text, onnx: several };
const SOURCE = { output: { type: 'string', short: 'o' }, 'input-mean': text, 'input-std': text, weights: text, 'input-shape': several };
const COMMANDS = {
  convert: { ...COMMON, ...SOURCE, outputs: several, sparse: text, 'quantized-io': { type: 'boolean' } },
  sparsify: { ...COMMON, ...SOURCE, sparsity: text, method: text },
  inspect: { ...COMMON, json: { type: 'boolean' } },
};
const CHOICES = {
  weights: { convert: ['auto', 'fp32', 'fp16', 'int8'], sparsify: ['auto', 'fp32', 'fp16'] },
  sparse: { convert: ['auto', 'always', 'never'] },
  method: { sparsify: ['magnitude'] },
};

async function main() {
  const [command, ...rest] = process.argv.slice(2);
  if (command === undefined || ['-h', '--help', 'help'].includes(command) || rest.includes('--help')) {
    return process.stdout.write(HELP);
  }
  if (command === '--version') return process.stdout.write(`tulle, version ${VERSION}\n`);
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new TulleError(`there is no command ${JSON.stringify(command)}; see tulle --help`);
  }
  const { values, file } = parse(command, rest);
  const bytes = new Uint8Array(await readFile(file).catch((error) => {
    throw new TulleError(`${file} cannot be read: ${messageOf(error)}`);
  }));
  const target = values.output;
  const settings = command === 'inspect' ? {} : settingsOf(command, values);
  if (command !== 'inspect') checkTarget(command, target, file);
  const python = await start(values.pyodide);
  const onnx = values.onnx ? { onnx: values.onnx } : {};
  const task = { task: command, bytes, name: basename(file), suffix: target && extname(target).toLowerCase(), settings, ...onnx };
  const { result, bytes: made } = await python.run(task, say);
  if (command === 'inspect') return values.json ? process.stdout.write(`${JSON.stringify(result, null, 2)}\n`) : print(result);
  for (const note of result.notes) process.stderr.write(`note: ${note}\n`);
  await write(target, made);
  process.stdout.write(`${target}: ${size(made.length)} (${file}: ${size(bytes.length)})${
    command === 'sparsify' ? `, ${percent(result.zeros)} of the weights of ${result.layers} layers are zero: the smallest `
      + 'ones went, and what the outputs lose is not known' : ''}\n`);
}

/** @param {string} command @param {string[]} args */
function parse(command, args) {
  let parsed;
  try {
    // Numbers may be negative, which parseArgs takes for options unless they are written with "=".
    const joined = args.flatMap((arg, i) => /^-\d/.test(arg) && i && args[i - 1].startsWith('--') ? []
      : [/^-\d/.test(args[i + 1] ?? '') && arg.startsWith('--') ? `${arg}=${args[i + 1]}` : arg]);
    parsed = parseArgs({ args: joined, options: COMMANDS[command], allowPositionals: true });
  } catch (error) {
    throw new TulleError(`${messageOf(error)}\nSee tulle --help.`);
  }
  const { values, positionals } = parsed;
  if (positionals.length !== 1) throw new TulleError(`tulle ${command} takes one model file; see tulle --help`);
  for (const [name, commands] of Object.entries(CHOICES)) {
    const allowed = commands[command];
    if (name in values && !allowed.includes(values[name])) {
      const more = name === 'method' ? ': calibration pictures need the Python package' : '';
      throw new TulleError(`--${name} is ${allowed.join(', ')} here, not ${values[name]}${more}`);
    }
  }
  return { values, file: positionals[0] };
}

/** The keyword arguments of the Python function. */
function settingsOf(command, values) {
  const settings = {};
  for (const name of ['input-mean', 'input-std', 'sparsity']) {
    if (!(name in values)) continue;
    const number = Number(values[name]);
    if (values[name].trim() === '' || Number.isNaN(number)) throw new TulleError(`--${name} is a number, not ${values[name]}`);
    settings[name.replace('-', '_')] = number;
  }
  for (const name of ['weights', 'sparse', 'outputs']) {
    if (name in values) settings[name] = values[name];
  }
  if (values['quantized-io']) settings.quantized_io = true;
  for (const shape of values['input-shape'] ?? []) {
    const [, name, sizes] = /^(.+)=(\d+(?:,\d+)*)$/.exec(shape) ?? [];
    if (!name) throw new TulleError(`${JSON.stringify(shape)} is not of the form NAME=1,3,320,320`);
    settings.input_shapes = { ...settings.input_shapes, [name]: sizes.split(',').map(Number) };
  }
  return settings;
}

/** Before the work, not after it. */
function checkTarget(command, target, file) {
  if (target === undefined) throw new TulleError('say what to write: -o OUT.tulle');
  const kinds = command === 'convert' ? ['.tulle'] : ['.tulle', '.tflite'];
  if (!kinds.includes(extname(target).toLowerCase())) {
    throw new TulleError(`${target}: what is written is a ${kinds.join(' or ')} file, so give it such a name`);
  }
  if (resolve(target) === resolve(file)) throw new TulleError(`${target} is read as well, and would be lost`);
  if (!existsSync(dirname(resolve(target)))) throw new TulleError(`${target} cannot be written: there is no such folder`);
}

/** @param {string | undefined} folder */
async function start(folder) {
  const archive = new Uint8Array(await readFile(new URL('../dist/tulle-python.zip', import.meta.url)));
  const home = folder === undefined ? findPyodide() : resolve(folder);
  const { loadPyodide } = await import(pathToFileURL(join(home, 'pyodide.mjs')).href).catch((error) => {
    throw new TulleError(`Pyodide cannot be loaded from ${home}: ${messageOf(error)}`);
  });
  say('pyodide');
  return startPython({ loadPyodide, indexURL: home, archive, onStage: say });
}

/** Beside this package, or in the folder where the command is run. */
function findPyodide() {
  for (const from of [import.meta.url, join(process.cwd(), 'x')]) {
    try {
      return dirname(createRequire(from).resolve('pyodide/package.json'));
    } catch {
      // not there
    }
  }
  throw new TulleError(GET_PYODIDE);
}

const STAGES = { pyodide: 'starting Pyodide', packages: 'loading packages (the first time over the network)', converting: 'reading the model' };

/** @param {keyof typeof STAGES} stage */
function say(stage) {
  if (process.stderr.isTTY) process.stderr.write(`${STAGES[stage]} ...\n`);
}

/** Writes the file completely or not at all. */
async function write(target, bytes) {
  const folder = await mkdtemp(join(dirname(resolve(target)), '.tulle-')).catch((error) => {
    throw new TulleError(`${target} cannot be written: ${messageOf(error)}`);
  });
  try {
    await writeFile(join(folder, 'file'), bytes);
    await rename(join(folder, 'file'), target);
  } catch (error) {
    throw new TulleError(`${target} cannot be written: ${messageOf(error)}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function print(report) {
  const lines = [`${report.name}: ${report.format} file, ${size(report.file_bytes)}`];
  for (const what of ['input', 'output']) {
    for (const { name, shape, dtype, mean, std } of report[`${what}s`]) {
      const normalised = mean === 0 && std === 1 ? '' : `, (pixel - ${mean}) / ${std}`;
      lines.push(`  ${what} ${name}: ${shape.join('x')} ${dtype}${normalised}`);
    }
  }
  lines.push(
    `${count(report.macs)} MACs, ${count(report.nonzero_macs)} with nonzero weights; ${count(report.parameters)} parameters`,
    `${percent(report.zeros)} of ${count(report.weights)} weights are zero; ${report.dead_channels} dead channels`,
    '',
    ...table(['op', 'count', 'MACs', 'share'],
      report.ops.map(({ op, count: times, macs, share }) => [op, String(times), count(macs), macs ? percent(share) : ''])),
    '',
    ...table(['layer', 'op', 'output', 'MACs', 'zeros'],
      report.layers.map(({ name, op, output_shape, macs, zeros }) => [name.slice(-40), op, output_shape.join('x'), count(macs), percent(zeros)])),
  );
  process.stdout.write(`${lines.join('\n')}\n`);
}

function table(heads, rows) {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i].length)));
  return [heads, ...rows].map((row) => row.map((cell, i) => i ? cell.padStart(widths[i]) : cell.padEnd(widths[i])).join('  '));
}

const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`);
const count = (number) => (number < 1e4 ? String(number) : number < 1e6 ? `${(number / 1e3).toFixed(0)} k` : `${(number / 1e6).toFixed(1)} M`);
const percent = (share) => `${(100 * share).toFixed(0)}%`;

main().then(() => process.exitCode ??= 0, (error) => {
  process.stderr.write(`Error: ${error instanceof TulleError ? error.message : error?.stack ?? error}\n`);
  process.exitCode = 1;
});
