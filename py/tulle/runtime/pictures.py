"""Parts of pictures as numbers, by the C library (wasm/image), which pages use too."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from tulle.errors import TulleError
from tulle.runtime.host import Library
from tulle.runtime.library import open_library

Format = Literal["RGBA", "BGRA", "RGB", "I420", "NV12"]
Fit = Literal["stretch", "contain", "cover"]
Border = Literal["black", "edge"]
Matrix = Literal["bt601", "bt709", "bt2020"]

_lock = threading.Lock()


@dataclass(frozen=True)
class View:
    """How the pixels of a picture lie in memory, and which of them are wanted: tulle_view of wasm/include/tulle.h.

    Attributes:
        width, height: of the picture, in pixels.
        box: centre x and y, width and height of a rectangle, in pixels.
        rotation: of the rectangle around its centre, radians, clockwise.
        offsets, strides: of each plane and of its rows, in bytes; by default planes follow each other without gaps.
    """

    width: int
    height: int
    box: tuple[float, float, float, float]
    rotation: float = 0.0
    flip: bool = False
    fit: Fit = "stretch"
    border: Border = "black"
    format: Format = "RGB"
    offsets: Sequence[int] = ()
    strides: Sequence[int] = ()
    matrix: Matrix = "bt601"
    full_range: bool = False

    def pack(self) -> bytes:
        """The bytes of a tulle_view. Raises TulleError for what is not one of the choices."""
        half = (self.width + 1) // 2
        planes = {"I420": (self.width, half, half), "NV12": (self.width, 2 * half, 0)}
        strides = self.strides or planes.get(self.format, (self.width * (3 if self.format == "RGB" else 4), 0, 0))
        luma = self.width * self.height
        offsets = self.offsets or (0, luma, luma + half * ((self.height + 1) // 2))
        choices = [_index("fit", self.fit, Fit), _index("border", self.border, Border)]
        pixels = _index("format", self.format, Format)
        matrix = _index("matrix", self.matrix, Matrix)
        return struct.pack(
            "<5d14I", *self.box, self.rotation, self.flip, *choices, pixels, self.width, self.height,
            *offsets, *strides, matrix, self.full_range,
        )  # fmt: skip


def _index(name: str, value: str, kind: object) -> int:
    if value not in get_args(kind):
        raise TulleError(f"{name}={value!r} must be " + " or ".join(f'"{choice}"' for choice in get_args(kind)))
    return get_args(kind).index(value)


def sample(pixels: bytes | bytearray | memoryview, view: View, height: int, width: int) -> bytearray:
    """height * width * 3 float32, RGB from 0 to 255; see tulle_picture_sample.

    Raises TulleError for a view that is empty or not within the pixels.
    """
    packed = view.pack()
    flat = memoryview(pixels).cast("B")
    with _lock:
        library, engine = _library()
        output = 12 * height * width
        start = library.call("tulle_alloc", output + len(packed) + flat.nbytes)
        if not start:
            raise TulleError(f"out of memory: the wasm module has no {flat.nbytes} bytes for the picture")
        try:
            library.write(start + output, packed)
            library.write(start + output + len(packed), flat)
            view_at, pixels_at = start + output, start + output + len(packed)
            if library.call("tulle_picture_sample", engine, pixels_at, flat.nbytes, view_at, start, height, width):
                raise TulleError(library.read_string(library.call("tulle_engine_error", engine)))
            return library.read(start, output)
        finally:
            library.call("tulle_free", start)


@cache
def _library() -> tuple[Library, int]:
    """The library for pictures, and an engine for its errors; the same ones every time."""
    library, _ = open_library("auto")
    engine = library.call("tulle_engine_create", 1)
    if not engine:
        raise TulleError("out of memory while starting the wasm module")
    return library, engine
