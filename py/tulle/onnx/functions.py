"""ONNX ops that become several nodes, and those that look up elements: the table `FUNCTIONS`, by op type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tulle.errors import Unsupported
from tulle.onnx.operators import OnnxNode, Result, combine, sliced, unary
from tulle.onnx.values import Value
from tulle.pack.limits import MAX_OP_INPUTS
from tulle.tflite.functions import whole_power
from tulle.tflite.indexing import runs_of

MAX_SPREAD = 2**24


def _binary(node: OnnxNode, op: str, a: str, b: str) -> str:
    return node.add(op, [a, b])


def _gelu(node: OnnxNode) -> Result:
    x = node.elements(0)
    approximate = node.attribute("approximate", "none") == "tanh"
    return x.like(node.activation(x.name, "gelu_tanh" if approximate else "gelu"))


def _reciprocal(node: OnnxNode) -> Result:
    x = node.elements(0)
    return x.like(_binary(node, "div", node.number(1), x.name))


def _mish(node: OnnxNode) -> Result:
    x = node.elements(0)
    gate = node.activation(node.activation(x.name, "softplus"), "tanh")
    return x.like(_binary(node, "mul", x.name, gate))


def _softsign(node: OnnxNode) -> Result:
    x = node.elements(0)
    size = _binary(node, "maximum", x.name, _binary(node, "mul", x.name, node.number(-1)))
    return x.like(_binary(node, "div", x.name, _binary(node, "add", size, node.number(1))))


def _selu(node: OnnxNode) -> Result:
    x = node.elements(0)
    alpha, gamma = float(node.attribute("alpha", 1.67326324)), float(node.attribute("gamma", 1.05070102))
    y = node.activation(x.name, "elu", alpha=alpha)
    return x.like(_binary(node, "mul", y, node.number(gamma)))


def _celu(node: OnnxNode) -> Result:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)): elu of x / alpha, times alpha."""
    x, alpha = node.elements(0), float(node.attribute("alpha", 1.0))
    y = node.activation(_binary(node, "mul", x.name, node.number(1 / alpha)), "elu", alpha=1.0)
    return x.like(_binary(node, "mul", y, node.number(alpha)))


def _pow(node: OnnxNode) -> Result:
    """x to a constant power, or a constant to the power x."""
    base = node.value(0).data
    if base is not None and base.size == 1 and base > 0 and node.value(1).data is None:
        x = node.elements(1)
        scaled = _binary(node, "mul", x.name, node.number(np.log(float(base.reshape(-1)[0]))))
        return x.like(node.activation(scaled, "exp"))
    x, exponent = node.elements(0), node.scalar(1)
    if not np.isfinite(exponent):
        raise Unsupported(f"the exponent {exponent} is not supported")
    if len(node.shape(1)) > len(node.shape(0)):
        raise Unsupported(f"the exponent's shape {list(node.shape(1))} makes {list(node.shape(0))} wider")
    if exponent in (0.5, -0.5):
        return x.like(node.activation(x.name, "sqrt" if exponent > 0 else "rsqrt"))
    if exponent == 0:  # 1, of NaN too
        return x.like(_binary(node, "add", _binary(node, "greater", x.name, x.name), node.number(1)))
    if exponent == round(exponent):
        y = whole_power(x.name, abs(int(exponent)), lambda a, b: _binary(node, "mul", a, b))
        return x.like(y if exponent > 0 else _binary(node, "div", node.number(1), y))
    scaled = _binary(node, "mul", node.activation(x.name, "log"), node.number(exponent))
    return x.like(node.activation(scaled, "exp"))


def _mean_of_inputs(node: OnnxNode) -> Result:
    total = node.combined("add")
    return total.like(_binary(node, "mul", total.name, node.number(1 / len(node.proto.input))))


# ---- comparisons: true is 1, false is 0 ----------------------------------------------------------------------------


def _opposite(node: OnnxNode, value: Value) -> Value:
    return combine(node, "sub", Value(data=np.ones((), np.float32)), value)


def _comparison(op: str, swap: bool = False, opposite: bool = False) -> Callable[[OnnxNode], Result]:
    def convert(node: OnnxNode) -> Result:
        a, b = (node.second(), node.value(0)) if swap else (node.value(0), node.second())
        value = combine(node, op, a, b)
        value = _opposite(node, value) if opposite else value
        node.importer.whole_numbers.add(value.name)
        return value

    return convert


def _where(node: OnnxNode) -> Result:
    """The sum of both operands, each masked: an infinity in the one not chosen does no harm."""
    condition = node.value(0)
    if condition.data is not None:
        condition = Value(data=condition.data.astype(np.float32))
    otherwise = _opposite(node, condition)
    chosen, rest = combine(node, "mask", node.value(1), condition), combine(node, "mask", node.value(2), otherwise)
    return combine(node, "add", chosen, rest)


def _sign(node: OnnxNode) -> Result:
    zero = Value(data=np.zeros((), np.float32))
    above, below = combine(node, "greater", node.value(0), zero), combine(node, "greater", zero, node.value(0))
    return combine(node, "sub", above, below)


# ---- normalisation ------------------------------------------------------------------------------------------------


def _standardised(node: OnnxNode, x: str, axes: tuple[int, ...], epsilon: float) -> str:
    """(x - mean) / sqrt(variance + epsilon) over `axes`."""
    mean = node.add("mean", [x], axes=axes, keep_dims=True)
    centered = _binary(node, "sub", x, mean)
    variance = node.add("mean", [_binary(node, "mul", centered, centered)], axes=axes, keep_dims=True)
    scale = node.activation(_binary(node, "add", variance, node.number(epsilon)), "rsqrt")
    return _binary(node, "mul", centered, scale)


def _scaled(node: OnnxNode, y: str, scale: np.ndarray, bias: np.ndarray | None) -> str:
    y = _binary(node, "mul", y, node.importer.constant(scale, "scale"))
    return y if bias is None else _binary(node, "add", y, node.importer.constant(bias, "bias"))


def _instance_normalization(node: OnnxNode) -> Result:
    rank, epsilon = len(node.shape(0)), float(node.attribute("epsilon", 1e-5))
    if rank == 4:
        y = _standardised(node, node.importer.image(node.value(0)), (1, 2), epsilon)
        return Value(_scaled(node, y, node.constant(1), node.constant(2)), nhwc=True)
    along = (1, -1, *[1] * (rank - 2))  # groups of channels in rows, as PyTorch writes GroupNorm
    y = _standardised(node, node.importer.plain(node.value(0)), tuple(range(2, rank)), epsilon)
    return Value(_scaled(node, y, node.constant(1).reshape(along), node.constant(2).reshape(along)))


def _layer_normalization(node: OnnxNode) -> Result:
    rank = len(node.shape(0))
    first = node.axis(node.attribute("axis", -1), rank)
    x = node.importer.plain(node.value(0))
    y = _standardised(node, x, tuple(range(first, rank)), float(node.attribute("epsilon", 1e-5)))
    return Value(_scaled(node, y, node.constant(1), node.constant(2) if node.has(2) else None))


def _group_normalization(node: OnnxNode) -> Result:
    shape, groups = node.shape(0), int(node.attribute("num_groups", 1))
    scale, bias = node.constant(1), node.constant(2)
    if len(shape) != 4 or groups < 1 or shape[1] % groups or scale.size not in (groups, shape[1]):
        raise Unsupported(f"{groups} groups do not fit {list(shape)}")
    repeats = shape[1] // scale.size  # before opset 21 one value per group
    rows = node.add("reshape", [node.importer.plain(node.value(0))], (1, groups, int(np.prod(shape)) // groups))
    y = _standardised(node, rows, (2,), float(node.attribute("epsilon", 1e-5)))
    y = node.importer.image(Value(node.add("reshape", [y], shape)))
    return Value(_scaled(node, y, np.repeat(scale, repeats), np.repeat(bias, repeats)), nhwc=True)


def _local_response_normalization(node: OnnxNode) -> Result:
    """x / (bias + alpha / size * sum of x^2 over `size` channels) ^ beta."""
    x, channels, size = node.importer.image(node.value(0)), node.shape(0)[1], int(node.attribute("size", 1))
    if channels * channels > MAX_SPREAD:
        raise Unsupported(f"{channels} channels are too many")
    offset = np.subtract.outer(np.arange(channels), np.arange(channels))  # output minus input
    near = (offset <= (size - 1) // 2) & (offset >= -((size - 1) - (size - 1) // 2))
    alpha, beta = float(node.attribute("alpha", 1e-4)), float(node.attribute("beta", 0.75))
    weight = node.importer.constant((near * (alpha / size)).reshape(channels, 1, 1, channels), "near")
    bias = node.importer.constant(np.full(channels, float(node.attribute("bias", 1.0))), "bias")
    attrs: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "padding": (0, 0, 0, 0), "activation": "log"}
    total = node.add("conv2d", [_binary(node, "mul", x, x), weight, bias], **attrs)
    factor = node.activation(_binary(node, "mul", total, node.number(-beta)), "exp")
    return Value(_binary(node, "mul", x, factor), nhwc=True)


def _lp_normalization(node: OnnxNode) -> Result:
    if node.attribute("p", 2) != 2:
        raise Unsupported("only p = 2 is supported")
    rank = len(node.shape(0))
    axis = node.axis(node.attribute("axis", -1), rank)
    nhwc = rank == 4 and axis == 1
    x = node.importer.image(node.value(0)) if nhwc else node.importer.plain(node.value(0))
    total = node.add("sum", [_binary(node, "mul", x, x)], axes=(3 if nhwc else axis,), keep_dims=True)
    return Value(_binary(node, "div", x, node.activation(total, "sqrt")), nhwc=nhwc)


def _log_softmax(node: OnnxNode) -> Result:
    rank = len(node.shape(0))
    axis = node.axis(node.attribute("axis", -1 if node.opset >= 13 else 1), rank)
    if node.opset < 13 and axis != rank - 1:
        raise Unsupported("before opset 13 only the last axis is supported")
    nhwc = rank == 4 and axis == 1
    x = node.importer.image(node.value(0)) if nhwc else node.importer.plain(node.value(0))
    axes = (3 if nhwc else axis,)
    below = _binary(node, "sub", x, node.add("reduce_max", [x], axes=axes, keep_dims=True))
    total = node.add("sum", [node.activation(below, "exp")], axes=axes, keep_dims=True)
    return Value(_binary(node, "sub", below, node.activation(total, "log")), nhwc=nhwc)


def _reduce_of(inner: str, outer: str) -> Callable[[OnnxNode], Result]:
    """A sum of squares or of absolute values, and a function of it."""

    def convert(node: OnnxNode) -> Result:
        x, rank = node.importer.plain(node.value(0)), len(node.shape(0))
        given = node.integers(1, "axes")
        axes = tuple(sorted(node.axis(axis, rank) for axis in (given if given else range(rank))))
        other = x if inner == "square" else _binary(node, "mul", x, node.number(-1))
        terms = _binary(node, "mul" if inner == "square" else "maximum", x, other)
        y = node.add("sum", [terms], axes=axes, keep_dims=bool(node.attribute("keepdims", 1)))
        return Value(node.activation(y, outer) if outer else y)

    return convert


# ---- matrices and places ------------------------------------------------------------------------------------------


def _arg(sign: int) -> Callable[[OnnxNode], Result]:
    def convert(node: OnnxNode) -> Result:
        if node.attribute("select_last_index", 0):
            raise Unsupported("select_last_index is not supported")
        x, rank = node.importer.plain(node.value(0)), len(node.shape(0))
        if sign < 0:
            x = _binary(node, "mul", x, node.number(-1))
        axis = node.axis(node.attribute("axis", 0), rank)
        y = node.add("argmax", [x], axis=axis, keep_dims=bool(node.attribute("keepdims", 1)))
        node.importer.whole_numbers.add(y)
        return Value(y)

    return convert


def _gather(node: OnnxNode) -> Result:
    """With constant indices: concatenated slices."""
    shape, indices = node.shape(0), node.constant(1)
    axis = node.axis(node.attribute("axis", 0), len(shape))
    if indices.size == 0 or np.any((indices < -shape[axis]) | (indices >= shape[axis])):
        raise Unsupported(f"its indices are not all within a dimension of {shape[axis]}")
    runs = runs_of([int(index) % shape[axis] for index in indices.reshape(-1)])
    if len(runs) > MAX_OP_INPUTS:
        raise Unsupported(f"its indices are {len(runs)} separate stretches; at most {MAX_OP_INPUTS} are supported")
    parts = [sliced(node, [run if d == axis else range(size) for d, size in enumerate(shape)]) for run in runs]
    whole = parts[0]
    if len(parts) > 1:
        joined = node.add("concat", [part.name for part in parts], axis=whole.axis(axis))
        whole = whole.like(joined)
    if indices.ndim == 1:
        return whole
    result = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    return Value(node.add("reshape", [node.importer.plain(whole)], result))


def _spread(node: OnnxNode, name: str, shape: tuple[int, ...]) -> str:
    """The tensor broadcast to `shape`."""
    if node.importer.graph.tensors[name].shape == shape:
        return name
    if np.prod(shape, dtype=np.float64) > MAX_SPREAD:
        raise Unsupported(f"it broadcasts to {list(shape)}, which is too large")
    return _binary(node, "add", name, node.importer.constant(np.zeros(shape), "zeros"))


def _expand(node: OnnxNode) -> Result:
    shape = np.broadcast_shapes(node.shape(0), tuple(int(size) for size in node.constant(1)))
    return Value(_spread(node, node.importer.plain(node.value(0)), shape))


def _tile(node: OnnxNode) -> Result:
    shape, repeats = list(node.shape(0)), [int(count) for count in node.constant(1).reshape(-1)]
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise Unsupported(f"repeats {repeats} do not fit {shape}")
    name = node.importer.plain(node.value(0))
    single = [count if size == 1 else size for size, count in zip(shape, repeats, strict=True)]
    name = _spread(node, name, tuple(single))
    for axis, count in enumerate(repeats):
        if count == 1 or shape[axis] == 1:
            continue
        if count > MAX_OP_INPUTS:
            raise Unsupported(f"it repeats a dimension {count} times; at most {MAX_OP_INPUTS} are supported")
        name = node.add("concat", [name] * count, axis=axis)
    return Value(name)


def _grid_sample(node: OnnxNode) -> Result:
    """Sampling at positions from -1 to 1; beyond the image either zeros or its border."""
    x, (_, _, height, width) = node.importer.image(node.value(0)), node.shape(0)
    mode, beyond = node.attribute("mode", "linear"), node.attribute("padding_mode", "zeros")
    if mode not in ("linear", "bilinear") or beyond not in ("zeros", "border") or len(node.shape(0)) != 4:
        raise Unsupported(f"mode {mode} with padding {beyond} is not supported")
    if node.value(1).data is not None:
        raise Unsupported("a constant grid is not supported")
    size = np.array([width, height], np.float64)
    scale = (size - 1) / 2 if node.attribute("align_corners", 0) else size / 2
    at = _binary(node, "mul", node.importer.plain(node.value(1)), node.importer.constant(scale, "scale"))
    at = _binary(node, "add", at, node.importer.constant((size - 1) / 2, "middle"))
    if beyond == "border":
        at = _binary(node, "minimum", _binary(node, "maximum", at, node.number(0)), node.importer.constant(size - 1))
    else:  # half a pixel beyond the border has half the border's value: as if there were a row of zeros
        x = node.add("pad", [x], pads=((0, 0), (1, 1), (1, 1), (0, 0)), pad_value=0.0, pad_mode="constant")
        at = _binary(node, "add", at, node.number(1))
    return Value(node.add("sample_bilinear", [x, at]), nhwc=True)


FUNCTIONS: dict[str, Callable[[OnnxNode], Result]] = {
    "Exp": unary("exp"),
    "Log": unary("log"),
    "Sqrt": unary("sqrt"),
    "Erf": unary("erf"),
    "Softplus": unary("softplus"),
    "Gelu": _gelu,
    "Reciprocal": _reciprocal,
    "Mish": _mish,
    "Softsign": _softsign,
    "Selu": _selu,
    "Celu": _celu,
    "Pow": _pow,
    "Mean": _mean_of_inputs,
    "Greater": _comparison("greater"),
    "Less": _comparison("greater", swap=True),
    "GreaterOrEqual": _comparison("greater", swap=True, opposite=True),
    "LessOrEqual": _comparison("greater", opposite=True),
    "Equal": _comparison("equal"),
    "And": lambda node: node.combined("mul"),
    "Or": lambda node: node.combined("maximum"),
    "Not": lambda node: _opposite(node, node.value(0)),
    "Where": _where,
    "Sign": _sign,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "GroupNormalization": _group_normalization,
    "LRN": _local_response_normalization,
    "LpNormalization": _lp_normalization,
    "LogSoftmax": _log_softmax,
    "ReduceL1": _reduce_of("size", ""),
    "ReduceL2": _reduce_of("square", "sqrt"),
    "ReduceSumSquare": _reduce_of("square", ""),
    "ArgMax": _arg(1),
    "ArgMin": _arg(-1),
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "GridSample": _grid_sample,
}
