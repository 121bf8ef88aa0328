"""TFLite operators that pick, repeat or look up elements: the table `INDEXING`, by operator name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tulle.errors import Unsupported
from tulle.pack.limits import MAX_OP_INPUTS
from tulle.tflite.call import Call


def runs_of(indices: list[int]) -> list[range]:
    """Indices as the fewest runs with a constant step, in order: [3, 4, 5, 1] is 3 to 5 and 1."""
    runs: list[range] = []
    at = 0
    while at < len(indices):
        step = indices[at + 1] - indices[at] if at + 1 < len(indices) else 1
        end = at + 1
        while step and end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        runs.append(range(indices[at], indices[at] + (step or 1) * (end - at), step or 1))
        at = end
    return runs


def _gather(call: Call) -> None:
    """With constant indices: concatenated slices. A constant float operand is folded too."""
    options, shape = call.options("GatherOptions"), call.shape(0)
    (axis,) = call.axes(np.array([options.Axis()]), len(shape))
    indices = call.integers(1)
    if options.BatchDims():
        raise Unsupported("batch dimensions are not supported")
    if indices.size == 0 or np.any((indices < 0) | (indices >= shape[axis])):
        raise Unsupported(f"its indices are not all within axis {axis} of {list(shape)}")
    if call.output_shape != (*shape[:axis], *indices.shape, *shape[axis + 1 :]):
        raise Unsupported(f"its indices {list(indices.shape)} do not make {list(call.output_shape)}")
    runs = runs_of(indices.reshape(-1).tolist())
    if len(runs) > MAX_OP_INPUTS:
        raise Unsupported(f"its indices are {len(runs)} separate stretches; at most {MAX_OP_INPUTS} are supported")
    parts: list[str | None] = []
    for run in runs:
        begin = tuple(run.start if d == axis else 0 for d in range(len(shape)))
        strides = tuple(run.step if d == axis else 1 for d in range(len(shape)))
        part = (*shape[:axis], len(run), *shape[axis + 1 :])
        parts.append(call.step("part", "slice", [call.input(0)], part, begin=begin, strides=strides))
    whole = (*shape[:axis], indices.size, *shape[axis + 1 :])
    joined = parts[0]
    if len(parts) > 1:
        joined = call.step("joined", "concat", parts, whole, axis=axis)
    call.add("reshape", [joined])


def _repeated(call: Call, multiples: list[int]) -> None:
    """The operand, repeated `multiples` times along every dimension."""
    name, shape = call.input(0), list(call.shape(0))
    if len(multiples) != len(shape) or call.output_shape != tuple(np.multiply(shape, multiples)):
        raise Unsupported(f"{list(shape)} times {multiples} is not {list(call.output_shape)}")
    spread = [1 if size > 1 else count for size, count in zip(shape, multiples, strict=True)]
    if max(spread, default=1) > 1:  # a dimension of one element is broadcast
        shape = [size * count for size, count in zip(shape, spread, strict=True)]
        call.reserve(math.prod(shape))
        zeros = call.graph.add_constant(f"{call.output}_zeros", np.zeros(shape, np.float32))
        name = call.step("spread", "add", [name, zeros], tuple(shape))
    for axis, count in enumerate(multiples):
        if count == 1 or spread[axis] > 1:
            continue
        if count > MAX_OP_INPUTS:
            raise Unsupported(f"it repeats dimension {axis} {count} times; at most {MAX_OP_INPUTS} are supported")
        shape[axis] *= count
        name = call.step(f"axis_{axis}", "concat", [name] * count, tuple(shape), axis=axis)
    call.add("reshape", [name])


def _tile(call: Call) -> None:
    _repeated(call, call.integers(1).reshape(-1).tolist())


def _broadcast_to(call: Call) -> None:
    shape, wanted = call.shape(0), call.output_shape
    wider = (1,) * (len(wanted) - len(shape)) + shape
    if any(size not in (1, to) for size, to in zip(wider, wanted, strict=True)):
        raise Unsupported(f"{list(shape)} does not broadcast to {list(wanted)}")
    call.inputs[0] = call.reshaped(call.input(0), wider)
    _repeated(call, [to // size for size, to in zip(wider, wanted, strict=True)])


def _reverse(call: Call) -> None:
    shape = call.shape(0)
    axes = call.axes(call.integers(1), len(shape))
    begin = tuple(size - 1 if axis in axes else 0 for axis, size in enumerate(shape))
    strides = tuple(-1 if axis in axes else 1 for axis in range(len(shape)))
    call.add("slice", [call.input(0)], begin=begin, strides=strides)


def _cast(call: Call) -> None:
    """Only where nothing is rounded: tulle computes integers as floats too."""
    source, result = call.graph.tensors[call.input(0)], call.graph.tensors[call.output]
    if source.is_constant:
        assert source.data is not None
        result.data = source.data.astype(result.dtype)
        return
    if source.name in call.graph.inputs and source.dtype.kind in "iu" and result.dtype == np.float32:
        call.whole(source.name)  # an input of bytes or integers is fed as floats
    elif source.name in call.whole_numbers:
        call.whole(result.name)
    elif source.dtype != np.float32 or result.dtype != np.float32:
        raise Unsupported(f"{source.dtype} cannot become {result.dtype}: only casts that round nothing are supported")
    call.add("reshape", [source.name])


def _shape(call: Call) -> None:
    tensor = call.graph.tensors[call.output]
    tensor.data = np.array(call.shape(0), tensor.dtype)


def _fill(call: Call) -> None:
    value, tensor = call.graph.constant(call.input(1)), call.graph.tensors[call.output]
    if value is None or value.size != 1:
        raise Unsupported("the value to fill with must be a constant")
    call.reserve(math.prod(tensor.shape))
    tensor.data = np.full(tensor.shape, value.reshape(-1)[0], tensor.dtype)


INDEXING: dict[str, Callable[[Call], None]] = {
    "GATHER": _gather,
    "TILE": _tile,
    "BROADCAST_TO": _broadcast_to,
    "REVERSE_V2": _reverse,
    "CAST": _cast,
    "SHAPE": _shape,
    "FILL": _fill,
}
