"""Additions moved into the 1x1 convolution before them."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph
from tulle.passes.fuse_activations import fuse_activations
from tulle.passes.fuse_residuals import fuse_residuals

SHAPE = (1, 4, 4, 4)


def block(*, kernel: int = 1, activation: str = "none", after: str = "none", conv_first: bool = True) -> Graph:
    build = networks.builder()
    x = build.node("activation", [build.input("x", SHAPE)], "start", activation="relu")
    y = build.conv2d(x, "conv", 4, kernel=kernel, activation=activation)
    return build.finish(build.node("add", [y, x] if conv_first else [x, y], "sum", activation=after))


@pytest.mark.parametrize("conv_first", [True, False])
@pytest.mark.parametrize("after", ["none", "relu6"])
def test_the_addition_and_its_activation_move_into_the_convolution(after: str, conv_first: bool) -> None:
    graph = block(after=after, conv_first=conv_first)
    fused = fuse_residuals(graph)
    assert networks.ops(fused) == ["activation", "conv2d"]
    node = fused.nodes[-1]
    assert node.inputs == ["start", "conv/weight", "conv/bias", "start"] and node.output == "sum"
    assert node.attrs["activation"] == after
    assert networks.same_outputs(graph, fused)


def test_prelu_of_the_addition_comes_along() -> None:
    graph = block()
    alpha = graph.add_constant("alpha", networks.noise_array((4,)))
    graph.nodes[-1].inputs.append(alpha)
    graph.nodes[-1].attrs["activation"] = "prelu"
    fused = fuse_residuals(graph)
    assert fused.nodes[-1].inputs == ["start", "conv/weight", "conv/bias", "start", "alpha"]
    assert networks.same_outputs(graph, fused)


def test_a_residual_that_is_computed_after_the_convolution() -> None:
    """As in the palm detector: the convolution moves behind it."""
    build = networks.builder()
    x = build.input("x", SHAPE)
    y = build.conv2d(x, "conv", 4)
    late = build.node("activation", [x], "late", activation="tanh")
    graph = build.finish(build.node("add", [late, y], "sum", activation="none"))
    fused = fuse_residuals(graph)
    assert [node.output for node in fused] == ["late", "sum"]
    assert networks.same_outputs(graph, fused)


def test_of_two_convolutions_the_later_takes_the_other() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    a, b = build.conv2d(x, "a", 4), build.conv2d(x, "b", 4)
    graph = build.finish(build.node("add", [a, b], "sum", activation="none"))
    fused = fuse_residuals(graph)
    assert [node.name for node in fused] == ["a", "b"] and fused.nodes[1].inputs[3] == "a"
    assert networks.same_outputs(graph, fused)


def test_a_chain_of_residual_blocks() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    for index in range(3):
        y = build.conv2d(x, f"conv{index}", 4)
        x = build.node("add", [x, y], f"sum{index}", activation="none")
    graph = build.finish(x)
    assert networks.ops(fuse_residuals(graph)) == ["conv2d"] * 3
    assert networks.same_outputs(graph, fuse_residuals(graph))


def test_an_operand_takes_one_residual_only() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    y = build.node("add", [x, build.conv2d(x, "conv", 4)], "first", activation="none")
    graph = build.finish(build.node("add", [x, y], "second", activation="none"))
    fused = fuse_residuals(graph)
    assert networks.ops(fused) == ["conv2d", "add"]
    assert networks.same_outputs(graph, fused)


@pytest.mark.parametrize("graph", [block(kernel=3), block(activation="relu")])
def test_other_convolutions_stay(graph: Graph) -> None:
    assert networks.ops(fuse_residuals(graph)) == networks.ops(graph)


def test_broadcasts_constants_doubles_and_second_readers_stay() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    gate = build.node("mean", [x], "mean", axes=(1, 2), keep_dims=True)
    outputs = [build.node("add", [build.conv2d(x, "a", 4), gate], "broadcast", activation="none")]
    full = build.graph.add_constant("full", networks.noise_array(SHAPE))
    outputs.append(build.node("add", [build.conv2d(x, "b", 4), full], "constant", activation="none"))
    y = build.conv2d(x, "c", 4)
    outputs.append(build.node("add", [y, y], "double", activation="none"))
    z = build.conv2d(x, "d", 4)
    outputs += [z, build.node("add", [z, x], "read twice", activation="none")]
    graph = build.finish(*outputs)
    assert networks.ops(fuse_residuals(graph)) == networks.ops(graph)


def test_an_activation_after_the_sum_is_fused_before() -> None:
    graph = block()
    alpha = graph.add_constant("alpha", np.full((1, 1, 4), 0.1, np.float32))
    from tulle.graph import Node, Tensor

    graph.add_tensor(Tensor("y", SHAPE))
    graph.nodes.append(Node("activation", "y", ["sum", alpha], ["y"], {"activation": "prelu"}))
    graph.outputs = ["y"]
    fused = fuse_residuals(fuse_activations(graph))
    assert networks.ops(fused) == ["activation", "conv2d"]
    assert networks.same_outputs(graph, fused)
