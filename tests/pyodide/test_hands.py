"""Hands in Pyodide: the page's own tracker awaited, and the one in NumPy, against CPython's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser.server import Site
from browser.test_demo_hands import SCENES
from pyodide.hosts import VERSIONS, Run, numpy_wheel, wheel_of
from tulle.hands import HandTracker

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = """
import json, js, numpy, tulle
from tulle.hands import HandTracker, create
pixels = numpy.frombuffer(open("/picture.rgb", "rb").read(), numpy.uint8).reshape(400, 640, 3)
canvas = js.OffscreenCanvas.new(640, 400)
bitmap = await js.createImageBitmap(await (await js.fetch(url)).blob())
canvas.getContext("2d").drawImage(bitmap, 0, 0)
places = lambda hands: [[point["x"], point["y"], point["z"]] for hand in hands for point in hand["pixels"]]
found, errors = {}, []
async with await create(threads=2) as tracker:
    threads = tracker.threads
    for name, picture in {"array": pixels, "canvas": canvas}.items():
        await tracker.reset()
        found[name] = places((await tracker.detect(picture, 0))["hands"])
    for wrong in (numpy.zeros((4, 4)), js.document.createElement("video")):
        try:
            await tracker.detect(wrong)
        except tulle.TulleError as error:
            errors.append(str(error))
found["NumPy"] = [row for hand in HandTracker().detect(pixels) for row in hand.pixels.tolist()]
json.dumps({"found": found, "threads": threads, "errors": errors})
"""


def test_hands_in_pyodide(package_models: Path, site: Site, in_chromium: Run) -> None:
    picture = SCENES["two"]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    site.put("/hands.png", file.getvalue())
    site.put("/picture.rgb", picture.tobytes())
    version = VERSIONS[0]
    packages = [numpy_wheel(site, version), f"{site.url}/dist/{wheel_of(version).name}"]
    files = {"/picture.rgb": site.url + "/picture.rgb"}
    url = site.url + "/hands.png"
    answer = json.loads(in_chromium(version, CODE, packages=packages, files=files, globals={"url": url}))
    expected = np.concatenate([hand.pixels for hand in HandTracker().detect(picture)])
    assert len(expected) == 42 and answer["threads"] == 2
    for name, points in answer["found"].items():
        assert len(points) == 42, name
        np.testing.assert_allclose(points, expected, atol=0.2, err_msg=name)
    assert "a picture is uint8 (H, W, 3)" in answer["errors"][0]
    assert "the video has no frame yet" in answer["errors"][1]
