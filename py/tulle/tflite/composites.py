"""TFLite operators that become several nodes, or nodes of another kind: the table `COMPOSITES`, by operator name.

Operators that are one node are read in `tulle.ops`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tulle.errors import Unsupported
from tulle.tflite.call import Call
from tulle.tflite.dilations import batch_to_space, space_to_batch


def _axis(call: Call, value: int, rank: int) -> int:
    (axis,) = call.axes(np.array([value]), rank)
    return axis


def _cut(call: Call, x: str, axis: int, sizes: list[int]) -> None:
    """Slices of x along an axis, one after the other, are the operator's outputs."""
    shape = call.graph.tensors[x].shape
    if len(sizes) != len(call.outputs) or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise Unsupported(f"parts of {sizes} do not fit {len(call.outputs)} outputs and axis {axis} of {list(shape)}")
    at = 0
    for size, output in zip(sizes, call.outputs, strict=True):
        begin = tuple(at if dim == axis else 0 for dim in range(len(shape)))
        part = (*shape[:axis], size, *shape[axis + 1 :])
        if call.graph.tensors[output].shape == part:
            call.append("slice", [x], output, begin=begin, strides=(1,) * len(shape))
        else:  # UNPACK drops the dimension
            picked = call.step(f"part_{at}", "slice", [x], part, begin=begin, strides=(1,) * len(shape))
            call.append("reshape", [picked], output)
        at += size


def _scalar(call: Call, index: int) -> int:
    values = call.integers(index).reshape(-1)
    if len(values) != 1:
        raise Unsupported(f"operand {index} has {len(values)} values instead of one")
    return int(values[0])


def _split(call: Call) -> None:
    axis, count = _axis(call, _scalar(call, 0), len(call.shape(1))), len(call.outputs)
    _cut(call, call.input(1), axis, [call.shape(1)[axis] // max(1, count)] * count)


def _split_v(call: Call) -> None:
    axis = _axis(call, _scalar(call, 2), len(call.shape(0)))
    sizes = call.integers(1).reshape(-1).tolist()
    if sizes.count(-1) == 1:  # the remainder
        sizes[sizes.index(-1)] = call.shape(0)[axis] - (sum(sizes) + 1)
    _cut(call, call.input(0), axis, sizes)


def _unpack(call: Call) -> None:
    axis = _axis(call, call.options("UnpackOptions").Axis(), len(call.shape(0)))
    _cut(call, call.input(0), axis, [1] * len(call.outputs))


def _pack(call: Call) -> None:
    shape = call.shape(0)
    axis = _axis(call, call.options("PackOptions").Axis(), len(shape) + 1)
    wider = (*shape[:axis], 1, *shape[axis:])
    inputs: list[str | None] = []
    for index in range(len(call.inputs)):
        if call.shape(index) != shape:
            raise Unsupported(f"inputs of {list(shape)} and {list(call.shape(index))} cannot be packed")
        inputs.append(call.step(f"part_{index}", "reshape", [call.input(index)], wider))
    call.add("concat", inputs, axis=axis)


def _quantize(call: Call) -> None:
    if call.graph.tensors[call.input(0)].dtype != np.float32 or call.graph.tensors[call.output].dtype != np.float32:
        raise Unsupported("it quantises to a tensor without scale")
    call.add("reshape", [call.input(0)])  # quantised tensors are floats here: the values are the same


COMPOSITES: dict[str, Callable[[Call], None]] = {
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "UNPACK": _unpack,
    "PACK": _pack,
    "QUANTIZE": _quantize,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
}
