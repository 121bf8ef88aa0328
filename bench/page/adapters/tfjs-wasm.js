// TensorFlow.js with its wasm backend: XNNPACK convolutions called op by op from JavaScript.
export async function start({ threads }) {
  const modules = "../../node_modules/@tensorflow/";
  const tf = await import(`${modules}tfjs-core/dist/tf-core.fesm.min.js`);
  const backend = await import(`${modules}tfjs-backend-wasm/dist/tf-backend-wasm.fesm.min.js`);
  const { loadGraphModel } = await import(`${modules}tfjs-converter/dist/tf-converter.fesm.min.js`);
  backend.setWasmPaths(new URL(`${modules}tfjs-backend-wasm/dist/`, import.meta.url).href);
  backend.setThreadsCount(threads);
  await tf.setBackend("wasm");
  await tf.ready();
  return {
    /** `bytes` is [model.json, weights]. */
    async load([json, weights], inputs) {
      const { modelTopology, weightsManifest, format } = JSON.parse(new TextDecoder().decode(json));
      const weightSpecs = weightsManifest.flatMap((group) => group.weights);
      const model = await loadGraphModel(
        tf.io.fromMemory({ modelTopology, weightSpecs, weightData: weights, format }),
      );
      const names = model.outputNodes;
      return {
        async run(values) {
          const tensors = values.map((value, i) => tf.tensor(value, inputs[i].shape));
          const feeds = Object.fromEntries(inputs.map(({ name }, i) => [name, tensors[i]]));
          const results = [model.execute(feeds, names)].flat();
          const outputs = await Promise.all(results.map((t, i) => t.data().then((data) => ({ name: names[i], data }))));
          tf.dispose([...tensors, ...results]);
          return outputs;
        },
        close: () => model.dispose(),
        describe: () => ({ threads: backend.getThreadsCount() }),
      };
    },
  };
}
