"""Checked access to the tables of a .tflite file.

The FlatBuffers runtime for Python does not verify: an offset out of range raises an arbitrary exception, and a small
file whose vectors overlap can describe terabytes. So everything is read through this module: counts are checked against
the file's size, and exceptions from broken offsets become a `TulleError` in `reader.read`.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import tflite
from flatbuffers.number_types import Int32Flags

from tulle.errors import TulleError
from tulle.files import file_kind

# Exceptions from broken FlatBuffers (MemoryError: a vector that claims more than the file has).
BROKEN = (struct.error, IndexError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError,
          AssertionError, UnicodeError)  # fmt: skip

MAX_RANK = 8
# Tensors, operators, buffers: a few kilobytes could list millions of them by repeating the offset of one table.
MAX_RECORDS = 2**14
MAX_TENSOR_ELEMENTS = 2**31 - 1
# Memory allowed for constants beyond the file's own size: for decoded sparse ones and shared buffers.
MAX_CONSTANT_BYTES = 512 * 2**20
# Bytes of constants that operators read, one counted for each operator: what is looked at grows with it.
MAX_READ_BYTES, MAX_READ_PER_BYTE = 4 * MAX_CONSTANT_BYTES, 64

DTYPES: dict[int, np.dtype] = {
    tflite.TensorType.FLOAT32: np.dtype(np.float32),
    tflite.TensorType.FLOAT16: np.dtype(np.float16),
    tflite.TensorType.INT32: np.dtype(np.int32),
    tflite.TensorType.INT64: np.dtype(np.int64),
    tflite.TensorType.INT8: np.dtype(np.int8),
    tflite.TensorType.INT16: np.dtype(np.int16),
    tflite.TensorType.UINT8: np.dtype(np.uint8),
    tflite.TensorType.BOOL: np.dtype(np.bool_),
}
TYPE_NAMES = {
    value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int) and name[0] != "_"
}


class File:
    """A .tflite file: `model`, its first subgraph `graph`, and checked ways to read vectors and buffers."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 16:
            raise TulleError(f"it has {len(data)} bytes, which is too short for a .tflite file")
        if file_kind(data) != "tflite":
            raise TulleError("it is not a .tflite file (no TFL3 identifier at byte 4)")
        self.data = data
        # Parts of a well-formed file hardly overlap, so the bytes read add up to about its size.
        self._budget = 4 * len(data) + 2**16
        self._constant_budget = 2 * len(data) + MAX_CONSTANT_BYTES
        self._read_budget = MAX_READ_PER_BYTE * len(data) + MAX_READ_BYTES
        self.model: Any = tflite.Model.GetRootAs(data, 0)
        if self.model.Version() != 3:
            raise TulleError(f"its schema version is {self.model.Version()}; only version 3 is known")
        if not self.model.SubgraphsLength():
            raise TulleError("it has no subgraphs, so there is no model in it")
        self.notes: list[str] = []
        if self.model.SubgraphsLength() > 1:
            self.notes.append(f"the file has {self.model.SubgraphsLength()} subgraphs, of which the first is converted")
        self.graph: Any = self.model.Subgraphs(0)
        self.tensor_count = self._count(self.graph.TensorsLength(), "tensors")
        self.operator_count = self._count(self.graph.OperatorsLength(), "operators")
        self.opcode_count = self._count(self.model.OperatorCodesLength(), "operator codes")
        self.buffer_count = self._count(self.model.BuffersLength(), "buffers")

    def _count(self, count: int, what: str) -> int:
        if count > MAX_RECORDS:
            raise TulleError(f"it has {count} {what}, more than the {MAX_RECORDS} that are supported")
        self.spend(4 * count, what)
        return count

    def spend(self, size: int, what: str) -> None:
        """Counts bytes read; raises TulleError if a file describes much more than it contains."""
        self._budget -= size
        if self._budget < 0:
            raise TulleError(f"its {what} are larger than the file: it is damaged")

    def spend_constant(self, size: int, name: str) -> None:
        """Counts bytes of constants in memory; raises TulleError when they are out of proportion to the file."""
        self._constant_budget -= size
        if self._constant_budget < 0:
            raise TulleError(
                f"constant {name!r}: the constants take more than {MAX_CONSTANT_BYTES >> 20} MiB beyond the file's size"
            )

    def spend_read(self, size: int, name: str) -> None:
        """Counts bytes of constants that an operator reads."""
        self._read_budget -= size
        if self._read_budget < 0:
            raise TulleError(
                f"constant {name!r}: operators read constants again and again, out of proportion to the file"
            )

    def vector(self, values: Any, what: str) -> tuple[int, ...]:
        """A vector of integers given by an `...AsNumpy()` accessor, which returns 0 if there is none."""
        if not isinstance(values, np.ndarray):
            return ()
        self.spend(values.nbytes, what)
        return tuple(int(value) for value in values)

    def text(self, value: bytes | None) -> str:
        """A string of the file; bytes that are not UTF-8 are replaced."""
        if value is None:
            return ""
        self.spend(len(value), "names")
        return value.decode("utf-8", "replace")

    def tensor(self, index: int) -> Any:
        if not 0 <= index < self.tensor_count:
            raise TulleError(f"tensor {index} does not exist (there are {self.tensor_count})")
        return self.graph.Tensors(index)

    def opcode(self, index: int) -> Any:
        if not 0 <= index < self.opcode_count:
            raise TulleError(f"operator code {index} does not exist (there are {self.opcode_count})")
        return self.model.OperatorCodes(index)

    @staticmethod
    def builtin(code: Any) -> int:
        """The number of a builtin operator: the larger of two fields, of which writers may leave out either for numbers
        below 127. (The accessor `BuiltinCode` looks at the older one only, and for those takes DEQUANTIZE as
        ai-edge-quantizer writes it for ADD.)"""
        newer = code._tab.Offset(10)
        number = code._tab.Get(Int32Flags, newer + code._tab.Pos) if newer else 0
        return max(number, code.DeprecatedBuiltinCode())

    def buffer(self, index: int) -> np.ndarray:
        """The bytes of a buffer (a view); empty if it has none. Large files keep them after the FlatBuffer."""
        if not 0 <= index < self.buffer_count:
            raise TulleError(f"buffer {index} does not exist (there are {self.buffer_count})")
        buffer = self.model.Buffers(index)
        offset, size = buffer.Offset(), buffer.Size()
        if offset > 1:  # 0 and 1 mean: within the FlatBuffer
            if offset + size > len(self.data):
                raise TulleError(f"buffer {index} (bytes {offset} to {offset + size}) ends beyond the file's end")
            return np.frombuffer(self.data, np.uint8, size, offset)
        values = buffer.DataAsNumpy()
        return values if isinstance(values, np.ndarray) else np.empty(0, np.uint8)
