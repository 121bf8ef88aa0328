"""Limits of the `.tulle` format, as docs/format.md names them; the C library refuses files beyond them."""

MAX_RANK = 6
"""Dimensions of a tensor."""

MAX_ELEMENTS = 1 << 28
"""Elements of a tensor: keeps every byte offset below 2^31."""

MAX_OP_INPUTS = 64
"""Inputs of an op."""

MAX_RECORDS = 1 << 14
"""Tensors, ops, inputs and outputs of a model, each."""

MAX_UINT16 = (1 << 16) - 1
"""Kernel sizes, strides, dilations, paddings and blocks are stored in 16 bits."""

MAX_FILE_BYTES = (1 << 31) - 1
"""FlatBuffers' offsets are signed 32-bit numbers."""

MAX_UNPACKED_FREE, MAX_UNPACKED_PER_BYTE = 64 << 20, 1 << 10
"""Limit for unpacked weights, counted once for each op that reads them: bytes for any file, plus some for each of its
bytes. A byte of `delta` index can stand for 255 zeros of four bytes."""

MAX_REFERENCED_FREE, MAX_REFERENCED_PER_BYTE = 64 << 10, 4
"""Limit for the bytes that a file's tables point at, likewise: parts of a file do not overlap."""

VERSION = 1
"""The format version that this package writes and the highest that it reads."""

QUANTIZED_IO = "quantized_io"
"""The feature of files whose inputs or outputs are integers."""

ALIGNMENT = 64
"""Bytes from the start of the file that values and indices are aligned to: a cache line."""
