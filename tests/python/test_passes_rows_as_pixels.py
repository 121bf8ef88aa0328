"""Fully connected layers over rows run as 1x1 convolutions where that is faster sparse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import networks
from tulle import load
from tulle.graph import Graph, reference
from tulle.pack import pack
from tulle.passes import lower
from tulle.passes.rows_as_pixels import rows_as_pixels


def connected(shape: tuple[int, ...], zeros: float, activation: str = "relu", keep: bool = True) -> Graph:
    build = networks.builder()
    weight = networks.noise_array((48, shape[-1])) - 0.5
    weight[np.random.default_rng(0).random(weight.shape) < zeros] = 0
    inputs: list[str | None] = [build.input("x", shape), build.graph.add_constant("weight", weight)]
    inputs.append(build.graph.add_constant("bias", networks.noise_array((48,))))
    if activation == "prelu":
        inputs.append(build.graph.add_constant("alpha", networks.noise_array((48,))))
    return build.finish(build.node("fully_connected", inputs, "fc", activation=activation, keep_num_dims=keep))


@pytest.mark.parametrize("activation", ["none", "relu6", "gelu", "prelu"])
@pytest.mark.parametrize(("shape", "keep"), [((1, 60, 40), True), ((5, 12, 40), True), ((5, 12, 40), False)])
def test_a_sparse_layer_over_rows_is_a_convolution(shape: tuple[int, ...], keep: bool, activation: str) -> None:
    graph = connected(shape, 0.8, activation, keep)
    changed = rows_as_pixels(graph, "auto")
    assert [node.op for node in changed] == ["reshape", "conv2d", "reshape"]
    assert changed.tensors[changed.outputs[0]].shape == graph.tensors[graph.outputs[0]].shape
    x = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    (expected,), (got,) = (reference.run(g, x).values() for g in (graph, changed))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    lowered = lower(graph)
    assert [node.attrs["sparsity"] for node in lowered if node.op == "conv2d"] == ["sparse"]
    with load(pack(lowered)) as model:
        [y] = model(x).values()
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "zeros", "sparse"), [((60, 40), 0, "auto"), ((1, 40), 0.9, "auto"), ((60, 40), 0.9, "never")]
)
def test_others_stay(shape: tuple[int, ...], zeros: float, sparse: str) -> None:
    lowered = lower(connected(shape, zeros), sparse=sparse)
    assert [node.op for node in lowered] == ["fully_connected"]
    assert lowered.nodes[0].attrs["sparsity"] == ("sparse" if math.prod(shape[:-1]) == 1 else "dense")
