// tulle itself, as a page uses it.
export async function start({ threads, variant, worker }) {
  const { load } = await import("../../../web/src/index.js");
  return {
    async load(bytes, inputs) {
      const model = await load(bytes, { threads, variant, worker });
      return {
        async run(values) {
          const outputs = await model.run(Object.fromEntries(inputs.map(({ name }, i) => [name, values[i]])));
          return Object.entries(outputs).map(([name, data]) => ({ name, data }));
        },
        close: () => model.close(),
        describe() {
          const { variant, threads, worker, info } = model;
          return { variant, threads, worker, memoryBytes: info.memoryBytes };
        },
        profile: () => model.profile(),
      };
    },
  };
}
