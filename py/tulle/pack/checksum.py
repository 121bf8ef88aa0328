"""A file's checksum: the CRC-32 of its bytes with the checksum's own four zero. Older files have none."""

from __future__ import annotations

import struct
import zlib

from tulle.errors import TulleError
from tulle.pack.schema import tulle_generated as schema

_FIELD = 20
"""Offset of `checksum` in the vtable of Model, which grows at its end alone."""


def with_checksum(data: bytes | bytearray) -> bytes:
    """A file with room for a checksum as bytes, with its checksum."""
    result = bytearray(data)
    model = schema.Model.GetRootAs(result)
    struct.pack_into("<I", result, _place(model), _compute(result, _place(model)))
    return bytes(result)


def check(data: bytes, model: schema.Model) -> None:
    """Raises TulleError if the bytes are not those that were written."""
    stored = model.Checksum()
    if stored is not None and stored != _compute(data, _place(model)):
        raise TulleError("it is damaged, its checksum is another than when it was written: fetch or convert it again")


def _place(model: schema.Model) -> int:
    return int(model._tab.Pos + model._tab.Offset(_FIELD))


def _compute(data: bytes | bytearray, place: int) -> int:
    view = memoryview(data)
    return zlib.crc32(view[place + 4 :], zlib.crc32(bytes(4), zlib.crc32(view[:place])))
