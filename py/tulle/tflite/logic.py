"""TFLite's comparisons and the operators on their results: the table `LOGIC`, by operator name.

True is 1 and false is 0, as floats, like all activations. SELECT adds its two operands, each masked, so that an
infinity in the one not chosen does no harm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tulle.tflite.call import Call


def _truth(call: Call, index: int) -> str:
    """A boolean operand, as floats."""
    name = call.input(index)
    data = call.graph.constant(name)
    return name if data is None else call.graph.add_constant(f"{name}_floats", data.astype(np.float32))


def _joined(call: Call, suffix: str, op: str, a: str, b: str) -> str:
    shape = np.broadcast_shapes(call.graph.tensors[a].shape, call.graph.tensors[b].shape)
    return call.step(suffix, op, [a, b], shape)


def _comparison(op: str, swap: bool = False, opposite: bool = False) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        a, b = (call.input(1), call.input(0)) if swap else (call.input(0), call.input(1))
        call.whole(call.output)
        if opposite:
            call.add("sub", [call.number(1), _joined(call, "opposite", op, a, b)])
        else:
            call.add(op, [a, b])

    return convert


def _logical(op: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        call.whole(call.output)
        call.add(op, [_truth(call, 0), _truth(call, 1)])

    return convert


def _not(call: Call) -> None:
    call.whole(call.output)
    call.add("sub", [call.number(1), _truth(call, 0)])


def _select(call: Call) -> None:
    condition = _truth(call, 0)
    rank, wide = len(call.shape(0)), call.output_shape
    if call.kind == "SELECT" and rank == 1 and len(wide) > 1:  # one choice for every slice of the first dimension
        condition = call.reshaped(condition, (*call.shape(0), *[1] * (len(wide) - 1)))
    otherwise = _joined(call, "otherwise", "sub", call.number(1), condition)
    chosen = _joined(call, "chosen", "mask", call.input(1), condition)
    call.add("add", [chosen, _joined(call, "rest", "mask", call.input(2), otherwise)])


def _sign(call: Call) -> None:
    zero = call.number(0)
    above = call.step("above", "greater", [call.input(0), zero], call.shape(0))
    below = call.step("below", "greater", [zero, call.input(0)], call.shape(0))
    call.add("sub", [above, below])


LOGIC: dict[str, Callable[[Call], None]] = {
    "GREATER": _comparison("greater"),
    "LESS": _comparison("greater", swap=True),
    "GREATER_EQUAL": _comparison("greater", swap=True, opposite=True),
    "LESS_EQUAL": _comparison("greater", opposite=True),
    "EQUAL": _comparison("equal"),
    "NOT_EQUAL": _comparison("equal", opposite=True),
    "LOGICAL_AND": _logical("mul"),
    "LOGICAL_OR": _logical("maximum"),
    "LOGICAL_NOT": _not,
    "SELECT": _select,
    "SELECT_V2": _select,
    "SIGN": _sign,
}
