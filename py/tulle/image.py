"""Pictures as model inputs: read, cropped, turned, resized and normalised as MediaPipe does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike, write_bytes
from tulle.runtime.pictures import Border, Fit, View, sample
from tulle.runtime.tensors import TensorInfo

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Suffixes of the picture files that are searched for in folders."""


@dataclass(frozen=True)
class Region:
    """A rotated rectangle in a picture, like MediaPipe's NormalizedRect: all but the rotation relative to its size.

    Attributes:
        x, y: its centre; (0, 0) is the picture's top left corner, (1, 1) the bottom right one.
        width, height: its sides before rotation.
        rotation: radians, clockwise.
    """

    x: float = 0.5
    y: float = 0.5
    width: float = 1.0
    height: float = 1.0
    rotation: float = 0.0


def to_input(
    picture: Any,
    info: TensorInfo,
    region: Region | None = None,
    *,
    fit: Fit = "stretch",
    flip: bool = False,
    border: Border = "black",
) -> np.ndarray:
    """A region of a picture, resized and normalised for a model's input, as MediaPipe's ImageToTensorCalculator does.

    Sampled bilinearly at pixel centres, as MediaPipe does on a GPU; if the picture shrinks by more than a factor of 4,
    pixels are averaged. The C library does it, so pages give the same numbers. MediaPipe's CPU version maps corners to
    corners instead, which shifts the result by half an output pixel minus half a pixel of the picture.

    Args:
        picture: uint8 (H, W, 3) or (H, W, 4), whose alpha is ignored; a PIL image, see `rgb`; or, in Pyodide, an
            ImageData.
        info: the input, of shape (1, H, W, 3), as in `model.inputs[0]`.
        region: the part to take, the whole picture by default.
        fit: "stretch" the region to the input's proportions; "contain" widens it to them (letterbox; MediaPipe's
            keep_aspect_ratio); "cover" narrows it.
        flip: mirror the result horizontally.
        border: the value outside the picture: "black" (MediaPipe's BORDER_ZERO) or the nearest pixel of its "edge"
            (BORDER_REPLICATE, which is MediaPipe's default).

    Returns float32 (1, H, W, 3), (pixel - mean) / std with the input's mean and std. Where std is 1 and mean 0, as in
    a file converted without --input-std, that is 0 to 255.
    Raises TulleError if the picture or the input is of another shape, or the region is empty.
    """
    pixels = pixels_of(picture)
    if not info.takes_images:
        raise TulleError(f"input {info.name!r} of shape {info.shape} takes no pictures; it would be (1, H, W, 3)")
    region = region or Region()
    full_height, full_width, channels = pixels.shape
    view = View(
        full_width,
        full_height,
        (region.x * full_width, region.y * full_height, region.width * full_width, region.height * full_height),
        rotation=region.rotation,
        flip=flip,
        fit=fit,
        border=border,
        format="RGB" if channels == 3 else "RGBA",
    )
    if not (view.box[2] > 0 and view.box[3] > 0):
        raise TulleError(f"{region} is empty")
    values = sample(np.ascontiguousarray(pixels).data, view, *info.shape[1:3])
    array = np.frombuffer(values, np.float32).reshape(info.shape)
    return (array - np.float32(info.mean)) / np.float32(info.std)


def pixels_of(picture: Any) -> np.ndarray:
    """The picture as uint8 (H, W, 3) or (H, W, 4). Raises TulleError if it is none, see `to_input`."""
    if hasattr(picture, "data") and hasattr(picture.data, "to_py") and hasattr(picture, "width"):  # ImageData
        flat = np.frombuffer(picture.data.to_py(), np.uint8)
        return flat.reshape(picture.height, picture.width, 4)
    if hasattr(picture, "convert"):  # a PIL image
        try:
            picture = rgb(picture)
        except ValueError as error:
            raise TulleError(f"the picture cannot be used: {error}") from None
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise TulleError(f"a picture is uint8 (H, W, 3) or (H, W, 4), not {array.dtype} {array.shape}")
    return array


def rgb(image: Image) -> Image:
    """A PIL image in 8 bits per channel, "RGB" or "RGBA", as browsers show it and a canvas returns it.

    16-bit pictures keep their upper 8 bits. Transparent pixels are black; partly transparent ones keep their colour,
    which Pillow uses when it resizes.

    Raises ValueError if the mode does not say which values are black and white.
    """
    from PIL.Image import fromarray

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(
            "its numbers have no range that stands for black to white: save it with 8 or 16 bits per channel"
        )
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA").convert("RGBa").convert("RGBA")
    return image.convert("RGB")


def read_image(path: PathLike, height: int, width: int) -> np.ndarray:
    """A picture as uint8 (height, width, 3), RGB (see `rgb`): rotated upright by its EXIF data, stretched
    bilinearly.

    Raises TulleError if Pillow cannot read the file as a picture.
    """
    from PIL.Image import Resampling

    return np.asarray(open_image(path).resize((width, height), Resampling.BILINEAR))[..., :3]


def open_image(path: PathLike) -> Image:
    """A picture as browsers show it (see `rgb`), rotated upright by its EXIF data.

    Raises TulleError if Pillow cannot read the file as a picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format  # says what the numbers mean
            return rgb(upright)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TulleError(f"{path} cannot be read as a picture: {error}") from None


def image_format(path: PathLike, *, alpha: bool = False) -> str:
    """Pillow's name of the format of a path's suffix. Raises TulleError unless it can hold such a picture."""
    from PIL import Image

    suffix = Path(path).suffix.lower()
    format = Image.registered_extensions().get(suffix)
    if format is None or format not in Image.SAVE:
        raise TulleError(f"{path}: no picture is written with the suffix {suffix!r}; .png, .jpg and .webp will do")
    if alpha and format not in _WITH_ALPHA:
        raise TulleError(f"{path}: {format} holds no transparency; .png and .webp do")
    return format


_WITH_ALPHA = ("PNG", "TIFF", "WEBP")


def write_image(path: PathLike, pixels: np.ndarray) -> None:
    """Writes uint8 (H, W, 3) or (H, W, 4) whole or not at all, in the format of the path's suffix.

    Raises TulleError as `image_format` does, and if it cannot be written.
    """
    from io import BytesIO

    from PIL import Image

    format = image_format(path, alpha=pixels.shape[2] == 4)
    file = BytesIO()
    options = {"quality": 95} if format in ("JPEG", "WEBP") else {}
    try:
        Image.fromarray(pixels).save(file, format, **options)
    except (OSError, KeyError, ValueError) as error:
        raise TulleError(f"{path} cannot be written as {format}: {error}") from None
    write_bytes(path, file.getvalue())


def read_input(path: PathLike, shape: tuple[int, ...]) -> np.ndarray:
    """An input for a tensor of `shape`: a .npy array as it is, or a picture as uint8 (H, W, 3) if it is [1, H, W, 3].

    Raises TulleError if the file does not fit.
    """
    if Path(path).suffix == ".npy":
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise TulleError(f"{path} cannot be read as an array: {error}") from None
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise TulleError(f"{path} is no .npy file, and a picture does not fit the input of shape {list(shape)}")
    return read_image(path, shape[1], shape[2])
