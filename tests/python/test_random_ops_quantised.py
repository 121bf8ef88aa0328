"""Models with quantised weights or activations: how near the float model that tulle makes of them is to LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tulle
from tflite_model import TfliteModel

LiteRT = Callable[..., dict[str, np.ndarray]]
SAME, RELU6 = 0, 3


def quantise(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and one scale a slice of `axis`."""
    others = tuple(dim for dim in range(values.ndim) if dim != axis)
    scales = np.abs(values).max(axis=others, keepdims=True) / 127
    return np.round(values / scales).astype(np.int8), scales.reshape(-1).astype(np.float32)


def int8_weight(m: TfliteModel, values: np.ndarray, axis: int = 0) -> tuple[int, np.ndarray]:
    stored, scales = quantise(values, axis)
    zeros = [0] * len(scales)
    return m.tensor(values.shape, np.int8, stored, scale=scales.tolist(), zero_point=zeros, axis=axis), scales


def test_weights_behind_an_int8_dequantize_give_litert_s_answer(litert: LiteRT) -> None:
    """What weight-only quantisation writes: int8 constants, DEQUANTIZE, float ops."""
    random, m = np.random.default_rng(0), TfliteModel()
    x = m.input((1, 9, 7, 5))
    stored, _ = int8_weight(m, random.standard_normal((12, 3, 3, 5)))
    weight = m.op("DEQUANTIZE", [stored], (12, 3, 3, 5), "DequantizeOptions", version=2)
    bias = m.constant(random.standard_normal(12))
    data = m.finish(m.op("CONV_2D", [x, weight, bias], (1, 9, 7, 12), "Conv2DOptions", strideH=1, strideW=1))
    image = random.standard_normal((1, 9, 7, 5)).astype(np.float32)
    (expected,) = litert(data, {"t0": image}).values()
    with tulle.load(data) as model:
        (got,) = model(image).values()
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_dynamic_range_weights_are_dequantised_with_a_note(litert: LiteRT) -> None:
    """LiteRT rounds the activations of such layers to 8 bits, so its answer is near, not equal."""
    random, m = np.random.default_rng(1), TfliteModel()
    x = m.input((1, 8, 8, 16))
    weight, _ = int8_weight(m, random.standard_normal((24, 1, 1, 16)) / 4)
    y = m.op(
        "CONV_2D", [x, weight, m.constant(np.zeros(24))], (1, 8, 8, 24), "Conv2DOptions", version=5,
        strideH=1, strideW=1, fusedActivationFunction=RELU6,
    )  # fmt: skip
    mean = m.op("MEAN", [y, m.constant([1, 2], np.int32)], (1, 24), "ReducerOptions", keepDims=False)
    dense, _ = int8_weight(m, random.standard_normal((10, 24)) / 5)
    data = m.finish(
        m.op("FULLY_CONNECTED", [mean, dense, m.constant(np.zeros(10))], (1, 10), "FullyConnectedOptions", version=9)
    )
    image = random.random((1, 8, 8, 16), np.float32)
    (expected,) = litert(data, {"t0": image}).values()
    conversion = tulle.convert(data)
    assert "2 quantised weights were dequantised" in conversion.graph.notes[0]
    with tulle.load(conversion.data) as model:
        (got,) = model(image).values()
    assert np.abs(got - expected).max() < 0.02 * np.ptp(expected)


def quantised_network(random: np.random.Generator, dtype: type) -> tuple[bytes, float, int]:
    """QUANTIZE-free int8 or uint8 network: conv (relu6 by range alone), depthwise, mean, dense, softmax."""
    m, low = TfliteModel(), np.iinfo(dtype).min
    pixel = {"scale": [1 / 128], "zero_point": [128 + low]}
    x = m.input((1, 16, 16, 3), dtype, **pixel)
    per_channel = dtype is np.int8

    def layer(kind: str, options: str, x: int, inputs_scale: float, values: np.ndarray, axis: int, shape: tuple,
              out_scale: float, out_zero: int, **fields: int) -> int:  # fmt: skip
        if per_channel:
            weight, scales = int8_weight(m, values, axis)
        else:
            scale = float(np.abs(values).max() / 127)
            stored = (np.round(values / scale) + 128).clip(0, 255)
            weight, scales = (
                m.tensor(values.shape, np.uint8, stored, scale=[scale], zero_point=[128]),
                np.array([scale]),
            )
        channels = values.shape[axis]
        zeros = [0] * len(scales)
        scales = (scales.astype(np.float32) * np.float32(inputs_scale)).tolist()
        bias = m.tensor((channels,), np.int32, random.integers(-500, 500, channels), scale=scales, zero_point=zeros)
        quantization = {"scale": [out_scale], "zero_point": [out_zero]}
        return m.op(kind, [x, weight, bias], shape, options, 3, dtype, quantization, **fields)

    six = 6 / 255
    y = layer("CONV_2D", "Conv2DOptions", x, 1 / 128, random.standard_normal((16, 3, 3, 3)) * 0.4, 0, (1, 8, 8, 16),
              six, low, strideH=2, strideW=2, padding=SAME)  # fmt: skip
    y = layer("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", y, six, random.standard_normal((1, 3, 3, 16)) * 0.3, 3,
              (1, 8, 8, 16), six, low, strideH=1, strideW=1, padding=SAME, depthMultiplier=1,
              fusedActivationFunction=RELU6)  # fmt: skip
    same = {"scale": [six], "zero_point": [low]}
    y = m.op("AVERAGE_POOL_2D", [y], (1, 1, 1, 16), "Pool2DOptions", 2, dtype, same,
             padding=1, strideH=8, strideW=8, filterHeight=8, filterWidth=8)  # fmt: skip
    y = m.op("RESHAPE", [y, m.constant([1, 16], np.int32)], (1, 16), "ReshapeOptions", 1, dtype, same, newShape=[1, 16])
    y = layer("FULLY_CONNECTED", "FullyConnectedOptions", y, six, random.standard_normal((10, 16)) * 0.6, 0, (1, 10),
              10 / 255, 128 + low)  # fmt: skip
    probability = {"scale": [1 / 256], "zero_point": [low]}
    y = m.op("SOFTMAX", [y], (1, 10), "SoftmaxOptions", 2, dtype, probability, beta=1.0)
    return m.finish(y), 1 / 256, low


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_a_fully_quantised_model_becomes_a_float_model(dtype: type) -> None:
    """Per-channel int8 and per-tensor uint8. The picture goes in as bytes: the normalisation comes out of the file."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    random = np.random.default_rng(3)
    data, scale, zero = quantised_network(random, dtype)
    conversion = tulle.convert(data)
    assert "8-bit integers" in conversion.graph.notes[0]
    interpreter = interpreter_module.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    with tulle.load(conversion.data) as model:
        assert (model.inputs[0].mean, model.inputs[0].std) == (128, 128)
        for _ in range(5):
            pixels = random.integers(0, 256, (1, 16, 16, 3), np.uint8)
            stored = (pixels.astype(np.int16) + np.iinfo(dtype).min).astype(dtype)
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored)
            interpreter.invoke()
            answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            expected = (answer.astype(np.float32) - zero) * scale
            (got,) = model(pixels).values()
            assert np.abs(got - expected).max() < 0.03  # of a probability; the classifier's step is 10 / 255
            assert got.argmax() == expected.argmax() or np.sort(expected[0])[-2] > expected.max() - 0.03


def test_scales_that_do_not_fit_are_refused() -> None:
    m = TfliteModel()
    x = m.input((1, 4, 4, 2))
    weight = m.tensor((3, 1, 1, 2), np.int8, np.ones((3, 1, 1, 2)), scale=[1.0, 2.0], zero_point=[0, 0], axis=0)
    data = m.finish(
        m.op("CONV_2D", [x, weight, m.constant(np.zeros(3))], (1, 4, 4, 3), "Conv2DOptions", strideH=1, strideW=1)
    )
    with pytest.raises(tulle.TulleError, match=r"'t1' \[3, 1, 1, 2\] has 2 scales for dimension 0"):
        tulle.convert(data)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"scale": [float("nan")]}, "negative or not finite"),
        ({"scale": [float("inf")]}, "negative or not finite"),
        ({"scale": [-1.0]}, "negative or not finite"),
        ({"scale": [1.0], "zero_point": [128]}, "zero points beyond int8"),
        ({"scale": [1e-3], "zero_point": [2**63 - 1]}, "zero points beyond int8"),
        ({"scale": [3e38]}, "beyond float32"),
        ({"scale": [1.0], "zero_point": [0, 0]}, "1 scales and 2 zero points"),
    ],
)
def test_quantisations_that_are_none_are_refused(quantization: dict[str, Any], message: str) -> None:
    m = TfliteModel()
    x = m.input((1, 4, 4, 2))
    weight = m.tensor((3, 1, 1, 2), np.int8, np.full((3, 1, 1, 2), -7), **quantization)
    data = m.finish(
        m.op("CONV_2D", [x, weight, m.constant(np.zeros(3))], (1, 4, 4, 3), "Conv2DOptions", strideH=1, strideW=1)
    )
    with pytest.raises(tulle.TulleError, match=rf"'t1'.*{message}"):
        tulle.convert(data)
