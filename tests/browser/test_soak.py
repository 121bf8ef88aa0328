"""A page that runs for long: memory stays as it is, and outputs stay those of the first run.

Here a short form. `make soak` has the long one: 20,000 runs on two threads, 500 loads and closes, 10,000 frames.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from playwright.sync_api import Page

import tulle
from browser.conftest import evaluate, expect_workers
from browser.server import Site
from paths import WEIGHTS

pytestmark = pytest.mark.browser

LONG = "TULLE_SOAK" in os.environ
RUNS, LOADS, FRAMES = (20_000, 500, 10_000) if LONG else (200, 20, 200)
ROUNDS = 10

# Of the page's heap, from one look at it to another; a leak of 100 bytes a run is 1.8 MB in the long form.
MOST_GROWTH = 300_000

START = """
    window.model = await tulle.load('/soak.tulle', { threads: 2 });
    const [{ name, shape }] = model.inputs;
    window.input = { [name]: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => (i % 251) / 251) };
    window.bits = (outputs) => Object.values(outputs).map(({ buffer }) => new Int32Array(buffer));
    window.check = (outputs) => {
      const found = bits(outputs);
      window.first ??= found;
      found.forEach((now, o) => {
        const then = first[o];
        for (let i = 0; i < now.length; i += 1) if (now[i] !== then[i]) throw new Error(`output ${o} differs at ${i}`);
      });
    };
    return model.threads;
"""

ROUND = {
    "runs": "for (let i = 0; i < count; i += 1) check(await model.run(input));",
    "loads": """
        for (let i = 0; i < count; i += 1) {
          const other = await tulle.load('/soak.tulle', i % 2 ? { threads: 2 } : { worker: false });
          check(await other.run(input));
          await other.close();
        }
    """,
    "frames": """
        window.canvas ??= (() => {
          const made = new OffscreenCanvas(320, 240), context = made.getContext('2d');
          for (let i = 0; i < 240; i += 1) {
            context.fillStyle = `rgb(${i}, ${255 - i}, ${(7 * i) % 256})`;
            context.fillRect(i, i, 320 - i, 1);
          }
          return made;
        })();
        for (let i = 0; i < count; i += 1) {
          const frame = new VideoFrame(canvas, { timestamp: i });
          const outputs = await model.run(frame, { fit: 'cover' });
          frame.close();
          check(outputs);
        }
    """,
}


@pytest.mark.parametrize(("what", "count"), [("runs", RUNS), ("loads", LOADS), ("frames", FRAMES)])
def test_memory_stays_flat_and_outputs_the_same(page: Page, site: Site, what: str, count: int) -> None:
    page.set_default_timeout(0)
    weights = WEIGHTS / "selfie_segmentation_landscape_tulle_90.tflite"
    site.put("/soak.tulle", tulle.convert(weights, input_mean=0, input_std=255).data)
    assert evaluate(page, START) == 2
    session = page.context.new_cdp_session(page)

    def look() -> dict[str, Any]:
        for _ in range(3):
            session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")
        backing = heap.get("backingStorageSize", 0)
        return {"heap": heap["usedSize"], "backing": backing, "wasm": evaluate(page, "return model.info.memoryBytes")}

    evaluate(page, ROUND[what], count=max(count // ROUNDS, 5))  # compiles, and fills caches
    looks = [look()]
    for _ in range(ROUNDS):
        evaluate(page, ROUND[what], count=count // ROUNDS)
        looks.append(look())
    print(f"\n{what}: {count}", *looks, sep="\n  ")
    assert {seen["wasm"] for seen in looks} == {looks[0]["wasm"]}, looks
    for kind in ("heap", "backing"):
        assert looks[-1][kind] - looks[1][kind] < MOST_GROWTH, looks
    evaluate(page, "await model.close()")
    expect_workers(page, 0)
