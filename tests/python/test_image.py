"""`tulle.image.to_input` and the C below it against Pillow's and MediaPipe's resampling, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mediapipe_image_oracle
from tulle import TulleError
from tulle.image import Region, read_image, to_input
from tulle.runtime import TensorInfo
from tulle.runtime.pictures import Border, Format, View, sample


def info(height: int, width: int, mean: float = 0, std: float = 1) -> TensorInfo:
    return TensorInfo("image", (1, height, width, 3), mean=mean, std=std, takes_images=True)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_same_size_is_the_picture_normalised(picture: np.ndarray) -> None:
    result = to_input(picture, info(20, 30, 127.5, 127.5))
    assert result.dtype == np.float32 and result.shape == (1, 20, 30, 3)
    np.testing.assert_allclose(result[0], (picture - 127.5) / 127.5, atol=1e-6)
    rgba = np.dstack([picture, picture[..., :1]])
    for other in (
        rgba,
        Image.fromarray(picture),
        Image.fromarray(np.dstack([picture, np.full((20, 30), 255, np.uint8)])),
    ):
        np.testing.assert_array_equal(to_input(other, info(20, 30, 127.5, 127.5)), result)


def test_crops_are_exact_and_outside_is_black(picture: np.ndarray) -> None:
    region = Region(x=10 / 30, y=5 / 20, width=8 / 30, height=6 / 20)
    np.testing.assert_allclose(to_input(picture, info(6, 8), region)[0], picture[2:8, 6:14], atol=1e-4)
    corner = to_input(picture, info(20, 30), Region(x=0, y=0))[0]
    np.testing.assert_allclose(corner[10:, 15:], picture[:10, :15], atol=1e-4)
    assert corner[:10].max() < 1e-3 and corner[:, :15].max() < 1e-3


def test_rotation_is_clockwise(picture: np.ndarray) -> None:
    square = picture[:, :20]
    # Output pixels lie along a region turned clockwise, so the picture appears turned the other way.
    np.testing.assert_allclose(to_input(square, info(20, 20), Region(rotation=pi / 2))[0], np.rot90(square), atol=1e-3)
    turned = to_input(square, info(20, 20), Region(rotation=pi))[0]
    np.testing.assert_allclose(turned, square[::-1, ::-1], atol=1e-3)


RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (256, 1))


@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "grey.ppm", "big.tif"])
def test_of_16_bits_the_upper_8_count(name: str, tmp_path: Path) -> None:
    image = Image.fromarray(RAMP if name != "big.tif" else RAMP.astype(">u2"))
    if name == "grey.ppm":
        (tmp_path / name).write_bytes(b"P5 256 256 65535\n" + RAMP.astype(">u2").tobytes())
    else:
        image.save(tmp_path / name)
    expected = np.repeat((RAMP >> 8)[..., None], 3, -1)
    np.testing.assert_array_equal(read_image(tmp_path / name, 256, 256), expected)
    np.testing.assert_array_equal(to_input(image, info(256, 256))[0], expected)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_range_are_refused(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(RAMP.astype(np.int32 if mode == "I" else np.float32))
    image.save(tmp_path / "wide.tif")
    with pytest.raises(TulleError, match=r"wide.tif cannot be read as a picture: its numbers have no range"):
        read_image(tmp_path / "wide.tif", 8, 8)
    with pytest.raises(TulleError, match="its numbers have no range"):
        to_input(image, info(8, 8))


COLOURS = np.array([(255, 0, 0), (0, 200, 100), (10, 20, 30), (250, 240, 230)], np.uint8)


@pytest.mark.parametrize("alpha", [0, 255])
@pytest.mark.parametrize("kind", ["RGBA.png", "LA.png", "P.png", "P.gif", "RGBA.webp", "RGBA.tif"])
def test_what_is_transparent_is_black(kind: str, alpha: int, tmp_path: Path) -> None:
    """As in a canvas; what is opaque keeps its colour."""
    mode, path = kind.split(".")[0], tmp_path / kind
    colours = np.repeat(COLOURS[:, :1], 3, 1) if mode == "LA" else COLOURS
    alphas = np.array([255, alpha, 255, alpha], np.uint8)
    if mode == "P":
        image = Image.fromarray(np.arange(4, dtype=np.uint8)[None], "P")
        image.putpalette(colours.tobytes())
        options = {"transparency": bytes(alphas) if kind == "P.png" else 1} if alpha == 0 else {}
        alphas[3] = 255 if kind == "P.gif" else alphas[3]
    else:
        image = Image.fromarray(np.dstack([colours[None], alphas[None]])).convert(mode)
        options = {"lossless": True, "exact": True} if kind == "RGBA.webp" else {}
    image.save(path, **options)
    expected = np.where(alphas[:, None] > 0, colours, 0)
    np.testing.assert_array_equal(read_image(path, 1, 4)[0], expected)
    if not kind.startswith("P"):
        np.testing.assert_array_equal(to_input(image, info(1, 4))[0, 0], expected)


def test_transparent_neighbours_do_not_shine_through(tmp_path: Path) -> None:
    Image.fromarray(np.array([[(200, 100, 50, 255), (0, 255, 255, 0)]], np.uint8)).save(tmp_path / "half.png")
    np.testing.assert_allclose(read_image(tmp_path / "half.png", 1, 1)[0, 0], (200, 100, 50), atol=1)


@pytest.mark.parametrize(("mode", "tolerance"), [("CMYK", 12), ("L", 0), ("1", 0), ("YCbCr", 12)])
def test_other_colours(mode: str, tolerance: int, tmp_path: Path) -> None:
    colours = np.repeat(COLOURS, 8, axis=0)[None].repeat(8, axis=0)
    if mode in ("L", "1"):
        colours = np.where(colours[..., :1] > 128, 255, 0).repeat(3, -1).astype(np.uint8)
    path = tmp_path / ("picture.png" if mode in ("L", "1") else "picture.jpg")
    Image.fromarray(colours).convert(mode).save(path, quality=100, subsampling=0)
    got = read_image(path, 8, 32).astype(int)
    assert np.abs(got - colours).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int, tmp_path: Path) -> None:
    """16 bits too, whose mode Pillow turns with the picture."""
    upright = (np.arange(12, dtype=np.uint16).reshape(3, 4) * 20) << 8
    flips = {1: 0, 2: "H", 3: 180, 4: "V", 5: "T", 6: 90, 7: "R", 8: 270}
    stored = {
        0: lambda a: a, "H": np.fliplr, "V": np.flipud, 180: lambda a: np.rot90(a, 2), "T": np.transpose,
        90: lambda a: np.rot90(a, 1), "R": lambda a: np.rot90(a, 2).T, 270: lambda a: np.rot90(a, 3),
    }[flips[orientation]](upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", 3, 4)[..., 0], upright >> 8)


def test_bilinear_as_pillow(picture: np.ndarray) -> None:
    region = Region(x=0.45, y=0.55, width=0.5, height=0.4, rotation=0.3)
    ours = to_input(picture, info(16, 24), region)[0]
    c, s = np.cos(0.3), np.sin(0.3)
    a, b = c * 15 / 24, -s * 8 / 16
    d, e = s * 15 / 24, c * 8 / 16
    x0, y0 = 0.45 * 30 - a * 12 - b * 8, 0.55 * 20 - d * 12 - e * 8
    theirs = Image.fromarray(picture).transform(
        (24, 16), Image.Transform.AFFINE, (a, b, x0, d, e, y0), Image.Resampling.BILINEAR
    )
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1.5)  # theirs is rounded


def test_letterbox_keeps_proportions(picture: np.ndarray) -> None:
    result = to_input(picture, info(30, 30), fit="contain")[0]
    np.testing.assert_allclose(result[5:25], picture, atol=1e-4)
    assert not result[:5].any() and not result[25:].any()


def test_cover_fills_the_input_and_flip_mirrors_it(picture: np.ndarray) -> None:
    result = to_input(picture, info(20, 20), fit="cover", flip=True)[0]
    np.testing.assert_allclose(result, picture[:, 5:25][:, ::-1], atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (3, 5), (4, 2)])
@pytest.mark.parametrize("channels", [3, 4])
def test_shrunk_much_it_is_the_average(height: int, width: int, channels: int) -> None:
    """More than four pixels for one: whole numbers of them are averaged exactly."""
    big = np.random.default_rng(1).integers(0, 256, (60, 120, channels), np.uint8)
    means = big.reshape(height, 60 // height, width, 120 // width, channels).mean((1, 3))[..., :3]
    np.testing.assert_allclose(to_input(big, info(height, width))[0], means, atol=1e-3)
    turned = to_input(big, info(width, height), Region(width=0.5, height=2, rotation=pi / 2))[0]
    np.testing.assert_allclose(turned, np.rot90(means), atol=1e-3)


def test_shrunk_by_a_fraction_it_is_nearly_the_average() -> None:
    big = np.random.default_rng(2).integers(0, 256, (97, 131, 3), np.uint8)
    theirs = Image.fromarray(big).resize((20, 11), Image.Resampling.BOX)
    difference = np.abs(to_input(big, info(11, 20))[0] - np.asarray(theirs))
    assert difference.max() < 15 and difference.mean() < 4, "of noise, whose single pixels differ by 85"


def test_views_beyond_the_pixels_are_refused() -> None:
    whole = (4.0, 3.0, 8.0, 6.0)
    sample(bytes(8 * 6 * 3), View(8, 6, whole), 2, 2)
    sample(bytes(8 * 6 + 2 * 4 * 3), View(8, 6, whole, format="I420"), 2, 2)
    wrong = [
        (143, View(8, 6, whole), "fewer than its size says"),
        (191, View(8, 6, whole, format="RGBA"), "fewer than its size says"),
        (71, View(8, 6, whole, format="I420"), "fewer than its size says"),
        (71, View(8, 6, whole, format="NV12"), "fewer than its size says"),
        (144, View(8, 6, whole, offsets=(1, 0, 0)), "fewer than its size says"),
        (144, View(8, 6, whole, offsets=(2**32 - 1, 0, 0)), "fewer than its size says"),
        (144, View(8, 6, whole, strides=(2**32 - 1, 0, 0)), "fewer than its size says"),
        (144, View(8, 6, whole, strides=(23, 0, 0)), "a row of the picture is shorter"),
        (144, View(0, 6, whole), "the picture is empty"),
        (144, View(65537, 1, whole), "more than 65536 pixels"),
        (144, View(2**31, 2**31, whole, offsets=(0, 0, 0), strides=(2**31, 0, 0)), "more than 65536 pixels"),
        (144, View(8, 6, (4, 3, -1, 6)), "the crop is empty"),
        (144, View(8, 6, (float("nan"), 3, 1, 6)), "no number"),
        (144, View(8, 6, (4, 3, float("inf"), 6)), "no number"),
        (144, View(8, 6, whole, rotation=float("inf")), "not a finite number"),
    ]
    for size, view, message in wrong:
        with pytest.raises(TulleError, match=message):
            sample(bytes(size), view, 2, 2)
    with pytest.raises(TulleError, match="nothing to write to"):
        sample(bytes(144), View(8, 6, whole), 0, 2)


@pytest.mark.parametrize("case", mediapipe_image_oracle.CASES, ids=str)
def test_regions_are_mediapipes(case: mediapipe_image_oracle.Case) -> None:
    """Against what MediaPipe gave on a processor; see the oracle."""
    region, (height, width) = case.region, case.size
    picture = mediapipe_image_oracle.picture()
    full_height, full_width, _ = picture.shape
    # It samples half an output pixel further up and left, in the region's own directions.
    box_w, box_h = region.width * full_width, region.height * full_height
    if case.keep_aspect:
        scale = max(box_w / width, box_h / height)
        box_w, box_h = scale * width, scale * height
    across, down = -box_w / width / 2, -box_h / height / 2
    c, s = np.cos(region.rotation), np.sin(region.rotation)
    moved = replace(
        region, x=region.x + (c * across - s * down) / full_width, y=region.y + (s * across + c * down) / full_height
    )
    # Its picture begins at the centre of the first pixel, not at its corner.
    moved = replace(moved, x=moved.x + 0.5 / full_width, y=moved.y + 0.5 / full_height)
    ours = to_input(
        picture, info(height, width), moved, fit="contain" if case.keep_aspect else "stretch", border=case.border
    )
    difference = np.abs(ours[0] - mediapipe_image_oracle.answer(case))
    # OpenCV rounds weights to 1/32, and values to whole numbers.
    assert difference.mean() < 0.5 and np.quantile(difference, 0.99) < 6


def bilinear_oracle(plane: np.ndarray, x: np.ndarray, y: np.ndarray, edge: bool) -> np.ndarray:
    """Float64 bilinear samples of plane [height, width, channels] where pixel i has its centre at i; beyond it 0."""
    height, width, _ = plane.shape
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    result = np.zeros((*x.shape, plane.shape[2]))
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + right, top + below
        weight = np.where(right, x - left, left + 1 - x) * np.where(below, y - top, top + 1 - y)
        values = plane[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        inside = edge | ((column >= 0) & (column < width) & (row >= 0) & (row < height))
        result += (weight * inside)[..., None] * values
    return result


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("format", ["RGB", "RGBA", "I420", "NV12"])
def test_turned_pictures_as_in_float64(
    format: Format, seed: int, record_property: Callable[[str, float], None]
) -> None:
    """Planes of one to four channels, of any size and scale, in part beyond the picture."""
    random = np.random.default_rng(seed)
    width, height = (int(n) for n in random.integers(1, 60, 2))
    out_height, out_width = (int(n) for n in random.integers(1, 40, 2))
    box = (random.uniform(0, width), random.uniform(0, height), *random.uniform(1, 9 * max(width, height), 2))
    if seed % 3:  # all of it inside
        box = (width / 2, height / 2, width * 0.6, height * 0.5)
    rotation, flip = random.uniform(-pi, pi), seed % 5 == 0
    border: Border = "edge" if seed % 2 else "black"
    half = ((height + 1) // 2, (width + 1) // 2)
    whole = (height, width)
    shapes = {
        "RGB": [(*whole, 3)], "RGBA": [(*whole, 4)],
        "I420": [(*whole, 1), (*half, 1), (*half, 1)], "NV12": [(*whole, 1), (*half, 2)],
    }[format]  # fmt: skip
    planes = [random.integers(0, 256, shape, np.uint8) for shape in shapes]
    view = View(width, height, box, rotation, flip, border=border, format=format, full_range=True)
    ours = np.frombuffer(sample(b"".join(plane.tobytes() for plane in planes), view, out_height, out_width), np.float32)

    across, down = box[2] / out_width, box[3] / out_height
    sampled = []
    for index, plane in enumerate(planes):
        scale = 0.5 if index else 1.0
        counts = [1 if scale * n <= 4 else min(int(np.ceil(scale * n)), 64) for n in (across, down)]
        fine = [(np.arange(size * count) + 0.5) / count - 0.5 - (size / 2 - 0.5)
                for size, count in zip((out_width, out_height), counts, strict=True)]  # fmt: skip
        u, v = np.meshgrid(fine[0] * across * (-1 if flip else 1), fine[1] * down)
        c, s = np.cos(rotation), np.sin(rotation)
        x, y = scale * (box[0] + c * u - s * v) - 0.5, scale * (box[1] + s * u + c * v) - 0.5
        black = 128 if index else 0
        values = bilinear_oracle(plane.astype(np.float64) - black, x, y, border == "edge")
        sampled.append(values.reshape(out_height, counts[1], out_width, counts[0], -1).mean((1, 3)))
    values = np.concatenate(sampled, -1)[..., :3]
    if len(planes) > 1:
        luma, u, v = np.moveaxis(values, -1, 0)
        rgb = np.stack([luma + 1.402 * v, luma - 0.344136 * u - 0.714136 * v, luma + 1.772 * u], -1)
        values = np.clip(rgb, 0, 255)
    largest = float(np.abs(ours.reshape(values.shape) - values).max())
    record_property("largest difference from float64, of 255", round(largest, 6))
    assert largest <= 5e-3


def test_what_does_not_fit_is_named(picture: np.ndarray) -> None:
    with pytest.raises(TulleError, match=r"not float32 \(20, 30, 3\)"):
        to_input(picture.astype(np.float32), info(4, 4))
    with pytest.raises(TulleError, match=r"\(20, 30\)"):
        to_input(picture[..., 0], info(4, 4))
    with pytest.raises(TulleError, match=r"border='mirror' must be"):
        to_input(picture, info(4, 4), border="mirror")  # type: ignore[arg-type]
    with pytest.raises(TulleError, match="is empty"):
        to_input(picture, info(4, 4), Region(width=0))
    with pytest.raises(TulleError, match="takes no pictures"):
        to_input(picture, TensorInfo("x", (1, 8)))
