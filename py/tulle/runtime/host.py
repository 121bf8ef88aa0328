"""The C library as `Model` sees it, whatever runs the wasm: wasmtime in CPython, Pyodide's own engine in Pyodide."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal, Protocol, get_args

from tulle.errors import TulleError

Variant = Literal["auto", "simd", "relaxed"]
Build = Literal["simd", "relaxed"]

IN_PYODIDE = sys.platform == "emscripten"


class Library(Protocol):
    """Calls by name into the C library (wasm/include/tulle.h) and its memory. Pointers are unsigned 32-bit numbers."""

    def call(self, name: str, *arguments: int) -> int:
        """Calls a function; its result (0 if it has none) as an unsigned number."""

    def read(self, pointer: int, size: int) -> bytearray:
        """A copy of `size` bytes."""

    def read_string(self, pointer: int) -> str:
        """A copy of a zero-terminated UTF-8 string."""

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        """Copies the bytes of a C-contiguous buffer to the pointer."""


def open_library(variant: Variant) -> tuple[Library, Build]:
    """The library of this host, and the build of it that `variant` means here.

    Raises TulleError if there is no such build, or if this machine cannot run it.
    """
    if variant not in get_args(Variant):
        raise TulleError(f"variant={variant!r} is not one of {', '.join(get_args(Variant))}")
    opener: Callable[[Variant], tuple[Library, Build]]
    if IN_PYODIDE:
        from tulle.runtime.side_module import open_side_module as opener
    else:
        from tulle.runtime.instance import open_instance as opener
    return opener(variant)
