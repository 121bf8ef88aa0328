"""MediaPipe's custom operators, against what MediaPipe itself computed (tests/mediapipe_oracle.py made the answers)."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import tulle
from mediapipe_oracle import POOLS, answers, picture, pool_model
from tflite_model import TfliteModel
from tulle import tflite
from tulle.errors import TulleError


@pytest.mark.parametrize("name", POOLS)
def test_max_pooling_with_argmax_and_back(name: str) -> None:
    """Ties, windows that overlap or reach beyond the picture, and both paddings."""
    height, width = POOLS[name][0]
    with tulle.load(tulle.convert(pool_model(name)).data) as model:
        outputs = model(picture(height, width))
    for values, expected in zip(outputs.values(), answers(name), strict=True):
        np.testing.assert_allclose(values.reshape(-1), expected, atol=1e-6)


def unpooling(custom: bytes, out: tuple[int, ...] = (1, 4, 4, 3)) -> bytes:
    model = TfliteModel()
    x, indices = model.input((1, 2, 2, 3)), model.input((1, 2, 2, 3))
    return model.finish(model.op("MaxUnpooling2D", [x, indices], out, custom=custom))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (unpooling(b"\x01\x00"), "too short for TfLitePoolParams"),
        (unpooling(struct.pack("<6i", 7, 2, 2, 2, 2, 0)), "padding 7"),
        (unpooling(struct.pack("<6i", 1, 0, 2, 2, 2, 0)), "window or stride is empty"),
        (unpooling(struct.pack("<6i", 1, 2, 2, 2, 2, 0), (1, 4, 5, 3)), "not the window times"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(data: bytes, cause: str) -> None:
    with pytest.raises(TulleError, match=cause):
        tflite.read(data)


@pytest.mark.parametrize("custom", [b"", b"\x00" * 3, b"\xff" * 40, bytes(range(64))])
@pytest.mark.parametrize("version", [1, 2])
def test_landmark_operators_refuse_broken_options(custom: bytes, version: int) -> None:
    model = TfliteModel()
    x = model.input((1, 10, 3))
    data = model.finish(model.op("Landmarks2TransformMatrix", [x], (1, 4, 4), version=version, custom=custom))
    with pytest.raises(TulleError, match="version 1 is not supported" if version == 1 else "cannot be read|make no"):
        tflite.read(data)
