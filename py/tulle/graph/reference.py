"""A reference executor in NumPy: what every op means, in the plainest form that is still fast enough to use.

It is the oracle for the C kernels, and computes in float64 unless asked otherwise. Semantics are TensorFlow Lite's.
Arrays are in the model's own order, whatever layout a lowered graph assigns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.graph.geometry import explicit_padding, transpose_padding
from tulle.graph.graph import Graph, Node

Array = np.ndarray

BINARY_FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": lambda a, b: np.greater(a, b).astype(a.dtype),
    "equal": lambda a, b: np.equal(a, b).astype(a.dtype),
    "mask": lambda a, b: np.where(b != 0, a, np.zeros_like(a)),
}


def run(
    graph: Graph,
    inputs: dict[str, Array],
    dtype: Any = np.float64,
    keep: Collection[str] | Callable[[str], bool] | None = None,
) -> dict[str, Array]:
    """Runs a graph, lowered or not, on one set of inputs.

    Args:
        inputs: an array for every model input, of its shape.
        dtype: what to compute in.
        keep: activations to return besides the outputs: their names, or a function from name to bool.

    Returns the outputs by name (and what was kept), in `dtype`.
    Raises TulleError if an input is missing, unknown or of another shape.
    """
    for name in inputs:
        if name not in graph.inputs:
            raise TulleError(f"there is no input {name!r}; the inputs are {', '.join(graph.inputs)}")
    values: dict[str, Array] = {}
    for name in graph.inputs:
        if name not in inputs:
            raise TulleError(f"input {name!r} is missing")
        values[name] = np.asarray(inputs[name], dtype)
        if values[name].shape != graph.tensors[name].shape:
            raise TulleError(f"input {name!r} has shape {values[name].shape} instead of {graph.tensors[name].shape}")

    wanted = keep if callable(keep) else set(keep or ()).__contains__
    for name, tensor in graph.tensors.items():
        if tensor.data is not None:
            values[name] = tensor.data.astype(dtype)
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    for index, node in enumerate(graph.nodes):
        values[node.output] = execute(graph, node, [None if name is None else values[name] for name in node.inputs])
        for used in set(node.inputs):  # what nobody will read again goes, so that large models fit
            if used is not None and last_use[used] == index and used not in graph.outputs and not wanted(used):
                del values[used]
    kept = [node.output for node in graph.nodes if wanted(node.output) and node.output not in graph.outputs]
    return {name: values[name] for name in (*graph.outputs, *kept)}


def execute(graph: Graph, node: Node, inputs: list[Array | None]) -> Array:
    """The output of one node, given its input arrays (None for one left out), in the inputs' dtype."""
    if node.op not in _OPS:
        raise TulleError(f"{node.op} {node.name!r}: not an op that tulle knows")
    result = _OPS[node.op](node, inputs, graph.tensors[node.output].shape)
    if node.op != "activation":
        activation = node.attrs.get("activation", "none")
        alpha = inputs[-1] if activation == "prelu" else node.attrs.get("alpha", 0.0)
        result = activate(result, activation, alpha)
    return result


def activate(x: Array, activation: str, alpha: Any = 0.0) -> Array:
    """`alpha`: a number for leaky_relu and elu, an array that broadcasts to x for prelu."""
    if activation == "none":
        return x
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "relu6":
        return np.clip(x, 0, 6)
    if activation == "relu_n1_to_1":
        return np.clip(x, -1, 1)
    if activation == "hard_swish":
        return x * np.clip(x + 3, 0, 6) / 6
    if activation == "sigmoid":
        decay = np.exp(-np.abs(x))  # 1 / (1 + exp(-x)) without overflow
        return np.where(x >= 0, 1, decay) / (1 + decay)
    if activation == "tanh":
        return np.tanh(x)
    if activation in ("leaky_relu", "prelu"):
        return np.where(x >= 0, x, alpha * x)
    if activation == "elu":
        return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))
    if activation == "swish":
        return x * activate(x, "sigmoid")
    if activation == "gelu":
        return x * (1 + _erf(x * math.sqrt(0.5))) / 2
    if activation == "gelu_tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    if activation == "softplus":
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    if activation in _FUNCTIONS:
        with np.errstate(all="ignore"):  # infinities and NaN come out as the C library has them
            return _FUNCTIONS[activation](x)
    raise TulleError(f"activation {activation!r} is not known")


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(x.dtype)


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": _erf,
}


def _pad_image(x: Array, pads: tuple[int, int, int, int], value: float = 0.0) -> Array:
    top, bottom, left, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _windows(node: Node, x: Array, kernel: Sequence[int], shape: tuple[int, ...], fill: float = 0.0) -> list[Array]:
    """For every place in the kernel, row by row, the [1, out_h, out_w, C] inputs that it meets."""
    strides, dilations = node.attrs["strides"], node.attrs.get("dilations", (1, 1))
    size = (x.shape[1], x.shape[2])
    padded = _pad_image(x, explicit_padding(node.attrs["padding"], size, kernel, strides, dilations), fill)
    result = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilations[0], column * dilations[1]
            bottom, right = top + (shape[1] - 1) * strides[0] + 1, left + (shape[2] - 1) * strides[1] + 1
            result.append(padded[:, top : bottom : strides[0], left : right : strides[1]])
    return result


def _conv2d(node: Node, inputs: list[Array | None], shape: tuple[int, ...]) -> Array:
    x, weight, bias, residual, *_ = [*inputs, None, None]
    assert x is not None and weight is not None
    taps = weight.transpose(1, 2, 3, 0).reshape(-1, weight.shape[3], weight.shape[0])
    windows = _windows(node, x, weight.shape[1:3], shape)
    y: Any = sum(window @ tap for window, tap in zip(windows, taps, strict=True))
    y = y if bias is None else y + bias.reshape(-1)
    return y if residual is None else y + residual


def _depthwise_conv2d(node: Node, inputs: list[Array | None], shape: tuple[int, ...]) -> Array:
    x, weight, bias, *_ = [*inputs, None]
    assert x is not None and weight is not None
    multiplier = weight.shape[3] // x.shape[3]
    taps = weight.reshape(-1, weight.shape[3])
    windows = _windows(node, np.repeat(x, multiplier, axis=3), weight.shape[1:3], shape)
    y: Any = sum(window * tap for window, tap in zip(windows, taps, strict=True))
    return y if bias is None else y + bias.reshape(-1)


def _transpose_conv2d(node: Node, inputs: list[Array | None], shape: tuple[int, ...]) -> Array:
    x, weight, bias, *_ = [*inputs, None]
    assert x is not None and weight is not None
    _, height, width, _ = x.shape
    channels, kernel_h, kernel_w, _ = weight.shape
    stride_h, stride_w = node.attrs["strides"]
    top, _, left, _ = transpose_padding(node.attrs["padding"], shape[1:3], (kernel_h, kernel_w), (stride_h, stride_w))
    # Everything the input reaches, then the part that is asked for (zeros where nothing reaches).
    reach_h = max((height - 1) * stride_h + kernel_h, top + shape[1])
    reach_w = max((width - 1) * stride_w + kernel_w, left + shape[2])
    y = np.zeros((1, reach_h, reach_w, channels), x.dtype)
    for row in range(kernel_h):
        for column in range(kernel_w):
            rows = slice(row, row + (height - 1) * stride_h + 1, stride_h)
            columns = slice(column, column + (width - 1) * stride_w + 1, stride_w)
            y[:, rows, columns] += x @ weight[:, row, column].T
    y = y[:, top : top + shape[1], left : left + shape[2]]
    return y if bias is None else y + bias.reshape(-1)


def _fully_connected(node: Node, inputs: list[Array | None], shape: tuple[int, ...]) -> Array:
    x, weight, bias, *_ = [*inputs, None]
    assert x is not None and weight is not None
    y = (x @ weight.T).reshape(shape)
    return y if bias is None else y + bias.reshape(-1)


def _binary(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return BINARY_FUNCTIONS[node.op](inputs[0], inputs[1])


def _average_pool2d(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    x, kernel = inputs[0], node.attrs["kernel"]
    total: Any = sum(_windows(node, x, kernel, shape))
    counted = sum(_windows(node, np.ones_like(x[..., :1]), kernel, shape))  # the padding is not
    return total / counted


def _max_pool2d(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return np.maximum.reduce(_windows(node, inputs[0], node.attrs["kernel"], shape, fill=-np.inf))


def _mean(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0].mean(axis=node.attrs["axes"], keepdims=node.attrs["keep_dims"])


def _sum(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0].sum(axis=node.attrs["axes"], keepdims=node.attrs["keep_dims"])


def _reduce_max(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0].max(axis=node.attrs["axes"], keepdims=node.attrs["keep_dims"])


def _reduce_min(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0].min(axis=node.attrs["axes"], keepdims=node.attrs["keep_dims"])


def _argmax(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0].argmax(axis=node.attrs["axis"]).reshape(shape).astype(inputs[0].dtype)


def _matmul(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0] @ inputs[1]


def _max_pool2d_argmax(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    windows = _windows(node, inputs[0], node.attrs["kernel"], shape, fill=-np.inf)
    return np.argmax(windows, axis=0).astype(inputs[0].dtype)


def _max_unpool2d(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    x, indices = inputs[0], inputs[1].astype(int)
    (top, _, left, _), (stride_h, stride_w), width = (
        node.attrs["padding"],
        node.attrs["strides"],
        node.attrs["kernel"][1],
    )
    y = np.zeros(shape, x.dtype)
    for _, in_y, in_x, channel in np.ndindex(x.shape):  # in order: of overlapping windows the last one's value stays
        row = in_y * stride_h - top + indices[0, in_y, in_x, channel] // width
        column = in_x * stride_w - left + indices[0, in_y, in_x, channel] % width
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            y[0, row, column, channel] = x[0, in_y, in_x, channel]
    return y


def _sample_bilinear(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    x, at = inputs
    _, height, width, _ = x.shape
    columns, rows = at[0, ..., 0], at[0, ..., 1]
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    columns, rows = np.where(inside, columns, 0), np.where(inside, rows, 0)
    left, top = columns.astype(int), rows.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (columns - left)[..., None], (rows - top)[..., None]
    upper = x[0, top, left] * (1 - across) + x[0, top, right] * across
    lower = x[0, bottom, left] * (1 - across) + x[0, bottom, right] * across
    return ((upper * (1 - down) + lower * down) * inside[..., None])[None]


def _scale(node: Node, size: int, out: int) -> np.float32:
    """Input pixels an output pixel, in float32 as TFLite has it, since rounding decides what is nearest."""
    if node.attrs["align_corners"] and out > 1:
        return np.float32(size - 1) / np.float32(out - 1)
    return np.float32(size) / np.float32(out)


def _resize_bilinear(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    x = inputs[0]
    for axis in (1, 2):
        size, out = x.shape[axis], shape[axis]
        scale, at = _scale(node, size, out), np.arange(out, dtype=np.float32)
        position = (at + np.float32(0.5)) * scale - np.float32(0.5) if node.attrs["half_pixel_centers"] else at * scale
        low = np.maximum(np.floor(position), 0).astype(int)
        high = np.minimum(np.ceil(position), size - 1).astype(int)
        share = (position - low).astype(x.dtype).reshape([-1 if dim == axis else 1 for dim in range(4)])
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x


def _resize_nearest(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    x = inputs[0]
    for axis in (1, 2):
        size, out = x.shape[axis], shape[axis]
        half = np.float32(0.5 if node.attrs["half_pixel_centers"] else 0)
        position = (np.arange(out, dtype=np.float32) + half) * _scale(node, size, out)
        # Half away from zero, not NumPy's half to even.
        nearest = np.floor(position + np.float32(0.5)) if node.attrs["align_corners"] else np.floor(position)
        x = x.take(np.clip(nearest, 0, size - 1).astype(int), axis)
    return x


def _concat(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return np.concatenate(inputs, axis=node.attrs["axis"])


def _pad(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    if node.attrs["pad_mode"] == "constant":
        return np.pad(inputs[0], node.attrs["pads"], constant_values=node.attrs["pad_value"])
    return np.pad(inputs[0], node.attrs["pads"], mode=node.attrs["pad_mode"])


def _slice(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    spans = zip(node.attrs["begin"], node.attrs["strides"], shape, strict=True)
    picked = (first + step * np.arange(count) for first, step, count in spans)
    return inputs[0][np.ix_(*picked)]


def _softmax(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    x = inputs[0] * node.attrs["beta"]
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _activation(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    prelu = node.attrs["activation"] == "prelu"
    return activate(inputs[0], node.attrs["activation"], inputs[1] if prelu else node.attrs.get("alpha", 0.0))


def _depth_to_space(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    (_, height, width, _), block = inputs[0].shape, node.attrs["block"]
    return inputs[0].reshape(1, height, width, block, block, -1).transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def _space_to_depth(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    _, height, width, _ = shape
    block = node.attrs["block"]
    return inputs[0].reshape(1, height, block, width, block, -1).transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def _same(node: Node, inputs: list[Array], shape: tuple[int, ...]) -> Array:
    return inputs[0]


_OPS: dict[str, Callable[..., Array]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "transpose_conv2d": _transpose_conv2d,
    "fully_connected": _fully_connected,
    **dict.fromkeys(BINARY_FUNCTIONS, _binary),
    "average_pool2d": _average_pool2d,
    "max_pool2d": _max_pool2d,
    "mean": _mean,
    "sum": _sum,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest": _resize_nearest,
    "reduce_max": _reduce_max,
    "reduce_min": _reduce_min,
    "argmax": _argmax,
    "matmul": _matmul,
    "max_pool2d_argmax": _max_pool2d_argmax,
    "max_unpool2d": _max_unpool2d,
    "sample_bilinear": _sample_bilinear,
    "concat": _concat,
    "pad": _pad,
    "reshape": lambda node, inputs, shape: inputs[0].reshape(shape),
    "transpose": lambda node, inputs, shape: inputs[0].transpose(node.attrs["perm"]),
    "slice": _slice,
    "softmax": _softmax,
    "activation": _activation,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "to_chw": _same,
    "to_plain": _same,
    "dequantize": _same,
    "densify": _same,
}
