#!/usr/bin/env python3
"""What another background costs a frame, without a GPU: milliseconds of each part, in Chromium, in a worker.

Frames are I420, 640 x 360 and 1280 x 720, on one thread and two; medians, and the 90th percentile of the whole. "copy"
is what writing a frame into the engine's memory takes.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

import tulle
from harness.browser import chromium
from harness.errors import explained
from harness.models import CHECKOUT
from harness.server import Server

NETWORKS = (".cache/models/selfie_segmentation_landscape.tflite", "web/models/selfie_segmentation.tulle")
SIZES = ((640, 360), (1280, 720))
PICTURE = CHECKOUT / "demos" / "images" / "person" / "1.jpg"
PARTS = ("copy", "input", "network", "mask", "composite", "all")

WORKER = """
self.onmessage = async ({ data: { base, url, frame, width, height, threads, effect, warmup, runs, picture } }) => {
  const { Compositor } = await import(new URL('web/src/background/compositor.js', base));
  const compositor = await Compositor.create(url, { threads });
  const bytes = new Uint8Array(await (await fetch(frame)).arrayBuffer());
  if (effect === 'picture') {
    compositor.picture({ data: new Uint8ClampedArray(4 * width * height).fill(picture), width, height });
  }
  const times = [];
  for (let i = 0; i < warmup + runs; i++) {
    const start = performance.now();
    compositor.input('I420', width, height).bytes.set(bytes);
    const written = performance.now();
    const { ms } = compositor.run({ effect });
    const end = performance.now();
    if (i >= warmup) times.push([written - start, ms.input, ms.network, ms.mask, ms.composite, end - start]);
  }
  await compositor.close();
  self.postMessage(times);
};
"""
MEASURE = """(options) => new Promise((resolve, reject) => {
  const script = URL.createObjectURL(new Blob([options.worker], { type: 'text/javascript' }));
  const worker = new Worker(script, { type: 'module' });
  worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(options);
})"""

EPILOG = """\b
Examples:
  python bench/background.py
  python bench/background.py --model web/models/selfie_segmentation.tulle --effect picture
"""


def i420(width: int, height: int) -> bytes:
    """A picture of a person as a camera gives it; sides are even."""
    rgb = np.asarray(ImageOps.fit(Image.open(PICTURE).convert("RGB"), (width, height))).astype(float)
    luma = rgb @ (0.299, 0.587, 0.114)
    chroma = [(rgb[..., 2] - luma) / 1.772, (rgb[..., 0] - luma) / 1.402]
    halves = [plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) * 224 / 255 + 128 for plane in chroma]
    return b"".join(np.rint(plane).astype(np.uint8).tobytes() for plane in (luma * 219 / 255 + 16, *halves))


async def measure(models: list[Path], effect: str, warmup: int, runs: int) -> Table:
    table = Table("network", "frame", "threads", *PARTS, "90 %")
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            (Path(folder) / f"{width}.i420").write_bytes(i420(width, height))
        for model in models:
            data = model.read_bytes()
            if model.suffix != ".tulle":
                data = tulle.convert(data, input_mean=0, input_std=255).data
            (Path(folder) / f"{model.stem}.tulle").write_bytes(data)
        with Server(CHECKOUT, Path(folder)) as server:
            async with chromium() as browser:
                page = await browser.new_page()
                await page.goto(server.url("background", "bench/page/python.html"))
                for model in models:
                    for width, height in SIZES:
                        for threads in (1, 2):
                            options: dict[str, Any] = {
                                "worker": WORKER, "base": server.url("background", ""), "threads": threads,
                                "url": server.url("background", f"data/{model.stem}.tulle"), "width": width,
                                "frame": server.url("background", f"data/{width}.i420"), "height": height,
                                "effect": effect, "warmup": warmup, "runs": runs, "picture": 128,
                            }  # fmt: skip
                            times = np.array(await page.evaluate(MEASURE, options))
                            figures = [*np.median(times, axis=0), np.quantile(times[:, -1], 0.9)]
                            cells = [f"{figure:.2f}" for figure in figures]
                            table.add_row(model.stem, f"{width} x {height}", str(threads), *cells)
                await page.close()
    return table


@click.command(epilog=EPILOG, help=__doc__)
@click.option(
    "--model", "models", multiple=True, type=click.Path(path_type=Path), help="Networks that find people.",
    default=[CHECKOUT / network for network in NETWORKS],
)  # fmt: skip
@click.option("--effect", type=click.Choice(["blur", "picture", "colour"]), default="blur", show_default=True)
@click.option("--warmup", default=40, show_default=True, help="Frames before those that count.")
@click.option("--runs", default=150, show_default=True, help="Frames that count, of each kind.")
def main(models: tuple[Path, ...], effect: str, warmup: int, runs: int) -> None:
    console = Console()
    with explained(console):
        console.print(asyncio.run(measure(list(models), effect, warmup, runs)))


if __name__ == "__main__":
    main()
