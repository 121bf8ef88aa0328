"""Shape inference: inputs that do not fit their op are refused. (That shapes are right, LiteRT tells elsewhere.)"""

from __future__ import annotations

from typing import Any

import pytest

import networks
from tulle.errors import TulleError
from tulle.graph import Graph, Node, Tensor
from tulle.graph.shapes import check_shapes, output_shape

WINDOW = {"strides": (1, 1), "dilations": (1, 1), "padding": "valid", "activation": "none"}
IMAGE = (1, 4, 5, 6)


def shape_of(
    op: str, inputs: list[tuple[int, ...] | None], stated: tuple[int, ...] = (), **attrs: Any
) -> tuple[int, ...]:
    graph = Graph()
    names = [None if shape is None else graph.add_tensor(Tensor("t", shape)) for shape in inputs]
    graph.add_tensor(Tensor("y", stated))
    return output_shape(graph, Node(op, "y", [*names], ["y"], attrs))


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "expected"),
    [
        ("conv2d", [IMAGE, (7, 3, 3, 6), (7,)], WINDOW, (1, 2, 3, 7)),
        ("conv2d", [IMAGE, (7, 3, 3, 6), None], {**WINDOW, "padding": (1, 1, 2, 2)}, (1, 4, 7, 7)),
        (
            "depthwise_conv2d",
            [IMAGE, (1, 3, 3, 12), None],
            {**WINDOW, "padding": "same", "strides": (2, 2)},
            (1, 2, 3, 12),
        ),
        ("fully_connected", [(2, 3, 6), (4, 6)], {"keep_num_dims": True}, (2, 3, 4)),
        ("fully_connected", [(2, 3, 6), (4, 6)], {"keep_num_dims": False}, (6, 4)),
        ("add", [IMAGE, (6,)], {}, IMAGE),
        ("mul", [(1, 1, 1, 6), (4, 5, 1)], {}, IMAGE),
        ("mean", [IMAGE], {"axes": (1, 2), "keep_dims": False}, (1, 6)),
        ("concat", [IMAGE, (1, 4, 5, 2)], {"axis": 3}, (1, 4, 5, 8)),
        ("pad", [IMAGE], {"pads": ((0, 0), (1, 2), (0, 0), (0, 1)), "pad_mode": "constant"}, (1, 7, 5, 7)),
        ("transpose", [IMAGE], {"perm": (3, 0, 1, 2)}, (6, 1, 4, 5)),
        ("depth_to_space", [(1, 4, 5, 12)], {"block": 2}, (1, 8, 10, 3)),
        ("space_to_depth", [(1, 4, 6, 3)], {"block": 2}, (1, 2, 3, 12)),
        ("softmax", [(3, 4)], {}, (3, 4)),
    ],
)
def test_output_shapes(op: str, inputs: list, attrs: dict, expected: tuple[int, ...]) -> None:
    assert shape_of(op, inputs, **attrs) == expected


@pytest.mark.parametrize(
    ("op", "inputs", "stated", "attrs", "cause"),
    [
        ("gather", [IMAGE], (), {}, "not an op that tulle knows"),
        ("softmax", [], (), {}, "at least one input"),
        ("conv2d", [(4, 5, 6), (7, 3, 3, 6)], (), WINDOW, r"needs an image \[1, H, W, C\] \(inputs \[4, 5, 6\]"),
        ("conv2d", [(2, 4, 5, 6), (7, 3, 3, 6)], (), WINDOW, "batches other than 1"),
        ("conv2d", [IMAGE], (), WINDOW, "has no weights"),
        ("conv2d", [IMAGE, (7, 3, 3, 5)], (), WINDOW, r"weights must be \[out, kh, kw, 6\]"),
        ("conv2d", [IMAGE, (7, 3, 3, 6), (6,)], (), WINDOW, "the bias needs 7 values"),
        ("conv2d", [IMAGE, (7, 3, 3, 6), None, (1, 4, 5, 7)], (), WINDOW, r"the residual must be \[1, 2, 3, 7\]"),
        ("conv2d", [IMAGE, (7, 5, 5, 6)], (), WINDOW, "5x5 window does not fit"),
        ("conv2d", [IMAGE, (7, 3, 3, 6)], (), {**WINDOW, "strides": (0, 1)}, "must be at least 1"),
        ("depthwise_conv2d", [IMAGE, (1, 3, 3, 9)], (), WINDOW, "a multiple of 6"),
        (
            "transpose_conv2d",
            [IMAGE, (7, 2, 2, 6)],
            (1, 9, 10, 7),
            {**WINDOW, "strides": (2, 2), "padding": "same"},
            "needs a 5x5 input",
        ),
        ("transpose_conv2d", [IMAGE, (7, 2, 2, 6)], (1, 8, 10, 6), WINDOW, "cannot make the output"),
        ("fully_connected", [(2, 5), (4, 6)], (), {}, "last dimension of the input"),
        ("add", [IMAGE, (5,)], (), {}, "do not broadcast"),
        ("mean", [IMAGE], (), {"axes": (4,), "keep_dims": True}, "out of range"),
        ("resize_bilinear", [IMAGE], (1, 8, 8, 5), {}, "cannot make the output"),
        ("concat", [IMAGE, (1, 4, 4, 6)], (), {"axis": 3}, "differ beyond axis 3"),
        ("concat", [IMAGE, (4, 6)], (), {"axis": 1}, "one rank"),
        ("concat", [IMAGE], (), {"axis": 4}, "axis 4 is out of range"),
        ("cumsum", [IMAGE], (), {"axis": 4, "exclusive": False, "reverse": False}, "axis 4 is out of range"),
        ("topk", [IMAGE], IMAGE, {"axis": 4, "largest": True}, "axis 4 is out of range"),
        ("topk", [IMAGE], (1, 4, 5, 0), {"axis": 3, "largest": True}, "it may have 1 to 6 elements"),
        ("topk", [IMAGE], (1, 4, 5, 7), {"axis": 3, "largest": True}, "it may have 1 to 6 elements"),
        ("topk", [IMAGE], (1, 4, 4, 6), {"axis": 3, "largest": True}, "cannot make the output"),
        ("topk_indices", [(2**24 + 1,)], (3,), {"axis": 0, "largest": True}, "not exact as floats"),
        ("pad", [IMAGE], (), {"pads": ((0, 0),), "pad_mode": "constant"}, "pair of paddings"),
        ("pad", [IMAGE], (), {"pads": ((0, 0), (-1, 0), (0, 0), (0, 0)), "pad_mode": "constant"}, "negative"),
        (
            "pad",
            [IMAGE],
            (),
            {"pads": ((0, 0), (4, 0), (0, 0), (0, 0)), "pad_mode": "reflect"},
            "reflect padding is too wide",
        ),
        ("reshape", [IMAGE], (1, 119), {}, "cannot make"),
        ("transpose", [IMAGE], (), {"perm": (0, 1, 1, 2)}, "not a permutation"),
        ("slice", [(4, 5)], (2, 2), {"begin": (0, 0), "strides": (3, 5)}, "leave the input"),
        ("slice", [(4, 5)], (2,), {"begin": (0, 0), "strides": (1, 1)}, "must have the input's rank"),
        ("activation", [IMAGE, (5,)], (), {"activation": "prelu"}, "alpha does not broadcast"),
        ("activation", [IMAGE], (), {"activation": "prelu"}, "has no alpha"),
        ("depth_to_space", [IMAGE], (), {"block": 2}, "multiple of block squared"),
        ("space_to_depth", [IMAGE], (), {"block": 2}, "multiples of block"),
    ],
)
def test_inputs_that_do_not_fit(op: str, inputs: list, stated: tuple[int, ...], attrs: dict, cause: str) -> None:
    with pytest.raises(TulleError, match=cause):
        shape_of(op, inputs, stated, **attrs)


def test_check_shapes_names_the_node() -> None:
    graph = networks.every_op()
    assert check_shapes(graph) is graph
    graph.tensors["pool"].shape = (1, 4, 4, 5)
    with pytest.raises(TulleError, match=r"average_pool2d 'pool': its output should be \[1, 4, 4, 4\]"):
        check_shapes(graph)
