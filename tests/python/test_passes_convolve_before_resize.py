"""1x1 convolutions moved from behind an enlargement to before it."""

from __future__ import annotations

import pytest

import networks
from tulle.graph import Graph
from tulle.passes.convolve_before_resize import convolve_before_resize
from tulle.zoo.builder import Builder

HOW = [
    {"align_corners": False, "half_pixel_centers": True},
    {"align_corners": True, "half_pixel_centers": False},
    {"align_corners": False, "half_pixel_centers": False},
]


def enlarged(build: Builder, shape: tuple[int, int] = (6, 10), op: str = "resize_bilinear", how: int = 0) -> str:
    """Of 3x5 pixels and 4 channels."""
    return build.node(op, [build.input("x", (1, 3, 5, 4))], "up", shape=(1, *shape, 4), **HOW[how])


@pytest.mark.parametrize("how", range(3))
@pytest.mark.parametrize("shape", [(6, 10), (7, 13), (3, 6)])
@pytest.mark.parametrize("op", ["resize_bilinear", "resize_nearest"])
def test_the_convolution_sees_the_smaller_map(op: str, shape: tuple[int, int], how: int) -> None:
    build = networks.builder()
    graph = build.finish(build.conv2d(enlarged(build, shape, op, how), "conv", 7))
    moved = convolve_before_resize(graph)
    assert networks.ops(moved) == ["conv2d", op]
    assert moved.tensors[moved.nodes[0].output].shape == (1, 3, 5, 7)
    assert [node.name for node in moved] == ["conv", "up"]
    assert networks.same_outputs(graph, moved)


def test_an_activation_comes_along_behind_nearest_neighbours_only() -> None:
    for op, expected in (
        ("resize_nearest", ["conv2d", "resize_nearest"]),
        ("resize_bilinear", ["resize_bilinear", "conv2d"]),
    ):
        build = networks.builder()
        graph = build.finish(build.conv2d(enlarged(build, op=op), "conv", 7, activation="relu"))
        moved = convolve_before_resize(graph)
        assert networks.ops(moved) == expected
        assert networks.same_outputs(graph, moved)


def test_other_nodes_between_them_still_come_after_what_they_read() -> None:
    build = networks.builder()
    up = enlarged(build)
    other = build.node("activation", [build.input("y", (1, 6, 10, 7))], "other", activation="tanh")
    conv = build.conv2d(up, "conv", 7)
    graph = build.finish(build.node("add", [other, conv], "sum", activation="none"))
    moved = convolve_before_resize(graph)
    assert networks.ops(moved) == ["conv2d", "activation", "resize_bilinear", "add"]
    assert networks.same_outputs(graph, moved)


def two_readers(build: Builder, up: str) -> str:
    return build.node("add", [build.conv2d(up, "conv", 4), up], "sum", activation="none")


@pytest.mark.parametrize(
    ("shape", "rest"),
    [
        ((6, 10), two_readers),
        ((6, 10), lambda build, up: build.conv2d(up, "conv", 7, kernel=3)),
        ((6, 10), lambda build, up: build.conv2d(up, "conv", 7, stride=2)),
        ((6, 10), lambda build, up: build.depthwise_conv2d(up, "depthwise")),
        ((2, 3), lambda build, up: build.conv2d(up, "conv", 7)),  # fewer pixels: better as it is
        ((3, 5), lambda build, up: build.conv2d(up, "conv", 7)),
    ],
)
def test_what_stays(shape: tuple[int, int], rest) -> None:
    build = networks.builder()
    graph = build.finish(rest(build, enlarged(build, shape)))
    moved = convolve_before_resize(graph)
    assert networks.ops(moved) == networks.ops(graph)
    assert networks.same_outputs(graph, moved)


def test_a_larger_map_that_is_an_output_stays() -> None:
    build = networks.builder()
    graph = build.finish(build.conv2d(enlarged(build), "conv", 7))
    graph.outputs.append("up")
    assert networks.ops(convolve_before_resize(graph)) == ["resize_bilinear", "conv2d"]


def test_a_residual_stays() -> None:
    build = networks.builder()
    up = enlarged(build)
    other = build.input("y", (1, 6, 10, 7))
    graph: Graph = build.finish(build.conv2d(up, "conv", 7))
    graph.nodes[-1].inputs.append(other)
    assert networks.ops(convolve_before_resize(graph)) == ["resize_bilinear", "conv2d"]
