"""Batch normalisation and other constant factors and terms, folded into the layer before."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph
from tulle.passes.fold_affine import fold_affine
from tulle.zoo.builder import Builder

LAYERS = ("conv2d", "depthwise_conv2d", "transpose_conv2d", "fully_connected")


def layer(build: Builder, op: str, bias: bool = True, activation: str = "none") -> str:
    add = build.graph.add_constant
    if op == "fully_connected":
        x = build.input("x", (2, 6))
        inputs = [x, add("w", networks.noise_array((4, 6))), add("b", networks.noise_array((4,))) if bias else None]
        return build.node(op, inputs, "layer", activation=activation, keep_num_dims=False)
    x = build.input("x", (1, 5, 6, 4))
    shape = (1, 3, 3, 4) if op == "depthwise_conv2d" else (4, 3, 3, 4)
    inputs = [x, add("w", networks.noise_array(shape)), add("b", networks.noise_array((4,), 1)) if bias else None]
    attrs = {"strides": (1, 1), "padding": "same", "activation": activation}
    if op == "transpose_conv2d":
        return build.node(op, inputs, "layer", shape=(1, 5, 6, 4), **attrs)
    return build.node(op, inputs, "layer", dilations=(1, 1), **attrs)


def constant(build: Builder, shape: tuple[int, ...] = (4,)) -> str:
    return build.graph.add_constant("c", networks.noise_array(shape, 2))


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("binary", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("op", LAYERS)
def test_each_layer_takes_each_op(op: str, binary: str, swap: bool) -> None:
    build = networks.builder()
    operands = [layer(build, op, bias=binary != "sub"), constant(build)]
    graph = build.finish(build.node(binary, operands[::-1] if swap else operands, "y", activation="relu6"))
    after = fold_affine(graph)
    folds = not (binary == "div" and swap)
    assert networks.ops(after) == ([op] if folds else [op, "div"])
    assert networks.same_outputs(graph, after)


def test_batch_normalisation_folds_as_a_whole() -> None:
    build = networks.builder()
    y = layer(build, "conv2d", bias=False)
    for index, op in enumerate(("sub", "div", "mul", "add")):
        c = build.graph.add_constant(f"c{index}", 0.5 + np.abs(networks.noise_array((1, 1, 1, 4), index)))
        y = build.node(op, [y, c], f"y{index}", activation="none")
    graph = build.finish(y)
    assert networks.ops(fold_affine(graph)) == ["conv2d"]
    assert networks.same_outputs(graph, fold_affine(graph))


def stays(graph: Graph) -> bool:
    after = fold_affine(graph)
    return networks.ops(after) == networks.ops(graph) and networks.same_outputs(graph, after)


def test_what_must_not_be_folded_stays() -> None:
    for activation, shape in (("relu", (4,)), ("none", (1, 5, 6, 4)), ("none", (1, 5, 6, 1)), ("none", (2, 5, 6, 4))):
        build = networks.builder()
        operands = [layer(build, "conv2d", activation=activation), constant(build, shape)]
        assert stays(build.finish(build.node("mul", operands, "y", activation="none")))


def test_a_layer_that_others_read_stays() -> None:
    build = networks.builder()
    y = layer(build, "conv2d")
    z = build.node("mul", [y, constant(build)], "z", activation="none")
    assert stays(build.finish(y, z))
    build = networks.builder()
    y = layer(build, "conv2d")
    z = build.node("mul", [y, constant(build)], "z", activation="none")
    assert stays(build.finish(z, build.node("activation", [y], "other", activation="relu")))


def test_division_by_zero_stays() -> None:
    build = networks.builder()
    zero = build.graph.add_constant("zero", np.array([1, 0, 2, 3], np.float32))
    graph = build.finish(build.node("div", [layer(build, "conv2d"), zero], "y", activation="none"))
    assert networks.ops(fold_affine(graph)) == ["conv2d", "div"]
