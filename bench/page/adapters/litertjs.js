// LiteRT.js: XNNPACK in wasm with relaxed SIMD; its threaded build is chosen when more than one thread is asked for.
export async function start({ threads }) {
  const { Tensor, loadAndCompile, loadLiteRt } = await import("../../node_modules/@litertjs/core/dist/index.js");
  const wasm = new URL("../../node_modules/@litertjs/core/wasm/", import.meta.url).href;
  await loadLiteRt(wasm, { threads: threads > 1 });
  return {
    async load(bytes, inputs) {
      const model = await loadAndCompile(new Uint8Array(bytes), {
        accelerator: "wasm",
        cpuOptions: { numThreads: threads },
      });
      const names = model.getOutputDetails().map(({ name }) => name);
      return {
        async run(values) {
          const tensors = values.map((value, i) => new Tensor(value, inputs[i].shape));
          const results = await model.run(tensors);
          const outputs = results.map((tensor, i) => ({ name: names[i], data: tensor.toTypedArray().slice() }));
          for (const tensor of [...tensors, ...results]) tensor.delete();
          return outputs;
        },
        close: () => model.delete(),
      };
    },
  };
}
