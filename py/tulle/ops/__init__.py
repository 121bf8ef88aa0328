"""All ops, one record each, a module a family: what an op computes, how it is stored, laid out, trained and read.

    from tulle.ops import OPS

    OPS["conv2d"].layout.text

Nothing else in tulle lists ops. To add one, see "Add an op" in CONTRIBUTING.md.
"""

from __future__ import annotations

from tulle.ops import (
    activation,
    convolution,
    elementwise,
    layouts,
    matrix,
    pooling,
    reduction,
    reordering,
    resize,
    sampling,
    slicing,
)
from tulle.ops.op import Op

FAMILIES = (
    convolution,
    matrix,
    elementwise,
    activation,
    pooling,
    reduction,
    resize,
    sampling,
    slicing,
    reordering,
    layouts,
)
"""The modules, in the order of the documents."""

OPS: dict[str, Op] = {op.name: op for family in FAMILIES for op in family.OPS}
"""Every op by its name."""


def _names(*families: object) -> tuple[str, ...]:
    return tuple(name for name, op in OPS.items() if any(op in family.OPS for family in families))  # type: ignore[attr-defined]


BINARY = _names(elementwise)
"""Ops of two operands, element by element."""

RESIZES = _names(resize)
"""Ops that make an image of another size."""

LAYERS = tuple(name for name, op in OPS.items() if op.weights)
"""Ops with weights and a bias."""

__all__ = ["BINARY", "FAMILIES", "LAYERS", "OPS", "RESIZES", "Op"]
