"""What demos/lib/segment does, in NumPy and float64: the judge of both of its compositors.

Pictures are float64 [height, width, channels] of 0 to 255, masks [height, width] of 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Constants:
    """Those of demos/lib/segment/composition.js, under the same names."""

    TAPS: int
    SIGMA_SPACE: float
    SIGMA_COLOUR: float
    COLOUR_FLOOR: float
    WRAP: float
    MOST_TAPS: int
    LIGHT_SIZE: int


def matte(mask: np.ndarray, before: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """MatteMaker.next: uint8 alpha of the matte, and the smoothed mask that the next call takes as `before`."""
    mask = mask.astype(np.float64)
    uncertainty = 1 - (2 * mask - 1) ** 2
    smooth = mask if before is None else mask + (before - mask) * 0.6 * uncertainty
    share = np.clip((smooth - 0.4) / 0.5, 0, 1)
    return np.rint(255 * share**2 * (3 - 2 * share)).astype(np.uint8), smooth


def iou(a: np.ndarray, b: np.ndarray) -> float:
    both, either = (a > 0.5) & (b > 0.5), (a > 0.5) | (b > 0.5)
    return float(both.sum() / either.sum()) if either.any() else 1.0


def compose(
    frame: np.ndarray,
    small: np.ndarray,
    alpha: np.ndarray,
    effect: str,
    blur: float,
    soft: bool,
    background: np.ndarray,
    light: np.ndarray,
    constants: Constants,
) -> np.ndarray:
    """The picture that a compositor shows.

    Args:
        frame: RGB.
        small: RGB, the frame at the mask's size.
        alpha: [height, width] of 0 to 1, the matte at the mask's size.
        background: RGB, of the frame's size.
        light: RGB, the background at LIGHT_SIZE.
    """
    if effect == "none":
        return frame
    share = bilateral(frame, small, alpha, constants) if soft else linear(alpha[..., None], frame.shape[:2])[..., 0]
    if effect == "mask":
        return np.repeat(255 * share[..., None], 3, axis=2)
    blurred, nearness = without_person(small, alpha, blur, frame.shape[:2], constants)
    behind = linear(blurred, frame.shape[:2]) if effect == "blur" else background
    shine = behind if effect == "blur" else linear(light, frame.shape[:2])
    wrap = constants.WRAP * linear(nearness[..., None], frame.shape[:2])
    rim = frame + (shine - frame) * wrap
    return behind + (rim - behind) * share[..., None]


def places(large: int, small: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `large` pixels lies among `small` ones: the pixel before, and how far beyond its middle."""
    exact = (np.arange(large) + 0.5) * small / large - 0.5
    floor = np.floor(exact).astype(int)
    return floor, exact - floor


def linear(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear upsampling, edges repeated."""
    for axis, length in enumerate(size):
        floor, share = places(length, picture.shape[axis])
        first = picture.take(floor, axis=axis, mode="clip")
        second = picture.take(floor + 1, axis=axis, mode="clip")
        share = share.reshape([-1 if i == axis else 1 for i in range(3)])
        picture = first + (second - first) * share
    return picture


def bilateral(frame: np.ndarray, small: np.ndarray, alpha: np.ndarray, constants: Constants) -> np.ndarray:
    """Joint bilateral upsampling of the matte to the frame's size."""
    rows, down = places(frame.shape[0], alpha.shape[0])
    columns, right = places(frame.shape[1], alpha.shape[1])
    total, weights = np.zeros(frame.shape[:2]), np.zeros(frame.shape[:2])
    reach = range(1 - constants.TAPS // 2, constants.TAPS // 2 + 1)
    for j in reach:
        for i in reach:
            pick = np.ix_(np.clip(rows + j, 0, alpha.shape[0] - 1), np.clip(columns + i, 0, alpha.shape[1] - 1))
            way = (j - down)[:, None] ** 2 + (i - right)[None] ** 2
            difference = (((frame - small[pick]) / 255) ** 2).sum(axis=2)
            alike = np.exp(-difference / (2 * constants.SIGMA_COLOUR**2)) + constants.COLOUR_FLOOR
            weight = np.exp(-way / (2 * constants.SIGMA_SPACE**2)) * alike
            total += weight * alpha[pick]
            weights += weight
    return total / weights


def without_person(
    small: np.ndarray, alpha: np.ndarray, blur: float, frame: tuple[int, int], constants: Constants
) -> tuple[np.ndarray, np.ndarray]:
    """The blurred background, RGB, and the nearness, 0 to 1, both at the mask's size."""
    weighted = np.dstack([small * (1 - alpha[..., None]), 1 - alpha])
    for axis in (1, 0):
        sigma = max(0.5, blur * frame[0] * alpha.shape[axis] / frame[axis])
        reach = min(constants.MOST_TAPS, int(np.ceil(2.5 * sigma)))
        steps = np.arange(-reach, reach + 1)
        kernel = np.exp(-(steps**2) / (2 * sigma**2))
        shifted = [
            weighted.take(np.arange(weighted.shape[axis]) + step, axis=axis, mode="clip") * weight
            for step, weight in zip(steps, kernel / kernel.sum(), strict=True)
        ]
        weighted = np.sum(shifted, axis=0)
    return weighted[..., :3] / np.maximum(weighted[..., 3:], 1 / 255), weighted[..., 3]
