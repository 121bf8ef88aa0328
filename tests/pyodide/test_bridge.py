"""`tulle.load_async` (the threaded browser engine awaited from Pyodide), conversion in Pyodide, and clear errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tulle
from browser.conftest import tiny_graph
from browser.server import Site
from browser.test_pictures import picture
from pyodide.hosts import VERSIONS, PythonError, Run, numpy_wheel, pyodide_site, wheel_of
from tulle.image import Region, to_input
from tulle.runtime import TensorInfo

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def models(site: Site, model_path: Callable[[str], Path]) -> Site:
    """The site with a real model, its input and a tiny model, whose y = 2 x and pixels are fed as (p - 10) / 20."""
    path = model_path("hand_landmark_tulle")
    site.put("/hand.tulle", tulle.convert(path, input_mean=0, input_std=255).data)
    site.put("/hand.tflite", path.read_bytes())
    site.put("/lite.tflite", model_path("hand_landmark_lite").read_bytes())
    site.put("/hand.f32", np.random.default_rng(3).random((1, 224, 224, 3), np.float32).tobytes())
    site.put("/tiny.tulle", tulle.convert(tiny_graph()).data)
    return site


def options(site: Site, version: str, *files: str, **more: Any) -> dict[str, Any]:
    ours = f"{site.url}/dist/{wheel_of(version).name}"
    return {"packages": [*more.pop("packages", []), ours], "files": {name: site.url + name for name in files}, **more}


BRIDGE = """
import json, warnings
from array import array
import tulle
floats = memoryview(open("/hand.f32", "rb").read()).cast("f")
local = tulle.load("/hand.tulle")
expected = {name: bytes(value) for name, value in local(floats).items()}
same = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for threads in (1, 2):
        async with await tulle.load_async(url, threads=threads) as model:
            answer = await model(floats)
            same.append({name: bytes(value) for name, value in answer.items()} == expected)
            shapes = [value.shape for value in answer.values()] == [o.shape for o in model.outputs]
            used = model.threads
            rows = await model.profile()
            steps = len(rows), sum(row["ms"] for row in rows)
            html = model._repr_html_()
    tiny = await tulle.load_async(tulle.files.read_bytes("/tiny.tulle"))
    pixels = (await tiny(bytes([30]) * 48))["y"].tolist()
errors = []
for attempt in (lambda: tulle.load_async(url + ".none"), lambda: tulle.load_async(b"junk" * 20),
                lambda: tulle.load_async(url, threads=99), lambda: model(floats),
                lambda: tiny(array("f", [1, 2]))):
    try:
        await attempt()
    except tulle.TulleError as error:
        errors.append(str(error))
json.dumps({"same": same, "shapes": shapes, "threads": used, "pixels": pixels, "errors": errors, "html": html,
    "warnings": [str(w.message) for w in caught], "steps": steps, "expected": len(local.profile()),
    "variants": [local.variant, model.variant]})
"""


@pytest.mark.parametrize(("version", "worker"), [(VERSIONS[0], False), (VERSIONS[1], True)])
def test_browser_engine_gives_the_same_bits(version: str, worker: bool, models: Site, in_chromium: Run) -> None:
    files = options(models, version, "/hand.tulle", "/hand.f32", "/tiny.tulle")
    url = f"{models.url}/hand.tulle"
    answer = json.loads(in_chromium(version, BRIDGE, worker=worker, globals={"url": url}, **files))
    assert answer["variants"] == ["relaxed", "relaxed"]
    assert answer["same"] == [True, True]
    assert answer["shapes"] and answer["threads"] == 2
    assert answer["steps"][0] == answer["expected"] and answer["steps"][1] > 0
    assert "2 threads of the browser engine" in answer["html"]
    assert np.allclose(answer["pixels"], 2 * (30 - 10) / 20)
    assert answer["warnings"] == []
    missing, junk, threads, closed, shape = answer["errors"]
    assert "404" in missing and "not a .tulle file" in junk and "1 to 16" in threads
    assert "closed" in closed and "has shape (2,)" in shape


def test_page_without_isolation_gets_one_thread_and_a_warning(models: Site, in_chromium: Run) -> None:
    with pyodide_site(isolated=False) as plain:
        for name in ("/hand.tulle", "/hand.f32", "/tiny.tulle"):
            plain.put(name, models.find(name) or b"")
        files = options(plain, VERSIONS[0], "/hand.tulle", "/hand.f32", "/tiny.tulle")
        url = f"{plain.url}/hand.tulle"
        answer = json.loads(in_chromium(VERSIONS[0], BRIDGE, on=plain, globals={"url": url}, **files))
    assert answer["threads"] == 1 and answer["same"] == [True, True]
    assert any("the page is not cross-origin isolated" in warning for warning in answer["warnings"])


LIMITS = """
import json, tulle
Limits = tulle.runtime.Limits
errors = []
for source in ("/hand.tulle", url):
    data = tulle.files.read_bytes(source) if source == "/hand.tulle" else source
    for limits in (Limits(file_bytes=1000), Limits(ops=3), Limits(tensor_bytes=100_000),
                   Limits(memory_bytes=1_000_000), Limits(macs=1_000_000)):
        try:
            await tulle.load_async(data, limits=limits)
        except tulle.TulleError as error:
            errors.append(str(error))
async with await tulle.load_async(url, limits=Limits(file_bytes=4_000_000, ops=1000, macs=10**9)) as model:
    outputs = len(model.outputs)
json.dumps({"errors": errors, "outputs": outputs})
"""


def test_limits_reach_the_browser_engine(models: Site, in_chromium: Run) -> None:
    files = options(models, VERSIONS[0], "/hand.tulle")
    url = f"{models.url}/hand.tulle"
    answer = json.loads(in_chromium(VERSIONS[0], LIMITS, globals={"url": url}, **files))
    assert answer["outputs"] == 4
    messages = [
        "the file has 1.6 MB",
        "ops, the limit is 3",
        "the limit is 0.1 MB",
        "MB of memory, the limit is 1.0 MB",
        "multiply-adds, the limit is 1.0 million",
    ]
    assert len(answer["errors"]) == 2 * len(messages)
    for error, message in zip(answer["errors"], 2 * messages, strict=True):
        assert message in error


PICTURES = """
import json, js, numpy, tulle
from pyodide.ffi import to_js
model = tulle.load("/tiny.tulle")
(info,) = model.inputs
pixels = numpy.arange(info.shape[1] * info.shape[2] * 4, dtype=numpy.uint8).reshape(*info.shape[1:3], 4)
clamped = js.Uint8ClampedArray.new(to_js(pixels.tobytes()))
image = js.ImageData.new(clamped, info.shape[2], info.shape[1])
inputs = [tulle.image.to_input(picture, info) for picture in (image, pixels)]
region = tulle.image.Region(0.4, 0.6, 0.9, 0.7, 0.5)
turned = tulle.image.to_input(image, info, region, fit="contain", flip=True)
by_pixels, by_typed_array, by_input = (model(value)["y"] for value in (pixels, clamped, inputs[0]))
json.dumps({"inputs": numpy.array_equal(*inputs), "typed": numpy.array_equal(by_pixels, by_typed_array),
    "input": float(abs(by_pixels - by_input).max()), "turned": turned.ravel().tolist()})
"""


def test_image_data_and_typed_arrays_are_pictures(models: Site, in_chromium: Run) -> None:
    files = options(models, VERSIONS[0], "/tiny.tulle", packages=[numpy_wheel(models, VERSIONS[0])])
    answer = json.loads(in_chromium(VERSIONS[0], PICTURES, **files))
    assert answer["inputs"] and answer["typed"] and answer["input"] < 1e-5
    info = TensorInfo("x", (1, 4, 4, 3), mean=10, std=20, takes_images=True)
    pixels = np.arange(4 * 4 * 4, dtype=np.uint8).reshape(4, 4, 4)
    here = to_input(pixels, info, Region(0.4, 0.6, 0.9, 0.7, 0.5), fit="contain", flip=True)
    assert np.ptp(here) > 1
    np.testing.assert_allclose(np.reshape(answer["turned"], here.shape), here, atol=1e-5)


CROP = """
import js, json, numpy
from pyodide.ffi import to_js
from tulle.image import Region, to_input
from tulle.runtime import TensorInfo
pixels = numpy.frombuffer(open("/picture.rgba", "rb").read(), numpy.uint8).reshape(90, 140, 4)
image = js.ImageData.new(js.Uint8ClampedArray.new(to_js(pixels.tobytes())), 140, 90)
info, region = TensorInfo("x", (1, 20, 28, 3), takes_images=True), Region(**json.loads(place))
cropped = {name: to_input(picture, info, region, fit="contain", flip=True)
           for name, picture in {"array": pixels[..., :3], "RGBA array": pixels, "ImageData": image}.items()}
json.dumps({name: values.ravel().tolist() for name, values in cropped.items()})
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_crop_as_in_cpython(
    models: Site, in_chromium: Run, version: str, record_property: Callable[[str, Any], None]
) -> None:
    pixels = np.dstack([picture(), np.full((90, 140), 255, np.uint8)])
    models.put("/picture.rgba", pixels.tobytes())
    place = {"x": 0.45, "y": 0.4, "width": 0.5, "height": 0.45, "rotation": 0.7}
    given = options(models, version, "/picture.rgba", packages=[numpy_wheel(models, version)])
    found = json.loads(in_chromium(version, CROP, globals={"place": json.dumps(place)}, **given))
    info = TensorInfo("x", (1, 20, 28, 3), takes_images=True)
    here = to_input(picture(), info, Region(**place), fit="contain", flip=True)
    assert np.ptp(here) > 100
    largest = {name: float(np.abs(np.reshape(values, here.shape) - here).max()) for name, values in found.items()}
    record_property("largest difference from CPython, of 255", largest)
    assert max(largest.values()) < 1e-3


CONVERT = """
import json, tulle
tulle.convert("/hand.tflite").save("/converted.tulle")
floats = memoryview(open("/hand.f32", "rb").read()).cast("f")
a, b = tulle.load("/converted.tulle")(floats), tulle.load("/hand.tulle")(floats)
options = tulle.sparsify.Options(sparsity=0.75, method="magnitude", allocation="erk")
pruned = tulle.sparsify.sparsify(tulle.read_tflite("/lite.tflite"), options)
with tulle.load(tulle.convert(pruned.graph).data) as model:
    answer, rows = model(floats), model.profile()
json.dumps({"same": [bytes(a[k]) == bytes(b[k]) for k in b], "paths": sorted({row["path"] for row in rows}),
    "finite": bool(all(abs(v).max() < 1e4 for v in answer.values())),
    "nnz": sum(r["nnz"] for r in rows) / sum(r["weights"] for r in rows), "zeros": pruned.zeros})
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_converter_runs_in_pyodide(version: str, models: Site, in_node: Run, pure_wheels: dict[str, str]) -> None:
    packages = [numpy_wheel(models, version)]
    packages += [f"{models.url}/pyodide/wheels/{pure_wheels[name]}" for name in ("flatbuffers", "tflite")]
    files = options(models, version, "/hand.tulle", "/hand.tflite", "/lite.tflite", "/hand.f32", packages=packages)
    answer = json.loads(in_node(version, CONVERT, **files))
    assert answer["same"] == [True] * 4  # outputs
    assert answer["finite"] and answer["nnz"] < 0.6 and abs(answer["zeros"] - 0.75) < 0.001
    assert "sparse" in answer["paths"]


ERRORS = """
import json, tulle
errors = []
for attempt in (lambda: tulle.load("/none.tulle"), lambda: tulle.load(b"junk" * 20), lambda: tulle.load("/hand.tflite"),
                lambda: tulle.load("/tiny.tulle", threads=2), lambda: tulle.load("/tiny.tulle", variant="avx"),
                lambda: tulle.load("/tiny.tulle")([1.0])):
    try:
        attempt()
        errors.append(None)
    except tulle.TulleError as error:
        errors.append(str(error))
try:
    await tulle.load_async("/tiny.tulle")
except tulle.TulleError as error:
    errors.append(str(error))
json.dumps(errors)
"""


def test_errors_are_clear(models: Site, in_node: Run) -> None:
    files = options(models, VERSIONS[0], "/tiny.tulle", "/hand.tflite")
    missing, junk, tflite, threads, variant, a_list, node = json.loads(in_node(VERSIONS[0], ERRORS, **files))
    assert "/none.tulle cannot be read: No such file" in missing
    assert "not a .tulle file" in junk
    assert "converting a model needs" in tflite and "tulle[convert]" in tflite
    assert "on Pyodide's own heap a model runs on one thread; tulle.load_async" in threads
    assert "variant='avx'" in variant
    assert "of type list; without NumPy" in a_list
    assert "web workers" in node


# Engines that know fewer instructions, as older ones do.
WITHOUT = '''
from pyodide.code import run_js
run_js("""() => {
  const all = WebAssembly.validate;
  let left = %d;
  WebAssembly.validate = (bytes) => (left-- > 0 ? all(bytes) : false);
}""")()
import tulle
def attempt(variant):
    try:
        return tulle.load("/tiny.tulle", variant=variant).variant
    except tulle.TulleError as error:
        return str(error)
import json
json.dumps([attempt("auto"), attempt("relaxed"), attempt("simd")])
'''


def test_engine_without_relaxed_simd_falls_back(models: Site, in_node: Run) -> None:
    """In Node, whose WebAssembly.validate is made to answer as an older engine's."""
    files = options(models, VERSIONS[1], "/tiny.tulle")
    auto, relaxed, simd = json.loads(in_node(VERSIONS[1], WITHOUT % 1, **files))
    assert (auto, simd) == ("simd", "simd")
    assert "no WebAssembly relaxed SIMD" in relaxed
    assert all("no WebAssembly SIMD" in answer for answer in json.loads(in_node(VERSIONS[1], WITHOUT % 0, **files)))


def test_wheel_on_the_wrong_pyodide_says_so(models: Site, in_node: Run, pure_wheels: dict[str, str]) -> None:
    wrong = f"{models.url}/dist/{wheel_of(VERSIONS[0]).name}"
    helpers = [f"{models.url}/pyodide/wheels/{pure_wheels[name]}" for name in ("packaging", "micropip")]
    with pytest.raises(PythonError, match=r"2026.0 but Pyodide was built with"):
        in_node(VERSIONS[1], "1", packages=helpers, micropip=[wrong])
    load = "import tulle; tulle.load('/tiny.tulle')"
    files = {"/tiny.tulle": f"{models.url}/tiny.tulle"}
    with pytest.raises(PythonError, match=r"2026_0|another Pyodide"):
        in_node(VERSIONS[1], load, packages=[wrong], files=files)
