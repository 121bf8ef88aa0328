"""`tulle.verify`: it must notice what is wrong, and must not be fooled."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import tulle
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
    other.outputs = ["second"]
    tulle.convert(other).save(files[1])
    with pytest.raises(TulleError, match=r"the models differ: the .tflite file has outputs"):
        tulle.verify(*files)


def test_nan_is_an_error_only_where_the_oracle_has_none() -> None:
    nan, one, two = (np.array([value, 3.0]) for value in (np.nan, 1.0, 2.0))
    assert _compare("x", [(nan, nan), (one, one)], is_sigmoid=False).max_error == 0
    assert np.isnan(_compare("x", [(one, nan)], is_sigmoid=False).max_error)
    assert np.isnan(_compare("x", [(nan, one)], is_sigmoid=False).max_error)
    assert np.isnan(_compare("x", [(np.array([np.inf]), np.array([-np.inf]))], is_sigmoid=False).max_error)
    assert _compare("x", [(one, two)], is_sigmoid=False).relative_error == 0.5
    assert _compare("x", [(one, two)], is_sigmoid=True).relative_error == 1.0
