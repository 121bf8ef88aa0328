"""`tulle.load` and `Model`: every way in, every wrong input, and what a model must not share with its caller."""

from __future__ import annotations

import array
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import wasmtime

import tulle
from c_lists import kernels
from paths import ROOT
from tulle import TulleError
from tulle.graph import Graph, Node, Tensor, reference
from tulle.ops import OPS
from tulle.pack.schema import tulle_generated as schema
from tulle.runtime import builds
from tulle.runtime.instance import Instance
from tulle_file import file_of, records

VARIANTS = ("simd", "relaxed")


def image_model(mean: float = 127.5, std: float = 127.5) -> Graph:
    """A convolution over a 12x10 RGB image and a softmax over its channels' means."""
    rng = np.random.default_rng(0)
    graph = Graph("image model")
    graph.inputs = [graph.add_tensor(Tensor("image", (1, 12, 10, 3), mean=mean, std=std))]
    weight = graph.add_constant("weight", rng.standard_normal((8, 3, 3, 3)).astype(np.float32))
    for name, shape in (("features", (1, 6, 5, 8)), ("pooled", (1, 8)), ("probabilities", (1, 8))):
        graph.add_tensor(Tensor(name, shape))
    conv = {"strides": (2, 2), "dilations": (1, 1), "padding": "same", "activation": "relu"}
    graph.nodes = [
        Node("conv2d", "conv", ["image", weight, None], ["features"], conv),
        Node("mean", "pool", ["features"], ["pooled"], {"axes": (1, 2), "keep_dims": False}),
        Node("softmax", "softmax", ["pooled"], ["probabilities"], {"beta": 1.0}),
    ]
    graph.outputs = ["probabilities", "features"]
    return graph


def two_inputs() -> Graph:
    graph = Graph("sum")
    graph.inputs = [graph.add_tensor(Tensor(name, (2, 3))) for name in ("a", "b")]
    graph.outputs = [graph.add_tensor(Tensor("total", (2, 3)))]
    graph.nodes = [Node("add", "add", ["a", "b"], ["total"], {"activation": "none"})]
    return graph


@pytest.fixture
def model() -> tulle.Model:
    return tulle.load(image_model())


def picture(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (12, 10, channels), np.uint8)


def as_floats(pixels: np.ndarray) -> np.ndarray:
    return ((pixels[None, ..., :3].astype(np.float32) - 127.5) / 127.5).astype(np.float32)


def test_sources_are_equal(tmp_path: Path) -> None:
    graph = image_model()
    data = tulle.convert(graph).data
    (tmp_path / "model.tulle").write_bytes(data)
    tflite_data = tulle.tflite.write(graph)
    (tmp_path / "model.tflite").write_bytes(tflite_data)
    x = as_floats(picture())
    expected = reference.run(graph, {"image": x})
    sources = [
        graph,
        data,
        tmp_path / "model.tulle",
        str(tmp_path / "model.tulle"),
        tflite_data,
        memoryview(data),
        tmp_path / "model.tflite",
    ]
    for source in sources:
        with tulle.load(source) as model:
            outputs = model(x)
        assert list(outputs) == ["probabilities", "features"]
        for name, values in outputs.items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_what_a_model_says_of_itself(model: tulle.Model) -> None:
    (image,) = model.inputs
    assert (image.name, image.shape, image.dtype) == ("image", (1, 12, 10, 3), "float32")
    assert (image.mean, image.std, image.takes_images) == (127.5, 127.5, True)
    assert [(info.name, info.shape) for info in model.outputs] == [
        ("probabilities", (1, 8)),
        ("features", (1, 6, 5, 8)),
    ]
    assert (model.name, model.variant, model.threads) == ("image model", "relaxed", 1)
    assert "image[1, 12, 10, 3]" in repr(model)
    assert tulle.load(two_inputs(), variant="simd").variant == "simd"
    assert not tulle.load(two_inputs()).inputs[0].takes_images


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_of_bytes_are_normalised(variant: str) -> None:
    with tulle.load(image_model(), variant=variant) as model:
        rgba = picture(4)
        expected = model(as_floats(rgba))["features"]
        for image in (rgba, rgba[None], rgba[..., :3], rgba[None, ..., :3], np.asfortranarray(rgba)):
            np.testing.assert_allclose(model(image)["features"], expected, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(model({"image": image})["features"], expected, rtol=1e-5, atol=1e-5)
        # Floats after bytes and bytes after floats: neither sticks.
        np.testing.assert_array_equal(model(as_floats(rgba))["features"], expected)


def test_inputs_need_not_be_contiguous(model: tulle.Model) -> None:
    x = as_floats(picture())
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(model(strided)["features"], model(x)["features"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((12, 10, 3), np.float32), r"'image' has shape \(12, 10, 3\); it must be \(1, 12, 10, 3\)"),
        (np.zeros((1, 10, 12, 3), np.float32), r"has shape \(1, 10, 12, 3\); it must be \(1, 12, 10, 3\)$"),
        (np.zeros((1, 3, 12, 10), np.float32), r"must be \(1, 12, 10, 3\); \.transpose\(0, 2, 3, 1\) turns"),
        (np.zeros((1, 12, 10, 3)), r"'image' has dtype float64; it must be float32 or float16, or uint8 for an image"),
        (np.zeros((1, 12, 10, 3), np.int32), "dtype int32"),
        (np.zeros((10, 12, 3), np.uint8), r"an image of shape \(10, 12, 3\) does not fit; .*tulle.image.to_input"),
        (np.zeros((12, 10), np.uint8), r"an image of shape \(12, 10\) does not fit"),
        (np.zeros((2, 12, 10, 3), np.uint8), "does not fit"),
        ("hello", "dtype"),
        (None, "dtype object"),
        ({}, r"input 'image' of shape \(1, 12, 10, 3\) is missing"),
        ({"picture": np.zeros(3)}, "no input 'picture'; the inputs are 'image'"),
    ],
)
def test_wrong_inputs_are_named(model: tulle.Model, value: object, message: str) -> None:
    with pytest.raises(TulleError, match=message):
        model(value)  # type: ignore[arg-type]
    assert np.isfinite(model(picture())["features"]).all(), "the model is of use afterwards"


def test_several_inputs_need_names() -> None:
    with tulle.load(two_inputs()) as model:
        a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 10, np.float32)
        np.testing.assert_array_equal(model({"b": b, "a": a})["total"], a + b)
        with pytest.raises(TulleError, match=r"2 inputs: give a dict with 'a', 'b'"):
            model(a)
        with pytest.raises(TulleError, match="'b'"):
            model({"a": a})
        with pytest.raises(TulleError, match=r"dtype uint8; it must be float32 or float16$"):
            model({"a": a.astype(np.uint8), "b": b})


def test_outputs_are_copies(model: tulle.Model) -> None:
    first = model(picture())["features"]
    before = first.copy()
    model(np.zeros((1, 12, 10, 3), np.float32))
    np.testing.assert_array_equal(first, before)
    first[:] = 7
    np.testing.assert_array_equal(model(picture())["features"], before)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_later_runs_are_unaffected_by_nan_and_infinity(variant: str, value: float) -> None:
    with tulle.load(image_model(), variant=variant) as model:
        x = as_floats(picture())
        before = model(x)
        spoiled = x.copy()
        spoiled[0, 3, 4, 1] = value
        assert not np.isfinite(model(spoiled)["features"]).all()
        model(np.full_like(x, value))
        after = model(x)
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_closed_models_say_so(model: tulle.Model) -> None:
    with model:
        model(picture())
    model.close()
    for use in (lambda: model(picture()), model.profile):
        with pytest.raises(TulleError, match=r"the model is closed"):
            use()


def test_profile_has_a_row_for_every_step(model: tulle.Model) -> None:
    before = model(picture())
    rows = model.profile()
    after = model(picture())
    assert all((before[name] == after[name]).all() for name in before)
    assert rows[0]["op"] == "conv2d"
    assert {"softmax", "mean"} <= {row["op"] for row in rows}
    assert rows[0]["macs"] == 6 * 5 * 8 * 27
    assert rows[0]["weights"] == 8 * 27
    assert (rows[0]["op"], rows[0]["path"]) == ("conv2d", "entry")
    assert {row["kernel"] for row in rows} <= {*(kernel.name for kernel in kernels()), *(f"f32_{name}" for name in OPS)}
    assert all(0 <= row["ms"] < 1000 for row in rows) and sum(row["ms"] for row in rows) > 0


def test_python_threads_may_share_a_model(model: tulle.Model) -> None:
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal((1, 12, 10, 3)).astype(np.float32) for _ in range(8)]
    expected = [model(x)["features"] for x in inputs]
    wrong = []

    def work(index: int) -> None:
        for _ in range(50):
            if not np.array_equal(model(inputs[index])["features"], expected[index]):
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_models_do_not_share_memory() -> None:
    models = [tulle.load(image_model(std=std)) for std in (1, 50, 200)]
    expected = [model(picture())["features"].copy() for model in models]
    models[1].close()
    np.testing.assert_array_equal(models[0](picture())["features"], expected[0])
    np.testing.assert_array_equal(models[2](picture())["features"], expected[2])


def test_options_are_checked() -> None:
    with pytest.raises(TulleError, match=r"variant='avx' is not one of auto, simd, relaxed"):
        tulle.load(two_inputs(), variant="avx")  # type: ignore[arg-type]
    with pytest.raises(TulleError, match="threads=2: in CPython a model runs on one thread"):
        tulle.load(two_inputs(), threads=2)


def test_missing_wasm_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(builds, "_FOLDERS", (tmp_path, tmp_path))
    builds.compiled.cache_clear()
    with pytest.raises(TulleError, match=r"tulle-simd.wasm is neither in .* run `make build`"):
        tulle.load(two_inputs(), variant="simd")
    (tmp_path / "tulle-simd.wasm").write_bytes(b"not wasm")
    with pytest.raises(TulleError, match=r"tulle-simd.wasm cannot be loaded"):
        tulle.load(two_inputs(), variant="simd")
    builds.compiled.cache_clear()


def test_runs_without_a_home_folder_to_keep_compiled_code_in() -> None:
    code = "import tulle, test_runtime as t; print(tulle.load(t.two_inputs()).outputs[0].name)"
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent/cache"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT / "py", ROOT / "tests", Path(__file__).parent)))
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "total\n", result.stderr


@pytest.mark.parametrize("zeros", [0.0, 0.6, 0.97])
@pytest.mark.parametrize("scale_count", [1, 16, 40])
def test_int8_weights_are_scaled_as_specified(scale_count: int, zeros: float) -> None:
    """tulle writes none yet, but docs/format.md has them: one scale, one an output channel, or one an input channel."""
    rng = np.random.default_rng(scale_count)
    numbers = np.where(rng.random((16, 1, 1, 40)) < zeros, 0, rng.integers(-128, 128, (16, 1, 1, 40))).astype(np.int8)
    scales = rng.uniform(0.01, 0.1, scale_count).astype(np.float32)
    graph = Graph("int8")
    graph.inputs = [graph.add_tensor(Tensor("image", (1, 6, 7, 40)))]
    graph.add_constant("weight", numbers.astype(np.float32))
    graph.outputs = [graph.add_tensor(Tensor("result", (1, 6, 7, 16)))]
    conv = {"strides": (1, 1), "dilations": (1, 1), "padding": "valid", "activation": "none"}
    graph.nodes = [Node("conv2d", "conv", ["image", "weight", None], ["result"], conv)]
    record = records(tulle.convert(graph, weights="fp32").data)
    (constant,) = (t.constant for t in record.tensors if t.constant is not None)
    constant.type = schema.ValueType.int8
    constant.values = constant.values.view(np.float32).astype(np.int8).view(np.uint8)
    constant.scales = scales

    x = rng.standard_normal((1, 6, 7, 40)).astype(np.float32)
    spread = scales.reshape((-1, 1, 1, 1) if scale_count == 16 else (1, 1, 1, -1))
    graph.tensors["weight"].data = (numbers * spread).astype(np.float32)
    expected = reference.run(graph, {"image": x})["result"]
    with tulle.load(file_of(record)) as model:
        np.testing.assert_allclose(model(x)["result"], expected, rtol=1e-4, atol=1e-4)


WAT = """
(module
  (memory (export "memory") 1)
  (data (i32.const 64) "caf\\c3\\a9\\00rest")
  (func (export "grow") (result i32) (memory.grow (i32.const 500)))
  (func (export "high") (result i32) (i32.const -16))
  (func (export "trap") unreachable))
"""


def small_instance() -> Instance:
    return Instance(builds.engine(), wasmtime.Module(builds.engine(), wasmtime.wat2wasm(WAT)))


def test_memory_is_found_again_after_it_grew() -> None:
    instance = small_instance()
    instance.write(128, memoryview(np.arange(4, dtype=np.float32)))
    assert instance.call("grow") == 1
    np.testing.assert_array_equal(np.frombuffer(instance.read(128, 16), np.float32), [0, 1, 2, 3])
    instance.write(500 << 16, b"xyz")
    assert instance.read(500 << 16, 3) == b"xyz"
    assert instance.read_string(64) == "café"
    assert instance.call("high") == 2**32 - 16, "pointers beyond 2 GB are not negative"


def test_pointers_outside_the_memory_are_refused() -> None:
    instance = small_instance()
    for pointer, size in ((0, 4), (1 << 16, 1), ((1 << 16) - 3, 4), (2**32 - 16, 16)):
        with pytest.raises(TulleError, match="outside the wasm memory"):
            instance.read(pointer, size)
        with pytest.raises(TulleError, match="outside the wasm memory"):
            instance.write(pointer, bytes(size))


def test_traps_are_errors_and_end_the_instance() -> None:
    instance = small_instance()
    with pytest.raises(TulleError, match=r"trap failed inside the wasm module.*unreachable"):
        instance.call("trap")
    with pytest.raises(TulleError, match="failed before: load the model again"):
        instance.call("grow")


def test_any_buffer_will_do_with_and_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    x, pixels = as_floats(picture()), picture()
    with tulle.load(image_model()) as model:
        by_floats, by_pixels = model(x)["features"], model(pixels)["features"]
    for hide in (False, True):
        if hide:
            monkeypatch.setattr("tulle.runtime.model.find_numpy", lambda: None)
        with tulle.load(tulle.convert(image_model()).data) as model:
            for floats in (array.array("f", x.ravel()), memoryview(x), memoryview(x)[:], x[:, :, ::-1][:, :, ::-1]):
                features = model(floats)["features"]
                assert isinstance(features, memoryview if hide else np.ndarray)
                np.testing.assert_array_equal(np.asarray(features), by_floats)
            halves = x.astype(np.float16)
            by_halves = np.asarray(model(halves.astype(np.float32))["features"])
            np.testing.assert_array_equal(np.asarray(model(memoryview(halves))["features"]), by_halves)
            for image in (pixels.tobytes(), bytearray(pixels.tobytes()), memoryview(pixels)):
                np.testing.assert_array_equal(np.asarray(model(image)["features"]), by_pixels)
            with pytest.raises(TulleError, match=r"dtype float64"):
                model(array.array("d", x.ravel()))
            with pytest.raises(TulleError, match=r"shape \(3,\)"):
                model(array.array("f", [1, 2, 3]))
            with pytest.raises(TulleError, match="does not fit"):
                model(b"123")
            with pytest.raises(TulleError, match="of type list; without NumPy" if hide else "dtype"):
                model([1, 2, 3])


def test_models_and_profiles_show_themselves_in_notebooks(model: tulle.Model) -> None:
    model(picture())
    html = model._repr_html_()
    assert "1 × 12 × 10 × 3" in html and "(pixel - 127.5) / 127.5" in html and "relaxed" in html
    profile = model.profile()
    table = profile._repr_html_()
    assert table.count("<tr>") == len(profile) + 2
    assert "softmax" in table and "softmax" in str(profile)
    assert len(str(profile).splitlines()) == len(profile) + 2
    profile[0]["name"] = "<script>"
    assert "<script>" not in profile._repr_html_()
    profile[0]["name"] = "a_rather_long_name/" * 9 + "the_end"
    assert "/the_end" in profile._repr_html_()
    assert max(map(len, str(profile).splitlines())) < 150


@pytest.mark.parametrize("damage", ["none", "cut", "changed", "empty", "another kind"])
def test_damaged_machine_code_in_the_cache_is_made_anew(damage: str, tmp_path: Path) -> None:
    """Running it would crash the interpreter."""
    code = "import tulle.runtime.builds as b; b.compiled('simd'); print('ok')"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(tulle.__file__).parents[1])}

    def compile_it() -> None:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr

    compile_it()
    (kept,) = (tmp_path / "tulle").iterdir()
    whole = kept.read_bytes()
    spoiled = {
        "none": whole,
        "cut": whole[: len(whole) // 2],
        "changed": whole[:200_000] + bytes(100_000) + whole[300_000:],
        "empty": b"",
        "another kind": hashlib.sha256(b"other").digest() + b"other",
    }[damage]
    kept.write_bytes(spoiled)
    os.utime(kept, (1e9, 1e9))
    compile_it()
    assert kept.read_bytes() == whole
    assert (kept.stat().st_mtime == 1e9) == (damage == "none"), "read from the cache, or made anew"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "tulle").write_text("no folder")
    code = "import tulle.runtime.builds as b; b.compiled('simd'); print('ok')"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(tulle.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
