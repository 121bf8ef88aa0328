#!/usr/bin/env python3
"""What `model.run()` costs a page beyond the engine's own time: the way to the worker and back, and the inputs.

Prints milliseconds, median and 90th percentile, for arrays, ImageData and video frames, in a loop and at 30 frames per
second, on one thread and two.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import tulle
from harness.browser import chromium
from harness.errors import explained
from harness.models import CHECKOUT, SPECS, tflite_bytes
from harness.server import Server

# Times runs one after the other, each `every` milliseconds after the one before, or at once.
MEASURE = """async ({ url, threads, every, warmup, runs }) => {
  const { load } = await import(new URL('web/src/index.js', base));
  const model = await load(url, { threads });
  const [, height, width] = model.inputs[0].shape;
  const canvas = new OffscreenCanvas(640, 480);
  const context = canvas.getContext('2d', { alpha: false });
  context.fillRect(100, 100, 300, 300);
  const planes = new Uint8Array(640 * 480 * 1.5).fill(128);
  const inputs = {
    Float32Array: new Float32Array(height * width * 3).fill(0.5),
    ImageData: new ImageData(width, height),
    'VideoFrame, I420, 640 x 480': new VideoFrame(planes,
      { format: 'I420', codedWidth: 640, codedHeight: 480, timestamp: 0 }),
    'canvas, 640 x 480': canvas,
  };
  const results = {};
  for (const [name, input] of Object.entries(inputs)) {
    const times = [];
    for (let i = 0; i < warmup + runs; i++) {
      const start = performance.now();
      await model.run(input);
      const took = performance.now() - start;
      if (i >= warmup) times.push([took - model.info.runMs, model.info.runMs]);
      if (every) await new Promise((resolve) => setTimeout(resolve, every - took));
    }
    results[name] = times;
  }
  await model.close();
  return results;
}"""

# What no library can save: a worker of five lines that computes as long as the engine, woken by a message or, asleep in
# memory.atomic.wait, by Atomics.notify, and answering by a message.
FLOOR = """async ({ ms, every, warmup, runs }) => {
  const script = `onmessage = ({ data }) => {
    const compute = () => { const until = performance.now() + ${ms}; while (performance.now() < until); };
    if (!data.bell) { compute(); return postMessage(data, [data.frame]); }
    for (let i = 0; ; i++) { Atomics.wait(data.bell, 0, i); compute(); postMessage(i); }
  }`;
  const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  const results = {};
  for (const way of ['a bare worker, by messages', 'a bare worker, by Atomics.notify']) {
    const worker = new Worker(url), bell = new Int32Array(new SharedArrayBuffer(4)), times = [];
    let frame = new ArrayBuffer(640 * 480 * 1.5);
    if (way.endsWith('notify')) worker.postMessage({ bell });
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (let i = 0; i < warmup + runs; i++) {
      const start = performance.now();
      const answer = new Promise((resolve) => { worker.onmessage = resolve; });
      if (way.endsWith('notify')) {
        Atomics.add(bell, 0, 1);
        Atomics.notify(bell, 0);
      } else worker.postMessage({ frame }, [frame]);
      frame = (await answer).data.frame ?? frame;
      const took = performance.now() - start;
      if (i >= warmup) times.push([took - ms, ms]);
      if (every) await new Promise((resolve) => setTimeout(resolve, every - took));
    }
    worker.terminate();
    results[way] = times;
  }
  return results;
}"""

EPILOG = """\b
Examples:
  python bench/overhead.py
  python bench/overhead.py --model selfie_segmentation_landscape --runs 500
"""


async def measure(model: str, warmup: int, runs: int) -> Table:
    table = Table("input", "threads", "rhythm", "engine, ms", "beyond it, ms", "90 %")
    with tempfile.TemporaryDirectory() as folder:
        data = tulle.convert(tflite_bytes(SPECS[model]), input_mean=0, input_std=255).data
        (Path(folder) / "model.tulle").write_bytes(data)
        with Server(CHECKOUT, Path(folder)) as server:
            async with chromium() as browser:
                for threads in (1, 2):
                    for rhythm, every in (("loop", 0.0), ("30 fps", 1000 / 30)):
                        page = await browser.new_page()
                        await page.goto(server.url("overhead", "bench/page/python.html"))
                        await page.evaluate("(base) => { self.base = base; }", server.url("overhead", ""))
                        options: dict[str, object] = {
                            "threads": threads,
                            "every": every,
                            "warmup": warmup,
                            "runs": runs,
                        }
                        options["url"] = server.url("overhead", "data/model.tulle")
                        found = await page.evaluate(MEASURE, options)
                        if threads == 1:
                            engine = np.median([row[1] for times in found.values() for row in times])
                            found |= await page.evaluate(FLOOR, {**options, "ms": float(engine)})
                        for name, times in found.items():
                            beyond, engine = np.array(times).T
                            figures = [np.median(engine), np.median(beyond), np.quantile(beyond, 0.9)]
                            table.add_row(name, str(threads), rhythm, *(f"{figure:.3f}" for figure in figures))
                        await page.close()
    return table


@click.command(epilog=EPILOG, help=__doc__)
@click.option("--model", default="hand_landmark_tulle", type=click.Choice(sorted(SPECS)), show_default=True)
@click.option("--warmup", default=40, show_default=True, help="Runs before those that count.")
@click.option("--runs", default=200, show_default=True, help="Runs that count, of each kind.")
def main(model: str, warmup: int, runs: int) -> None:
    console = Console()
    with explained(console):
        console.print(asyncio.run(measure(model, warmup, runs)))


if __name__ == "__main__":
    main()
