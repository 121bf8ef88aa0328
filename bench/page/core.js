// The page side of bench/harness/core.py: how fast the core adds, loads and multiplies at the moment.

const SLICES = 60;
const SLICE_MS = 0.5;
const WARMUP_MS = 50; // until the browser has optimised the loops

window.core = {
  /** `work[name]`: what a round of an exported loop does. Resolves to how much each did a microsecond, slice by slice. */
  async measure({ url, work }) {
    const { instance } = await WebAssembly.instantiate(await (await fetch(url)).arrayBuffer());
    const loops = Object.keys(work).map((name) => {
      const run = (rounds) => instance.exports[name](rounds, name === "adds" ? 1 : 0);
      const time = (rounds) => {
        const begin = performance.now();
        run(rounds);
        return performance.now() - begin;
      };
      return { name, time, rounds: 0, rates: [] };
    });
    for (const loop of loops) {
      const begin = performance.now();
      while (performance.now() - begin < WARMUP_MS) {
        loop.time(20000);
        await new Promise((resolve) => setTimeout(resolve));
      }
      loop.rounds = Math.ceil((20000 * SLICE_MS) / Math.max(loop.time(20000), 0.005));
    }
    for (let i = 0; i < SLICES; i++) {
      for (const { name, time, rounds, rates } of loops) {
        rates.push((work[name] * rounds) / time(rounds) / 1e3);
      }
    }
    return Object.fromEntries(loops.map(({ name, rates }) => [name, rates]));
  },
};
