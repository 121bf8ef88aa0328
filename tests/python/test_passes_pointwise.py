"""Fully connected layers over the channels of an image become 1x1 convolutions; others stay."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph, reference
from tulle.passes import lower
from tulle.passes.layout import permutes
from tulle.passes.pointwise import pointwise


def connected(shape: tuple[int, ...], keep: bool = True, activation: str = "relu6") -> Graph:
    build = networks.builder()
    x = build.input("x", shape)
    if len(shape) == 4 and shape[1] > 1:
        x = build.depthwise_conv2d(x, "before")
    weight = build.graph.add_constant("weight", networks.noise_array((5, shape[-1])))
    bias = build.graph.add_constant("bias", networks.noise_array((5,)))
    inputs: list[str | None] = [x, weight, bias]
    return build.finish(build.node("fully_connected", inputs, "fc", activation=activation, keep_num_dims=keep))


def test_over_an_image_it_is_a_convolution() -> None:
    graph = connected((1, 6, 7, 3))
    changed = pointwise(graph)
    assert [node.op for node in changed] == ["depthwise_conv2d", "conv2d"]
    image = {"x": np.random.default_rng(0).standard_normal((1, 6, 7, 3))}
    (expected,), (got,) = (reference.run(g, image).values() for g in (graph, changed))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert permutes(lower(graph))[0] == 2  # of input and output only


@pytest.mark.parametrize(("shape", "keep"), [((4, 3), True), ((1, 6, 3), True), ((1, 1, 1, 3), True)])
def test_others_stay(shape: tuple[int, ...], keep: bool) -> None:
    assert pointwise(connected(shape, keep)).nodes[-1].op == "fully_connected"
