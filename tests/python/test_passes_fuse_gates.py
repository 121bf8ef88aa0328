"""x * sigmoid(x) becomes one activation, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph, reference
from tulle.passes import lower
from tulle.passes.fuse_gates import fuse_gates


def gated(*, swap: bool = False, other: bool = False, activation: str = "none") -> Graph:
    """A convolution, the sigmoid of it (or of its relu, `other`), and their product."""
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "conv", 4)
    source = build.node("activation", [x], "relu", activation="relu") if other else x
    gate = build.node("activation", [source], "gate", activation="sigmoid")
    return build.finish(build.node("mul", [gate, x] if swap else [x, gate], "product", activation=activation))


@pytest.mark.parametrize("swap", [False, True])
def test_swish_ends_up_in_the_convolution(swap: bool) -> None:
    graph = gated(swap=swap)
    fused = lower(graph)
    (conv,) = (node for node in fused if node.op == "conv2d")
    assert conv.attrs["activation"] == "swish"
    assert not any(node.op in ("mul", "activation") for node in fused)
    image = {"x": np.random.default_rng(0).standard_normal((1, 8, 8, 3))}
    (expected,), (got,) = (reference.run(g, image).values() for g in (graph, fused))
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("case", [{"other": True}, {"activation": "relu"}])
def test_other_products_stay(case: dict) -> None:
    graph = gated(**case)
    assert [node.op for node in fuse_gates(graph)] == [node.op for node in graph]
