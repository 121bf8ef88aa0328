"""What wasm/compose does, in NumPy and float64. Frames are lists of uint8 planes, as tulle.runtime.compositor has them.

Whole numbers of 8 bits are rounded where the C library rounds them; in between nothing is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from paths import ROOT

LEVELS, REACH, LIGHT = 6, 8, 16


def constants(file: str) -> dict[str, float]:
    """The numbers that a source of wasm/compose defines, as they are now."""
    text = (ROOT / "wasm" / "compose" / file).read_text()
    return {name: float(value) for name, value in re.findall(r"^#define (\w+) ([\d.]+)f?$", text, re.MULTILINE)}


MATTE, BLUR, MIX, SIZES = map(constants, ("matte.c", "blur.c", "mix.c", "compositor.c"))

KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


@dataclass(frozen=True)
class Colours:
    """How a frame's planes stand for red, green and blue: ITU-R BT.601, 709 and 2020."""

    format: str
    matrix: str = "bt601"
    full_range: bool = False

    @property
    def yuv(self) -> bool:
        return self.format != "RGBA"

    @property
    def scales(self) -> tuple[float, float, float]:
        """Of luma and chroma, and black."""
        return (1, 1, 0) if self.full_range else (255 / 219, 255 / 224, 16)

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        if not self.yuv:
            return pixels
        (kr, kb), (luma, chroma, black) = KR_KB[self.matrix], self.scales
        y, u, v = (pixels[..., 0] - black) * luma, (pixels[..., 1] - 128) * chroma, (pixels[..., 2] - 128) * chroma
        red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
        green = (y - kr * red - kb * blue) / (1 - kr - kb)
        return np.stack([red, green, blue], -1).clip(0, 255)

    def from_rgb(self, rgb: np.ndarray) -> np.ndarray:
        if not self.yuv:
            return rgb
        (kr, kb), (luma, chroma, black) = KR_KB[self.matrix], self.scales
        y = rgb @ (kr, 1 - kr - kb, kb)
        u, v = (rgb[..., 2] - y) / (2 * (1 - kb)), (rgb[..., 0] - y) / (2 * (1 - kr))
        return np.stack([y / luma + black, u / chroma + 128, v / chroma + 128], -1)

    def distance(self) -> np.ndarray:
        """What a step of each plane adds to the squared distance in RGB."""
        if not self.yuv:
            return np.ones(3)
        (kr, kb), (luma, chroma, _) = KR_KB[self.matrix], self.scales
        kg = 1 - kr - kb
        rv, bu = 2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma
        return np.array([3 * luma**2, bu**2 + (bu * kb / kg) ** 2, rv**2 + (rv * kr / kg) ** 2])


def halve(plane: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 bytes, rounded; the last row and column repeated where a side is odd."""
    rows, columns = plane.shape
    p = np.pad(plane.astype(int), ((0, rows % 2), (0, columns % 2)), mode="edge")
    return (p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2] + 2) >> 2


def double(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Linear interpolation to twice the size, or a row or column less, rounded."""
    p = np.pad(plane.astype(int), 1, mode="edge")
    down = np.empty((2 * plane.shape[0], p.shape[1]), int)
    down[::2], down[1::2] = 3 * p[1:-1] + p[:-2], 3 * p[1:-1] + p[2:]
    result = np.empty((down.shape[0], 2 * plane.shape[1]), int)
    result[:, ::2], result[:, 1::2] = 3 * down[:, 1:-1] + down[:, :-2], 3 * down[:, 1:-1] + down[:, 2:]
    return ((result + 8) >> 4)[:rows, :columns]


def split(frame: list[np.ndarray], format: str) -> tuple[list[np.ndarray], bool]:
    """The three colours of level 0, and whether it has half the frame's size."""
    if format == "RGBA":
        height, columns = frame[0].shape
        colours = list(np.moveaxis(frame[0].reshape(height, columns // 4, 4), 2, 0)[:3])
        large = height * columns // 4 > SIZES["MOST_FULL"]
        return [halve(colour) if large else colour.astype(int) for colour in colours], large
    luma = frame[0]
    chroma = [frame[1], frame[2]] if format == "I420" else [frame[1][:, ::2], frame[1][:, 1::2]]
    large = luma.size > SIZES["MOST_FULL"]
    if large:
        return [halve(luma), *(plane.astype(int) for plane in chroma)], True
    wide = [plane.repeat(2, 0).repeat(2, 1)[: luma.shape[0], : luma.shape[1]] for plane in chroma]
    return [plane.astype(int) for plane in (luma, *wide)], False


def weights(large: int, small: int) -> np.ndarray:
    """(small, large): the mean of bilinear samples about a pixel apart."""
    step = large / small
    samples = max(1, int(np.ceil(step)))
    result = np.zeros((small, large))
    for i in range(small):
        for k in range(samples):
            x = 0.5 * step - 0.5 + (i + (k + 0.5) / samples - 0.5) * step
            left = int(np.floor(x))
            for index, weight in ((left, left + 1 - x), (left + 1, x - left)):
                result[i, min(max(index, 0), large - 1)] += weight / samples
    return result


def guide(colours: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Level 0 at the mask's size: (height, width, 3)."""
    down, across = weights(colours[0].shape[0], height), weights(colours[0].shape[1], width)
    return np.stack([down @ plane @ across.T for plane in colours], -1)


def steady(
    mask: np.ndarray, small: np.ndarray, colours: Colours, before: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The mask steadied, and the luma to compare the next frame with."""
    mask = mask.astype(np.float64).clip(0, 1)
    luma = small[..., 0] if colours.yuv else small @ (0.25, 0.5, 0.25)
    if before is not None:
        still = (1 - np.abs(luma - before[1]) / MATTE["MOVES"]).clip(0, 1)
        keep = (MATTE["KEEP"] + MATTE["KEEP_STILL"] * still) * (1 - (2 * mask - 1) ** 2)
        mask = mask + (before[0] - mask) * keep
    return mask, luma


def sure(mask: np.ndarray) -> np.ndarray:
    """Alpha of the mask, 0 to 255."""
    t = ((mask - MATTE["FLOOR"]) / (MATTE["CEILING"] - MATTE["FLOOR"])).clip(0, 1)
    return np.rint(255 * t * t * (3 - 2 * t))


def refine(level0: list[np.ndarray], small: np.ndarray, alpha: np.ndarray, colours: Colours) -> np.ndarray:
    """Joint bilateral upsampling over 4 x 4 pixels of the mask; where these are all alike, theirs."""
    size, around = level0[0].shape, range(-1, 3)
    exact = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(size, alpha.shape, strict=True)]
    floors = [np.floor(place).astype(int) for place in exact]
    pixels = np.stack(level0, -1).astype(float)
    total, weight, taps = np.zeros(size), np.zeros(size), []
    for j in around:
        for i in around:
            rows = (floors[0] + j).clip(0, alpha.shape[0] - 1)
            columns = (floors[1] + i).clip(0, alpha.shape[1] - 1)
            pick = np.ix_(rows, columns)
            way = ((floors[0] + j - exact[0]) ** 2)[:, None] + ((floors[1] + i - exact[1]) ** 2)[None]
            away = ((pixels - small[pick]) ** 2) @ colours.distance() / 255**2
            # What the C library has for exp(-x).
            alike = np.maximum(0, 1 - away / (2 * MATTE["SIGMA_COLOUR"] ** 2) / 16) ** 16 + MATTE["COLOUR_FLOOR"]
            part = np.exp(-way / (2 * MATTE["SIGMA_SPACE"] ** 2)) * alike
            total, weight = total + part * alpha[pick], weight + part
            taps.append(alpha[pick])
    alike_all = np.ptp(taps, axis=0) == 0
    return np.where(alike_all, taps[5], np.floor(total / weight + 0.5)).astype(int)


def shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Of the levels, from level 0's."""
    return [(-(-height >> i), -(-width >> i)) for i in range(LEVELS)]


def blur(level0: list[np.ndarray], alpha: np.ndarray, sigma: float) -> tuple[list[list[np.ndarray]], int]:
    """Levels of colours and nearness, from the blurred one up to level 0; those beyond it are empty."""
    level, sigma = 1, sigma / 2
    while sigma > BLUR["MOST_SIGMA"] and level + 1 < LEVELS:
        level, sigma = level + 1, sigma / 2
    sigma = min(max(sigma, 0.3), BLUR["MOST_SIGMA"])
    planes = [*level0, alpha]
    for _ in range(level):
        planes = [halve(plane) for plane in planes]
    share = 256.0 - planes[3]
    pixels = np.stack([*(plane * share for plane in planes[:3]), share], -1)
    reach = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    for axis in (1, 0):
        wide = np.pad(pixels, [(reach, reach) if i == axis else (0, 0) for i in range(3)], mode="edge")
        pixels = sum(
            wide.take(np.arange(pixels.shape[axis]) + i, axis) * kernel[i] / kernel.sum() for i in range(len(kernel))
        )
    done = [np.rint(pixels[..., i] / pixels[..., 3]).astype(int) for i in range(3)]
    done.append(np.rint(pixels[..., 3] - 1).astype(int))
    levels: list[list[np.ndarray]] = [[] for _ in range(LEVELS)]
    levels[level] = done
    for i in range(level - 1, -1, -1):
        size = shapes(*alpha.shape)[i]
        levels[i] = [double(plane, *size) for plane in levels[i + 1]]
    return levels, level


def over_255(x: np.ndarray) -> np.ndarray:
    return (x + 127) // 255


def mix(front: np.ndarray, behind: np.ndarray, shine: np.ndarray, alpha: np.ndarray, wrap: np.ndarray) -> np.ndarray:
    rest = np.maximum(0, 255 - alpha - wrap)
    total = front.astype(int) * alpha + shine.astype(int) * wrap + behind.astype(int) * rest
    return np.minimum(255, over_255(total))


def composite(
    frame: list[np.ndarray],
    colours: Colours,
    alpha: np.ndarray,
    effect: str,
    strength: float = 0.5,
    colour: tuple[int, int, int] = (0, 0, 0),
    backdrop: list[np.ndarray] | None = None,
    light: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The frame with an effect.

    Args:
        alpha: of level 0.
        backdrop, light: the picture and its light, as frames.
    """
    level0, large = split(frame, colours.format)
    part = SIZES["MOST_BLUR"] * strength if effect == "blur" else SIZES["LIGHT_REACH"]
    levels, _ = blur(level0, alpha, part * alpha.shape[0])
    near = double(levels[1][3], *alpha.shape)
    taken = over_255(alpha * over_255(near * int(MIX["WRAP"])))
    alpha = alpha - taken
    wrap = taken if effect == "picture" else np.zeros_like(alpha)
    rgb = colours.from_rgb(np.array(colour, float))
    planes = frame if colours.yuv else list(np.moveaxis(frame[0].reshape(frame[0].shape[0], -1, 4), 2, 0)[:3])
    half = levels[0 if large else 1]
    if effect == "blur" and large:
        half = [double(plane, *alpha.shape) for plane in levels[1]]
    result = []
    for index, plane in enumerate(planes):
        joined = colours.format == "NV12" and index == 1
        rows, columns = plane.shape
        chroma = colours.yuv and index > 0
        size = (rows, columns // 2) if joined else plane.shape
        if chroma:
            a, w = (alpha, wrap) if large else (halve(alpha), halve(wrap))
        else:
            a, w = (double(alpha, *size), double(wrap, *size)) if large else (alpha, wrap)
        channels = (1, 2) if joined else (index,)
        behind = []
        for channel in channels:
            if effect == "colour":
                behind.append(np.full(size, int(np.floor(rgb[channel].clip(0, 255) + 0.5))))
            else:
                behind.append(half[channel] if chroma else double(half[channel], *size))
        back = np.stack(behind, -1).reshape(rows, columns)
        if joined:
            a, w = a.repeat(2, 1), w.repeat(2, 1)
        shine = back
        if backdrop is not None and light is not None:
            back, shine = (
                (picture[index] if colours.yuv else picture[0].reshape(rows, columns, 4)[..., index])
                for picture in (backdrop, light)
            )
        result.append(mix(plane, back, shine, a, w))
    if colours.yuv:
        return result
    opaque = np.stack([*result, np.full_like(result[0], 255)], -1)
    return [opaque.reshape(frame[0].shape)]
