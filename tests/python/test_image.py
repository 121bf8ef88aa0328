"""`tulle.image.to_input` against Pillow's and MediaPipe's resampling, exact cases, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import numpy as np
import pytest
from PIL import Image

import mediapipe_image_oracle
from tulle import TulleError
from tulle.image import Region, to_input
from tulle.runtime import TensorInfo


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
    for other in (rgba, Image.fromarray(picture), Image.fromarray(rgba)):
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
    result = to_input(picture, info(30, 30), keep_aspect=True)[0]
    np.testing.assert_allclose(result[5:25], picture, atol=1e-4)
    assert not result[:5].any() and not result[25:].any()


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
    ours = to_input(picture, info(height, width), moved, keep_aspect=case.keep_aspect, border=case.border)
    difference = np.abs(ours[0] - mediapipe_image_oracle.answer(case))
    # OpenCV rounds weights to 1/32, and values to whole numbers.
    assert difference.mean() < 0.5 and np.quantile(difference, 0.99) < 6


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
