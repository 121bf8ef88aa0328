"""Pictures as model inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike


def read_image(path: PathLike, height: int, width: int) -> np.ndarray:
    """A picture as uint8 (height, width, 3), RGB: turned upright as its EXIF data says, stretched bilinearly.

    Raises TulleError if the file is no picture that Pillow reads.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(upright.resize((width, height), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TulleError(f"{path} cannot be read as a picture: {error}") from None


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
