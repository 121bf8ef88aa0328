"""`tulle.verify`: it must notice what is wrong, and must not be fooled."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tulle
from tflite_model import TfliteModel
from tulle import TulleError
from tulle.graph import Graph, Node, Tensor
from tulle.verification import _compare

CONV = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "activation": "none"}


def model(*, bias: float = 0.0, sigmoid: bool = False) -> Graph:
    """Two outputs: a convolution and, from it, another or a sigmoid."""
    rng = np.random.default_rng(0)
    graph = Graph("two outputs")
    graph.inputs = [graph.add_tensor(Tensor("image", (1, 8, 8, 3)))]
    weight = graph.add_constant("weight", rng.standard_normal((4, 3, 3, 3)).astype(np.float32))
    offset = graph.add_constant("offset", np.array([0, 0, bias, 0], np.float32))
    graph.nodes = [Node("conv2d", "conv", ["image", weight, offset], ["features"], dict(CONV))]
    graph.add_tensor(Tensor("features", (1, 8, 8, 4)))
    second = graph.add_tensor(Tensor("second", (1, 8, 8, 4)))
    graph.nodes.append(
        Node("activation", "second", ["features"], [second], {"activation": "sigmoid" if sigmoid else "relu6"})
    )
    graph.outputs = ["features", "second"]
    return graph


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source, converted = tmp_path / "model.tflite", tmp_path / "model.tulle"
    source.write_bytes(tulle.tflite.write(model()))
    tulle.convert(source).save(converted)
    return source, converted


@pytest.mark.parametrize("litert", [True, False])
def test_equal_models_pass(files: tuple[Path, Path], litert: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if litert:
        pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    else:
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    result = tulle.verify(*files, runs=3)
    assert result.passed
    assert (result.oracle == "LiteRT") is litert
    assert litert or "NumPy reference" in result.oracle
    assert [output.name for output in result.outputs] == ["features", "second"]
    assert all(0 <= output.relative_error < 1e-5 for output in result.outputs)
    assert result.runs == 3


def test_one_wrong_channel_is_noticed(files: tuple[Path, Path]) -> None:
    tulle.convert(model(bias=0.5)).save(files[1])
    result = tulle.verify(*files)
    assert not result.passed
    features = result.outputs[0]
    assert features.max_error == pytest.approx(0.5, rel=1e-3)
    assert features.relative_error == pytest.approx(0.5 / features.range, rel=1e-3)
    assert tulle.verify(*files, tolerance=0.5).passed


def test_error_of_a_sigmoid_is_relative_to_1(tmp_path: Path) -> None:
    source, converted = tmp_path / "model.tflite", tmp_path / "model.tulle"
    source.write_bytes(tulle.tflite.write(model(sigmoid=True)))
    tulle.convert(source).save(converted)
    features, second = tulle.verify(source, converted).outputs
    assert (second.range, features.range > 1) == (1, True)


def test_given_inputs_are_tried(files: tuple[Path, Path]) -> None:
    wide = 1e4 * np.ones((1, 8, 8, 3), np.float32)
    assert tulle.verify(*files, inputs=[wide], runs=0).outputs[0].range > 1e4
    pixels = np.full((8, 8, 3), 200, np.uint8)
    assert tulle.verify(*files, inputs=[pixels], runs=0).outputs[0].range > 100
    with pytest.raises(TulleError, match="nothing to compare"):
        tulle.verify(*files, runs=0)


def test_models_with_other_outputs_are_not_compared(files: tuple[Path, Path]) -> None:
    other = model()
    other.tensors["other"] = replace(other.tensors.pop("second"), name="other")
    other.nodes[1].outputs, other.outputs = ["other"], ["features", "other"]
    tulle.convert(other).save(files[1])
    with pytest.raises(TulleError, match=r"the models differ: the original has outputs"):
        tulle.verify(*files)


def test_a_part_of_a_model_is_compared_with_that_part(files: tuple[Path, Path], tmp_path: Path) -> None:
    whole = model()
    whole.outputs = ["second"]
    source = tmp_path / "whole.tflite"
    source.write_bytes(tulle.tflite.write(whole))
    tulle.convert(source, outputs=["features"]).save(files[1])
    result = tulle.verify(source, files[1])
    assert result.passed and [output.name for output in result.outputs] == ["features"]


def test_quantised_originals_are_fed_and_read_as_what_they_are(tmp_path: Path) -> None:
    """Bytes in and out, which stand for floats; that the original rounds is taken into account."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    rng, m = np.random.default_rng(0), TfliteModel()
    x = m.input((1, 6, 6, 3), np.uint8, scale=[1 / 255], zero_point=[0])
    weight = m.tensor((4, 1, 1, 3), np.uint8, rng.integers(0, 256, (4, 1, 1, 3)), scale=[0.005], zero_point=[128])
    bias = m.tensor((4,), np.int32, rng.integers(-20, 20, 4), scale=[0.005 / 255])
    y = m.op(
        "CONV_2D", [x, weight, bias], (1, 6, 6, 4), "Conv2DOptions", dtype=np.uint8,
        quantization={"scale": [0.02], "zero_point": [128]}, strideH=1, strideW=1,
    )  # fmt: skip
    source, converted = tmp_path / "quantised.tflite", tmp_path / "quantised.tulle"
    source.write_bytes(m.finish(y))
    tulle.convert(source).save(converted)
    result = tulle.verify(source, converted)
    assert result.oracle == "LiteRT" and result.tolerance > 0.01
    (output,) = result.outputs
    assert output.range == pytest.approx(255 * 0.02)
    assert 0 < output.max_error <= 0.014  # half a step of the output, and what half a step of the input makes
    assert not tulle.verify(source, converted, tolerance=1e-4).passed


@pytest.fixture(params=[True, False])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether ONNX Runtime is there; without it ONNX's own evaluator computes what models are compared with."""
    pytest.importorskip("onnx", reason="the onnx package is not installed")
    if request.param:
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    else:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    return bool(request.param)


def test_onnx_models_are_compared(tmp_path: Path, installed: bool) -> None:
    onnx = pytest.importorskip("onnx")
    helper, rng = onnx.helper, np.random.default_rng(0)
    weights = [onnx.numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")]
    nodes = [helper.make_node("Conv", ["x", "w"], ["features"]), helper.make_node("Relu", ["features"], ["y"])]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    ends[0] = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("batch", 3, "rows", 7))
    shapes = {"x": (1, 3, 8, 7)}
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], weights)
    source, converted = tmp_path / "model.ONNX", tmp_path / "model.tulle"  # its bytes count, not its name
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    for outputs in (None, ["features"]):
        tulle.convert(source, outputs=outputs, input_shapes=shapes).save(converted)
        result = tulle.verify(source, converted, input_shapes=shapes)
        assert result.passed and result.oracle.startswith("ONNX Runtime" if installed else "ONNX's reference")
    weights[0].CopyFrom(onnx.numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w"))
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    assert not tulle.verify(source, converted, input_shapes=shapes).passed


def test_onnx_pictures_with_as_many_rows_as_channels_are_compared(tmp_path: Path, installed: bool) -> None:
    onnx = pytest.importorskip("onnx")
    helper, rng = onnx.helper, np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.standard_normal((4, 3, 1, 1)).astype(np.float32), "w")
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3, 3, 3))
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "test", [x], [y], [weight])
    source, converted = tmp_path / "model.onnx", tmp_path / "model.tulle"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    tulle.convert(source).save(converted)
    assert tulle.verify(source, converted).passed


@pytest.mark.parametrize("order", ["NCHW", "NHWC"])
def test_onnx_inputs_of_bytes_are_given_as_floats(tmp_path: Path, installed: bool, order: str) -> None:
    onnx = pytest.importorskip("onnx")
    helper, rng = onnx.helper, np.random.default_rng(0)
    constants = {"w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "s": np.array([255], np.float32)}
    moved, shape = "x", (1, 3, 8, 7)
    nodes = []
    if order == "NHWC":
        moved, shape = "moved", (1, 8, 7, 3)
        nodes.append(helper.make_node("Transpose", ["x"], [moved], perm=[0, 3, 1, 2]))
    nodes += [helper.make_node("Cast", [moved], ["f"], to=1), helper.make_node("Div", ["f", "s"], ["d"]),
              helper.make_node("Conv", ["d", "w"], ["y"])]  # fmt: skip
    x = helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, shape)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    stored = [onnx.numpy_helper.from_array(data, name) for name, data in constants.items()]
    graph = helper.make_graph(nodes, "test", [x], [y], stored)
    source, converted = tmp_path / "model.onnx", tmp_path / "model.tulle"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    conversion = tulle.convert(source)
    assert "'x' holds whole numbers, given as float32" in conversion.graph.notes
    assert conversion.graph.tensors["x"].shape == (1, 8, 7, 3)
    conversion.save(converted)
    assert tulle.verify(source, converted).passed
    nodes.append(helper.make_node("Add", ["x", "x"], ["z"]))  # computed in bytes, which overflow
    graph = helper.make_graph(nodes, "test", [x], [y], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    with pytest.raises(tulle.TulleError, match="input 'x' is uint8: it must be of floats"):
        tulle.convert(source)


def test_onnx_models_in_float16_are_compared(tmp_path: Path, installed: bool) -> None:
    onnx = pytest.importorskip("onnx")
    helper, half = onnx.helper, onnx.TensorProto.FLOAT16
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float16)
    nodes = [helper.make_node("Conv", ["x", "w"], ["features"]), helper.make_node("Tanh", ["features"], ["y"])]
    ends = [helper.make_tensor_value_info(name, half, shape) for name, shape in (("x", (1, 3, 8, 7)), ("y", None))]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weight, "w")])
    source, converted = tmp_path / "model.onnx", tmp_path / "model.tulle"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    for outputs in (None, ["features"]):
        conversion = tulle.convert(source, outputs=outputs)
        assert any("float32 now" in note for note in conversion.graph.notes)
        conversion.save(converted)
        result = tulle.verify(source, converted)
        assert result.passed and 1e-5 < result.outputs[0].relative_error < 2e-3


def test_nan_is_an_error_only_where_the_oracle_has_none() -> None:
    nan, one, two = (np.array([value, 3.0]) for value in (np.nan, 1.0, 2.0))
    assert _compare("x", [(nan, nan), (one, one)], None).max_error == 0
    assert np.isnan(_compare("x", [(one, nan)], None).max_error)
    assert np.isnan(_compare("x", [(nan, one)], None).max_error)
    assert np.isnan(_compare("x", [(np.array([np.inf]), np.array([-np.inf]))], None).max_error)
    assert _compare("x", [(one, two)], None).relative_error == 0.5
    assert _compare("x", [(one, two)], 1.0).relative_error == 1.0
