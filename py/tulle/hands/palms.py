"""Decodes the palm detector's outputs, as MediaPipe's palm_detection graph is configured for its 192 x 192 model.

SsdAnchorsCalculator, TensorsToDetectionsCalculator, NonMaxSuppressionCalculator; https://arxiv.org/abs/2006.10214.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from tulle.errors import TulleError

SIZE = 192
"""Side of the detector's square input, in pixels."""

_STRIDES = {8: 2, 16: 6}  # anchors in each cell of a map of this stride: two per layer
_POINTS = 7  # of the palm: 0 the wrist, 2 the middle finger's knuckle
_VALUES = 4 + 2 * _POINTS  # of an anchor: x, y, width, height of the box, then x, y of the points
_MIN_SCORE = 0.5
_MIN_OVERLAP = 0.3


@dataclass(frozen=True)
class Palm:
    """Attributes, in units of the input's side: `box` left, top, right, bottom; `points` (7, 2)."""

    score: float
    box: np.ndarray
    points: np.ndarray


@cache
def anchors() -> np.ndarray:
    """Centres (2016, 2) of the anchors, in units of the input's side, in the order of the outputs."""
    maps = []
    for stride, count in _STRIDES.items():
        cells = SIZE // stride
        places = (np.arange(cells) + 0.5) / cells
        maps.append(np.repeat(np.stack(np.meshgrid(places, places), -1).reshape(-1, 2), count, axis=0))
    return np.concatenate(maps)


def find_palms(boxes: np.ndarray, logits: np.ndarray) -> list[Palm]:
    """The detected palms, best first.

    Args:
        boxes: the detector's first output, 2016 * 18 numbers.
        logits: its second, 2016 numbers.

    Raises TulleError if these are not the outputs of such a detector.
    """
    count = len(anchors())
    if boxes.size != count * _VALUES or logits.size != count:
        raise TulleError(f"this is no palm detector: {boxes.size} and {logits.size} numbers for {count} anchors")
    scores = 1 / (1 + np.exp(-np.clip(logits.ravel().astype(np.float64), -100, 100)))
    (chosen,) = np.nonzero(scores >= _MIN_SCORE)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    values = boxes.reshape(count, _VALUES)[chosen].astype(np.float64) / SIZE
    centres = anchors()[chosen]
    middles, halves = values[:, :2] + centres, values[:, 2:4] / 2
    corners = np.concatenate([middles - halves, middles + halves], axis=1)
    points = values[:, 4:].reshape(-1, _POINTS, 2) + centres[:, None]
    return _merged(scores[chosen], corners, points)


def _merged(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> list[Palm]:
    """Weighted non-maximum suppression: the best box and all that overlap it become their mean, weighted by score."""
    palms = []
    rest = np.arange(len(scores))  # best first
    while len(rest):
        same = overlaps(boxes[rest[0]], boxes[rest]) > _MIN_OVERLAP
        same[0] = True
        group = rest[same]
        weights = scores[group] / scores[group].sum()
        box, mean = np.tensordot(weights, boxes[group], 1), np.tensordot(weights, points[group], 1)
        palms.append(Palm(float(scores[group[0]]), box, mean))
        rest = rest[~same]
    return palms


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with each of others (n, 4): left, top, right, bottom."""
    sides = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    both = sides.prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - both
    return np.divide(both, union, out=np.zeros_like(both), where=both > 0)
