"""Weights as int8 values with a scale for each output channel."""

from __future__ import annotations

import numpy as np

from tulle.errors import TulleError

_LEVELS = 127
# Candidates for the value of 127, as shares of a channel's largest weight: clipping a few large weights a little
# brings all others closer.
_CLIPS = np.linspace(1.0, 0.6, 41)


def quantise(name: str, data: np.ndarray, channel_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest int8 values to a float32 weight, and their scales: weight = value * scale.

    Symmetric, so that zeros stay zero. Each channel has the scale with the smallest squared error of those tried.

    Args:
        name: of the weight, for errors.
        channel_axis: the dimension that is the output channels: 0, or -1 for depthwise.

    Returns int8 values of the weight's shape, -127 to 127, and float32 scales, one per channel.
    Raises TulleError if a weight is not finite.
    """
    if not np.isfinite(data).all():
        raise TulleError(f"weight {name!r} holds numbers that are not finite, which int8 cannot hold")
    rows = np.moveaxis(data, channel_axis, 0).reshape(data.shape[channel_axis], -1).astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    best = np.full(len(rows), np.inf)
    scales = np.ones(len(rows), np.float32)
    for clip in _CLIPS:
        candidate = np.where(largest > 0, clip * largest / _LEVELS, 1).astype(np.float32)
        candidate = np.maximum(candidate, np.finfo(np.float32).tiny)
        error = np.square(_round(rows, candidate) * candidate[:, None].astype(np.float64) - rows).sum(axis=1)
        scales = np.where(error < best, candidate, scales)
        best = np.minimum(error, best)
    shape = (-1,) + (1,) * (data.ndim - 1)
    along = np.moveaxis(scales.reshape(shape), 0, channel_axis)
    return np.clip(np.rint(data / along), -_LEVELS, _LEVELS).astype(np.int8), scales


def _round(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(rows / scales[:, None]), -_LEVELS, _LEVELS)
