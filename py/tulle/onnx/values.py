"""State of the ONNX import: `Importer` holds the Graph, and the order of each tensor's dimensions.

ONNX images are [N, C, H, W], a Graph's are [1, H, W, C]. So an image that a convolution computes stays
[1, H, W, C] as long as the following ops can work on that, and is permuted before one that needs ONNX's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tulle.errors import TulleError, Unsupported
from tulle.graph import Graph, Node, Tensor
from tulle.graph.shapes import output_shape
from tulle.ops import OPS

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True)
class Value:
    """A tensor of the ONNX model: a constant (`data`, as ONNX has it), or `name` in the Graph.

    `nhwc`: the Graph's tensor is [1, H, W, C] where ONNX's is [1, C, H, W]; with `line`, what a one-dimensional
    convolution computes, it is [1, 1, L, C] where ONNX's is [1, C, L].
    """

    name: str = ""
    data: np.ndarray | None = None
    nhwc: bool = False
    line: bool = False

    def like(self, name: str) -> Value:
        """Tensor `name` of the Graph, its dimensions in this value's order."""
        return Value(name, nhwc=self.nhwc, line=self.line)

    def axis(self, axis: int) -> int:
        """Where one of ONNX's axes, counted from 0, lies in the Graph's tensor."""
        return (0, 3, 2)[axis] if self.line else TO_NHWC.index(axis) if self.nhwc else axis


# Limit for constants made while reading: bytes for any file, and more for each byte of constants in it.
MAX_CONSTANT_BYTES, MAX_CONSTANT_PER_BYTE = 512 * 2**20, 64


class Importer:
    """Adds nodes to the Graph; `values` knows what every ONNX tensor has become.

    `stored`: bytes of constants in the file, which bounds how many may be made of them.
    """

    def __init__(self, name: str, stored: int) -> None:
        self.graph = Graph(name)
        self.budget: float = MAX_CONSTANT_PER_BYTE * stored + MAX_CONSTANT_BYTES
        self.producers: dict[str, Node] = {}
        self.values: dict[str, Value] = {}
        self.whole_numbers: set[str] = set()  # activations that are integers in ONNX and floats in the Graph
        self.unrounded: set[str] = set()  # tensors that are integers in ONNX and here the values they stand for
        self.label = "tensor"  # name for what the current node adds

    def add(self, op: str, inputs: list[str | None], shape: tuple[int, ...] | None = None, **attrs: Any) -> str:
        """A node of the Graph; `shape` if the op does not determine it. Returns its output."""
        output = self.graph.add_tensor(Tensor(self.label, tuple(int(size) for size in shape or ())))
        node = Node(op, output, inputs, [output], {**OPS[op].defaults, **attrs})
        self.graph.nodes.append(node)
        self.producers[output] = node
        self.graph.tensors[output].shape = output_shape(self.graph, node)
        return output

    def spend(self, size: float) -> None:
        """Counts the bytes of a constant about to be made; raises TulleError when there are too many in all."""
        self.budget -= size
        if self.budget < 0:
            raise TulleError(f"{self.label!r}: the constants computed are out of proportion to the file's size")

    def constant(self, data: Any, what: str = "constant") -> str:
        self.spend(4 * np.size(data))
        return self.graph.add_constant(f"{self.label}/{what}", np.asarray(data, np.float32))

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape that ONNX gives the tensor."""
        if value.data is not None:
            return value.data.shape
        shape = self.graph.tensors[value.name].shape
        if value.line:
            return shape[0], shape[3], shape[2]
        return tuple(shape[axis] for axis in TO_NCHW) if value.nhwc else shape

    def plain(self, value: Value) -> str:
        """The Graph's tensor of a value, in ONNX's own order."""
        if value.data is not None:
            return self.constant(value.data)
        if value.line:
            return self.add("reshape", [self._permuted(value.name, TO_NCHW)], self.shape(value))
        return self._permuted(value.name, TO_NCHW) if value.nhwc else value.name

    def image(self, value: Value) -> str:
        """The Graph's tensor of an image, as [1, H, W, C]."""
        if len(self.shape(value)) != 4:
            raise Unsupported(f"an image [1, C, H, W] is needed, not {list(self.shape(value))}")
        if value.data is not None:
            return self.constant(value.data.transpose(TO_NHWC))
        return value.name if value.nhwc else self._permuted(value.name, TO_NHWC)

    def line(self, value: Value) -> str:
        """The Graph's tensor of a signal [1, C, L], as an image [1, 1, L, C] of one row."""
        shape = self.shape(value)
        if len(shape) != 3:
            raise Unsupported(f"a signal [1, C, L] is needed, not {list(shape)}")
        if value.data is not None:
            return self.constant(value.data[:, :, np.newaxis].transpose(TO_NHWC))
        if value.line:
            return value.name
        return self._permuted(self.add("reshape", [value.name], (shape[0], shape[1], 1, shape[2])), TO_NHWC)

    def picture(self, value: Value) -> Value:
        """A value [1, C, H, W] or [1, C, L] in the order that convolutions take."""
        if len(self.shape(value)) == 3:
            return Value(self.line(value), nhwc=True, line=True)
        return Value(self.image(value), nhwc=True)

    def _permuted(self, name: str, perm: tuple[int, ...]) -> str:
        shape = self.graph.tensors[name].shape
        result = tuple(shape[axis] for axis in perm)
        if [axis for axis in perm if shape[axis] > 1] == [axis for axis in range(len(shape)) if shape[axis] > 1]:
            return self.add("reshape", [name], result)  # one pixel or one channel: nothing moves
        return self.add("transpose", [name], perm=perm)
