// tulle's Python converter in Pyodide: the same in a worker of a page (worker.js) and in Node (bin/tulle.js).

import { TulleError, messageOf } from '../errors.js';

/** The Pyodide that the converter is tested with: scripts/pyodide_wheels.py builds for the same. */
export const PYODIDE_VERSION = '314.0.7';

/** The version of tulle: what another one converts is another file. */
export const VERSION = '0.1.0';

/** Where Pyodide comes from if nothing else is said. */
export const PYODIDE_CDN = `https://cdn.jsdelivr.net/pyodide/v${PYODIDE_VERSION}/full/`;

/** What reads ONNX files. Pyodide does not have it, and the Python package index does. */
export const ONNX = Object.freeze(['onnx==1.23.2']);

/** @typedef {'pyodide' | 'packages' | 'converting'} Stage what is going on: fetching and starting Pyodide, fetching packages, the work */

/**
 * @typedef {object} Task
 * @property {'convert' | 'sparsify' | 'inspect'} task
 * @property {Uint8Array} bytes of the model file
 * @property {string} name of the model file, which errors and the converted model bear
 * @property {'.tulle' | '.tflite'} [suffix] of the file to write
 * @property {Record<string, unknown>} [settings] keyword arguments of the task in py/tulle/bridge.py
 * @property {readonly string[]} [onnx] what micropip installs if the file is ONNX
 */

/**
 * @typedef {object} Job A call of convert() or inspect() that waits.
 * @property {Task | undefined} task undefined: Python is only started
 * @property {import('./index.js').PythonOptions['onProgress']} onProgress
 * @property {(value: any) => void} resolve
 * @property {(error: import('../errors.js').TulleError) => void} reject
 */

const FOLDER = '/tulle-files';

const BRIDGE = `
import os
os.makedirs('${FOLDER}', exist_ok=True)
os.chdir('${FOLDER}')
from tulle.bridge import call
call`;

/**
 * @typedef {object} Python
 * @property {(task: Task, onStage: (stage: Stage) => void) => Promise<{ result: any, bytes?: Uint8Array<ArrayBuffer> }>} run
 *   rejects with a TulleError that has the converter's own message
 */

/**
 * Starts Pyodide with tulle in it.
 * @param {object} options
 * @param {(options: object) => Promise<any>} options.loadPyodide Pyodide's own
 * @param {string} [options.indexURL] where its files are; by default those beside it
 * @param {ArrayBuffer | Uint8Array} options.archive dist/tulle-python.zip
 * @param {(stage: Stage) => void} options.onStage
 * @returns {Promise<Python>}
 */
export async function startPython({ loadPyodide, indexURL, archive, onStage }) {
  // NumPy arrives while Python starts.
  const pyodide = await loadPyodide({ packages: ['numpy'], ...(indexURL !== undefined && { indexURL }) });
  if (pyodide.version !== PYODIDE_VERSION) {
    throw new TulleError(`the converter needs Pyodide ${PYODIDE_VERSION}, and this is ${pyodide.version}`);
  }
  onStage('packages');
  await install(pyodide, ['numpy']); // again, if that failed: now with a reason
  const site = pyodide.runPython('import site; site.getsitepackages()[0]');
  pyodide.unpackArchive(archive, 'zip', { extractDir: site });
  pyodide.runPython('import importlib; importlib.invalidate_caches()');
  const call = pyodide.runPython(BRIDGE);
  let readsOnnx = false;

  /** @param {string} task @param {object} settings */
  const answer = (task, settings) => {
    const { error, result } = JSON.parse(call(task, JSON.stringify(settings)));
    if (error !== undefined) throw new TulleError(error);
    return result;
  };

  /** @type {Python['run']} */
  async function run({ task, bytes, name, suffix = '.tulle', settings = {}, onnx = ONNX }, onStage) {
    // In the current folder, so that errors name it as it is.
    const source = name.replace(/^.*[/\\]/, '') || 'model';
    const target = `/tulle-converted${suffix}`;
    try {
      pyodide.FS.writeFile(`${FOLDER}/${source}`, bytes);
      if (!readsOnnx && bytes.length && answer('kind', { source }) === 'onnx') {
        onStage('packages');
        await installOnnx(pyodide, onnx);
        readsOnnx = true;
      }
      onStage('converting');
      if (task === 'inspect') return { result: answer(task, { source }) };
      const result = answer(task, { source, target, ...settings });
      return { result, bytes: pyodide.FS.readFile(target) };
    } finally {
      for (const path of [`${FOLDER}/${source}`, target]) {
        if (pyodide.FS.analyzePath(path).exists) pyodide.FS.unlink(path);
      }
    }
  }
  return { run };
}

/**
 * @param {any} pyodide
 * @param {string[]} packages of Pyodide's own list
 */
async function install(pyodide, packages) {
  /** @type {string[]} */
  const failures = [];
  const quiet = { messageCallback() {}, errorCallback: (/** @type {string} */ message) => failures.push(message) };
  try {
    await pyodide.loadPackage(packages, quiet);
  } catch (error) {
    failures.push(messageOf(error));
  }
  const missing = packages.filter((name) => !(name in pyodide.loadedPackages));
  if (missing.length) {
    throw new TulleError(`Pyodide's package ${missing.join(', ')} cannot be loaded: ${failures.join('; ')}`);
  }
}

/** @param {any} pyodide @param {readonly string[]} packages */
async function installOnnx(pyodide, packages) {
  await install(pyodide, ['micropip']);
  try {
    await pyodide.pyimport('micropip').install([...packages]);
    pyodide.runPython('import onnx');
  } catch (error) {
    throw new TulleError(`reading ONNX needs the Python package onnx, which cannot be installed: ${lastLine(error)}`,
      { cause: error });
  }
}

/** The last line of a Python traceback says what happened. @param {unknown} error */
export const lastLine = (error) => messageOf(error).trim().split('\n').at(-1) ?? '';
