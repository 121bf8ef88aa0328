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
                        for name, times in (await page.evaluate(MEASURE, options)).items():
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
