"""Windows on an image: paddings and output sizes, as TensorFlow defines them, and which windows are one pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tulle.graph.graph import Graph, Node

# "same", "valid", or (top, bottom, left, right).
Padding: TypeAlias = "str | tuple[int, int, int, int]"


def output_size(size: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    """Positions of a window along one dimension; `pad` is before and after together. Can be <= 0: the caller checks."""
    return (size + pad - ((kernel - 1) * dilation + 1)) // stride + 1


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's "same": ceil(size / stride) positions, the odd pixel of padding after (bottom or right)."""
    positions = -(-size // stride)
    total = max(0, (positions - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def explicit_padding(
    padding: Padding,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of "same", "valid" or a padding that is explicit already; all arguments (h, w)."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        rows, columns = (same_padding(*dims) for dims in zip(size, kernel, strides, dilations, strict=True))
        return *rows, *columns
    assert not isinstance(padding, str), padding
    return padding


def transpose_padding(
    padding: Padding, output: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[int, int, int, int]:
    """What a transposed convolution crops off each side: the padding of the forward convolution over its output.

    Only top and left place the input; bottom and right follow from the output's shape.
    """
    return explicit_padding(padding, output, kernel, strides)


def is_pointwise(graph: Graph, node: Node) -> bool:
    """Whether the node is a 1x1 convolution, with any stride and padding."""
    return node.op == "conv2d" and graph.tensors[node.inputs[1] or ""].shape[1:3] == (1, 1)
