"""int8 weights and `tulle compress`: the rounding, the file, what the C library makes of it, and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import networks
import tulle
from tulle import TulleError, zoo
from tulle.cli import main
from tulle.compression import compress
from tulle.graph import Graph, reference
from tulle.pack import pack, unpack
from tulle.pack.quantise import quantise
from tulle.pack.schema import tulle_generated as schema
from tulle.passes import lower
from tulle_file import file_of, records


def zeroed(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> np.ndarray:
    return np.where(rng.random(shape) < density, rng.standard_normal(shape), 0).astype(np.float32)


def network(density: float = 0.3, seed: int = 0) -> Graph:
    """All ops with weights, at a share of nonzeros that takes each encoding."""
    b = networks.builder(seed)
    rng = np.random.default_rng(seed)
    x = b.input("image", (1, 19, 21, 3))
    x = b.conv2d(x, "entry", 16, 3, stride=2, activation="relu6")
    x = b.depthwise_conv2d(x, "depthwise", 5, activation="relu")
    x = b.conv2d(x, "expand", 256, activation="hard_swish")
    x = b.conv2d(x, "project", 64)
    x = b.node("mean", [x], "pool", axes=(1, 2), keep_dims=False)
    graph = b.finish(b.fully_connected(x, "classes", 11))
    for node in graph:
        if node.op in ("conv2d", "depthwise_conv2d", "fully_connected"):
            tensor = graph.tensors[node.inputs[1]]
            assert tensor.data is not None
            tensor.data = tensor.data * zeroed(rng, tensor.shape, density)
    return lower(graph)


@pytest.mark.parametrize("axis", [0, -1])
def test_rounding_keeps_zeros_and_is_near_the_best_scale(axis: int) -> None:
    rng = np.random.default_rng(0)
    weight = zeroed(rng, (6, 3, 3, 5), 0.6) * np.exp(rng.normal(0, 2, (6, 3, 3, 5))).astype(np.float32)
    values, scales = quantise("w", weight, axis)
    channels = weight.shape[axis]
    assert (values.dtype, values.shape, scales.dtype, scales.shape) == (np.int8, weight.shape, np.float32, (channels,))
    assert values.min() >= -127
    assert not values[weight == 0].any()
    for channel in range(channels):
        row = weight.take(channel, axis).astype(np.float64)
        error = np.square(values.take(channel, axis) * float(scales[channel]) - row).sum()
        whole = np.abs(row).max() / 127
        plain = np.square(np.clip(np.rint(row / whole), -127, 127) * whole - row).sum()
        assert error <= plain * (1 + 1e-5)
        assert np.abs(values.take(channel, axis) * scales[channel] - row).max() <= 0.4 * np.abs(row).max()


def test_channels_of_zeros_and_of_tiny_numbers() -> None:
    weight = np.zeros((3, 1, 1, 4), np.float32)
    weight[1] = 1e-44  # nothing that a float32 scale could stand for
    weight[2, 0, 0, 0] = 3e38
    values, scales = quantise("w", weight, 0)
    assert np.isfinite(scales).all() and (scales > 0).all()
    restored = values * scales[:, None, None, None]
    np.testing.assert_allclose(restored, weight, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    graph = network()
    weight = graph.tensors[graph.nodes[0].inputs[1]]
    assert weight.data is not None
    weight.data.flat[5] = bad
    with pytest.raises(TulleError, match=re.escape(f"{weight.name!r} holds numbers that are not finite")):
        pack(graph, "int8")


def constants(data: bytes) -> list[Any]:
    return [tensor.constant for tensor in records(data).tensors if tensor.constant is not None]


@pytest.mark.parametrize("density", [0.06, 0.3, 1.0])
def test_the_c_library_and_python_read_the_same_weights(density: float) -> None:
    graph = network(density)
    data = pack(graph, "int8")
    assert any(c.type == schema.ValueType.int8 for c in constants(data))
    restored = unpack(data)
    for tensor in restored.tensors.values():
        given = graph.tensors[tensor.name].data
        if given is not None and given.ndim > 1:
            assert tensor.data is not None
            assert np.linalg.norm(tensor.data - given) <= 0.02 * np.linalg.norm(given)
    inputs = networks.patchwork(graph)
    with tulle.load(data) as model:
        assert networks.error(model(inputs), reference.run(restored, inputs, np.float64)) < 1e-5
    assert pack(graph, "int8") == data


def test_each_encoding_holds_int8_values() -> None:
    kinds = {c.encoding for d in (0.06, 0.3, 1.0) for c in constants(pack(network(d), "int8")) if c.type == 2}
    assert kinds == {schema.Encoding.dense, schema.Encoding.bitmask, schema.Encoding.delta}


@pytest.mark.parametrize("scales", [None, [], [1.0, 2.0]])
def test_wrong_scales_are_refused_by_both_readers(scales: list[float] | None) -> None:
    model = records(pack(network(), "int8"))
    constant = next(t.constant for t in model.tensors if t.constant is not None and t.constant.type == 2)
    constant.scales = scales
    data = file_of(model)
    for read in (unpack, tulle.load):
        with pytest.raises(TulleError, match="scales"):
            read(data)


def test_errors_of_weights_and_outputs_are_reported() -> None:
    graph = network(1.0)
    images = [networks.patchwork(graph, seed)["image"] for seed in range(3)]
    result = compress(pack(graph), "int8", images=images)
    assert not result.lossless
    by_name = {row.name: row for row in result.layers}
    restored = unpack(result.data)
    for node in graph:
        if node.name in by_name:
            given, stored = graph.tensors[node.inputs[1]].data, restored.tensors[node.inputs[1]].data
            assert given is not None and stored is not None
            largest = np.abs(stored.astype(np.float64) - given).max() / np.abs(given).max()
            assert by_name[node.name].max_error == pytest.approx(largest)
    assert len(by_name) == 5
    (output,) = result.outputs
    with tulle.load(pack(graph)) as before, tulle.load(result.data) as after:
        changes = [np.abs(after(x)[output.name] - before(x)[output.name]) for x in images]
    assert output.mean_change == pytest.approx(np.mean(changes))
    assert output.max_change == pytest.approx(np.max(changes))
    assert 0 < output.max_change < 0.1 * output.range

    kept = compress(pack(graph), "auto", images=images)
    assert kept.lossless
    assert kept.outputs[0].max_change == 0


# ---- the command


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compress") / "mobilenet.tflite"
    path.write_bytes(tulle.tflite.write(zoo.mobilenet_v2(width=0.35, size=64)))
    return path


def test_command_shrinks_a_file(source: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{seed}.png")
    (pictures / "broken.jpg").write_bytes(b"no picture")
    wide, small = tmp_path / "wide.tulle", tmp_path / "small.tulle"
    assert run("convert", source, "-o", wide).exit_code == 0
    for given in (wide, source):
        result = run("compress", given, "-o", small, "--values", "int8", "--calibration", pictures, "--json")
        assert result.exit_code == 0, result.output
        assert "1 files were skipped" in result.stderr
        report = json.loads(result.stdout)
        assert report["file_bytes"] == small.stat().st_size < 0.3 * wide.stat().st_size
        assert 0 < report["outputs"][0]["max_change"] < report["outputs"][0]["range"]
        assert all(0 < row["rms_error"] < 0.02 for row in report["layers"])
    text = run("compress", wide, "-o", small, "--values", "int8").stdout
    assert "RMS error" in text and "small.tulle" in text
    assert "nothing lost" in run("compress", wide, "-o", tmp_path / "same.tulle").stdout
    assert (tmp_path / "same.tulle").read_bytes() == wide.read_bytes()
    assert run("run", small, pictures / "0.png").exit_code == 0


def test_command_says_what_is_wrong_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tulle"
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ((tmp_path / "absent.tulle",), "absent.tulle cannot be read"),
        ((source, "--calibration", tmp_path / "nowhere"), "nowhere cannot be read"),
        ((source, "--calibration", tmp_path / "empty"), "holds no pictures"),
        ((Path(__file__),), "neither a .tflite nor an .onnx file"),
    ]:
        result = run("compress", *arguments, "-o", target)
        assert result.exit_code == 1
        assert message in result.stderr
        assert list(tmp_path.iterdir()) == [tmp_path / "empty"]
    assert run("compress", source, "-o", tmp_path / "no" / "out.tulle").exit_code == 1
