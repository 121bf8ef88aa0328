"""Corners of TFLite's operators that real models reach, each against LiteRT."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tulle

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
from tflite_model import TfliteModel  # noqa: E402


def litert(data: bytes, x: np.ndarray) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = interpreter.Interpreter(model_content=data)
    model.allocate_tensors()
    model.set_tensor(model.get_input_details()[0]["index"], x)
    model.invoke()
    return [model.get_tensor(detail["index"]) for detail in model.get_output_details()]


def same_as_litert(m: TfliteModel, x: np.ndarray, *outputs: int, rtol: float = 1e-5) -> None:
    data = m.finish(*outputs)
    with tulle.load(data) as model:
        for expected, got in zip(litert(data, x), model(x).values(), strict=True):
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-5)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 8, 9, 10, 15, 16, 33, -1, -2, -9, -16])
def test_whole_powers_of_negative_numbers(exponent: int) -> None:
    m = TfliteModel()
    x = np.array([-2, -1.5, -1, -0.5, -1e-20, 0, 1e-20, 0.5, 1, 2], np.float32).reshape(1, 1, 5, 2)
    y = m.op("POW", [m.input(x.shape), m.constant(np.float32(exponent))], x.shape, "PowOptions")
    same_as_litert(m, x, y)
