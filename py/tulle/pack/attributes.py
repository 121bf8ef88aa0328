"""Puts attributes of nodes into a file's Op tables and takes them out again; `tulle.ops` says where each one lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.ops import OPS
from tulle.ops.attributes import Attribute
from tulle.pack.limits import MAX_UINT16
from tulle.pack.schema import tulle_generated as schema

Record = Any  # schema.OpT: the generated code has no types


def names(enum: type) -> dict[str, int]:
    """Names and numbers of a generated enum class."""
    return {name: number for name, number in vars(enum).items() if isinstance(number, int) and name[0] != "_"}


def write_attributes(record: Record, kind: str, name: str, attrs: dict[str, Any]) -> None:
    """Puts a node's attributes into an OpT. Raises TulleError if one is unknown, missing or out of range."""
    table = {attribute.name: attribute for attribute in OPS[kind].attributes}
    for key in attrs:
        if key not in table:
            raise TulleError(f"{kind} {name!r}: attribute {key!r} is not known; it takes {', '.join(table) or 'none'}")
    for key, attribute in table.items():
        if key not in attrs:
            if attribute.required:
                raise TulleError(f"{kind} {name!r}: attribute {key!r} is missing")
            continue
        try:
            _write(record, attribute, attrs[key])
        except (TypeError, ValueError, OverflowError) as error:
            raise TulleError(f"{kind} {name!r}: attribute {key!r}: {error}") from None


def read_attributes(record: Record, kind: str, before: tuple[int, ...], after: tuple[int, ...]) -> dict[str, Any]:
    """A node's attributes out of an OpT and the shapes of its first input and its output."""
    attrs = {
        attribute.name: attribute.from_shapes(before, after) if attribute.from_shapes else _read(record, attribute)
        for attribute in OPS[kind].attributes
    }
    if "alpha" in attrs and attrs["activation"] not in ("leaky_relu", "elu"):
        del attrs["alpha"]
    return attrs


def _write(record: Record, attribute: Attribute, value: Any) -> None:
    field = attribute.field
    if attribute.kind == "pair":
        height, width = value
        setattr(record, f"{field}H", _uint16(height, 1))
        setattr(record, f"{field}W", _uint16(width, 1))
    elif attribute.kind == "padding":
        if isinstance(value, str):
            raise ValueError(f"{value!r} is not explicit (lower the graph before packing it)")
        record.padTop, record.padBottom, record.padLeft, record.padRight = (_uint16(pad, 0) for pad in value)
    elif attribute.kind in ("integers", "pads"):
        setattr(record, field, np.array(value, "<i4").reshape(-1))
    elif attribute.kind in _SCALARS:
        if not attribute.from_shapes:
            setattr(record, field, _SCALARS[attribute.kind](value))
    else:
        numbers = names(getattr(schema, attribute.kind))
        if value not in numbers:
            raise ValueError(f"{value!r} is not one of {', '.join(numbers)}")
        setattr(record, field, numbers[value])


def _read(record: Record, attribute: Attribute) -> Any:
    field = attribute.field
    if attribute.kind == "pair":
        return getattr(record, f"{field}H"), getattr(record, f"{field}W")
    if attribute.kind == "padding":
        return record.padTop, record.padBottom, record.padLeft, record.padRight
    value = getattr(record, field)
    if attribute.kind in ("integers", "pads"):
        listed = () if value is None else tuple(int(entry) for entry in value)
        return listed if attribute.kind == "integers" else tuple(zip(listed[::2], listed[1::2], strict=True))
    if attribute.kind in _SCALARS:
        return value
    return {number: name for name, number in names(getattr(schema, attribute.kind)).items()}[value]


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


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda value: _uint16(value, 1),
    "integer": int,
    "number": _finite,
    "float32": _float32,
    "flag": bool,
}
