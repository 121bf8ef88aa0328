"""`tulle.load` in Pyodide: outputs equal LiteRT's in Node and Chromium, however installed, with and without NumPy."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tulle
from browser.server import Site
from conftest import LiteRT
from pyodide.hosts import VERSIONS, Run, numpy_wheel, wheel_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Name and the outputs that are sigmoids, whose range is 1.
MODELS = {"hand_landmark_tulle": ("Identity_1", "Identity_2"), "selfie_segmentation": ("activation_10",)}
TOLERANCE = 1e-3  # of an output's range

# Runs every model on floats (flat, or an array where there is NumPy) and on pixels.
CODE = """
import base64, json, sys
import tulle
try:
    import numpy
except ImportError:
    numpy = None
answers = {}
for name in names:
    for variant in ("simd", "auto"):
        with tulle.load(f"/{name}.tulle", variant=variant) as model:
            floats = memoryview(open(f"/{name}.f32", "rb").read()).cast("f")
            if numpy is not None:
                floats = numpy.asarray(floats).reshape(model.inputs[0].shape)
            pixels = open(f"/{name}.rgba", "rb").read()
            outputs = [model(floats), model(pixels), model(floats)]
            assert all(tuple(outputs[0][o.name].shape) == o.shape for o in model.outputs)
            encoded = [{k: base64.b64encode(bytes(v)).decode() for k, v in out.items()} for out in outputs]
            answers[f"{name} {variant}"] = {"outputs": encoded, "variant": model.variant}
kind = type(outputs[0][model.outputs[0].name]).__name__
json.dumps({"answers": answers, "kind": kind, "wasmtime": "wasmtime" in sys.modules})
"""


@pytest.fixture(scope="module")
def expected(site: Site, model_path: Callable[[str], Path], litert: LiteRT) -> dict[str, list[dict[str, np.ndarray]]]:
    """Puts models and inputs on the site; LiteRT's answers to floats, pixels and floats again."""
    answers = {}
    for name in MODELS:
        path = model_path(name)
        (info,) = tulle.load(path).inputs
        rng = np.random.default_rng(5)
        floats = rng.random(info.shape, np.float32)
        pixels = rng.integers(0, 256, (*info.shape[1:3], 4), np.uint8)
        site.put(f"/{name}.tulle", tulle.convert(path, input_mean=0, input_std=255).data)
        site.put(f"/{name}.f32", floats.tobytes())
        site.put(f"/{name}.rgba", pixels.tobytes())
        values = [floats, pixels[None, ..., :3].astype(np.float32) / 255, floats]
        answers[name] = [litert(path, {info.name: value}) for value in values]
    return answers


def files(site: Site) -> dict[str, str]:
    names = [f"/{name}.{ending}" for name in MODELS for ending in ("tulle", "f32", "rgba")]
    return {name: site.url + name for name in names}


# Each Pyodide on both hosts and with both installers, each host and installer with NumPy and without.
@pytest.mark.parametrize(
    ("version", "host", "installer", "numpy"),
    [
        (VERSIONS[0], "node", "micropip", False),
        (VERSIONS[0], "chromium", "loadPackage", False),
        (VERSIONS[1], "node", "loadPackage", True),
        (VERSIONS[1], "chromium", "micropip", True),
    ],
)
def test_outputs_equal_litert(
    version: str,
    host: str,
    installer: str,
    numpy: bool,
    site: Site,
    in_node: Run,
    in_chromium: Run,
    pure_wheels: dict[str, str],
    expected: dict[str, list[dict[str, np.ndarray]]],
) -> None:
    ours = f"{site.url}/dist/{wheel_of(version).name}"
    packages = [numpy_wheel(site, version)] if numpy else []
    options: dict[str, Any] = {"files": files(site), "globals": {"names": list(MODELS)}}
    if installer == "micropip":
        packages += [f"{site.url}/pyodide/wheels/{pure_wheels[name]}" for name in ("packaging", "micropip")]
        options |= {"packages": packages, "micropip": [ours]}
    else:
        options |= {"packages": [*packages, ours]}
    answer = json.loads((in_node if host == "node" else in_chromium)(version, CODE, **options))
    assert answer["kind"] == ("ndarray" if numpy else "memoryview")
    assert not answer["wasmtime"]
    for name, wanted in expected.items():
        variants = {answer["answers"][f"{name} {variant}"]["variant"] for variant in ("simd", "auto")}
        assert host == "node" or variants == {"simd", "relaxed"}, "this Chromium has relaxed SIMD"
        for variant in ("simd", "auto"):
            outputs = answer["answers"][f"{name} {variant}"]["outputs"]
            assert outputs[0] == outputs[2], "the same input gives the same output"
            for got, want in zip(outputs, wanted, strict=True):
                assert set(got) == set(want)
                for key, value in want.items():
                    found = np.frombuffer(base64.b64decode(got[key]), np.float32)
                    whole = 1.0 if key in MODELS[name] else max(float(np.ptp(w[key])) for w in wanted)
                    assert np.abs(found - value.ravel()).max() <= TOLERANCE * whole


# A file whose first reads fail as those of JupyterLite's drive do now and then.
LOST = """
import pyodide.code, pyodide_js, tulle
lose = pyodide.code.run_js('''(FS, path, times) => {
  const { node } = FS.lookupPath(path);
  const open = () => { if (times-- > 0) throw new FS.ErrnoError(44); };
  node.stream_ops = { ...node.stream_ops, open };
}''')
lose(pyodide_js.FS, "/hand_landmark_tulle.tulle", 2)
with tulle.load("/hand_landmark_tulle.tulle") as model:
    assert model.inputs[0].shape == (1, 224, 224, 3)
lose(pyodide_js.FS, "/hand_landmark_tulle.tulle", 10**9)
try:
    tulle.load("/hand_landmark_tulle.tulle")
except tulle.TulleError as error:
    answer = str(error)
answer
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_the_drive_lost_is_asked_for_again(
    version: str, site: Site, in_node: Run, expected: dict[str, list[dict[str, np.ndarray]]]
) -> None:
    ours = f"{site.url}/dist/{wheel_of(version).name}"
    answer = in_node(version, LOST, packages=[ours], files=files(site))
    assert answer == "/hand_landmark_tulle.tulle cannot be read: No such file or directory"
