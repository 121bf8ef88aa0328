"""Tracks hands in pictures and videos: 21 landmarks of each, and whether it is a left or a right hand.

    from tulle.hands import HandTracker

    for hand in HandTracker().detect(picture):
        print(hand.handedness, hand.pixels[8])   # where the tip of the index finger is

The steps are MediaPipe's, as in the npm package's tulle/hands (docs/hands.md). `HandTracker` needs NumPy and runs in
CPython and Pyodide; in Pyodide `await create()` uses the page's own tracker, in a worker and on several threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tulle.hands.browser import AsyncHandTracker, create

if TYPE_CHECKING:
    from tulle.hands.tracker import Hand, HandTracker

__all__ = ["AsyncHandTracker", "Hand", "HandTracker", "create"]


def __getattr__(name: str) -> Any:
    if name in ("Hand", "HandTracker"):  # which need NumPy, as create() does not
        from tulle.hands import tracker

        return getattr(tracker, name)
    raise AttributeError(f"module 'tulle.hands' has no attribute {name!r}")
