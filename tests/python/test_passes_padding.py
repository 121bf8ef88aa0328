"""Paddings made explicit, and pads merged into the ops that read them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import networks
import tulle
from tulle import tflite
from tulle.graph import Graph
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.fold_constants import fold_constants
from tulle.passes.merge_pads import merge_pads
from tulle.passes.pad_concats import pad_concats


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        ((8, 8), 3, 1, 1, (1, 1, 1, 1)),
        ((8, 8), 3, 2, 1, (0, 1, 0, 1)),  # the odd pixel after
        ((7, 8), 3, 2, 1, (1, 1, 0, 1)),
        ((8, 8), 2, 1, 1, (0, 1, 0, 1)),
        ((9, 9), 5, 2, 1, (2, 2, 2, 2)),
        ((8, 8), 1, 2, 1, (0, 0, 0, 0)),
        ((8, 8), 3, 1, 2, (2, 2, 2, 2)),
        ((8, 8), 2, 3, 1, (0, 0, 0, 0)),
    ],
)
def test_same_padding(
    size: tuple[int, int], kernel: int, stride: int, dilation: int, expected: tuple[int, int, int, int]
) -> None:
    build = networks.builder()
    x = build.input("x", (1, *size, 3))
    weight = build.graph.add_constant("w", networks.noise_array((2, kernel, kernel, 3)))
    y = build.node(
        "conv2d", [x, weight], "y",
        strides=(stride, stride), dilations=(dilation, dilation), padding="same", activation="none",
    )  # fmt: skip
    graph = build.finish(y)
    after = explicit_padding(graph)
    assert after.nodes[0].attrs["padding"] == expected
    assert networks.same_outputs(graph, after)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (4, 2), (5, 3)])
def test_transpose_conv_padding_crops_the_output(kernel: int, stride: int) -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 5, 3))
    weight = build.graph.add_constant("w", networks.noise_array((2, kernel, kernel, 3)))
    y = build.node(
        "transpose_conv2d", [x, weight], "y", shape=(1, 4 * stride, 5 * stride, 2),
        strides=(stride, stride), padding="same", activation="none",
    )  # fmt: skip
    graph = build.finish(y)
    after = explicit_padding(graph)
    top, bottom, left, right = after.nodes[0].attrs["padding"]
    assert top + bottom == max(0, 3 * stride + kernel - 4 * stride) == left + right
    assert bottom - top in (0, 1)
    assert networks.same_outputs(graph, after)


def padded(
    reader: str, pads: tuple[tuple[int, int], ...], *, value: float = 0.0, mode: str = "constant", relu: bool = False
) -> Graph:
    build = networks.builder()
    x = build.input("x", (1, 6, 7, 3))
    if relu:
        x = build.conv2d(x, "positive", 3, activation="relu")
    x = build.node("pad", [x], "pad", pads=pads, pad_value=value, pad_mode=mode)
    if reader == "conv2d":
        y = build.conv2d(x, "y", 4, kernel=3, stride=2)
    elif reader == "depthwise_conv2d":
        y = build.depthwise_conv2d(x, "y", stride=2)
    else:
        y = build.node(reader, [x], "y", kernel=(3, 3), strides=(2, 2), padding="valid", activation="none")
    return explicit_padding(build.finish(y))


SPACE = ((0, 0), (1, 1), (0, 2), (0, 0))


@pytest.mark.parametrize("reader", ["conv2d", "depthwise_conv2d"])
def test_a_pad_with_zeros_is_merged_into_convolutions(reader: str) -> None:
    graph = padded(reader, SPACE)
    after = merge_pads(graph)
    assert networks.ops(after) == [reader]
    assert networks.same_outputs(graph, after)


def test_a_pad_is_merged_into_a_max_pool_of_what_is_not_negative() -> None:
    graph = padded("max_pool2d", SPACE, relu=True)
    after = merge_pads(graph)
    assert networks.ops(after) == ["conv2d", "max_pool2d"]
    assert networks.same_outputs(graph, after)


@pytest.mark.parametrize(
    "graph",
    [
        padded("max_pool2d", SPACE),  # zeros may be the maximum
        padded("max_pool2d", ((0, 0), (3, 0), (0, 0), (0, 0)), relu=True),  # a window of nothing but zeros
        padded("average_pool2d", SPACE, relu=True),  # zeros count in the mean, padding does not
        padded("conv2d", ((0, 0), (1, 1), (0, 2), (0, 1))),
        padded("conv2d", SPACE, value=0.5),
        padded("conv2d", SPACE, mode="reflect"),
    ],
)
def test_other_pads_stay(graph: Graph) -> None:
    after = merge_pads(graph)
    assert networks.ops(after) == networks.ops(graph)
    assert networks.same_outputs(graph, after)


def test_a_pad_with_another_reader_stays_whole() -> None:
    build = networks.builder()
    x = build.node("pad", [build.input("x", (1, 6, 7, 3))], "pad", pads=SPACE, pad_value=0.0, pad_mode="constant")
    graph = explicit_padding(build.finish(build.conv2d(x, "y", 4, kernel=3), build.depthwise_conv2d(x, "z")))
    assert networks.ops(merge_pads(graph)) == ["conv2d", "depthwise_conv2d"]
    assert networks.same_outputs(graph, merge_pads(graph))
    graph.outputs.append("pad")
    assert networks.ops(merge_pads(graph)) == ["pad", "conv2d", "depthwise_conv2d"]


def test_all_pads_of_the_sparse_hand_model_are_merged(model_path: Callable) -> None:
    graph = explicit_padding(fold_constants(tflite.read(model_path("hand_landmark_sparse"))))
    assert "pad" in networks.ops(graph)
    after = merge_pads(graph)
    assert "pad" not in networks.ops(after)
    assert networks.same_outputs(graph, after)


def concatenated(parts: list[float | str | None], axis: int, shape: tuple[int, ...] = (1, 4, 5, 3)) -> Graph:
    """x joined with constants of these values: None is x, a text a constant of various values."""
    build = networks.builder()
    x = build.input("x", shape)
    names = []
    for number, part in enumerate(parts):
        data = networks.noise_array(shape) if isinstance(part, str) else np.full(shape, part or 0, np.float32)
        names.append(x if part is None else build.graph.add_constant(f"c{number}", data))
    return build.finish(build.node("concat", names, "y", axis=axis, activation="none"))


@pytest.mark.parametrize(
    ("parts", "axis", "ops"),
    [
        ([None, 0.0], 3, ["pad"]),
        ([0.5, 0.5, None, 0.5], 1, ["pad"]),
        ([None, None, 0.0], 3, ["concat", "pad"]),
        ([0.0, None, "noise", 0.0], 2, ["concat", "pad"]),
        ([0.0, None, 1.0], 3, ["concat", "pad"]),
        ([None, "noise"], 3, ["concat"]),
        ([None, 0.0, None], 3, ["concat"]),
    ],
)
def test_a_concat_with_equal_values_is_a_pad(parts: list[float | str | None], axis: int, ops: list[str]) -> None:
    graph = concatenated(parts, axis)
    after = pad_concats(graph)
    assert networks.ops(after) == ops
    assert networks.same_outputs(graph, after)
    with tulle.load(graph) as model:
        x = networks.noise(graph)
        np.testing.assert_array_equal(model(x)["y"], networks.reference.run(graph, x)["y"])


def test_channels_filled_up_with_zeros_need_no_change_of_layout() -> None:
    """As a residual that has fewer channels than what it is added to."""
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "a", 4, activation="relu")
    zeros = build.graph.add_constant("zeros", np.zeros((1, 8, 8, 2), np.float32))
    wide = build.node("concat", [x, zeros], "wide", axis=3, activation="none")
    x = build.node("add", [wide, build.conv2d(x, "b", 6, kernel=3)], "sum", activation="relu")
    report = tulle.convert(build.finish(build.conv2d(x, "y", 4, kernel=3))).report
    assert report.permutes == 1  # of the output
