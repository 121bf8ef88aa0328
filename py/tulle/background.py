"""Other backgrounds behind the people of pictures and videos: blurred, a picture, a colour, or none.

    from tulle.background import Background

    with Background() as background:
        result = background(picture, blur=0.6)    # uint8 (H, W, 3)

The C library does it, with a network that finds people, as in the npm package's tulle/background (docs/background.md).
Needs NumPy; runs in CPython and Pyodide, on one thread.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import TulleError
from tulle.files import ModelFile
from tulle.image import pixels_of
from tulle.runtime import networks
from tulle.runtime.compositor import Compositor, Effect
from tulle.runtime.host import Variant
from tulle.runtime.model import load

if TYPE_CHECKING:
    from tulle.graph import Graph

_DEFAULT_BLUR = 0.5


class Background:
    """Replaces backgrounds. Use it with `with`, or call `close()`, to free its memory early."""

    def __init__(self, model: ModelFile | Graph | None = None, *, variant: Variant = "auto") -> None:
        """Loads the network.

        Args:
            model: as `tulle.load` takes it, such as MediaPipe's selfie segmentation: an image (1, H, W, 3) in, the
                probability of a person (1, H, W, 1) out; the package's own, sparse one if left out.
            variant: the wasm build, as of `tulle.load`.

        Raises TulleError for what is no such network.
        """
        loaded = load(model if model is not None else networks.find(networks.PEOPLE), variant=variant)
        try:
            self._compositor = Compositor(loaded)
        except TulleError:
            loaded.close()
            raise
        self._picture: Any = None

    def __call__(
        self,
        image: Any,
        *,
        blur: float | None = None,
        picture: Any = None,
        colour: str | tuple[int, int, int] | None = None,
        cutout: bool = False,
        video: bool = False,
    ) -> np.ndarray:
        """The picture with another background, of which one is given; the default is `blur=0.5`.

        Args:
            image: as of `tulle.image.to_input`: uint8 (H, W, 3) or (H, W, 4), whose alpha is ignored, a PIL image, in
                Pyodide ImageData; 1 to 16384 pixels a side.
            blur: how much, 0 to 1: a Gaussian whose standard deviation is up to 6 % of the picture's height.
            picture: another picture, which covers the background; it is cut off where its proportions differ.
            colour: "#rrggbb", or red, green and blue from 0 to 255.
            cutout: nothing behind: the picture with alpha, which is 0 for background and 255 for person.
            video: whether this is the frame after the one before: the mask is then steadied over time.

        Returns a new uint8 array (H, W, 3), RGB; with `cutout` (H, W, 4), RGBA, whose colours are those of `image`.
        Raises TulleError for what is no picture, options out of range and more than one background.
        """
        given = [
            name for name, value in (("blur", blur), ("picture", picture), ("colour", colour)) if value is not None
        ]
        given += ["cutout"] * bool(cutout)
        if len(given) > 1:
            raise TulleError(f"one background at a time, not {' and '.join(given)}")
        pixels = _rgba(pixels_of(image))
        height, width = pixels.shape[:2]
        self._compositor.set_size("RGBA", width, height)
        if not video:
            self._compositor.reset()
        effect: Effect = given[0] if given else "blur"  # type: ignore[assignment]
        if picture is not None and picture is not self._picture:
            self._compositor.set_picture(_rgba(pixels_of(picture)))
            self._picture = picture
        rgb = parse_colour(colour) if colour is not None else (0, 0, 0)
        strength = _DEFAULT_BLUR if blur is None else blur
        (plane,) = self._compositor([pixels.reshape(height, 4 * width)], effect, strength=strength, colour=rgb)
        result = plane.reshape(height, width, 4)
        return result.copy() if cutout else result[..., :3].copy()

    @property
    def mask(self) -> np.ndarray | None:
        """Of the last picture: float32 (h, w) of the network's size, the probability of a person; None before that."""
        return self._compositor.mask

    def close(self) -> None:
        """Frees the memory. Closing twice does nothing."""
        self._compositor.close()

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse_colour(colour: str | tuple[int, int, int]) -> tuple[int, int, int]:
    """Red, green and blue of "#rrggbb". Raises TulleError if it is no colour."""
    if isinstance(colour, str):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
            raise TulleError(f"{colour!r} is no colour: write it as #rrggbb, such as #00aa44")
        return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
    try:
        red, green, blue = (int(value) for value in colour)
    except (TypeError, ValueError):
        raise TulleError(f"a colour is '#rrggbb' or three numbers of 0 to 255, not {colour!r}") from None
    return red, green, blue


def _rgba(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[2] == 4:
        return np.ascontiguousarray(pixels)
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
