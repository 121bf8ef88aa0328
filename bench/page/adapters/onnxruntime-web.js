// ONNX Runtime Web: its wasm execution provider (SIMD128; one build serves every thread count).
export async function start({ threads }) {
  const dist = new URL("../../node_modules/onnxruntime-web/dist/", import.meta.url).href;
  const ort = await import("../../node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = dist;
  ort.env.wasm.numThreads = threads;
  return {
    async load(bytes, inputs) {
      const session = await ort.InferenceSession.create(bytes, {
        executionProviders: ["wasm"],
        graphOptimizationLevel: "all",
      });
      return {
        async run(values) {
          const feeds = {};
          inputs.forEach(({ name, shape, dtype }, i) => (feeds[name] = new ort.Tensor(dtype, values[i], shape)));
          const results = await session.run(feeds);
          return session.outputNames.map((name) => ({ name, data: results[name].data }));
        },
        close: () => session.release(),
      };
    },
  };
}
