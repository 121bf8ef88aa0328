"""Means of sums and of enlargements, taken before them."""

from __future__ import annotations

import math

import pytest

import networks
from tulle.graph import Graph, Node, Tensor
from tulle.passes.early_means import early_means

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
    split = early_means(graph)
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
        split = early_means(graph)
        assert networks.ops(split) == expected
        assert networks.same_outputs(graph, split)


def test_a_map_added_to_itself() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    total = build.node("add", [x, x], "sum", activation="none")
    graph = build.finish(build.node("mean", [total], "mean", axes=(1, 2), keep_dims=True))
    assert networks.same_outputs(graph, early_means(graph))


@pytest.mark.parametrize("kept", [{"axes": (3,)}, {"activation": "relu"}, {"constant": True}])
def test_what_stays(kept: dict) -> None:
    graph = gate(**kept)
    assert networks.ops(early_means(graph)) == ["add", "mean"]


def test_a_sum_that_others_read_stays() -> None:
    graph = gate()
    graph.outputs.append("sum")
    assert networks.ops(early_means(graph)) == ["add", "mean"]
    build = networks.builder()
    x, y = build.input("x", SHAPE), build.input("y", SHAPE)
    total = build.node("add", [x, y], "sum", activation="none")
    mean = build.node("mean", [total], "mean", axes=(1, 2), keep_dims=True)
    graph = build.finish(build.node("mul", [total, mean], "gated", activation="none"))
    assert networks.ops(early_means(graph)) == ["add", "mean", "mul"]


def test_a_sum_that_is_broadcast_stays() -> None:
    build = networks.builder()
    x, y = build.input("x", SHAPE), build.input("y", (1, 1, 1, 6))
    total = build.node("add", [x, y], "sum", activation="none")
    graph = build.finish(build.node("mean", [total], "mean", axes=(1, 2), keep_dims=True))
    assert networks.ops(early_means(graph)) == ["add", "mean"]


def enlarged_mean(op: str, factor: tuple[int, int], pool: bool = False, **how: bool) -> Graph:
    build = networks.builder()
    size = (5 * factor[0], 7 * factor[1])
    large = build.graph.add_tensor(Tensor("large", (1, *size, 6)))
    attrs = {"align_corners": False, "half_pixel_centers": True, **how}
    build.graph.nodes.append(Node(op, "resize", [build.input("x", SHAPE)], [large], attrs))
    if pool:
        window = {"kernel": size, "strides": (1, 1), "padding": (0, 0, 0, 0), "activation": "none"}
        return build.finish(build.node("average_pool2d", [large], "mean", **window))
    return build.finish(build.node("mean", [large], "mean", axes=(1, 2), keep_dims=True))


@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (3, 1), (4, 5)])
@pytest.mark.parametrize("pool", [False, True])
def test_the_mean_of_an_enlargement(factor: tuple[int, int], pool: bool) -> None:
    cases = [("resize_bilinear", {}), ("resize_nearest", {}), ("resize_nearest", {"half_pixel_centers": False})]
    for op, how in cases:
        graph = enlarged_mean(op, factor, pool, **how)
        early = early_means(graph)
        assert len(early.nodes) == 1 and early.nodes[0].inputs == ["x"]
        assert networks.same_outputs(graph, early)


def test_pixels_that_do_not_count_alike() -> None:
    """Without half-pixel centers the last column counts more than the first; other factors favour some, too."""
    for graph in (
        enlarged_mean("resize_bilinear", (2, 2), half_pixel_centers=False),
        enlarged_mean("resize_bilinear", (2, 2), half_pixel_centers=False, align_corners=True),
        enlarged_mean("resize_nearest", (2, 2), half_pixel_centers=False, align_corners=True),
    ):
        assert networks.ops(early_means(graph))[0].startswith("resize")
    graph = enlarged_mean("resize_bilinear", (2, 2))
    graph.tensors["large"].shape = (1, 9, 14, 6)
    assert networks.ops(early_means(graph)) == ["resize_bilinear", "mean"]


def test_a_window_that_leaves_pixels_out() -> None:
    graph = enlarged_mean("resize_bilinear", (2, 2), pool=True)
    graph.nodes[1].attrs |= {"kernel": (9, 14), "strides": (2, 2)}
    assert networks.ops(early_means(graph)) == ["resize_bilinear", "average_pool2d"]
