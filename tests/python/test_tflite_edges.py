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


@pytest.mark.parametrize("value", [-np.inf, -3.4028235e38, np.inf, 0.0, 1.5])
@pytest.mark.parametrize("pads", [(0, 1), (1, 1), (2, 0), (4, 0)])
def test_pads_before_max_pools(value: float, pads: tuple[int, int]) -> None:
    x = noise(1, 6, 6, 3) - 3
    m, size = TfliteModel(), 6 + sum(pads)
    out = (size - 3) // 2 + 1
    pairs = m.constant(np.array([(0, 0), pads, pads, (0, 0)]), np.int32)
    padded = m.op("PADV2", [m.input(x.shape), pairs, m.constant(np.float32(value))], (1, size, size, 3), "PadV2Options")
    pooled = m.op("MAX_POOL_2D", [padded], (1, out, out, 3), "Pool2DOptions", padding=1, filterHeight=3, filterWidth=3,
                  strideH=2, strideW=2)  # fmt: skip
    data = m.finish(pooled)
    with tulle.load(data) as model:
        # A window of padding alone: the kernel begins at the lowest number.
        (expected,) = litert(data, x)
        np.testing.assert_array_equal(*model(x).values(), np.maximum(expected, np.finfo(np.float32).min))
        again = tulle.tflite.write(tulle.read_tflite(data))
        np.testing.assert_array_equal(*litert(again, x), expected)
    merged = not any(node.op == "pad" for node in tulle.convert(data).graph)
    assert merged == (value < -3e38 and max(pads) < 3)


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_pads_that_are_not_numbers_stay_where_they_are(value: float) -> None:
    """Of channels too, which the search for dead channels must not multiply by zero."""
    x = noise(1, 4, 4, 3)
    m = TfliteModel()
    pairs = m.constant(np.array([(0, 0), (1, 0), (0, 2), (0, 1)]), np.int32)
    padded = m.op("PADV2", [m.input(x.shape), pairs, m.constant(np.float32(value))], (1, 5, 6, 4), "PadV2Options")
    mean = m.op("REDUCE_MIN", [padded, m.constant([1, 2], np.int32)], (1, 4), "ReducerOptions")
    same_as_litert(m, x, padded, mean)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_reductions_of_tensors_with_an_inner_batch(kind: str, keep: bool) -> None:
    shape, x, m = (2, 4, 5, 3), noise(1, 4, 5, 6), TfliteModel()
    whole = m.constant(np.array(shape), np.int32)
    rows = m.op("RESHAPE", [m.input(x.shape), whole], shape, "ReshapeOptions", newShape=list(shape))
    outputs = []
    for axes in ((0,), (1,), (2,), (3,), (0, 1), (1, 2), (2, 3), (0, 3), (0, 1, 2), (1, 2, 3)):
        left = tuple(1 if d in axes else size for d, size in enumerate(shape) if keep or d not in axes)
        outputs.append(m.op(kind, [rows, m.constant(axes, np.int32)], left, "ReducerOptions", keepDims=keep))
    same_as_litert(m, x, *outputs)
