"""Folding of what depends on constants alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.passes.fold_constants import fold_constants


def test_dequantize_and_densify_go_and_values_stay(model_path: Callable) -> None:
    graph = tflite.read(model_path("hand_landmark_tulle"))
    folded = fold_constants(graph)
    assert {"dequantize", "densify"} <= set(networks.ops(graph))
    assert not {"dequantize", "densify"} & set(networks.ops(folded))
    assert networks.same_outputs(graph, folded, 1e-12)
    assert all(tensor.dtype == np.float32 for tensor in folded.tensors.values())


def constant_chain(pads: tuple[tuple[int, int], ...]) -> Graph:
    build = networks.builder()
    x = build.input("x", (1, 4))
    c = build.graph.add_constant("c", networks.noise_array((2, 2)))
    c = build.node("pad", [c], "padded", pads=pads, pad_value=0.5, pad_mode="constant")
    c = build.node("slice", [c], "first", shape=(1, 4), begin=(1, 0), strides=(1, 1))
    c = build.node("activation", [c], "sigmoid", activation="sigmoid")
    return build.finish(build.node("add", [x, c], "y", activation="none"))


def test_a_chain_of_ops_on_constants_becomes_one_constant() -> None:
    graph = constant_chain(((0, 1), (1, 1)))
    folded = fold_constants(graph)
    assert networks.ops(folded) == ["add"]
    assert networks.same_outputs(graph, folded)
    assert len(graph.nodes) == 4, "the graph given must not change"


def test_an_output_that_is_constant_is_still_computed() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4))
    c = build.graph.add_constant("c", networks.noise_array((1, 4)))
    y = build.node("activation", [x], "y", activation="relu")
    graph = build.finish(y, build.node("activation", [c], "z", activation="relu"))
    assert networks.ops(fold_constants(graph)) == ["activation", "activation"]


def test_enormous_constants_are_refused() -> None:
    graph = constant_chain(((0, 40_000), (0, 40_000)))
    with pytest.raises(TulleError, match=r"pad 'padded': its result .* is too large a constant"):
        fold_constants(graph)
