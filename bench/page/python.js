// The page side of bench/python_hosts.py, which drives it through `window.python`: Pyodide, or the browser engine alone.
import { load } from '../../web/src/index.js';

/** @type {{ name: string, call: () => Promise<number> }[]} each `call` runs its model once and gives milliseconds */
const contenders = [];

const input = (length) => Float32Array.from({ length }, (_, i) => (i % 97) / 97);

// `local` and `bridge` are what JavaScript calls; they time themselves, so that the way into Python is not included.
const PYTHON = `
from pathlib import Path
from time import perf_counter
import tulle
try:
    import numpy
except ImportError:
    numpy = None
data = Path("/model.tulle").read_bytes()
model = tulle.load(data)
threaded = await tulle.load_async(data, threads=threads)
values = memoryview(values.to_py()).cast("B").cast("f")
if numpy is not None:
    values = numpy.asarray(values).reshape(model.inputs[0].shape)
def local():
    begin = perf_counter()
    model(values)
    return (perf_counter() - begin) * 1e3
async def bridge():
    begin = perf_counter()
    await threaded(values)
    return (perf_counter() - begin) * 1e3
numpy is not None
`;

window.python = {
  /** Opens the model in the browser engine on each number of threads. */
  async openEngine({ url, threads }) {
    for (const count of threads) {
      const model = await load(url, { threads: count });
      const values = input(model.inputs[0].shape.reduce((a, b) => a * b));
      const call = async () => {
        const begin = performance.now();
        await model.run(values);
        return performance.now() - begin;
      };
      contenders.push({ name: `engine ${count}`, call });
    }
  },

  /** Starts Pyodide and opens the model in it, on its own heap and through `load_async`; whether NumPy is there. */
  async openPyodide({ home, packages, url, elements, threads }) {
    const { loadPyodide } = await import(`${home}/pyodide.mjs`);
    const pyodide = await loadPyodide({ indexURL: home });
    await pyodide.loadPackage(packages, { messageCallback() {} });
    pyodide.FS.writeFile('/model.tulle', new Uint8Array(await (await fetch(url)).arrayBuffer()));
    pyodide.globals.set('values', input(elements));
    pyodide.globals.set('threads', threads);
    const numpy = await pyodide.runPythonAsync(PYTHON);
    for (const name of ['local', 'bridge']) contenders.push({ name, call: pyodide.globals.get(name) });
    return numpy;
  },

  /** Milliseconds of `runs` calls of a contender after some that do not count. */
  async burst({ name, warmup, runs }) {
    const { call } = contenders.find((contender) => contender.name === name);
    for (let i = 0; i < warmup; i++) await call();
    const milliseconds = [];
    for (let i = 0; i < runs; i++) milliseconds.push(await call());
    return milliseconds;
  },
};
