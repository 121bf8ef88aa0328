// tfjs-tflite: an older TFLite and XNNPACK in wasm SIMD128. Its model runner is used directly: predict() would add
// two copies through tfjs tensors to every run.
export async function start({ threads }) {
  const tflite = await import("../../node_modules/@tensorflow/tfjs-tflite/dist/tf-tflite.fesm.min.js");
  tflite.setWasmPath(new URL("../../node_modules/@tensorflow/tfjs-tflite/wasm/", import.meta.url).href);
  return {
    async load(bytes) {
      const { modelRunner } = await tflite.loadTFLiteModel(bytes, { numThreads: threads });
      const inputs = modelRunner.getInputs();
      const outputs = modelRunner.getOutputs();
      return {
        async run(values) {
          values.forEach((value, i) => inputs[i].data().set(value));
          if (!modelRunner.infer()) throw new Error("infer() failed");
          return outputs.map((output) => ({ name: output.name, data: output.data().slice() }));
        },
        close: () => modelRunner.cleanUp(),
      };
    },
  };
}
