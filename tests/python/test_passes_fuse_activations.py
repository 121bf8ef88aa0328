"""Activations moved into the ops before them."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph
from tulle.ops import OPS
from tulle.passes.fuse_activations import fuse_activations, split_activations

ACTIVATIONS = {
    "relu": {},
    "relu6": {},
    "relu_n1_to_1": {},
    "hard_swish": {},
    "sigmoid": {},
    "tanh": {},
    "leaky_relu": {"alpha": 0.2},
    "elu": {"alpha": 1.0},
}
POOL = {"kernel": (2, 2), "strides": (2, 2), "padding": "same", "activation": "none"}


def host(
    op: str, *, before: str = "none", after: str = "relu", alpha: np.ndarray | None = None, **attrs: object
) -> Graph:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 4))
    if op == "conv2d":
        y = build.conv2d(x, "host", 4, activation=before)
    elif op == "depthwise_conv2d":
        y = build.depthwise_conv2d(x, "host", activation=before)
    elif op == "transpose_conv2d":
        weight = build.graph.add_constant("w", networks.noise_array((4, 2, 2, 4)))
        y = build.node(
            op, [x, weight, None], "host", shape=(1, 8, 8, 4), strides=(2, 2), padding="same", activation=before
        )
    elif op == "fully_connected":
        weight = build.graph.add_constant("w", networks.noise_array((4, 4)))
        y = build.node(op, [x, weight], "host", activation=before, keep_num_dims=True)
    elif op.endswith("pool2d"):
        y = build.node(op, [x], "host", **{**POOL, "activation": before})
    elif op == "softmax":
        y = build.node(op, [x], "host", beta=1.0)
    else:
        y = build.node(op, [x, x], "host", activation=before)
    inputs = [y] if alpha is None else [y, build.graph.add_constant("alpha", alpha)]
    return build.finish(build.node("activation", inputs, "y", activation=after, **attrs))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_fused(activation: str) -> None:
    graph = host("conv2d", after=activation, **ACTIVATIONS[activation])
    after = fuse_activations(graph)
    assert networks.ops(after) == ["conv2d"] and after.nodes[0].attrs["activation"] == activation
    assert networks.same_outputs(graph, after)


@pytest.mark.parametrize("op", [name for name, op in OPS.items() if op.fuses_activation])
@pytest.mark.parametrize("alpha", [(4,), (1, 1, 4), (1,)])
def test_prelu_is_fused_with_alpha_as_the_last_input(op: str, alpha: tuple[int, ...]) -> None:
    graph = host(op, after="prelu", alpha=networks.noise_array(alpha))
    after = fuse_activations(graph)
    assert networks.ops(after) == [op]
    inputs = after.nodes[0].inputs
    assert len(inputs) == OPS[op].own_inputs + 1
    assert after.tensors[inputs[-1] or ""].shape == (4,)
    assert networks.same_outputs(graph, after)


def test_prelu_that_varies_over_the_image_stays() -> None:
    graph = host("conv2d", after="prelu", alpha=networks.noise_array((4, 4, 1)))
    assert networks.ops(fuse_activations(graph)) == ["conv2d", "activation"]


@pytest.mark.parametrize(("op", "before"), [("conv2d", "relu6"), ("softmax", "none")])
def test_what_cannot_be_fused_stays(op: str, before: str) -> None:
    graph = host(op, before=before, after="tanh")
    assert networks.ops(fuse_activations(graph)) == [op, "activation"]
    assert networks.same_outputs(graph, fuse_activations(graph))


def test_a_second_reader_prevents_it() -> None:
    for second_reader_is_output in (True, False):
        build = networks.builder()
        y = build.conv2d(build.input("x", (1, 4, 4, 4)), "conv", 4)
        z = build.node("activation", [y], "z", activation="relu")
        other = y if second_reader_is_output else build.node("activation", [y], "other", activation="tanh")
        graph = build.finish(z, other)
        assert networks.ops(fuse_activations(graph)) == networks.ops(graph)


def test_one_activation_at_most() -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 4)), "conv", 4)
    y = build.node("activation", [y], "first", activation="tanh")
    graph = build.finish(build.node("activation", [y], "second", activation="relu"))
    after = fuse_activations(graph)
    assert networks.ops(after) == ["conv2d", "activation"]
    assert networks.same_outputs(graph, after)


def test_the_activation_of_a_concat_gets_a_node() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 4))
    graph = build.finish(build.node("concat", [x, x], "y", axis=3, activation="relu"))
    after = split_activations(graph)
    assert networks.ops(after) == ["concat", "activation"]
    assert networks.same_outputs(graph, after)
