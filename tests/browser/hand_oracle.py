"""What tulle/hands does, in NumPy and float64, with LiteRT for the networks: its judge.

Written from the descriptions of MediaPipe's calculators (SsdAnchors, TensorsToDetections, NonMaxSuppression,
DetectionsToRects, RectTransformation, HandLandmarksToRect). Pictures are [height, width, 3], lengths pixels, y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DETECTOR_SIZE = 192
INPUT_SIZE = 224


@dataclass
class Region:
    """A turned square: its centre, side, and angle clockwise in radians."""

    x: float
    y: float
    size: float
    angle: float

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Places in the region, [n, 2] of 0 to 1, as places in the frame."""
        turn = np.array([[math.cos(self.angle), -math.sin(self.angle)], [math.sin(self.angle), math.cos(self.angle)]])
        return np.asarray((points - 0.5) * self.size @ turn.T + [self.x, self.y])

    def square(self) -> np.ndarray:
        """left, top, right, bottom of the square if it were not turned."""
        half = self.size / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half])


def crop(frame: np.ndarray, region: Region, size: int) -> np.ndarray:
    """The region scaled to [size, size, 3], float64, sampled bilinearly at pixel centres; outside is black."""
    centres = (np.arange(size) + 0.5) / size
    grid = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    x, y = (region.to_frame(grid) - 0.5).T
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    height, width, _ = frame.shape
    found = np.zeros((size * size, 3))
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - np.abs(x - column)) * (1 - np.abs(y - row))
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            found[inside] += weight[inside, None] * frame[row[inside], column[inside]]
    return found.reshape(size, size, 3)


def anchors() -> np.ndarray:
    """Centres [2016, 2]: for each cell of the 24 x 24 map two, of the 12 x 12 map three layers of two."""
    places = []
    for cells, count in ((24, 2), (12, 6)):
        y, x = np.divmod(np.arange(cells * cells), cells)
        places.append(np.repeat((np.stack([x, y], -1) + 0.5) / cells, count, axis=0))
    return np.concatenate(places)


@dataclass
class Palm:
    score: float
    box: np.ndarray  # left, top, right, bottom, 0 to 1
    points: np.ndarray  # [7, 2]


def palms(boxes: np.ndarray, logits: np.ndarray) -> list[Palm]:
    """Of the detector's outputs [2016, 18] and [2016], best first, after weighted non-maximum suppression."""
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    values = boxes.astype(np.float64) / DETECTOR_SIZE
    centre = values[:, :2] + anchors()
    points = values[:, 4:].reshape(-1, 7, 2) + anchors()[:, None]
    corners = np.concatenate([centre - values[:, 2:4] / 2, centre + values[:, 2:4] / 2], 1)
    order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= 0.5]
    found = []
    while order:
        same = [i for i in order if i == order[0] or iou(corners[order[0]], corners[i]) > 0.3]
        weights = scores[same] / scores[same].sum()
        box = np.einsum("n,nc->c", weights, corners[same])
        found.append(Palm(float(scores[order[0]]), box, np.einsum("n,npc->pc", weights, points[same])))
        order = [i for i in order if i not in same]
    return found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes left, top, right, bottom."""
    sides = np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))
    both = float(sides.prod())
    return both / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - both)


def upright(start: np.ndarray, end: np.ndarray) -> float:
    """MediaPipe's rotation that brings the vector to 90 degrees."""
    angle = math.pi / 2 - math.atan2(-(end[1] - start[1]), end[0] - start[0])
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


def transform(centre: np.ndarray, width: float, height: float, angle: float, scale: float, shift_y: float) -> Region:
    """MediaPipe's RectTransformation with square_long."""
    shifted = centre + height * shift_y * np.array([-math.sin(angle), math.cos(angle)])
    return Region(float(shifted[0]), float(shifted[1]), scale * max(width, height), angle)


def region_of_palm(palm: Palm, seen: Region) -> Region:
    wrist, middle = seen.to_frame(palm.points[[0, 2]])
    left_top, right_bottom = seen.to_frame(palm.box.reshape(2, 2))
    width, height = right_bottom - left_top
    return transform((left_top + right_bottom) / 2, width, height, upright(wrist, middle), 2.6, -0.5)


def region_of_landmarks(points: np.ndarray) -> Region:
    """For the next frame, from the 21 landmarks [21, 2]."""
    angle = upright(points[0], ((points[5] + points[13]) / 2 + points[9]) / 2)
    part = points[[0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]]
    middle = (part.min(0) + part.max(0)) / 2
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = (part - middle) @ turn  # by -angle
    low, high = turned.min(0), turned.max(0)
    return transform(turn @ ((low + high) / 2) + middle, high[0] - low[0], high[1] - low[1], angle, 2.0, -0.1)


def distinct(regions: list[Region], most: int = 2) -> list[Region]:
    kept: list[Region] = []
    for region in regions:
        if all(iou(region.square(), other.square()) <= 0.5 for other in kept):
            kept.append(region)
    return kept[:most]


@dataclass
class Hand:
    region: Region
    points: np.ndarray  # [21, 2] in the frame
    presence: float
    right: float


# Takes a picture [1, size, size, 3] of 0 to 1, gives outputs by name.
Network = Callable[[np.ndarray], dict[str, np.ndarray]]


def landmarks(frame: np.ndarray, region: Region, landmarker: Network) -> Hand:
    outputs = landmarker(crop(frame, region, INPUT_SIZE)[None] / 255)
    points = region.to_frame(outputs["Identity"].reshape(21, 3)[:, :2].astype(np.float64) / INPUT_SIZE)
    return Hand(region, points, float(outputs["Identity_1"][0, 0]), float(outputs["Identity_2"][0, 0]))


def track(frame: np.ndarray, detector: Network, landmarker: Network, times: int) -> list[list[Hand]]:
    """The hands found by looking `times` at the same frame: first where the detector says, then by following them."""
    height, width, _ = frame.shape
    seen = Region(width / 2, height / 2, max(width, height), 0.0)
    found = detector(crop(frame, seen, DETECTOR_SIZE)[None] / 255)
    regions = distinct([region_of_palm(p, seen) for p in palms(found["Identity"][0], found["Identity_1"][0, :, 0])])
    looks = []
    for _ in range(times):
        hands = []
        for region in regions:
            hand = landmarks(frame, region, landmarker)
            if hand.presence >= 0.5:
                hands.append(hand)
        looks.append(hands)
        regions = distinct([region_of_landmarks(hand.points) for hand in hands])
    return looks


def follow(
    frames: Sequence[np.ndarray], detector: Network, landmarker: Network, seen: Sequence[np.ndarray] | None = None
) -> list[Hand]:
    """The one hand of each frame: in the first where the detector says, then where it was in the frame before.

    `seen`: landmarks [21, 2] of each frame that say so in place of those found here.
    """
    hands: list[Hand] = []
    for index, frame in enumerate(frames):
        if index == 0:
            (first,) = track(frame.astype(np.float64), detector, landmarker, 1)
            (hand,) = first
        else:
            before = hands[-1].points if seen is None else seen[index - 1]
            hand = landmarks(frame.astype(np.float64), region_of_landmarks(before), landmarker)
        hands.append(hand)
    return hands
