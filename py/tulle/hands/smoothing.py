"""The One Euro filter (Casiez, Roussel, Vogel, CHI 2012): smooths a hand at rest, follows a fast one."""

from __future__ import annotations

from math import pi

import numpy as np

_MIN_CUTOFF = 1.5  # Hz, at rest; lower is steadier
_BETA = 12.0  # Hz more per hand size per second; higher follows faster
_SPEED_CUTOFF = 1.0  # Hz, of the speed itself


class OneEuroFilter:
    """For arrays of one shape, given in the order of their times."""

    def __init__(self) -> None:
        self._value: np.ndarray | None = None
        self._speed: np.ndarray = np.zeros(())
        self._time = 0.0

    def __call__(self, values: np.ndarray, time: float, scale: float) -> np.ndarray:
        """The smoothed values; `time`: milliseconds; `scale`: the hand's size in the values' unit."""
        seconds = (time - self._time) / 1000
        self._time = time
        if self._value is None or not seconds > 0:
            self._value, self._speed = values.astype(np.float64), np.zeros(values.shape)
            return values
        self._speed = self._speed + _share(_SPEED_CUTOFF, seconds) * ((values - self._value) / seconds - self._speed)
        cutoff = _MIN_CUTOFF + _BETA * np.abs(self._speed) / scale
        self._value = self._value + _share(cutoff, seconds) * (values - self._value)
        return self._value.astype(values.dtype)


def _share(cutoff: float | np.ndarray, seconds: float) -> float | np.ndarray:
    """Of a new value in a first-order low-pass filter; `cutoff`: Hz; `seconds`: since the value before."""
    r = 2 * pi * cutoff * seconds
    return r / (r + 1)
