"""Reading and showing pictures in the notebooks, in Pyodide without any package but NumPy."""

from __future__ import annotations

import sys
import zlib
from base64 import b64encode
from collections.abc import Iterable
from struct import pack

import numpy as np


async def read(path: str) -> np.ndarray:
    """The picture as uint8 (H, W, 3): by the browser's own decoder in Pyodide, by Pillow elsewhere."""
    if sys.platform != "emscripten":
        from PIL import Image

        return np.asarray(Image.open(path).convert("RGB"))
    from js import Blob, OffscreenCanvas, createImageBitmap
    from pyodide.ffi import to_js

    from tulle.files import read_bytes

    bitmap = await createImageBitmap(Blob.new(to_js([to_js(read_bytes(path))])))
    context = OffscreenCanvas.new(bitmap.width, bitmap.height).getContext("2d")
    context.drawImage(bitmap, 0, 0)
    pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data.to_py()
    return np.frombuffer(pixels, np.uint8).reshape(bitmap.height, bitmap.width, 4)[..., :3]


class show:
    """A picture in a notebook, with dots drawn over it.

    Args:
        pixels: uint8 (H, W, 3), or floats from 0 to 1 (H, W) in grey.
        points: (x, y) in pixels.
    """

    def __init__(self, pixels: np.ndarray, points: Iterable[tuple[float, float]] = (), width: int = 360) -> None:
        if pixels.ndim == 2:
            pixels = np.repeat((np.clip(pixels, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
        self.pixels, self.points, self.width = pixels, list(points), width

    def _repr_html_(self) -> str:
        height, width, _ = self.pixels.shape
        radius = max(width, height) / 90
        data = b64encode(png(self.pixels)).decode()
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>' for x, y in self.points)
        return (
            f'<svg width="{self.width}" viewBox="0 0 {width} {height}" fill="#e5484d" stroke="white">'
            f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/>'
            f"{dots}</svg>"
        )


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as a PNG file."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    rows = np.pad(pixels.reshape(height, width * 3), ((0, 0), (1, 0)))  # each row begins with its filter: none
    head = pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )
