"""tulle.hands against its oracle in NumPy and float64 (browser/hand_oracle.py) and LiteRT."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import hand_oracle
from conftest import LiteRT
from paths import ROOT
from tulle import TulleError
from tulle.hands import HandTracker, create
from tulle.hands.palms import anchors, find_palms
from tulle.hands.regions import Region, first_of_each_hand, region_of_landmarks, region_of_palm
from tulle.hands.smoothing import OneEuroFilter

IMAGES = ROOT / "demos" / "images"
LANDMARKS = ROOT / "demos" / "weights" / "hand_landmark_tulle.tflite"


# ---- arithmetic ----


def test_anchors() -> None:
    np.testing.assert_allclose(anchors(), hand_oracle.anchors(), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_palms_are_decoded_and_merged(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(-4, 2.1, 2016).astype(np.float32)
    boxes = random.normal(0, 10, (2016, 18)).astype(np.float32)
    boxes[:, 2:4] = random.uniform(30, 90, (2016, 2))
    found, expected = find_palms(boxes, logits), hand_oracle.palms(boxes, logits)
    assert 5 < len(expected) < int((logits > 0).sum())
    assert len(found) == len(expected)
    for palm, right in zip(found, expected, strict=True):
        assert palm.score == pytest.approx(right.score)
        np.testing.assert_allclose(palm.box, right.box, atol=1e-9)
        np.testing.assert_allclose(palm.points, right.points, atol=1e-9)


def test_no_palm_is_no_palm() -> None:
    assert find_palms(np.zeros((1, 2016, 18)), np.full((1, 2016, 1), -1000.0)) == []


@pytest.mark.parametrize("seed", range(20))
def test_regions(seed: int) -> None:
    random = np.random.default_rng(seed)
    left, top = random.uniform(0, 0.8, 2)
    box = np.array([left, top, left + random.uniform(0.05, 0.3), top + random.uniform(0.05, 0.3)])
    palm = hand_oracle.Palm(0.9, box, random.uniform(0, 1, (7, 2)))
    found = region_of_palm(palm, Region(320, 200, 640, 0))  # type: ignore[arg-type]
    check_region(found, hand_oracle.region_of_palm(palm, hand_oracle.Region(320, 200, 640, 0)))
    points = random.uniform(50, 350, (21, 2))
    check_region(region_of_landmarks(points), hand_oracle.region_of_landmarks(points))


def check_region(found: Region, right: hand_oracle.Region) -> None:
    assert (found.x, found.y, found.size) == pytest.approx((right.x, right.y, right.size))
    assert math.remainder(found.angle - right.angle, 2 * math.pi) == pytest.approx(0, abs=1e-9)


def test_the_first_of_overlapping_regions_stays() -> None:
    random = np.random.default_rng(1)
    regions = [Region(*random.uniform(0, 100, 2), random.uniform(30, 60), random.uniform(-3, 3)) for _ in range(30)]
    others = [hand_oracle.Region(region.x, region.y, region.size, region.angle) for region in regions]
    kept = first_of_each_hand(regions)
    assert [others[i] for i in kept] == hand_oracle.distinct(others, most=30)
    assert 5 < len(kept) < 30 and first_of_each_hand([]) == []


def test_the_one_euro_filter() -> None:
    """Against the filter's definition, written out for one number."""
    random = np.random.default_rng(2)
    values = 100 + random.normal(0, 0.5, 40)
    values[20:] += 80
    times = np.cumsum(random.uniform(20, 50, 40))
    smoothed = OneEuroFilter()
    found = [smoothed(np.array([value]), time, 200.0)[0] for value, time in zip(values, times, strict=True)]
    expected, speed = [values[0]], 0.0
    for i in range(1, len(values)):
        seconds = (times[i] - times[i - 1]) / 1000
        speed += ((values[i] - expected[-1]) / seconds - speed) / (1 + 1 / (2 * math.pi * 1.0 * seconds))
        cutoff = 1.5 + 12 * abs(speed) / 200
        expected.append(expected[-1] + (values[i] - expected[-1]) / (1 + 1 / (2 * math.pi * cutoff * seconds)))
    np.testing.assert_allclose(found, expected)
    assert smoothed(np.array([5.0]), times[-1], 200.0)[0] == 5, "a clock that stands still starts afresh"


# ---- pictures ----


@pytest.fixture(scope="module")
def tracker(package_models: Path) -> Iterator[HandTracker]:
    with HandTracker() as tracker:
        yield tracker


def wall(*hands: tuple[str, int, int, float]) -> np.ndarray:
    """uint8 (400, 640, 3) with pictures of demos/images: name, centre x and y, degrees clockwise of each."""
    picture = Image.new("RGB", (640, 400), (188, 186, 186))
    for name, x, y, degrees in hands:
        hand = Image.open(IMAGES / f"{name}.jpg").convert("RGBA").resize((230, 230), Image.Resampling.BICUBIC)
        hand = hand.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)
        picture.paste(hand, (x - hand.width // 2, y - hand.height // 2), hand)
    return np.asarray(picture)


@pytest.mark.parametrize(
    "picture",
    [
        wall(("open-hand", 210, 200, 30)),
        wall(("four-fingers", 150, 210, -60), ("pointing", 480, 200, 100)),
        wall(("ring", 330, 190, 180)),
    ],
    ids=["one", "two", "upside down"],
)
def test_hands_are_where_mediapipes_steps_with_litert_find_them(
    picture: np.ndarray, tracker: HandTracker, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    def network(path: Path) -> hand_oracle.Network:
        return lambda pixels: litert(path, {"input_1": pixels.astype(np.float32)})

    detector, landmarker = network(model_path("palm_detection_lite")), network(LANDMARKS)
    expected = hand_oracle.track(picture.astype(np.float64), detector, landmarker, 3)
    tracker.reset()
    for right in expected:
        found = tracker.detect(picture)
        assert len(found) == len(right) > 0
        for hand, other in zip(by_place(found), sorted(right, key=lambda hand: hand.region.x), strict=True):
            distances = np.linalg.norm(hand.pixels[:, :2] - other.points, axis=1) / other.region.size
            assert distances.max() < 0.005, distances
            assert (hand.handedness == "Right") == (other.right > 0.5)
            assert hand.score == pytest.approx(max(other.right, 1 - other.right), abs=0.01)
            assert hand.presence == pytest.approx(other.presence, abs=0.01)
            np.testing.assert_allclose(hand.landmarks * [640, 400, 640], hand.pixels, rtol=1e-5, atol=1e-4)
            assert hand.world is not None and 0.05 < np.ptp(hand.world[:, :2]) < 0.3


def by_place(hands: list) -> list:
    return sorted(hands, key=lambda hand: hand.region.x)


def test_hands_keep_their_number_while_they_are_followed(tracker: HandTracker) -> None:
    tracker.reset()
    paths = [[hand.id for hand in tracker.detect(wall(("open-hand", x, 200, 0)))] for x in range(200, 260, 10)]
    assert len({tuple(ids) for ids in paths}) == 1 and len(paths[0]) == 1
    assert tracker.detect(np.full((400, 640, 3), 188, np.uint8)) == []
    (found,) = tracker.detect(wall(("open-hand", 450, 200, 0)))
    assert found.id == paths[0][0] + 1


def test_options(package_models: Path) -> None:
    picture = wall(("four-fingers", 150, 210, -20), ("open-hand", 480, 200, 10))
    with HandTracker(1) as tracker:
        (first,) = tracker.detect(picture)
        tracker.reset()
        (mirrored,) = tracker.detect(picture, mirrored=True)
        assert first.handedness != mirrored.handedness and first.score == pytest.approx(mirrored.score)
    with HandTracker(smoothing=True) as tracker:
        plain = HandTracker()
        for i in range(12):
            moved = np.roll(picture, (i * 7) % 5, axis=1)
            hands, others = tracker.detect(moved, 33.0 * i), plain.detect(moved)
        apart = np.abs(hands[0].pixels[:, 0] - others[0].pixels[:, 0])
        assert 0.3 < apart.max() < 6, "smoothed, and near"
        np.testing.assert_array_equal(hands[0].world, others[0].world)


def test_what_is_wrong_is_said(tracker: HandTracker, package_models: Path) -> None:
    for wrong in (0, 17, 1.5):
        with pytest.raises(TulleError, match="max_hands must be an integer from 1 to 16"):
            HandTracker(wrong)  # type: ignore[arg-type]
    with pytest.raises(TulleError, match="a picture is uint8"):
        tracker.detect(np.zeros((4, 4)))
    palms, landmarks = package_models / "palm_detection.tulle", package_models / "hand_landmark.tulle"
    with pytest.raises(TulleError, match="this is no palm detector: 63 and 1 numbers"):
        HandTracker(detector=landmarks).detect(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(TulleError, match=r"this is no hand landmark network: its outputs are Identity \(1, 2016, 18\)"):
        HandTracker(model=palms).detect(wall(("open-hand", 210, 200, 0)))
    with pytest.raises(TulleError, match="the model is closed"), HandTracker() as closed:
        closed.close()
        closed.detect(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(TulleError, match="in CPython use"):
        create().send(None)
