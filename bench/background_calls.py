#!/usr/bin/env python3
"""A camera frame's way through a background effect without a GPU: tulle/background beside what call applications do.

Their way is a 2D canvas (draw, `filter: blur`, composite operations) with the dense network in LiteRT.js, in the
page; tulle's is `BackgroundProcessor.frame()`. Both take the same I420 VideoFrames and give a VideoFrame. Prints
milliseconds, medians, and the 90th percentile of the whole as the page sees it. Ways take turns, a few frames each.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import tulle
from harness.browser import chromium
from harness.errors import explained
from harness.install import install
from harness.models import CHECKOUT
from harness.server import Server

DENSE = CHECKOUT / ".cache/models/selfie_segmentation_landscape.tflite"
PERSON = CHECKOUT / "demos/images/person/1.jpg"
SIZES = ((640, 360), (1280, 720))
STAGES = ("copy", "scale", "network", "mask", "composite", "hand", "whole")

# Both ways as an object of its own: { frame(VideoFrame) -> times of the stages }.
MEASURE = """async ({ base, width, height, threads, planes, warmup, runs, turns }) => {
  const { BackgroundProcessor } = await import(new URL('web/src/background/index.js', base));
  const { start } = await import(new URL('bench/page/adapters/litertjs.js', base));
  const bytes = async (url) => new Uint8Array(await (await fetch(new URL(url, base))).arrayBuffer());
  const data = await bytes(planes);
  const camera = (i) => new VideoFrame(data,
    { format: 'I420', codedWidth: width, codedHeight: height, timestamp: 33333 * i });

  const throughTulle = async (model) => {
    const processor = await BackgroundProcessor.create({ effect: 'blur', strength: 0.5, threads, model });
    return {
      async frame(frame) {
        const start = performance.now();
        const out = await processor.frame(frame);
        const whole = performance.now() - start;
        out.close();
        return { ...processor.stats.ms, whole };
      },
      close: () => processor.close(),
    };
  };

  const throughCanvas = async () => {
    const [w, h] = [256, 144];
    const runtime = await start({ threads });
    const network = await runtime.load(await bytes('data/dense.tflite'), [{ shape: [1, h, w, 3] }]);
    const small = new OffscreenCanvas(w, h).getContext('2d', { willReadFrequently: true });
    const matte = new OffscreenCanvas(w, h).getContext('2d');
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    const input = new Float32Array(w * h * 3);
    const alpha = new ImageData(w, h);
    return {
      async frame(frame) {
        const start = performance.now();
        small.drawImage(frame, 0, 0, w, h);
        const { data } = small.getImageData(0, 0, w, h);
        for (let i = 0, j = 0; i < data.length; i += 4) {
          input[j++] = data[i] / 255;
          input[j++] = data[i + 1] / 255;
          input[j++] = data[i + 2] / 255;
        }
        const scaled = performance.now();
        const [{ data: mask }] = await network.run([input]);
        const segmented = performance.now();
        for (let i = 0; i < mask.length; i++) alpha.data[4 * i + 3] = 255 * mask[i];
        matte.putImageData(alpha, 0, 0);
        const masked = performance.now();
        context.globalCompositeOperation = 'copy';
        context.filter = `blur(${height / 180}px)`; // softens the mask's edge
        context.drawImage(matte.canvas, 0, 0, width, height);
        context.globalCompositeOperation = 'source-in';
        context.filter = 'none';
        context.drawImage(frame, 0, 0, width, height);
        context.globalCompositeOperation = 'destination-over';
        context.filter = `blur(${0.03 * height}px)`;
        context.drawImage(frame, 0, 0, width, height);
        context.getImageData(0, 0, 1, 1); // drawing is only noted until somebody looks
        const composed = performance.now();
        const out = new VideoFrame(canvas, { timestamp: frame.timestamp, alpha: 'discard' });
        const end = performance.now();
        out.close();
        return { copy: 0, scale: scaled - start, network: segmented - scaled, mask: masked - segmented,
                 composite: composed - masked, hand: end - composed, whole: end - start };
      },
      close() {},
    };
  };

  const ways = {
    'canvas, LiteRT.js': await throughCanvas(),
    'tulle, dense': await throughTulle(new URL('data/dense.tulle', base)),
    'tulle, sparse': await throughTulle(),
  };
  const found = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let turn = -1; turn < turns; turn++) { // the first is to warm up
    for (const [name, way] of Object.entries(ways)) {
      for (let i = 0; i < (turn < 0 ? warmup : runs); i++) {
        const frame = camera(i);
        const times = await way.frame(frame);
        frame.close();
        if (turn >= 0) found[name].push(times);
      }
    }
  }
  for (const way of Object.values(ways)) await way.close();
  return found;
}"""

EPILOG = """\b
Examples:
  python bench/background_calls.py
  python bench/background_calls.py --turns 20 --threads 1
"""


def write_inputs(folder: Path) -> None:
    """The dense network in both formats, and the person as I420 frames."""
    (folder / "dense.tflite").write_bytes(DENSE.read_bytes())
    (folder / "dense.tulle").write_bytes(tulle.convert(DENSE, input_mean=0, input_std=255).data)
    for width, height in SIZES:
        ycc = np.asarray(Image.open(PERSON).convert("YCbCr").resize((width, height)))
        planes = [ycc[..., 0], ycc[::2, ::2, 1], ycc[::2, ::2, 2]]
        (folder / f"{width}.i420").write_bytes(b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes))


async def measure(threads: tuple[int, ...], options: dict[str, int]) -> dict[tuple[int, int, int], dict[str, Any]]:
    """Times by size and number of threads, and by way."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        with Server(CHECKOUT, folder) as server:
            async with chromium() as browser:
                for width, height in SIZES:
                    for number in threads:
                        page = await browser.new_page()
                        await page.goto(server.url("tulle", "bench/page/contender.html"))
                        given = {
                            **options,
                            "base": server.url("tulle", ""),
                            "width": width,
                            "height": height,
                            "threads": number,
                            "planes": f"data/{width}.i420",
                        }
                        found[width, height, number] = await page.evaluate(MEASURE, given)
                        await page.close()
    return found


def table(found: dict[tuple[int, int, int], dict[str, Any]]) -> Table:
    shown = Table("frame", "threads", "way", *STAGES, "90 %")
    for (width, height, threads), ways in found.items():
        for way, times in ways.items():
            medians = {stage: float(np.median([one[stage] for one in times])) for stage in STAGES}
            most = float(np.percentile([one["whole"] for one in times], 90))
            numbers = [f"{medians[stage]:.2f}" for stage in STAGES]
            shown.add_row(f"{width} x {height}", str(threads), way, *numbers, f"{most:.2f}")
    return shown


@click.command(epilog=EPILOG, help=__doc__)
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--warmup", default=30, show_default=True, help="Frames of each way before timing.")
@click.option("--runs", default=10, show_default=True, help="Frames of a turn.")
@click.option("--turns", default=8, show_default=True, help="Turns of each way.")
def main(threads: tuple[int, ...], warmup: int, runs: int, turns: int) -> None:
    console = Console()
    with explained(console):
        install()
        options = {"warmup": warmup, "runs": runs, "turns": turns}
        console.print(table(asyncio.run(measure(threads, options))))


if __name__ == "__main__":
    main()
