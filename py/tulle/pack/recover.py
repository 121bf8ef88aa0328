"""The integers that the weights of a quantised model were: stored as such, they take a quarter of the bytes.

They are found in the float32 values themselves, so that any model has them that was quantised by whatever tool and in
whatever way, after every pass that leaves values as they are.
"""

from __future__ import annotations

import numpy as np

_MOST = 255
_SAMPLE = 8  # values of a row that a scale has to fit before all are looked at
_NEAR = 1e-4  # of an integer; float32 is nearer even to multiples of 255


def recover(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """float32 `data` as integers, scales and zero points, from which float32 arithmetic gives every value exactly.

    One scale for all, one for each index of the first dimension, or one for each of the last: the fewest that do.

    Returns int8 values, float32 scales and None; or uint8 values, scales and uint8 zero points; of the shape of `data`.
    None if there are no such integers, or it is a single number.
    """
    if not data.ndim or not data.size or not np.isfinite(data).all():
        return None
    # As many scales as the first dimension has indices are the first's: where the last has as many, it cannot have
    # scales of its own.
    axes: list[int | None] = [None, 0, -1]
    if data.ndim < 2 or data.shape[0] == data.shape[-1]:
        axes = axes[: min(data.ndim, 2)]
    for axis in axes:
        rows = data.reshape(1, -1) if axis is None else np.moveaxis(data, axis, 0).reshape(data.shape[axis], -1)
        # Most weights are no integers: a few rows tell.
        if (len(rows) > 4 and _recover_rows(rows[:4]) is None) or (found := _recover_rows(rows)) is None:
            continue
        whole, scales = found
        least, most = whole.min(axis=1), whole.max(axis=1)
        zeros = None
        if least.min() < -128 or most.max() > 127:
            zeros = np.maximum(-least, 0)
            if (most + zeros).max() > _MOST:
                continue
            whole = whole + zeros[:, None]
        dtype = np.int8 if zeros is None else np.uint8
        first = data.shape if axis != -1 else (data.shape[-1], *data.shape[:-1])
        values = np.moveaxis(whole.astype(dtype).reshape(first), 0, axis or 0)
        return np.ascontiguousarray(values), scales, None if zeros is None else zeros.astype(np.uint8)
    return None


def _recover_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """int16 values, -255 to 255, and float32 scales of rows with a scale each; None if a row has none."""
    whole, scales = np.zeros(rows.shape, np.int16), np.ones(len(rows), np.float32)
    magnitudes = np.abs(rows)
    peaks = magnitudes.max(axis=1)
    count = min(_SAMPLE, rows.shape[1])
    largest = -np.partition(-magnitudes, count - 1, axis=1)[:, :count]
    shares = largest / np.maximum(peaks, np.finfo(np.float32).tiny)[:, None]
    open_rows = np.flatnonzero(peaks)
    for peak in range(1, _MOST + 1):  # what integer the largest value of a row is
        multiples = shares[open_rows] * np.float32(peak)
        fits = (np.abs(multiples - np.rint(multiples)) < _NEAR).all(axis=1)
        for row in open_rows[fits]:
            scale = _exact_scale(rows[row], peaks[row] / np.float32(peak))
            if scale is not None:
                whole[row], scales[row] = np.rint(rows[row] / scale), scale
                peaks[row] = 0
        open_rows = open_rows[peaks[open_rows] > 0]
        if not open_rows.size:
            return whole, scales
    return None if open_rows.size else (whole, scales)


def _exact_scale(row: np.ndarray, near: np.float32) -> np.float32 | None:
    """The float32 of which all values are multiples, rounded once: `near`, which two roundings led to, or one of the
    two below and above it."""
    for steps in (0, -1, 1, -2, 2):
        scale = np.float32(near + steps * np.spacing(near))
        if scale > 0 and np.array_equal(np.rint(row / scale) * scale, row):
            return scale
    return None
