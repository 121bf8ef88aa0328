"""Transposed convolutions with a stride become convolutions whose results are interleaved, and compute the same."""

from __future__ import annotations

import itertools

import pytest

import networks
from tulle.graph import Graph
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.split_transpose_convs import split_transpose_convs


def transposed(
    kernel: tuple[int, int],
    stride: int | tuple[int, int],
    *,
    padding: str | tuple[int, int, int, int] = "same",
    channels: tuple[int, int] = (5, 4),
    activation: str = "none",
    size: tuple[int, int] = (5, 7),
) -> Graph:
    strides = (stride, stride) if isinstance(stride, int) else stride
    build = networks.builder()
    x = build.input("x", (1, *size, channels[0]))
    weight = build.graph.add_constant("weight", networks.noise_array((channels[1], *kernel, channels[0])))
    inputs: list[str | None] = [x, weight, build.graph.add_constant("bias", networks.noise_array((channels[1],), 1))]
    attrs = {"activation": activation, "strides": strides, "padding": padding}
    if activation == "prelu":
        inputs.append(build.graph.add_constant("alpha", networks.noise_array((channels[1],), 2)))
    if activation == "leaky_relu":
        attrs["alpha"] = 0.3
    shape = (1, size[0] * strides[0], size[1] * strides[1], channels[1])
    return explicit_padding(build.finish(build.node("transpose_conv2d", inputs, "up", shape=shape, **attrs)))


@pytest.mark.parametrize(("kernel", "stride"), [
    (kernel, stride) for kernel, stride in itertools.product(itertools.product((2, 3, 4, 5, 7), repeat=2), (2, 3))
    if min(kernel) >= stride and kernel != (stride, stride)
])  # fmt: skip
def test_every_kernel(kernel: tuple[int, int], stride: int) -> None:
    graph = transposed(kernel, stride)
    split = split_transpose_convs(graph)
    assert networks.ops(split) == ["conv2d"] * stride**2 + ["concat", "depth_to_space"]
    assert networks.same_outputs(graph, split)


@pytest.mark.parametrize("activation", ["relu6", "prelu", "leaky_relu", "hard_swish"])
def test_activations_go_along(activation: str) -> None:
    graph = transposed((3, 4), 2, activation=activation)
    split = split_transpose_convs(graph)
    assert "transpose_conv2d" not in networks.ops(split)
    assert networks.same_outputs(graph, split)


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (2, 0, 0, 2), (0, 2, 1, 1)])
def test_paddings(padding: tuple[int, int, int, int]) -> None:
    graph = transposed((4, 4), 2, padding=padding)
    split = split_transpose_convs(graph)
    assert "transpose_conv2d" not in networks.ops(split)
    assert networks.same_outputs(graph, split)


@pytest.mark.parametrize(
    "graph",
    [
        transposed((2, 2), 2),
        transposed((3, 3), 1),
        transposed((1, 1), 2),
        transposed((3, 3), (2, 1)),
        transposed((3, 3), 2, channels=(5, 2)),
        transposed((2, 3), 3),
    ],
    ids=["kernel of the stride", "stride 1", "small kernel", "unequal strides", "two outputs", "small side"],
)
def test_others_stay(graph: Graph) -> None:
    assert networks.ops(split_transpose_convs(graph)) == ["transpose_conv2d"]
