"""A sparsified model as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tulle.sparsify.oneshot import Sparsified


def encode(result: Sparsified, suffix: str, weights: str = "auto") -> bytes:
    """The bytes of a `.tulle` or `.tflite` file, by its suffix.

    Args:
        weights: "auto" rounds to float16 if the source did, and is lossless otherwise; else as for `convert`, or
            `tflite.write`.
    """
    from tulle.conversion import convert
    from tulle.tflite import write

    stored: Any = "fp16" if weights == "auto" and result.half else weights
    if suffix.lower() == ".tulle":
        return convert(result.graph, weights=stored).data
    return write(result.graph, weights="fp32" if stored == "auto" else stored, sparse=True)
