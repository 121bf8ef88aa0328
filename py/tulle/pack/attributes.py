"""How each op's attributes are stored: the op table that writer and reader share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.graph.shapes import BINARY
from tulle.pack.limits import MAX_UINT16
from tulle.pack.schema import tulle_generated as schema

Op = Any  # schema.OpT: the generated code has no types


@dataclass(frozen=True)
class Attribute:
    """One attribute of a node: `write` puts it into an OpT, `read` takes it out again.

    `required` attributes must be there; the others have the schema's defaults.
    """

    write: Callable[[Op, Any], None]
    read: Callable[[Op], Any]
    required: bool = True


def names(enum: type) -> dict[str, int]:
    """Names and numbers of a generated enum class."""
    return {name: number for name, number in vars(enum).items() if isinstance(number, int) and name[0] != "_"}


def _uint16(value: Any, least: int) -> int:
    if not least <= value <= MAX_UINT16 or value != int(value):
        raise ValueError(f"{value} is not a whole number from {least} to {MAX_UINT16}")
    return int(value)


def _finite(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return float(value)


def _float32(value: Any) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _pair(field: str, *, required: bool = True) -> Attribute:
    """(h, w), both at least 1."""

    def write(op: Op, value: Any) -> None:
        height, width = value
        setattr(op, f"{field}H", _uint16(height, 1))
        setattr(op, f"{field}W", _uint16(width, 1))

    return Attribute(write, lambda op: (getattr(op, f"{field}H"), getattr(op, f"{field}W")), required)


def _write_padding(op: Op, value: Any) -> None:
    if isinstance(value, str):
        raise ValueError(f"{value!r} is not explicit (lower the graph before packing it)")
    op.padTop, op.padBottom, op.padLeft, op.padRight = (_uint16(pad, 0) for pad in value)


def _scalar(field: str, convert: Callable[[Any], Any], *, required: bool = True) -> Attribute:
    return Attribute(lambda op, value: setattr(op, field, convert(value)), lambda op: getattr(op, field), required)


def _enum(field: str, enum: type, *, required: bool = False) -> Attribute:
    numbers = names(enum)
    by_number = {number: name for name, number in numbers.items()}

    def write(op: Op, value: Any) -> None:
        if value not in numbers:
            raise ValueError(f"{value!r} is not one of {', '.join(numbers)}")
        setattr(op, field, numbers[value])

    return Attribute(write, lambda op: by_number[getattr(op, field)], required)


def _integers(field: str) -> Attribute:
    def read(op: Op) -> tuple[int, ...]:
        stored = getattr(op, field)
        return () if stored is None else tuple(int(value) for value in stored)

    return Attribute(lambda op, value: setattr(op, field, np.array(value, "<i4")), read)


def _read_pads(op: Op) -> tuple[tuple[int, int], ...]:
    stored = [] if op.pads is None else [int(value) for value in op.pads]
    return tuple(zip(stored[::2], stored[1::2], strict=True))


_STRIDES = _pair("stride")
_DILATIONS = _pair("dilation", required=False)
_PADDING = Attribute(_write_padding, lambda op: (op.padTop, op.padBottom, op.padLeft, op.padRight))
_SPARSITY = _enum("sparsity", schema.Sparsity)
_PADS = Attribute(lambda op, value: setattr(op, "pads", np.array(value, "<i4").reshape(-1)), _read_pads)

_FUSED = {
    "activation": _enum("activation", schema.Activation),
    "alpha": _scalar("alpha", _finite, required=False),
}
# Says how the output's shape was made, which the file states anyway: checked, not stored.
_FROM_SHAPE = Attribute(lambda op, value: None, lambda op: None, required=False)

_POOL = {"kernel": _pair("kernel"), "strides": _STRIDES, "padding": _PADDING, **_FUSED}
_REDUCTION = {"axes": _integers("axes"), "keep_dims": _FROM_SHAPE}
_RESIZE = {
    "align_corners": _scalar("alignCorners", bool),
    "half_pixel_centers": _scalar("halfPixelCenters", bool),
}
_BLOCK = {"block": _scalar("block", lambda value: _uint16(value, 1))}

OPS: dict[str, dict[str, Attribute]] = {
    "conv2d": {"strides": _STRIDES, "dilations": _DILATIONS, "padding": _PADDING, "sparsity": _SPARSITY, **_FUSED},
    "depthwise_conv2d": {"strides": _STRIDES, "dilations": _DILATIONS, "padding": _PADDING, **_FUSED},
    "transpose_conv2d": {"strides": _STRIDES, "padding": _PADDING, **_FUSED},
    "fully_connected": {"sparsity": _SPARSITY, "keep_num_dims": _FROM_SHAPE, **_FUSED},
    **dict.fromkeys(BINARY, _FUSED),
    "average_pool2d": _POOL,
    "max_pool2d": _POOL,
    **dict.fromkeys(("mean", "sum", "reduce_max", "reduce_min"), _REDUCTION),
    "argmax": {"axis": _scalar("axis", int), "keep_dims": _FROM_SHAPE},
    "matmul": {},
    "max_pool2d_argmax": _POOL,
    "max_unpool2d": {"kernel": _pair("kernel"), "strides": _STRIDES, "padding": _PADDING},
    "sample_bilinear": {},
    "resize_bilinear": _RESIZE,
    "resize_nearest": _RESIZE,
    "concat": {"axis": _scalar("axis", int), **_FUSED},
    "pad": {
        "pads": _PADS,
        "pad_value": _scalar("padValue", _float32, required=False),
        "pad_mode": _enum("padMode", schema.PadMode, required=True),
    },
    "reshape": {},
    "transpose": {"perm": _integers("perm")},
    "slice": {"begin": _integers("begin"), "strides": _integers("strides")},
    "softmax": {"beta": _scalar("beta", _finite, required=False)},
    "activation": {"activation": _enum("activation", schema.Activation, required=True), "alpha": _FUSED["alpha"]},
    "to_plain": {},
    "to_chw": {},
    "depth_to_space": _BLOCK,
    "space_to_depth": _BLOCK,
}
"""Attributes of every op in the schema's OpKind, by the names that docs/architecture.md gives them."""


def write_attributes(op: Op, kind: str, name: str, attrs: dict[str, Any]) -> None:
    """Puts a node's attributes into an OpT. Raises TulleError if one is unknown, missing or out of range."""
    table = OPS[kind]
    for key in attrs:
        if key not in table:
            raise TulleError(f"{kind} {name!r}: attribute {key!r} is not known; it takes {', '.join(table) or 'none'}")
    for key, attribute in table.items():
        if key not in attrs:
            if attribute.required:
                raise TulleError(f"{kind} {name!r}: attribute {key!r} is missing")
            continue
        try:
            attribute.write(op, attrs[key])
        except (TypeError, ValueError, OverflowError) as error:
            raise TulleError(f"{kind} {name!r}: attribute {key!r}: {error}") from None


def read_attributes(op: Op, kind: str) -> dict[str, Any]:
    """A node's attributes out of an OpT, those that follow from shapes left out."""
    attrs = {key: attribute.read(op) for key, attribute in OPS[kind].items() if attribute is not _FROM_SHAPE}
    if "alpha" in attrs and attrs["activation"] not in ("leaky_relu", "elu"):
        del attrs["alpha"]
    return attrs
