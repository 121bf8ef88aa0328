// The page side of the benchmark: one contender with one model. run.py drives it through `window.bench`.
//
// An adapter is a module with `start(options)`, which loads the runtime and resolves to an object with
// `load(bytes, inputs)`, which resolves to a model: `run(values)` takes one typed array per input and resolves to
// `[{name, data}]`, each `data` a typed array copied out of the runtime's memory; `close()` frees the model.

let runtime, model, bytes, inputs, current;

const TYPES = { float32: Float32Array, int8: Int8Array, uint8: Uint8Array, int32: Int32Array };

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response.arrayBuffer();
}

/** A fresh copy for each load, since a runtime may keep or transfer it; made outside the timings. */
const copyOfBytes = () => (bytes instanceof ArrayBuffer ? bytes.slice(0) : structuredClone(bytes));

function encode(floats) {
  const octets = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
  let text = "";
  for (let i = 0; i < octets.length; i += 32768) text += String.fromCharCode(...octets.subarray(i, i + 32768));
  return btoa(text);
}

/** The shortest time that is measured to one per cent. */
const SAMPLE_MS = 0.5;
const MOST_TOGETHER = 100;

window.bench = {
  /**
   * Loads the runtime and the model and runs once. `files` are the URLs that make up the model, `inputs` its
   * inputs in order ({name, shape, dtype}) and `values[set][input]` the URLs of their values.
   * Resolves to the milliseconds from the model's bytes in memory, and nothing else loaded, to the first output.
   */
  async open({ adapter, options, files, inputs: described, values }) {
    if (!self.crossOriginIsolated) throw new Error("the page is not cross-origin isolated");
    const { start } = await import(`./adapters/${adapter}.js`);
    const parts = await Promise.all(files.map(fetchBytes));
    bytes = parts.length === 1 ? parts[0] : parts;
    inputs = described;
    current = [];
    for (const set of values) {
      const buffers = await Promise.all(set.map(fetchBytes));
      current.push(buffers.map((buffer, i) => new TYPES[inputs[i].dtype](buffer)));
    }
    const copy = copyOfBytes();
    const begin = performance.now();
    runtime = await start(options);
    model = await runtime.load(copy, inputs);
    await model.run(current[0]);
    return performance.now() - begin;
  },

  /**
   * Milliseconds of each inference, after `warmup` that are not counted: of `runs`, and of more until `least`
   * milliseconds have passed. Short ones are timed several together, since the clock has steps of 5 µs.
   */
  async burst(warmup, runs, least = 0) {
    const several = async (count) => {
      const begin = performance.now();
      for (let i = 0; i < count; i++) await model.run(current[0]);
      return (performance.now() - begin) / count;
    };
    if (warmup) await several(warmup);
    const together = Math.min(MOST_TOGETHER, Math.ceil(SAMPLE_MS / Math.max(await several(2), 1e-3)));
    const times = [];
    const first = performance.now();
    while (times.length < runs || performance.now() - first < least) times.push(await several(together));
    return times;
  },

  /** The outputs for every set of inputs, base64 of their float32 values. */
  async outputs() {
    const result = [];
    for (const values of current) {
      result.push((await model.run(values)).map(({ name, data }) => ({ name, data: encode(Float32Array.from(data)) })));
    }
    return result;
  },

  memory: () => self.benchMemoryBytes(),

  /** Loads the model a second time into the running runtime: milliseconds from bytes to first output. */
  async reload() {
    const copy = copyOfBytes();
    const begin = performance.now();
    const second = await runtime.load(copy, inputs);
    await second.run(current[0]);
    const milliseconds = performance.now() - begin;
    await second.close();
    return milliseconds;
  },

  /** What the runtime reports about itself, if anything: build variant, threads. */
  describe: () => (model.describe ? model.describe() : {}),

  /**
   * tulle only: `steps` as model.profile() lists them, `milliseconds[run][step]`, and `wall[run]`, milliseconds of a
   * whole inference, not timed step by step, as the page sees it.
   */
  async profile(runs) {
    const profiles = [];
    const wall = [];
    for (let i = 0; i < runs; i++) {
      const begin = performance.now();
      await model.run(current[0]);
      wall.push(performance.now() - begin);
      profiles.push(await model.profile());
    }
    return { steps: profiles[0], milliseconds: profiles.map((rows) => rows.map(({ ms }) => ms)), wall };
  },
};
