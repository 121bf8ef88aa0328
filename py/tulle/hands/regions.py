"""Where in the frame a hand is: from a palm for a new hand, from the last frame's landmarks for a tracked one.

Proportions as in MediaPipe (palm_detection_detection_to_roi, hand_landmark_landmarks_to_roi).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, isfinite, sin

import numpy as np

from tulle.hands.palms import Palm, overlaps

_WRIST, _INDEX, _MIDDLE, _RING = 0, 5, 9, 13
_PALM_MIDDLE = 2  # of a palm's points
# All landmarks but the outer two joints of the fingers and the thumb's tip, which move more than the hand.
_STEADY = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
_SAME_HAND = 0.5  # overlap of two regions of one hand


@dataclass(frozen=True)
class Region:
    """A square in the frame that may be rotated.

    Attributes:
        x, y, size: its centre and side, in pixels of the frame.
        angle: radians, clockwise; at 0 its top is up in the frame.
    """

    x: float
    y: float
    size: float
    angle: float

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Places (n, 2) in the region, 0 to 1 from its top left corner, as pixels of the frame."""
        return (points - 0.5) * self.size @ rotation(self.angle).T + [self.x, self.y]

    @property
    def sound(self) -> bool:
        """Whether a network's numbers make a region at all: those of a model of one's own may not."""
        values = (self.x, self.y, self.size, self.angle)
        return all(isfinite(value) and abs(value) < 1e5 for value in values) and self.size > 0


def rotation(angle: float) -> np.ndarray:
    """The matrix that rotates column vectors clockwise on the screen, where y points down."""
    return np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])


def whole_frame(width: int, height: int) -> Region:
    """The square around a frame, with the same centre: the palm detector's input."""
    return Region(width / 2, height / 2, max(width, height), 0.0)


def region_of_palm(palm: Palm, seen: Region) -> Region:
    """The square of a palm's whole hand, with the middle finger pointing up; `seen`: where the detector looked."""
    wrist, middle = seen.to_frame(palm.points[[_WRIST, _PALM_MIDDLE]])
    left_top, right_bottom = seen.to_frame(palm.box.reshape(2, 2))
    width, height = right_bottom - left_top
    return _grown((left_top + right_bottom) / 2, width, height, _upright(wrist, middle), scale=2.6, up=0.5)


def region_of_landmarks(points: np.ndarray) -> Region:
    """Where to look for the same hand in the next frame; `points`: (21, 2), in pixels of the frame."""
    knuckles = (points[_INDEX] + 2 * points[_MIDDLE] + points[_RING]) / 4
    angle = _upright(points[_WRIST], knuckles)
    # The smallest box of that angle around the steady landmarks.
    turned = points[_STEADY] @ rotation(angle)
    low, high = turned.min(axis=0), turned.max(axis=0)
    width, height = high - low
    return _grown(rotation(angle) @ ((low + high) / 2), width, height, angle, scale=2.0, up=0.1)


def _upright(start: np.ndarray, end: np.ndarray) -> float:
    """By how much the frame has to turn for `end` to lie straight above `start`: radians, clockwise."""
    return atan2(end[0] - start[0], start[1] - end[1])


def _grown(centre: np.ndarray, width: float, height: float, angle: float, *, scale: float, up: float) -> Region:
    """A square around a box; `up`: how far it moves towards the finger tips, in box heights."""
    x, y = centre + rotation(angle) @ [0, -up * height]
    return Region(float(x), float(y), scale * float(max(width, height)), angle)


def first_of_each_hand(regions: Sequence[Region]) -> list[int]:
    """Indices of the regions, without those that show an earlier one's hand; angles are ignored, as in MediaPipe."""
    kept: list[int] = []
    boxes = np.array([[r.x - r.size / 2, r.y - r.size / 2, r.x + r.size / 2, r.y + r.size / 2] for r in regions])
    for index in range(len(regions)):
        if not kept or overlaps(boxes[index], boxes[kept]).max() <= _SAME_HAND:
            kept.append(index)
    return kept
