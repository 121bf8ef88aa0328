"""`Limits`: what a model may ask for when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tulle.errors import TulleError


@dataclass(frozen=True)
class Limits:
    """The most that `load` accepts of a model; what goes beyond is refused before memory is taken.

    Raises TulleError unless all are integers from 1 to 2^32 - 1, `macs` to 2^53 - 1.
    """

    file_bytes: int = 512 << 20
    """Bytes of the `.tulle` file."""
    tensor_bytes: int = 512 << 20
    """Bytes of one tensor as float32."""
    ops: int = 1 << 14
    memory_bytes: int = 1 << 30
    """Bytes for activations, unpacked weights and the rest of the model's plan."""
    macs: int = 10**11
    """Multiply-adds of a run, as if no weight were zero, and as many for other work: numbers read and written."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            bits = 53 if field.name == "macs" else 32
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << bits:
                raise TulleError(f"limit {field.name}={value!r} is not an integer from 1 to 2^{bits} - 1")

    def for_engine(self) -> list[int]:
        """The numbers of `tulle_limit`, in its order."""
        return [self.ops, self.tensor_bytes, self.memory_bytes, min(-(-self.macs // 1000), (1 << 32) - 1)]

    def check_file(self, size: int) -> None:
        """Raises TulleError if a file has more bytes."""
        if size > self.file_bytes:
            raise TulleError(f"the file has {size / 1e6:.1f} MB, the limit is {self.file_bytes / 1e6:.1f} MB")
