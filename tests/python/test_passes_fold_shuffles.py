"""Chains of reshapes and transposes that only reorder channels become one convolution, and no others do."""

from __future__ import annotations

import numpy as np

import networks
from tulle.graph import Graph, reference
from tulle.passes import lower
from tulle.passes.fold_shuffles import fold_shuffles
from tulle.passes.layout import permutes

SHAPE = (1, 6, 5, 12)


def moved(*steps: tuple[str, tuple[int, ...]], image: tuple[int, ...] = SHAPE) -> Graph:
    """A convolution whose result goes through ("reshape", shape) and ("transpose", perm) steps, then a convolution."""
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, *image[1:3], 3)), "before", image[3])
    for number, (op, values) in enumerate(steps):
        shape = values if op == "reshape" else tuple(build.graph.tensors[x].shape[axis] for axis in values)
        attrs = {"shape": shape} if op == "reshape" else {"perm": values}
        x = build.node(op, [x], f"{op}{number}", **attrs)
    return build.finish(build.conv2d(x, "after", 4) if build.graph.tensors[x].shape == image else x)


def same(graph: Graph, other: Graph) -> None:
    image = {"x": np.random.default_rng(0).standard_normal(graph.tensors["x"].shape)}
    (expected,), (got,) = (reference.run(g, image).values() for g in (graph, other))
    np.testing.assert_allclose(got, expected, atol=1e-6)


ONNX_SHUFFLE = (
    ("transpose", (0, 3, 1, 2)), ("reshape", (1, 3, 4, 6, 5)), ("transpose", (0, 2, 1, 3, 4)),
    ("reshape", (1, 12, 6, 5)), ("transpose", (0, 2, 3, 1)),
)  # fmt: skip


def test_a_channel_shuffle_is_one_convolution_and_costs_no_change_of_layout() -> None:
    for steps in (
        ONNX_SHUFFLE,
        (("reshape", (1, 6, 5, 3, 4)), ("transpose", (0, 1, 2, 4, 3)), ("reshape", SHAPE)),
    ):
        graph = moved(*steps)
        folded = fold_shuffles(graph)
        assert [node.op for node in folded] == ["conv2d"] * 3
        order = folded.constant(folded.nodes[1].inputs[1])
        assert order is not None and order[:, 0, 0].argmax(1).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
        same(graph, folded)
        assert permutes(lower(graph))[0] == 1  # of the output


def test_what_moves_pixels_stays() -> None:
    for steps in (
        ONNX_SHUFFLE[:3],
        (("transpose", (0, 2, 1, 3)), ("reshape", (1, 5, 6, 12, 1)), ("reshape", SHAPE)),  # rows and columns
        (("reshape", (1, 6, 5, 4, 3)), ("transpose", (0, 2, 1, 4, 3)), ("reshape", SHAPE)),
        (("reshape", (1, 12, 6, 5)), ("transpose", (0, 2, 3, 1)), ("reshape", SHAPE)),  # not ONNX's way back
    ):
        graph = moved(*steps)
        folded = fold_shuffles(graph)
        assert [node.op for node in folded] == [node.op for node in graph]
