"""Constants as bytes: which number type, and dense, bitmask or delta, whichever is smallest.

docs/format.md, "Constants", is the specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tulle.errors import TulleError
from tulle.pack.limits import ALIGNMENT
from tulle.pack.schema import tulle_generated as schema

Weights = Literal["auto", "fp32", "fp16", "int8"]

_SKIP = 255  # in a delta index: skip 255 elements, no value here
_DTYPES: dict[int, np.dtype[Any]] = {
    schema.ValueType.fp32: np.dtype("<f4"),
    schema.ValueType.fp16: np.dtype("<f2"),
    schema.ValueType.int8: np.dtype("i1"),
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Encoded:
    """A constant as the file stores it; `index` is None when dense. Values and index are uint8 arrays.

    `scales`: float32, of int8 values only; one, or one for each index of the first or of the last dimension.
    """

    type: int
    encoding: int
    count: int
    values: np.ndarray
    index: np.ndarray | None
    scales: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.values, self.index, self.scales) if part is not None)


def choose_type(name: str, data: np.ndarray, weights: Weights, *, is_weight: bool) -> np.ndarray:
    """`data` as little-endian float32 or float16 values.

    "auto" uses float16 if that holds every value exactly, and so does "int8", which is handled elsewhere. "fp16" rounds
    the weights of convolutions and fully connected layers (`is_weight`); other constants (biases, alphas) are few, and
    stay exact. "fp32" keeps every value wide. Raises TulleError if a weight is too large for float16.
    """
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


def encode(values: np.ndarray, scales: np.ndarray | None = None) -> Encoded:
    """The smallest encoding of float32, float16 or int8 `values`, counted with the padding that alignment costs.

    `scales` belong to int8 values; see `Encoded`.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    number = _NUMBERS[flat.dtype]
    positions = np.flatnonzero(flat)
    nonzeros = flat[positions].view(np.uint8)
    candidates = [Encoded(number, schema.Encoding.dense, flat.size, flat.view(np.uint8), None, scales)]
    if positions.size < flat.size:
        mask = np.packbits(flat != 0, bitorder="little")
        candidates.append(Encoded(number, schema.Encoding.bitmask, positions.size, nonzeros, mask, scales))
        candidates.append(Encoded(number, schema.Encoding.delta, positions.size, nonzeros, _deltas(positions), scales))
    return min(candidates, key=_stored_bytes)


def decode(stored: Encoded, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `encode`: float32 or float16 values of `shape`; int8 ones times their scales, as float32.

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
        return _scaled(values.reshape(shape).copy(), stored.scales)
    positions = _positions(stored, size)
    if positions.size != values.size or (positions.size and positions[-1] >= size):
        raise TulleError(f"its index gives {positions.size} places among {size} elements to {values.size} values")
    flat = np.zeros(size, dtype)
    flat[positions] = values
    return _scaled(flat.reshape(shape), stored.scales)


def _scaled(values: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    if values.dtype != np.int8:
        return values
    if scales is None or not scales.size:
        raise TulleError("int8 values without scales")
    first, last = (values.shape[0], values.shape[-1]) if values.ndim else (1, 1)
    if scales.size not in (1, first, last):
        raise TulleError(f"{scales.size} scales fit neither its first nor its last dimension")
    is_first = scales.size == first
    return values * scales.reshape(scales.shape + (1,) * (values.ndim - 1) if is_first else scales.shape)


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
