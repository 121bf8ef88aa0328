"""A sparsified model as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tulle.sparsify.oneshot import Sparsified


def encode(result: Sparsified, suffix: str, weights: str = "auto") -> bytes:
    """The bytes of a `.tulle` or `.tflite` file, by its suffix.

    Args:
        weights: "auto" is as in the source, float16 or float32; else as for `convert`, or `tflite.write`.
    """
    from tulle.conversion import convert
    from tulle.tflite import write

    stored: Any = weights if weights != "auto" else "fp16" if result.half else "fp32"
    if suffix.lower() == ".tulle":
        return convert(result.graph, weights=stored).data
    return write(result.graph, weights=stored, sparse=True)
