#!/usr/bin/env python3
"""What a frame of hand tracking (`tulle/hands`) costs by part, with the dense, the distilled and the sparse networks.

The frames are VideoFrames as a camera gives them, I420, 640 x 480, of a hand that turns and wanders. The trackers take
turns in bursts. With --soak one tracker gets that many frames instead; its memory and what the browser complains of are
printed on the way. With --camera these come, as fast as a camera gives them, from one of Chromium's that shows a file.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from playwright.async_api import Page
from rich.console import Console
from rich.table import Table

import tulle
from harness.browser import chromium
from harness.errors import BenchError, explained
from harness.models import CHECKOUT, SPECS, tflite_bytes
from harness.server import Server
from tulle import TulleError

PICTURE = CHECKOUT / "demos" / "images" / "open-hand.jpg"

NETWORKS = {
    "dense": "hand_landmark_full",
    "distilled": "hand_landmark_lite",
    "sparse, tulle's own": None,  # the package's
    "sparse, published": "hand_landmark_sparse",
}

SETUP = """async (base) => {
  const { HandTracker } = await import(new URL('web/src/hands/index.js', base));
  const picture = await createImageBitmap(await (await fetch(new URL('data/hand.jpg', base))).blob());
  const canvas = new OffscreenCanvas(640, 480);
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  const draw = (i) => {
    const turn = (2 * Math.PI * i) / FRAMES;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = '#777';
    context.fillRect(0, 0, 640, 480);
    context.translate(320 + 60 * Math.sin(turn), 240 + 30 * Math.cos(turn));
    context.rotate(0.3 * Math.sin(2 * turn));
    context.drawImage(picture, -150, -150, 300, 300);
    return planes(context.getImageData(0, 0, 640, 480).data);
  };
  const planes = (rgba) => {
    const data = new Uint8Array(640 * 480 * 1.5);
    for (let y = 0; y < 480; y++) {
      for (let x = 0; x < 640; x++) {
        const at = 640 * y + x;
        const [r, g, b] = rgba.subarray(4 * at, 4 * at + 3);
        data[at] = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256;
        if (x % 2 || y % 2) continue;
        const chroma = 640 * 480 + 320 * (y / 2) + x / 2;
        data[chroma] = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256;
        data[chroma + 320 * 240] = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256;
      }
    }
    return data;
  };
  const FRAMES = 90;
  const frames = Array.from({ length: FRAMES }, (_, i) => draw(i));
  self.frameAt = (i) => new VideoFrame(frames[i % FRAMES],
    { format: 'I420', codedWidth: 640, codedHeight: 480, timestamp: i * 33333 });
  // What a page with a camera does; `self.open` counts frames that nobody closed.
  self.open = 0;
  self.startCamera = async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ video: true });
    self.camera = new MediaStreamTrackProcessor({ track: stream.getVideoTracks()[0] }).readable.getReader();
  };
  self.trackers = {};
  self.create = async (name, options) => {
    if (options.model) options.model = new URL(options.model, base).href;
    self.trackers[name] = await HandTracker.create(options);
    return [...self.trackers[name].notes];
  };
}"""

# Frames from..from + count of one tracker: [whole, read, detect, landmarks, hands] of each, in milliseconds.
BURST = """async ({ name, from, count }) => {
  const rows = [];
  for (let i = from; i < from + count; i++) {
    const frame = self.camera ? (await self.camera.read()).value : self.frameAt(i);
    const start = performance.now();
    const { hands, times } = await self.trackers[name].detect(frame, i * 33.3);
    rows.push([performance.now() - start, times.read, times.detect ?? 0, times.landmarks[0] ?? 0, hands.length]);
    frame.close();
    if (frame.format !== null) self.open++;
  }
  return { rows, memory: self.trackers[name].memoryBytes, open: self.open };
}"""

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

EPILOG = """\b
Examples:
  python bench/hand_tracking.py                     by part, one thread and two
  python bench/hand_tracking.py --threads 1 --rounds 30
  python bench/hand_tracking.py --soak 10000        is memory flat, is every frame closed?
  python bench/hand_tracking.py --soak 10000 --camera ../shared/video/hand.mjpeg
"""


async def opened(browser: Any, server: Server, models: dict[str, dict[str, Any]], complaints: list[str]) -> Page:
    page: Page = await browser.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(server.url("hands", "bench/page/python.html"))
    await page.evaluate(SETUP, server.url("hands", ""))
    for name, options in models.items():
        await page.evaluate("([name, options]) => self.create(name, options)", [name, options])
    return page


def converted(folder: Path, console: Console) -> dict[str, dict[str, Any]]:
    """Options of HandTracker.create() for each network that can be had."""
    shutil.copy(PICTURE, folder / "hand.jpg")
    models: dict[str, dict[str, Any]] = {}
    for name, model in NETWORKS.items():
        models[name] = {"maxHands": 1}
        if model is None:
            continue
        try:
            data = tulle.convert(tflite_bytes(SPECS[model]), input_mean=0, input_std=255).data
        except (BenchError, TulleError, OSError) as error:
            console.print(f"{name} is left out: {error}")
            del models[name]
            continue
        (folder / f"{model}.tulle").write_bytes(data)
        models[name]["model"] = f"data/{model}.tulle"
    return models


async def by_part(server: Server, models: dict[str, dict[str, Any]], threads: int, rounds: int) -> Table:
    count = 10
    title = f"{threads} thread{'s' if threads > 1 else ''}: ms a frame, median"
    table = Table("network", "whole", "of dense", "read", "landmarks", "of dense", "palms", "hands", title=title)
    complaints: list[str] = []
    async with chromium() as browser:
        page = await opened(browser, server, {n: {**o, "threads": threads} for n, o in models.items()}, complaints)
        times: dict[str, list[list[float]]] = {name: [] for name in models}
        for index in range(-4, rounds):
            for name in models if index % 2 else reversed(models):
                answer = await page.evaluate(BURST, {"name": name, "from": (index + 4) * count, "count": count})
                if index >= 0:
                    times[name] += answer["rows"][2:]  # without those that find the caches of another tracker
    dense = np.median(next(iter(times.values())), axis=0)
    for name, rows in times.items():
        whole, read, _, landmarks, _ = np.median(rows, axis=0)
        palms = [row[2] for row in rows if row[2]]
        found = np.mean([row[4] for row in rows])
        figures = [whole, whole / dense[0], read, landmarks, landmarks / dense[3]]
        cells = [f"{figure:.2f}" for figure in figures]
        table.add_row(name, *cells, f"{np.median(palms):.2f}" if palms else "-", f"{found:.2f}")
    return table


async def soak(server: Server, frames: int, threads: int, camera: Path | None, console: Console) -> None:
    """Raises BenchError where memory grows, frames stay open, hands are lost or the browser complains."""
    complaints: list[str] = []
    flags = [f"--use-file-for-fake-video-capture={camera}", *FAKE_CAMERA] if camera else []
    async with chromium(*flags) as browser:
        page = await opened(browser, server, {"soak": {"maxHands": 2, "threads": threads}}, complaints)
        session = await page.context.new_cdp_session(page)
        if camera:
            await page.evaluate("self.startCamera()")
        seen, begun = [], time.monotonic()
        step = min(500, frames)
        for start in range(0, frames, step):
            answer = await page.evaluate(BURST, {"name": "soak", "from": start, "count": step})
            await session.send("HeapProfiler.collectGarbage")
            heap = (await session.send("Runtime.getHeapUsage"))["usedSize"]
            seen.append((answer["memory"], heap))
            whole = np.median([row[0] for row in answer["rows"]])
            hands = np.mean([row[4] > 0 for row in answer["rows"]])
            rate = (start + step) / (time.monotonic() - begun)
            sizes = f"engine {answer['memory'] / 1e6:.2f} MB, page {heap / 1e6:.2f} MB"
            console.print(f"{start + step:6} frames, {rate:.1f} a second: {whole:.2f} ms, a hand in {hands:.0%}, "
                          f"{answer['open']} open, {sizes}", soft_wrap=True)  # fmt: skip
            if answer["open"]:
                raise BenchError(f"{answer['open']} frames are still open")
            if hands < (0.5 if camera else 0.95):
                raise BenchError(f"a hand was seen in {hands:.0%} of these frames only")
    if complaints:
        raise BenchError(f"the browser complained {len(complaints)} times: {complaints[0]}")
    first, last = seen[min(1, len(seen) - 1)], seen[-1]
    if last[0] > first[0] or last[1] > first[1] + 1e6:
        raise BenchError("memory grew")
    console.print("memory is flat, every frame is closed, no complaints")


@click.command(epilog=EPILOG, help=__doc__)
@click.option("--threads", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--rounds", default=25, show_default=True, help="Bursts of ten frames for each tracker.")
@click.option("--soak", "frames", type=int, help="So many frames in one tracker, two hands sought.")
@click.option(
    "--camera",
    type=click.Path(exists=True, resolve_path=True, path_type=Path),
    help="With --soak: an .mjpeg or .y4m file that the browser's camera shows.",
)
def main(threads: tuple[int, ...], rounds: int, frames: int | None, camera: Path | None) -> None:
    console = Console()
    with explained(console), tempfile.TemporaryDirectory() as folder:
        models = converted(Path(folder), console)
        with Server(CHECKOUT, Path(folder)) as server:
            if frames:
                asyncio.run(soak(server, frames, threads[-1], camera, console))
                return
            for number in threads:
                console.print(asyncio.run(by_part(server, models, number, rounds)))


if __name__ == "__main__":
    main()
