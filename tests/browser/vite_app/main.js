// What an app would write. The test reads `window.results`.

import { TulleError, load } from 'tulle';

window.results = (async () => {
  const results = [];
  for (const variant of ['simd', 'relaxed']) {
    for (const how of [{ worker: true, threads: 1 }, { worker: true, threads: 2 }, {}]) {
      const model = await load('/tiny.tulle', { variant, ...how });
      const { y } = await model.run(new Float32Array(48).fill(1.25));
      results.push({ variant: model.variant, threads: model.threads, worker: model.worker, y: [...y] });
      await model.close();
    }
  }
  const error = await load('/absent.tulle').catch((thrown) => thrown);
  results.push(error instanceof TulleError);
  return results;
})();
