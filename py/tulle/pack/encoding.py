"""Constants as bytes: which number type, and dense, bitmask or delta, whichever is smallest.

docs/format.md, "Constants", is the specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tulle.errors import TulleError
from tulle.pack.limits import ALIGNMENT
from tulle.pack.quantise import quantise
from tulle.pack.recover import recover
from tulle.pack.schema import tulle_generated as schema

Weights = Literal["auto", "fp32", "fp16", "int8"]

_SKIP = 255  # in a delta index: skip 255 elements, no value here
_DTYPES: dict[int, np.dtype[Any]] = {
    schema.ValueType.fp32: np.dtype("<f4"),
    schema.ValueType.fp16: np.dtype("<f2"),
    schema.ValueType.int8: np.dtype("i1"),
    schema.ValueType.uint8: np.dtype("u1"),
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Encoded:
    """A constant as the file stores it; `index` is None when dense. Values and index are uint8 arrays.

    `scales`: float32, of int8 and uint8 values; one, or one for each index of the first or of the last dimension.
    `zero_points`: uint8, of uint8 values; one for each scale.
    """

    type: int
    encoding: int
    count: int
    values: np.ndarray
    index: np.ndarray | None
    scales: np.ndarray | None = None
    zero_points: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        parts = (self.values, self.index, self.scales, self.zero_points)
        return sum(part.nbytes for part in parts if part is not None)


def store(name: str, data: np.ndarray, weights: Weights, channel_axis: int | None) -> Encoded:
    """The fewest bytes for a constant that `weights` allows.

    "auto" takes what gives every value exactly: int8 or uint8 with scales, float16, or float32. "fp16" and "int8" round
    the weights of convolutions and fully connected layers where that is smaller still; other constants (biases,
    alphas) are few, and stay exact. "fp32" keeps every value wide.

    Args:
        channel_axis: of a layer's weights, the dimension that is the output channels; None for other constants.

    Raises TulleError if a weight is too large for float16 or not finite where it should be rounded to int8.
    """
    is_weight = channel_axis is not None
    ways = [encode(_floats(name, data, weights, is_weight=is_weight))]
    # Before those that round: of the same size, the exact one is taken.
    if weights != "fp32" and (integers := recover(np.asarray(data, np.float32))) is not None:
        exact = encode(*integers)
        # Not taken on trust: a reader's rules, such as which dimension scales belong to, must give back every value.
        if np.array_equal(decode(exact, data.shape), data):
            ways.insert(0, exact)
    if weights == "int8" and channel_axis is not None:
        ways.append(encode(*quantise(name, data, channel_axis)))
    return min(ways, key=lambda way: way.nbytes)


def _floats(name: str, data: np.ndarray, weights: Weights, *, is_weight: bool) -> np.ndarray:
    """`data` as little-endian float32 or float16 values."""
    if data.dtype not in (np.float32, np.float16):
        raise TulleError(f"constant {name!r} is {data.dtype}: only float32 and float16 values can be stored")
    wide = np.ascontiguousarray(data, "<f4")
    if weights == "fp32":
        return wide
    with np.errstate(over="ignore"):
        half = wide.astype("<f2")
    if weights == "fp16" and is_weight:
        if np.any(np.isinf(half) & np.isfinite(wide)):
            raise TulleError(
                f"constant {name!r} holds {np.abs(wide).max():g}, beyond float16's 65504: "
                "convert with weights='auto' or 'fp32'"
            )
        return half
    lossless = np.array_equal(half.astype("<f4").view("<u4"), wide.view("<u4"))
    return half if lossless else wide


def encode(values: np.ndarray, scales: np.ndarray | None = None, zero_points: np.ndarray | None = None) -> Encoded:
    """The smallest encoding of float32, float16, int8 or uint8 `values`, counted with the padding that alignment costs.

    `scales` and `zero_points` belong to integers; see `Encoded`.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    number = _NUMBERS[flat.dtype]
    stored = (values != (0 if zero_points is None else _along(zero_points, values))).reshape(-1)
    positions = np.flatnonzero(stored)
    nonzeros = flat[positions].view(np.uint8)
    ways: list[tuple[int, np.ndarray, np.ndarray | None]] = [(schema.Encoding.dense, flat.view(np.uint8), None)]
    if positions.size < flat.size:
        ways.append((schema.Encoding.bitmask, nonzeros, np.packbits(stored, bitorder="little")))
        ways.append((schema.Encoding.delta, nonzeros, _deltas(positions)))
    candidates = [
        Encoded(number, encoding, data.size // flat.itemsize, data, index, scales, zero_points)
        for encoding, data, index in ways
    ]
    return min(candidates, key=_stored_bytes)


def decode(stored: Encoded, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `encode`: float32 or float16 values of `shape`; of integers what they stand for, as float32.

    Raises TulleError if the parts do not agree.
    """
    dtype = _DTYPES.get(stored.type)
    if dtype is None:
        raise TulleError(f"value type {stored.type} cannot be read here")
    size = int(np.prod(shape, dtype=np.int64))
    if stored.values.size != stored.count * dtype.itemsize:
        raise TulleError(
            f"{stored.values.size} bytes of values, but {stored.count} values of {dtype.itemsize} bytes announced"
        )
    values = stored.values.view(dtype)
    if stored.encoding == schema.Encoding.dense:
        if values.size != size:
            raise TulleError(f"{values.size} values stored for {size} elements")
        return _scaled(stored, values.reshape(shape).copy(), None)
    positions = _positions(stored, size)
    if positions.size != values.size or (positions.size and positions[-1] >= size):
        raise TulleError(f"its index gives {positions.size} places among {size} elements to {values.size} values")
    flat = np.zeros(size, dtype)
    flat[positions] = values
    return _scaled(stored, flat.reshape(shape), positions)


def _scaled(stored: Encoded, values: np.ndarray, positions: np.ndarray | None) -> np.ndarray:
    """`positions`: of the elements that are stored; None for all."""
    scales, zero_points = stored.scales, stored.zero_points
    if values.dtype not in (np.int8, np.uint8):
        return values
    if scales is None or not scales.size:
        raise TulleError("integer values without scales")
    if not np.isfinite(scales).all():
        raise TulleError("a scale is not finite")
    first, last = (values.shape[0], values.shape[-1]) if values.ndim else (1, 1)
    if scales.size not in (1, first, last):
        raise TulleError(f"{scales.size} scales fit neither its first nor its last dimension")
    if values.dtype == np.int8:
        return values * _along(scales, values)
    if zero_points is None or zero_points.size != scales.size:
        raise TulleError(f"not one zero point for each of {scales.size} scales")
    result = (values.astype(np.float32) - _along(zero_points, values)) * _along(scales, values)
    if positions is not None:
        absent = np.ones(values.size, bool)
        absent[positions] = False
        result[absent.reshape(values.shape)] = 0
    return result


def _along(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One number for all values, or one for each index of their first or last dimension, so that it broadcasts."""
    if values.ndim and numbers.size == values.shape[0]:
        return numbers.reshape(-1, *[1] * (values.ndim - 1))
    return numbers.reshape(() if not values.ndim else -1)


def _stored_bytes(encoded: Encoded) -> int:
    """Bytes that the vectors take in the file, lengths and alignment included."""
    vectors = [encoded.values.size] if encoded.index is None else [encoded.values.size, encoded.index.size]
    return sum(-(-(size + 4) // ALIGNMENT) * ALIGNMENT for size in vectors)


def _deltas(positions: np.ndarray) -> np.ndarray:
    skipped = np.diff(positions, prepend=-1) - 1
    ends = np.cumsum(skipped // _SKIP + 1) - 1
    index = np.full(int(ends[-1]) + 1 if ends.size else 0, _SKIP, np.uint8)
    index[ends] = skipped % _SKIP
    return index


def _positions(stored: Encoded, size: int) -> np.ndarray:
    """The elements that the stored values belong to, ascending."""
    index = np.zeros(0, np.uint8) if stored.index is None else stored.index
    if stored.encoding == schema.Encoding.bitmask:
        if index.size != -(-size // 8):
            raise TulleError(f"its bitmask has {index.size} bytes for {size} elements")
        return np.flatnonzero(np.unpackbits(index, bitorder="little"))
    if stored.encoding == schema.Encoding.delta:
        is_value = index != _SKIP
        # Every byte skips that many elements; one with a value also moves past that value's element.
        after: np.ndarray = np.cumsum(index.astype(np.int64) + is_value)
        if after.size and after[-1] > size:
            raise TulleError(f"its deltas lead beyond the last of {size} elements")
        return after[is_value] - 1
    raise TulleError(f"encoding {stored.encoding} is not known")
