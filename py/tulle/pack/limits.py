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
"""Bytes that the weights may take unpacked, counted once for each op that reads them: so many for any file, and so many
more for each byte of it. A byte of `delta` index can stand for 255 zeros of four bytes."""

MAX_REFERENCED_FREE, MAX_REFERENCED_PER_BYTE = 64 << 10, 4
"""Bytes that a file's tables may point at, likewise: names and weights lie apart in it."""

VERSION = 1
"""The format version that this package writes and the highest that it reads."""

ALIGNMENT = 64
"""Bytes from the start of the file that values and indices are aligned to: a cache line."""
