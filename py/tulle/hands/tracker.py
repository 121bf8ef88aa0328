"""Finds palms, runs the landmark network on each hand, and tracks it from frame to frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike
from tulle.hands.palms import find_palms
from tulle.hands.regions import (
    Region,
    first_of_each_hand,
    region_of_landmarks,
    region_of_palm,
    rotation,
    whole_frame,
)
from tulle.hands.smoothing import OneEuroFilter
from tulle.image import Region as Part
from tulle.image import pixels_of, to_input
from tulle.runtime import Model, load, networks
from tulle.runtime.host import Variant

LANDMARKS = 21
_MAX_HANDS = 16
_MIN_PRESENCE = 0.5
_SEARCH_EVERY = 10  # frames between detections, while some hands are tracked but there may be more


@dataclass(frozen=True)
class Hand:
    """A hand in a picture.

    Attributes:
        id: the same while the hand is tracked.
        landmarks: float32 (21, 3): x and y from 0 to 1 across the picture; z in the unit of x, relative to the wrist,
            smaller is nearer.
        pixels: the same in pixels of the picture.
        world: the same in metres, from the centre of the hand; None if the network gives none.
        handedness, score: which hand it is, and how sure the network is, 0.5 to 1.
        presence: how sure it is that there is a hand, 0.5 to 1.
        region: the square that the network saw.
    """

    id: int
    landmarks: np.ndarray
    pixels: np.ndarray
    world: np.ndarray | None
    handedness: Literal["Left", "Right"]
    score: float
    presence: float
    region: Region


@dataclass(frozen=True)
class _Answer:
    """The landmark network's: `right`: 0 to 1, whether it is a right hand."""

    pixels: np.ndarray
    world: np.ndarray | None
    presence: float
    right: float


class HandTracker:
    """Tracks hands through the frames of a video, or finds those of a picture. One video at a time.

    Use it as a context manager, or `close()` it, to give its memory back early.
    """

    def __init__(
        self,
        max_hands: int = 2,
        *,
        model: PathLike | bytes | None = None,
        detector: PathLike | bytes | None = None,
        smoothing: bool = False,
        variant: Variant = "auto",
    ) -> None:
        """Loads the networks.

        Args:
            max_hands: most hands tracked at once, 1 to 16.
            model: a hand landmark network as `tulle.load` takes it, fed with pixels from 0 to 1; the package's own,
                sparse one if left out.
            detector: a palm detector; the package's own if left out.
            smoothing: steady the landmarks of a video with a one-euro filter.
            variant: the wasm build, as of `tulle.load`.

        Raises TulleError for what is no such network, and for options out of range.
        """
        if not isinstance(max_hands, int) or not 1 <= max_hands <= _MAX_HANDS:
            raise TulleError(f"max_hands must be an integer from 1 to {_MAX_HANDS}, not {max_hands!r}")
        self._max_hands, self._smoothing = max_hands, smoothing
        self._detector = load(detector if detector is not None else networks.find(networks.PALMS), variant=variant)
        self._landmarker = load(model if model is not None else networks.find(networks.HANDS), variant=variant)
        self._next_id = 0
        self.reset()

    def reset(self) -> None:
        """Forgets all hands, before the first frame of another video."""
        self._followed: list[tuple[int, Region]] = []
        self._since_search = _SEARCH_EVERY
        self._filters: dict[int, OneEuroFilter] = {}

    def detect(self, picture: Any, timestamp: float | None = None, *, mirrored: bool = False) -> list[Hand]:
        """The hands in a picture; those of the last one are followed, so give a video's frames in their order.

        Args:
            picture: as of `tulle.image.to_input`: uint8 (H, W, 3) or (H, W, 4), a PIL image, in Pyodide ImageData.
            timestamp: of the frame, in milliseconds, for smoothing; now, if left out.
            mirrored: whether left and right are exchanged in the picture.

        Raises TulleError if the picture is none, or the tracker is closed.
        """
        pixels = pixels_of(picture)
        height, width, _ = pixels.shape
        self._search(pixels)
        found = [(id, region, self._look(pixels, region, mirrored)) for id, region in self._followed]
        found = [row for row in found if row[2].presence >= _MIN_PRESENCE]
        following = [region_of_landmarks(answer.pixels[:, :2]) for _, _, answer in found]
        sound = [index for index, region in enumerate(following) if region.sound]
        kept = [sound[index] for index in first_of_each_hand([following[index] for index in sound])]
        self._followed = [(found[index][0], following[index]) for index in kept]
        now = time.monotonic() * 1000 if timestamp is None else timestamp
        hands = [self._hand(*found[index], now, np.array([width, height, width], np.float32)) for index in kept]
        self._filters = {hand.id: self._filters[hand.id] for hand in hands if hand.id in self._filters}
        return hands

    def close(self) -> None:
        """Gives the networks' memory back."""
        self._detector.close()
        self._landmarker.close()

    def __enter__(self) -> HandTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _search(self, pixels: np.ndarray) -> None:
        """Looks for further hands, if it is time to."""
        self._since_search += 1
        missing = self._max_hands - len(self._followed)
        if not missing or (self._followed and self._since_search < _SEARCH_EVERY):
            return
        self._since_search = 0
        seen = whole_frame(pixels.shape[1], pixels.shape[0])
        outputs = _run(self._detector, pixels, seen)
        palms = find_palms(outputs.get("Identity", np.empty(0)), outputs.get("Identity_1", np.empty(0)))
        regions = [region for palm in palms if (region := region_of_palm(palm, seen)).sound]
        ids: list[int | None] = [id for id, _ in self._followed] + [None] * len(regions)
        regions = [region for _, region in self._followed] + regions
        self._followed = []
        for index in first_of_each_hand(regions)[: self._max_hands]:
            id = ids[index]
            if id is None:
                id, self._next_id = self._next_id, self._next_id + 1
            self._followed.append((id, regions[index]))

    def _look(self, pixels: np.ndarray, region: Region, mirrored: bool) -> _Answer:
        outputs = _run(self._landmarker, pixels, region)
        try:
            raw = outputs["Identity"].reshape(LANDMARKS, 3)
            presence, right = outputs["Identity_1"].item(), outputs["Identity_2"].item()
        except (KeyError, ValueError):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
            raise TulleError(
                f"this is no hand landmark network: its outputs are {shapes}, not Identity of {3 * LANDMARKS} numbers, "
                "Identity_1 and Identity_2 of one"
            ) from None
        size = self._landmarker.inputs[0].shape[1]
        places = np.empty((LANDMARKS, 3), np.float32)
        places[:, :2] = region.to_frame(raw[:, :2].astype(np.float64) / size)
        places[:, 2] = raw[:, 2] * region.size / size
        world = outputs.get("Identity_3")
        if world is not None:  # turned as in MediaPipe's WorldLandmarkProjectionCalculator
            world = world.reshape(LANDMARKS, 3).copy()
            world[:, :2] = world[:, :2].astype(np.float64) @ rotation(region.angle).T
        return _Answer(places, world, presence, 1 - right if mirrored else right)

    def _hand(self, id: int, region: Region, answer: _Answer, now: float, size: np.ndarray) -> Hand:
        pixels = answer.pixels
        if self._smoothing:
            pixels = self._filters.setdefault(id, OneEuroFilter())(pixels, now, region.size)
        return Hand(
            id,
            landmarks=pixels / size,
            pixels=pixels,
            world=answer.world,
            handedness="Right" if answer.right > 0.5 else "Left",
            score=max(answer.right, 1 - answer.right),
            presence=answer.presence,
            region=region,
        )


def _run(model: Model, pixels: np.ndarray, region: Region) -> dict[str, np.ndarray]:
    height, width, _ = pixels.shape
    size = region.size
    part = Part(region.x / width, region.y / height, size / width, size / height, region.angle)
    return model(to_input(pixels, model.inputs[0], part))
