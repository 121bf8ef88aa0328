"""Backgrounds in Pyodide, against CPython's."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from browser.server import Site
from paths import ROOT
from pyodide.hosts import VERSIONS, Run, numpy_wheel, wheel_of
from tulle.background import Background
from tulle.image import open_image

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = """
import base64, json, numpy
from tulle.background import Background
pixels = numpy.frombuffer(open("/picture.rgb", "rb").read(), numpy.uint8).reshape(144, 176, 3)
with Background() as background:
    results = [background(pixels, blur=0.7), background(pixels, colour="#00aa44"),
               background(pixels, picture=pixels[::-1]), background(pixels, cutout=True)]
json.dumps([base64.b64encode(result.tobytes()).decode() for result in results])
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_backgrounds_in_pyodide(package_models: Path, site: Site, in_chromium: Run, version: str) -> None:
    image = open_image(ROOT / "demos" / "images" / "person" / "1.jpg").resize((176, 144))
    pixels = np.asarray(image)
    site.put("/picture.rgb", pixels.tobytes())
    packages = [numpy_wheel(site, version), f"{site.url}/dist/{wheel_of(version).name}"]
    files = {"/picture.rgb": site.url + "/picture.rgb"}
    answer = json.loads(in_chromium(version, CODE, packages=packages, files=files))
    with Background() as background:
        expected = [
            background(pixels, blur=0.7),
            background(pixels, colour="#00aa44"),
            background(pixels, picture=pixels[::-1]),
            background(pixels, cutout=True),
        ]
    for text, wanted in zip(answer, expected, strict=True):
        actual = np.frombuffer(base64.b64decode(text), np.uint8).reshape(wanted.shape)
        assert np.abs(actual.astype(int) - wanted).max() <= 2
        assert (actual[..., :3] != pixels).any() or wanted.shape[2] == 4
