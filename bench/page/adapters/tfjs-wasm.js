// TensorFlow.js with its wasm backend: XNNPACK convolutions called op by op from JavaScript. Its scripts for pages
// without a bundler are used, which put everything on the global `tf`.
const PACKAGES = new URL("../../node_modules/@tensorflow/", import.meta.url).href;

function loadScript(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${url} could not be loaded`));
    document.head.append(script);
  });
}

export async function start({ threads }) {
  for (const name of ["core", "backend-wasm", "converter"]) {
    await loadScript(`${PACKAGES}tfjs-${name}/dist/tf-${name}.min.js`);
  }
  const tf = self.tf;
  tf.wasm.setWasmPaths(`${PACKAGES}tfjs-backend-wasm/dist/`);
  tf.wasm.setThreadsCount(threads);
  if (!(await tf.setBackend("wasm"))) throw new Error("the wasm backend did not start");
  return {
    /** `bytes` is [model.json, weights] as harness/export_tfjs.py writes them. */
    async load([json, weightData], inputs) {
      const described = JSON.parse(new TextDecoder().decode(json));
      const { modelTopology, weightsManifest, format } = described;
      const weightSpecs = weightsManifest.flatMap((group) => group.weights);
      const model = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData, format }));
      const inputNodes = described.inputs.map(([node]) => node);
      const outputNodes = described.outputs.map(([node]) => node);
      return {
        async run(floats) {
          const tensors = floats.map((value, i) => tf.tensor(value, inputs[i].shape));
          const feeds = Object.fromEntries(inputNodes.map((node, i) => [node, tensors[i]]));
          const results = [model.execute(feeds, outputNodes)].flat();
          const values = await Promise.all(results.map((tensor) => tensor.data()));
          tf.dispose([...tensors, ...results]);
          return values.map((data, i) => ({ name: described.outputs[i][1], data }));
        },
        close: () => model.dispose(),
        describe: () => ({ threads: tf.wasm.getThreadsCount() }),
      };
    },
  };
}
