"""TFLite's mathematical functions that become several nodes: the table `FUNCTIONS`, by operator name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tflite

from tulle.errors import Unsupported
from tulle.tflite.call import Call

# The smallest divisor of TFLite's reference kernel.
SMALLEST_NORM = 1e-6


def _square(call: Call) -> None:
    call.add("mul", [call.input(0), call.input(0)])


def _squared_difference(call: Call) -> None:
    difference = call.step("difference", "sub", [call.input(0), call.input(1)], call.output_shape)
    call.add("mul", [difference, difference])


def _neg(call: Call) -> None:
    call.add("mul", [call.input(0), call.number(-1)])


def _abs(call: Call) -> None:
    x = call.input(0)
    opposite = call.step("opposite", "mul", [x, call.number(-1)], call.shape(0))
    call.add("maximum", [x, opposite])


def _relu_0_to_1(call: Call) -> None:
    call.add("minimum", [call.input(0), call.number(1)], activation="relu")


def _pow(call: Call) -> None:
    """x to a constant power, or a constant to the power x."""
    x, base, exponent = call.input(0), call.number_of(0), call.number_of(1)
    if base is not None and base > 0 and exponent is None:
        scaled = call.step("log", "mul", [call.input(1), call.number(np.log(base))], call.shape(1))
        call.add("activation", [scaled], activation="exp")
        return
    if exponent is None:
        raise Unsupported("one operand must be a single constant number")
    shape = call.shape(0)
    if call.output_shape != shape:
        raise Unsupported(f"it makes {list(call.output_shape)} of {list(shape)}")
    if exponent in (0.5, -0.5):
        call.add("activation", [x], activation="sqrt" if exponent > 0 else "rsqrt")
        return
    if not np.isfinite(exponent):
        raise Unsupported(f"the exponent {exponent} is not supported")
    if exponent == 0:
        call.add("add", [call.step("zero", "greater", [x, x], shape), call.number(1)])
        return
    if exponent == round(exponent):
        power = whole_power(x, abs(int(exponent)), lambda a, b: call.step("power", "mul", [a, b], shape))
        if exponent > 0:
            call.add("reshape", [power])
        else:
            call.add("div", [call.number(1), power])
        return
    logarithm = call.step("log", "activation", [x], shape, activation="log")
    scaled = call.step("scaled", "mul", [logarithm, call.number(exponent)], shape)
    call.add("activation", [scaled], activation="exp")


def whole_power(x: str, exponent: int, multiply: Callable[[str, str], str]) -> str:
    """x to a whole power of at least 1, by squaring: of a negative x exp(n log x) would be NaN."""
    power = None
    while exponent:
        if exponent % 2:
            power = x if power is None else multiply(power, x)
        exponent //= 2
        x = multiply(x, x) if exponent else x
    assert power is not None
    return power


def _add_n(call: Call) -> None:
    total = call.input(0)
    for index in range(1, len(call.inputs) - 1):
        total = call.step(f"sum_{index}", "add", [total, call.input(index)], call.output_shape)
    if len(call.inputs) == 1:
        call.add("reshape", [total])
    else:
        call.add("add", [total, call.input(len(call.inputs) - 1)])


def _prelu(call: Call) -> None:
    x, alpha, channels = call.input(0), call.input(1), call.output_shape[-1:]
    shape = call.shape(1)
    size = int(np.prod(shape, dtype=np.int64))
    if size == 1 or shape[-1:] == (size,) == channels:
        call.add("activation", [x, alpha], activation="prelu")
        return
    # Slopes that vary over the image, Keras's default without shared axes: max(x, 0) + alpha * min(x, 0).
    positive = call.step("positive", "activation", [x], call.shape(0), activation="relu")
    negative = call.step("negative", "minimum", [x, call.number(0)], call.shape(0))
    sloped = call.step("sloped", "mul", [negative, alpha], call.output_shape)
    call.add("add", [positive, sloped])


def _l2_normalization(call: Call) -> None:
    x, shape = call.input(0), call.shape(0)
    row = (*shape[:-1], 1)
    square = call.step("square", "mul", [x, x], shape)
    total = call.step("sum", "sum", [square], row, axes=(len(shape) - 1,), keep_dims=True)
    norm = call.step("norm", "activation", [total], row, activation="sqrt")
    norm = call.step("least", "maximum", [norm, call.number(SMALLEST_NORM)], row)
    call.add("div", [x, norm], activation=call.activation(call.options("L2NormOptions")))


def _local_response_normalization(call: Call) -> None:
    """x / (bias + alpha * sum of x^2 over the channels within `radius`) ^ beta."""
    options, x, shape = call.options("LocalResponseNormalizationOptions"), call.input(0), call.shape(0)
    if len(shape) != 4:
        raise Unsupported(f"an image is needed, not {list(shape)}")
    call.reserve(4 * shape[3] * shape[3])  # on the way in integers of 8 bytes
    distance = np.abs(np.subtract.outer(np.arange(shape[3]), np.arange(shape[3])))
    near = (distance <= options.Radius()).astype(np.float32) * np.float32(options.Alpha())
    weight = call.graph.add_constant(f"{call.output}_near", near.reshape(shape[3], 1, 1, shape[3]))
    bias = call.graph.add_constant(f"{call.output}_bias", np.full(shape[3], options.Bias(), np.float32))
    square = call.step("square", "mul", [x, x], shape)
    total = call.step(
        "sum", "conv2d", [square, weight, bias], shape,
        strides=(1, 1), dilations=(1, 1), padding="valid", activation="log",
    )  # fmt: skip
    power = call.step("power", "mul", [total, call.number(-options.Beta())], shape)
    factor = call.step("factor", "activation", [power], shape, activation="exp")
    call.add("mul", [x, factor])


def _log_softmax(call: Call) -> None:
    x, shape = call.input(0), call.shape(0)
    row, last = (*shape[:-1], 1), {"axes": (len(shape) - 1,), "keep_dims": True}
    largest = call.step("max", "reduce_max", [x], row, **last)
    below = call.step("below", "sub", [x, largest], shape)
    powers = call.step("exp", "activation", [below], shape, activation="exp")
    total = call.step("sum", "sum", [powers], row, **last)
    logarithm = call.step("log", "activation", [total], row, activation="log")
    call.add("sub", [below, logarithm])


def _l2_pool(call: Call) -> None:
    options = call.options("Pool2DOptions")
    square = call.step("square", "mul", [call.input(0), call.input(0)], call.shape(0))
    mean = call.step(
        "mean", "average_pool2d", [square], call.output_shape,
        kernel=(options.FilterHeight(), options.FilterWidth()), strides=(options.StrideH(), options.StrideW()),
        padding="same" if options.Padding() == tflite.Padding.SAME else "valid",
    )  # fmt: skip
    activation = call.activation(options)
    root = (
        mean if activation == "none" else call.step("root", "activation", [mean], call.output_shape, activation="sqrt")
    )
    call.add("activation", [root], activation="sqrt" if activation == "none" else activation)


FUNCTIONS: dict[str, Callable[[Call], None]] = {
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _squared_difference,
    "NEG": _neg,
    "ABS": _abs,
    "RELU_0_TO_1": _relu_0_to_1,
    "POW": _pow,
    "ADD_N": _add_n,
    "PRELU": _prelu,
    "L2_NORMALIZATION": _l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response_normalization,
    "LOG_SOFTMAX": _log_softmax,
    "L2_POOL_2D": _l2_pool,
}
