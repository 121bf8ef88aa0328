"""TFLite operators that become several nodes, or nodes of another kind: the table `COMPOSITES`, by operator name.

See `ops` for operators that have a node of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tulle.graph import Node, Tensor
from tulle.tflite.dilations import batch_to_space, space_to_batch
from tulle.tflite.ops import Call, Unsupported


def _append(call: Call, op: str, inputs: list[str | None], output: str, **attrs: Any) -> str:
    call.graph.nodes.append(Node(op, output, inputs, [output], attrs))
    return output


def _step(call: Call, suffix: str, op: str, inputs: list[str | None], shape: tuple[int, ...], **attrs: Any) -> str:
    """Adds a node with a new tensor for its output, on the way to the operator's own; returns the tensor."""
    return _append(call, op, inputs, call.graph.add_tensor(Tensor(f"{call.outputs[0]}_{suffix}", shape)), **attrs)


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
            _append(call, "slice", [x], output, begin=begin, strides=(1,) * len(shape))
        else:  # UNPACK drops the dimension
            picked = _step(call, f"part_{at}", "slice", [x], part, begin=begin, strides=(1,) * len(shape))
            _append(call, "reshape", [picked], output)
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
    if sizes.count(-1) == 1:  # what the others leave
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
        inputs.append(_step(call, f"part_{index}", "reshape", [call.input(index)], wider))
    call.add("concat", inputs, axis=axis, activation="none")


def _square(call: Call) -> None:
    call.add("mul", [call.input(0), call.input(0)], activation="none")


def _squared_difference(call: Call) -> None:
    difference = _step(call, "difference", "sub", [call.input(0), call.input(1)], call.output_shape, activation="none")
    call.add("mul", [difference, difference], activation="none")


def _number(call: Call, value: float) -> str:
    return call.graph.add_constant(f"{call.output}_constant", np.array(value, np.float32))


def _neg(call: Call) -> None:
    call.add("mul", [call.input(0), _number(call, -1)], activation="none")


def _abs(call: Call) -> None:
    x = call.input(0)
    opposite = _step(call, "opposite", "mul", [x, _number(call, -1)], call.shape(0), activation="none")
    call.add("maximum", [x, opposite], activation="none")


def _relu_0_to_1(call: Call) -> None:
    call.add("minimum", [call.input(0), _number(call, 1)], activation="relu")


def _reduce_max(call: Call) -> None:
    shape = call.shape(0)
    if len(shape) != 4 or call.axes(call.integers(1), 4) != (1, 2):
        raise Unsupported("only the maximum over height and width of an image is supported")
    pooled = _step(
        call, "pool", "max_pool2d", [call.input(0)], (shape[0], 1, 1, shape[3]),
        kernel=shape[1:3], strides=(1, 1), padding="valid", activation="none",
    )  # fmt: skip
    call.add("reshape", [pooled])


def _quantize(call: Call) -> None:
    if call.graph.tensors[call.input(0)].dtype != np.float32 or call.graph.tensors[call.output].dtype != np.float32:
        raise Unsupported("it quantises to a tensor without scale")
    call.add("reshape", [call.input(0)])  # quantised tensors hold floats here: the same values


COMPOSITES: dict[str, Callable[[Call], None]] = {
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "UNPACK": _unpack,
    "PACK": _pack,
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _squared_difference,
    "NEG": _neg,
    "ABS": _abs,
    "RELU_0_TO_1": _relu_0_to_1,
    "REDUCE_MAX": _reduce_max,
    "QUANTIZE": _quantize,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
}
