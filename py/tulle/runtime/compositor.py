"""`Compositor`: frames put before other backgrounds by the C library (wasm/compose), which pages use too."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Literal, get_args

import numpy as np

from tulle.errors import TulleError
from tulle.runtime.host import Library
from tulle.runtime.model import Model
from tulle.runtime.pictures import Format, Matrix

FrameFormat = Literal["RGBA", "I420", "NV12"]
Effect = Literal["none", "blur", "picture", "colour", "cutout"]

_LAYOUT = struct.Struct("<7I")


class Compositor:
    """A model's engine and memory for frames of one size at a time; `tulle.background` is made of it.

    A frame is a list of planes, uint8 (rows, bytes of a row): RGBA has one, (H, 4 * W), I420 three, (H, W) and twice
    (H / 2, W / 2), rounded up, NV12 two, the second with U and V next to each other.
    """

    def __init__(self, model: Model) -> None:
        """`model`: an image (1, H, W, 3) in, the probability of a person (1, H, W, 1) out; closed by close().

        Raises TulleError for other networks, which stay open.
        """
        self._model = model
        self._library: Library = model._open()
        self._pointer = self._library.call("tulle_compositor_create", model._model)
        if not self._pointer:
            raise TulleError(model._error())
        self._free = weakref.finalize(self, _free, self._library, self._pointer)
        self._free.atexit = False
        self._size: tuple[FrameFormat, int, int] | None = None

    def set_size(
        self,
        format: FrameFormat,
        width: int,
        height: int,
        *,
        matrix: Matrix = "bt601",
        full_range: bool = False,
    ) -> None:
        """Of the frames to come. Forgets the frames before, unless all is as it was.

        Raises TulleError for a size that is none or beyond 16384 pixels a side, and without memory for it.
        """
        if format not in get_args(FrameFormat) or matrix not in get_args(Matrix):
            raise TulleError(f"frames are {', '.join(get_args(FrameFormat))}, in {', '.join(get_args(Matrix))}")
        if not (0 < width <= 16384 and 0 < height <= 16384):
            raise TulleError(f"frames have 1 to 16384 pixels a side, not {width} x {height}")
        index = get_args(Format).index(format), get_args(Matrix).index(matrix)
        library, full = self._open(), int(full_range)
        self._size = None
        self._check(library.call("tulle_compositor_set_size", self._pointer, index[0], width, height, index[1], full))
        self._size = (format, width, height)

    def __call__(
        self,
        frame: Sequence[np.ndarray],
        effect: Effect = "blur",
        *,
        strength: float = 0.5,
        colour: tuple[int, int, int] = (0, 0, 0),
        fresh: bool = True,
    ) -> list[np.ndarray]:
        """The frame with the effect, as planes like its own.

        Args:
            strength: of the blur, 0 to 1.
            colour: red, green and blue, 0 to 255.
            fresh: False takes the mask of the frame before.

        Raises TulleError for planes of another size and options out of range.
        """
        library = self._open()
        if effect not in get_args(Effect):
            raise TulleError(f"effect={effect!r} is not one of {', '.join(get_args(Effect))}")
        if not 0 <= strength <= 1:
            raise TulleError(f"the strength of a blur goes from 0 to 1, not to {strength}")
        if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
            raise TulleError(f"a colour is three numbers of 0 to 255, not {colour}")
        size, views = self._planes()
        buffer = np.zeros(size, np.uint8)
        if len(frame) != len(views):
            raise TulleError(f"a frame of {self._size[0] if self._size else 'no size'} has {len(views)} planes")
        for plane, (offset, stride, rows, columns) in zip(frame, views, strict=True):
            if plane.dtype != np.uint8 or plane.shape != (rows, columns):
                raise TulleError(f"a plane of the frame is uint8 {(rows, columns)}, not {plane.dtype} {plane.shape}")
            buffer[offset : offset + stride * rows].reshape(rows, stride)[:, :columns] = plane
        library.write(library.call("tulle_compositor_input", self._pointer), buffer.data)
        packed = colour[0] << 16 | colour[1] << 8 | colour[2]
        number = get_args(Effect).index(effect)
        self._check(
            library.call("tulle_compositor_run", self._pointer, number, round(strength * 1000), packed, int(fresh))
        )
        result = np.frombuffer(library.read(library.call("tulle_compositor_output", self._pointer), size), np.uint8)
        return [
            result[offset : offset + stride * rows].reshape(rows, stride)[:, :columns]
            for offset, stride, rows, columns in views
        ]

    def set_picture(self, picture: np.ndarray | None) -> None:
        """The background of the effect "picture": uint8 (H, W, 4), whose alpha is ignored. It covers the frame."""
        library = self._open()
        if picture is None:
            self._check(library.call("tulle_compositor_set_picture", self._pointer, 0, 0, 0))
            return
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 4 or not picture.size:
            raise TulleError(f"a picture is uint8 (H, W, 4), not {picture.dtype} {picture.shape}")
        address = library.call("tulle_alloc", picture.nbytes)
        if not address:
            raise TulleError(f"out of memory: the wasm module has no {picture.nbytes} bytes for the picture")
        try:
            library.write(address, np.ascontiguousarray(picture).data)
            height, width = picture.shape[:2]
            self._check(library.call("tulle_compositor_set_picture", self._pointer, address, width, height))
        finally:
            library.call("tulle_free", address)

    @property
    def mask(self) -> np.ndarray | None:
        """The mask of the last frame, steadied over time: float32 (h, w) of the network's size; None without one."""
        library = self._open()
        height, width = self._model.inputs[0].shape[1:3]
        address = library.call("tulle_compositor_mask", self._pointer)
        if not address:
            return None
        return np.frombuffer(library.read(address, 4 * height * width), np.float32).reshape(height, width)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Of the last frame, by part: "input", "network", "mask" and "composite"."""
        library = self._open()
        times = library.read(library.call("tulle_compositor_times", self._pointer), 32)
        return dict(zip(("input", "network", "mask", "composite"), struct.unpack("<4d", times), strict=True))

    def reset(self) -> None:
        """Forgets the frames before, as where another scene begins."""
        self._open().call("tulle_compositor_reset", self._pointer)

    def close(self) -> None:
        """Frees the memory and closes the model. Closing twice does nothing."""
        self._free()
        self._model.close()

    def __enter__(self) -> Compositor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Library:
        if not self._free.alive:
            raise TulleError("the compositor is closed")
        return self._library

    def _planes(self) -> tuple[int, list[tuple[int, int, int, int]]]:
        """Bytes of a frame, and of each plane its offset, stride, rows and bytes of a row."""
        if self._size is None:
            raise TulleError("set_size() comes first")
        format, width, height = self._size
        half, rows = (width + 1) // 2, (height + 1) // 2
        sizes = {
            "RGBA": [(height, 4 * width)],
            "I420": [(height, width), (rows, half), (rows, half)],
            "NV12": [(height, width), (rows, 2 * half)],
        }[format]
        layout = self._library.read(self._library.call("tulle_compositor_layout", self._pointer), _LAYOUT.size)
        total, *places = _LAYOUT.unpack(layout)
        return total, [(places[i], places[3 + i], *size) for i, size in enumerate(sizes)]

    def _check(self, status: int) -> None:
        if status:
            raise TulleError(self._model._error())


def _free(library: Library, pointer: int) -> None:
    with suppress(TulleError):  # after a trap nothing can be called
        library.call("tulle_compositor_free", pointer)
