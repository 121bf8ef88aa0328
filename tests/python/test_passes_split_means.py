"""Means of sums taken as sums of means."""

from __future__ import annotations

import math

import pytest

import networks
from tulle.graph import Graph
from tulle.passes.split_means import split_means

SHAPE = (1, 5, 7, 6)


def gate(
    axes: tuple[int, ...] = (1, 2), keep_dims: bool = True, activation: str = "none", constant: bool = False
) -> Graph:
    build = networks.builder()
    x = build.input("x", SHAPE)
    y = build.graph.add_constant("y", networks.noise_array(SHAPE)) if constant else build.input("y", SHAPE)
    total = build.node("add", [x, y], "sum", activation=activation)
    return build.finish(build.node("mean", [total], "mean", axes=axes, keep_dims=keep_dims))


@pytest.mark.parametrize("keep_dims", [True, False])
def test_the_sum_of_the_maps_is_gone(keep_dims: bool) -> None:
    graph = gate(keep_dims=keep_dims)
    split = split_means(graph)
    assert networks.ops(split) == ["mean", "mean", "add"]
    assert all(math.prod(split.tensors[node.output].shape) == 6 for node in split)
    assert networks.same_outputs(graph, split)


def test_average_pools_of_the_whole_map() -> None:
    cases = {(5, 7): ["average_pool2d", "average_pool2d", "add"], (2, 2): ["add", "average_pool2d"]}
    for kernel, expected in cases.items():
        build = networks.builder()
        total = build.node("add", [build.input("x", SHAPE), build.input("y", SHAPE)], "sum", activation="none")
        how = {"kernel": kernel, "strides": (1, 1), "padding": "valid", "activation": "none"}
        graph = build.finish(build.node("average_pool2d", [total], "pool", **how))
        split = split_means(graph)
        assert networks.ops(split) == expected
        assert networks.same_outputs(graph, split)


def test_a_map_added_to_itself() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    total = build.node("add", [x, x], "sum", activation="none")
    graph = build.finish(build.node("mean", [total], "mean", axes=(1, 2), keep_dims=True))
    assert networks.same_outputs(graph, split_means(graph))


@pytest.mark.parametrize("kept", [{"axes": (3,)}, {"activation": "relu"}, {"constant": True}])
def test_what_stays(kept: dict) -> None:
    graph = gate(**kept)
    assert networks.ops(split_means(graph)) == ["add", "mean"]


def test_a_sum_that_others_read_stays() -> None:
    graph = gate()
    graph.outputs.append("sum")
    assert networks.ops(split_means(graph)) == ["add", "mean"]
    build = networks.builder()
    x, y = build.input("x", SHAPE), build.input("y", SHAPE)
    total = build.node("add", [x, y], "sum", activation="none")
    mean = build.node("mean", [total], "mean", axes=(1, 2), keep_dims=True)
    graph = build.finish(build.node("mul", [total, mean], "gated", activation="none"))
    assert networks.ops(split_means(graph)) == ["add", "mean", "mul"]


def test_a_sum_that_is_broadcast_stays() -> None:
    build = networks.builder()
    x, y = build.input("x", SHAPE), build.input("y", (1, 1, 1, 6))
    total = build.node("add", [x, y], "sum", activation="none")
    graph = build.finish(build.node("mean", [total], "mean", axes=(1, 2), keep_dims=True))
    assert networks.ops(split_means(graph)) == ["add", "mean"]
