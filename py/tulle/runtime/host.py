"""The C library as `Model` sees it, in any host: wasmtime in CPython, Pyodide's own engine in Pyodide."""

from __future__ import annotations

import sys
from typing import Literal, Protocol

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
