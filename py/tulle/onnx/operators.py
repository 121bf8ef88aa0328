"""How each ONNX op becomes nodes of the Graph: the table `CONVERTERS`, by op type.

A converter returns the value of its node's output, or a list of them, or raises `Unsupported` saying what about the
node tulle cannot run. Semantics: the ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tulle.errors import Unsupported
from tulle.graph import Quantization
from tulle.graph.geometry import same_padding
from tulle.onnx.values import TO_NCHW, TO_NHWC, Importer, Value
from tulle.ops.convolution import MAX_UNGROUPED
from tulle.tflite.quantized import CLAMPED, implied_activation

Result = Value | list[Value]
# The scale that DynamicQuantizeLinear pretends to have chosen. Biases are rounded to multiples of it, so it is small.
DYNAMIC_SCALE = 2**-10
FLOATS = (1, 10, 11)  # TensorProto's float, float16 and double


class OnnxNode:
    """One node of the ONNX model, with its inputs looked up."""

    def __init__(self, importer: Importer, proto: Any, opset: int) -> None:
        self.importer, self.proto, self.opset = importer, proto, opset

    def attribute(self, name: str, default: Any) -> Any:
        from onnx import helper

        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return default

    def has(self, index: int) -> bool:
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def value(self, index: int) -> Value:
        if not self.has(index):
            raise Unsupported(f"input {index} is missing")
        return self.importer.values[self.proto.input[index]]

    def shape(self, index: int) -> tuple[int, ...]:
        return self.importer.shape(self.value(index))

    def operand(self, index: int) -> Value:
        """The value as a tensor of the Graph, in its order there: an image's or ONNX's."""
        value = self.value(index)
        return value if value.data is None and not value.line else Value(self.importer.plain(value))

    def elements(self, index: int) -> Value:
        """The same for ops that work in any order, so signals may stay as they are."""
        value = self.value(index)
        return value if value.line else self.operand(index)

    def picture(self, index: int) -> tuple[Value, tuple[int, ...]]:
        """The value as convolutions take it, and its shape [1, H, W, C]: a signal has one row."""
        value = self.importer.picture(self.value(index))
        return value, self.importer.graph.tensors[value.name].shape

    def constant(self, index: int) -> np.ndarray:
        data = self.value(index).data
        if data is None:
            raise Unsupported(f"input {self.proto.input[index]!r} is computed while running; it must be a constant")
        if data.dtype.kind == "c":
            raise Unsupported(f"input {self.proto.input[index]!r} holds complex numbers")
        return data

    def scalar(self, index: int) -> float:
        data = self.constant(index)
        if data.size != 1:
            raise Unsupported(f"input {self.proto.input[index]!r} has {data.size} values instead of one")
        return float(data.reshape(-1)[0])

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """A list that newer opsets take from an input and older ones from an attribute; None if there is neither."""
        if self.has(index):
            return [int(value) for value in self.constant(index).reshape(-1)]
        found = self.attribute(attribute, None)
        return None if found is None else [int(value) for value in found]

    def axis(self, value: int, rank: int) -> int:
        if not -rank <= value < rank:
            raise Unsupported(f"axis {value} is out of range for rank {rank}")
        return value % rank

    def add(self, op: str, inputs: list[str | None], shape: tuple[int, ...] | None = None, **attrs: Any) -> str:
        return self.importer.add(op, inputs, shape, **attrs)

    def combined(self, op: str) -> Value:
        """All inputs, joined by a binary op: Max, Min and Sum take any number."""
        result = self.value(0)
        for index in range(1, len(self.proto.input)):
            result = combine(self, op, result, self.second(index))
        return result

    def second(self, index: int = 1) -> Value:
        """The second operand of a broadcasting op: aligned at `axis` before opset 7, then at the last dimension."""
        value, axis = self.value(index), self.attribute("axis", None)
        if self.opset >= 7 or axis is None or not self.attribute("broadcast", 0):
            return value
        first, shape = self.shape(0), self.importer.shape(value)
        shape = (*shape, *[1] * (len(first) - self.axis(axis, len(first)) - len(shape)))
        if value.data is not None:
            return Value(data=value.data.reshape(shape))
        return Value(self.add("reshape", [self.importer.plain(value)], shape))

    def number(self, value: float) -> str:
        return self.importer.constant(value)

    def activation(self, x: str, activation: str, **attrs: Any) -> str:
        return self.add("activation", [x], activation=activation, **attrs)


# ---- convolutions and pools ---------------------------------------------------------------------------------------


def _padding(
    node: OnnxNode, size: tuple[int, int], kernel: tuple[int, int], strides: Any, dilations: Any
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right)."""
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [same_padding(*dims) for dims in zip(size, kernel, strides, dilations, strict=True)]
        (top, bottom), (left, right) = pairs if auto == "SAME_UPPER" else [pair[::-1] for pair in pairs]
        return top, bottom, left, right
    pads = node.attribute("pads", [0] * 4) if auto == "NOTSET" else [0] * 4
    top, left, bottom, right = pads if len(pads) == 4 else (0, pads[0], 0, pads[1])
    if min(top, left, bottom, right) < 0:
        raise Unsupported("negative pads are not supported")
    return top, bottom, left, right


def _pair(node: OnnxNode, name: str, default: Any = (1, 1)) -> tuple[int, int]:
    values = node.attribute(name, list(default))
    if len(values) == 1:  # of a signal, which is an image of one row
        values = [default[0] if default else 1, *values]
    if len(values) != 2:
        raise Unsupported(f"{name} {list(values)} are not for images")
    return int(values[0]), int(values[1])


def _conv(node: OnnxNode) -> Result:
    return _convolution(node, node.constant(1), node.constant(2) if node.has(2) else None)


def _convolution(node: OnnxNode, weight: np.ndarray, biases: np.ndarray | None) -> Value:
    (x, (_, height, width, channels)), weight = node.picture(0), _of_picture(node, weight)
    groups, kernel = node.attribute("group", 1), weight.shape[2:]
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    bias = None if biases is None else node.importer.constant(biases, "bias")
    attrs: dict[str, Any] = {
        "strides": strides, "dilations": dilations, "activation": "none",
        "padding": _padding(node, (height, width), (kernel[0], kernel[1]), strides, dilations),
    }  # fmt: skip
    if groups < 1 or weight.shape[1] * groups != channels or weight.shape[0] % groups:
        raise Unsupported(f"weights {list(weight.shape)} in {groups} groups do not fit {channels} channels")
    if groups == channels and groups > 1:
        name = node.importer.constant(weight.transpose(1, 2, 3, 0), "weight")
        return x.like(node.add("depthwise_conv2d", [x.name, name, bias], **attrs))
    if groups > 1:
        weight = _ungrouped(weight, groups)
    name = node.importer.constant(weight.transpose(0, 2, 3, 1), "weight")
    return x.like(node.add("conv2d", [x.name, name, bias], **attrs))


def _of_picture(node: OnnxNode, weight: np.ndarray) -> np.ndarray:
    """[out, in, height, width] for an image; a signal's [out, in, length] get one row."""
    if weight.ndim != len(node.shape(0)):
        raise Unsupported(f"weights {list(weight.shape)} do not fit the input {list(node.shape(0))}")
    return weight if weight.ndim == 4 else weight[:, :, np.newaxis]


def _ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """The weights of a convolution over all channels, with zeros between groups (which sparse kernels skip)."""
    if weight.size * groups > MAX_UNGROUPED:
        raise Unsupported(f"weights {list(weight.shape)} in {groups} groups are too many to run as one convolution")
    out, inputs = weight.shape[0] // groups, weight.shape[1]
    result = np.zeros((weight.shape[0], inputs * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        result[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return result


def _conv_transpose(node: OnnxNode) -> Result:
    (x, (_, height, width, channels)), weight = node.picture(0), _of_picture(node, node.constant(1))
    groups, strides = node.attribute("group", 1), _pair(node, "strides")
    if weight.shape[0] != channels or channels % max(1, groups):
        raise Unsupported(f"weights {list(weight.shape)} in {groups} groups do not fit {channels} channels")
    if _pair(node, "dilations") != (1, 1):
        raise Unsupported("dilations are not supported")
    weight = weight.transpose(1, 0, 2, 3)  # [out of a group, in, kh, kw]
    if groups > 1:
        parts = np.split(weight, groups, axis=1)
        weight = _ungrouped(np.concatenate(parts), groups)
    extra = _pair(node, "output_padding", (0, 0))
    whole = [(size - 1) * stride + kernel + more for size, stride, kernel, more
             in zip((height, width), strides, weight.shape[2:], extra, strict=True)]  # fmt: skip
    pads = _transpose_padding(node, (height, width), whole, strides)
    out_h, out_w = whole[0] - pads[0] - pads[1], whole[1] - pads[2] - pads[3]
    if min(out_h, out_w) < 1:
        raise Unsupported("its pads leave nothing of the output")
    name = node.importer.constant(weight.transpose(0, 2, 3, 1), "weight")
    bias = node.importer.constant(node.constant(2), "bias") if node.has(2) else None
    y = node.add(
        "transpose_conv2d", [x.name, name, bias], (1, out_h, out_w, weight.shape[0]),
        strides=strides, padding=pads,
    )  # fmt: skip
    return x.like(y)


def _transpose_padding(node: OnnxNode, size: tuple[int, int], whole: list[int], strides: Any) -> tuple[int, ...]:
    """The rows and columns (top, bottom, left, right) cropped off the `whole` output that the input reaches."""
    auto, stated = node.attribute("auto_pad", "NOTSET"), node.attribute("output_shape", None)
    if stated is None and auto not in ("SAME_UPPER", "SAME_LOWER"):
        return _padding(node, size, (1, 1), strides, (1, 1))
    if stated is not None:
        out = [1, stated[-1]] if len(node.shape(0)) == 3 else stated[-2:]
    else:
        out = [count * stride for count, stride in zip(size, strides, strict=True)]
    pads: list[int] = []
    for reach, wanted in zip(whole, out, strict=True):
        total = reach - int(wanted)
        if total < 0:
            raise Unsupported(f"its input does not reach {wanted} rows or columns")
        less, more = total // 2, total - total // 2
        pads += [less, more] if auto == "SAME_UPPER" else [more, less]
    return tuple(pads)


def _pool(op: str) -> Callable[[OnnxNode], Result]:
    def convert(node: OnnxNode) -> Result:
        x, (_, height, width, _) = node.picture(0)
        name = x.name
        kernel, strides = _pair(node, "kernel_shape", ()), _pair(node, "strides")
        if _pair(node, "dilations") != (1, 1):
            raise Unsupported("dilated pools are not supported")
        top, bottom, left, right = _padding(node, (height, width), kernel, strides, (1, 1))
        counts_pad = op == "average_pool2d" and node.attribute("count_include_pad", 0)
        if counts_pad and (top, bottom, left, right) != (0, 0, 0, 0):
            pads = ((0, 0), (top, bottom), (left, right), (0, 0))
            name = node.add("pad", [name], pads=pads, pad_value=0.0, pad_mode="constant")
            height, width = height + top + bottom, width + left + right
            top = bottom = left = right = 0
        if node.attribute("ceil_mode", 0):  # a last window that begins inside, and may end beyond
            bottom += _beyond(height, top + bottom, top, kernel[0], strides[0])
            right += _beyond(width, left + right, left, kernel[1], strides[1])
        padding = (top, bottom, left, right)
        return x.like(node.add(op, [name], kernel=kernel, strides=strides, padding=padding))

    return convert


def _beyond(size: int, pads: int, before: int, kernel: int, stride: int) -> int:
    """Padding that ceil_mode adds at the end: a window counts if it begins within the image."""
    rest = (size + pads - kernel) % stride
    begins = (size + pads - kernel) // stride * stride + stride
    return stride - rest if rest and begins < size + before else 0


def _batch_normalization(node: OnnxNode) -> Result:
    if node.attribute("training_mode", 0):
        raise Unsupported("training mode is not supported")
    gamma, beta, mean, variance = (node.constant(index).astype(np.float64) for index in range(1, 5))
    scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    rank = len(node.shape(0))
    if rank not in (2, 3, 4):
        raise Unsupported(f"only [1, C, H, W], [1, C, L] and [N, C] are supported, not {list(node.shape(0))}")
    x = node.operand(0) if rank == 2 else node.picture(0)[0]
    y = node.add("mul", [x.name, node.importer.constant(scale, "scale")])
    y = node.add("add", [y, node.importer.constant(beta - mean * scale, "shift")])
    return x.like(y)


def _global_pool(op: str) -> Callable[[OnnxNode], Result]:
    def convert(node: OnnxNode) -> Result:
        x, (_, height, width, _) = node.picture(0)
        if op == "mean":
            return x.like(node.add("mean", [x.name], axes=(1, 2), keep_dims=True))
        kernel = height, width
        attrs: dict[str, Any] = {"kernel": kernel, "strides": (1, 1), "padding": (0, 0, 0, 0), "activation": "none"}
        return x.like(node.add("max_pool2d", [x.name], **attrs))

    return convert


# ---- elementwise --------------------------------------------------------------------------------------------------


def combine(node: OnnxNode, op: str, a: Value, b: Value) -> Value:
    line = (a.line or b.line) and max(len(node.importer.shape(value)) for value in (a, b)) == 3
    nhwc = not line and any(value.nhwc and not value.line for value in (a, b))
    names: list[str | None] = []
    for value in (a, b):
        rank = len(node.importer.shape(value))
        if line:
            names.append(_in_line(node, value))
            continue
        if not nhwc:
            names.append(node.importer.plain(value))
        elif value.data is not None and value.data.size == 1:
            names.append(node.importer.constant(value.data.reshape(1)))
        elif value.data is not None and rank <= 4:
            data = value.data.reshape(*[1] * (4 - rank), *value.data.shape).transpose(TO_NHWC)
            one_a_channel = data.shape[-1] == data.size
            names.append(node.importer.constant(data.reshape(-1) if one_a_channel else data))
        elif rank == 4:
            names.append(node.importer.image(value))
        else:  # an activation of lower rank: ONNX aligns it at the last dimension
            shape = node.importer.shape(value)
            image = node.add("reshape", [node.importer.plain(value)], (*[1] * (4 - rank), *shape))
            names.append(node.importer.image(Value(image)))
    return Value(node.add(op, names), nhwc=nhwc or line, line=line)


def _in_line(node: OnnxNode, value: Value) -> str:
    """An operand of an op on signals: ONNX aligns shapes at the last dimension."""
    shape = node.importer.shape(value)
    if value.data is not None:
        data = value.data.reshape(*[1] * (3 - len(shape)), *shape)
        one_a_channel = data.shape[1] == data.size
        return node.importer.constant(data.reshape(-1)) if one_a_channel else node.importer.line(Value(data=data))
    if len(shape) < 3:
        value = Value(node.add("reshape", [node.importer.plain(value)], (*[1] * (3 - len(shape)), *shape)))
    return node.importer.line(value)


def unary(activation: str, **defaults: float) -> Callable[[OnnxNode], Result]:
    """An activation; `defaults`: its attributes with ONNX's default values."""

    def convert(node: OnnxNode) -> Result:
        x = node.elements(0)
        attrs = {key: float(node.attribute(key, value)) for key, value in defaults.items()}
        return x.like(node.activation(x.name, activation, **attrs))

    return convert


def _clip(node: OnnxNode) -> Result:
    if any(node.has(index) and node.value(index).data is None for index in (1, 2)):
        return _clip_to_computed(node)
    x = node.elements(0)
    low = node.scalar(1) if node.has(1) else float(node.attribute("min", -np.inf))
    high = node.scalar(2) if node.has(2) else float(node.attribute("max", np.inf))
    named = {(0.0, float("inf")): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1"}.get((low, high))
    if named:
        return x.like(node.activation(x.name, named))
    name = x.name
    if low > -3e38:
        name = node.add("maximum", [name, node.number(low)])
    if high < 3e38:
        name = node.add("minimum", [name, node.number(high)])
    return x.like(name)


def _clip_to_computed(node: OnnxNode) -> Result:
    y = combine(node, "maximum", node.value(0), node.value(1)) if node.has(1) else node.value(0)
    return combine(node, "minimum", y, node.value(2)) if node.has(2) else y


def _prelu(node: OnnxNode) -> Result:
    slope, rank = node.constant(1), len(node.shape(0))
    if node.opset < 7 and slope.ndim == 1 and rank > 1:  # one value per channel; from opset 7 on aligned at the end
        slope = slope.reshape(-1, *[1] * (rank - 2))
    aligned = (1,) * (rank - slope.ndim) + slope.shape
    a_channel = rank in (2, 3, 4) and slope.size == aligned[1] == node.shape(0)[1]
    if slope.size == 1 or a_channel:
        x = node.picture(0)[0] if rank in (3, 4) else node.operand(0)
        alpha = node.importer.constant(slope.reshape(-1) if rank else slope, "slope")
        return x.like(node.add("activation", [x.name, alpha], activation="prelu"))
    if len(aligned) > rank or any(size not in (1, own) for size, own in zip(aligned, node.shape(0), strict=True)):
        raise Unsupported(f"a slope of shape {list(slope.shape)} does not fit {list(node.shape(0))}")
    # Slopes that vary over the image: max(x, 0) + slope * min(x, 0).
    x = node.elements(0)
    positive, negative = (
        node.activation(x.name, "relu"),
        node.add("minimum", [x.name, node.number(0)]),
    )
    return combine(node, "add", x.like(positive), combine(node, "mul", x.like(negative), Value(data=slope)))


def _hard_sigmoid(node: OnnxNode) -> Result:
    """max(0, min(1, alpha * x + beta))."""
    x = node.elements(0)
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    y = node.add("mul", [x.name, node.number(alpha)])
    y = node.add("add", [y, node.number(beta)], activation="relu")
    return x.like(node.add("minimum", [y, node.number(1.0)]))


def _neg(node: OnnxNode) -> Result:
    x = node.elements(0)
    return x.like(node.add("mul", [x.name, node.number(-1)]))


def _abs(node: OnnxNode) -> Result:
    x = node.elements(0)
    opposite = node.add("mul", [x.name, node.number(-1)])
    return x.like(node.add("maximum", [x.name, opposite]))


def _same(node: OnnxNode) -> Result:
    return node.value(0)


def _quantize(node: OnnxNode) -> Result:
    """Notes the integers that the tensor is rounded to, and restores an activation that quantisers leave out because
    the range of these implies it."""
    x = node.value(0)
    if x.data is not None or node.constant(1).size != 1:
        return x
    zero_point = node.constant(2) if node.has(2) else np.zeros(1, np.uint8)
    if zero_point.dtype.itemsize != 1:
        return x
    levels = Quantization(zero_point.dtype.name, float(node.scalar(1)), int(zero_point.reshape(-1)[0]))
    producer = node.importer.producers.get(x.name)
    if producer is not None and producer.op in CLAMPED:
        limits = np.iinfo(zero_point.dtype)
        ends = (float((end - levels.zero_point) * levels.scale) for end in (limits.min, limits.max))
        name = implied_activation(*ends)
        if name != "none":
            x = x.like(node.activation(x.name, name))
    if levels.is_valid:
        node.importer.graph.tensors[x.name].levels = levels
    return x


def _dynamic_quantize(node: OnnxNode) -> Result:
    """The tensor itself instead of its integers; the weights it is multiplied with compensate for the scale."""
    node.importer.unrounded.add(node.proto.output[0])
    return [node.value(0), Value(data=np.array(DYNAMIC_SCALE, np.float32)), Value(data=np.zeros((), np.uint8))]


def _integer_weights(node: OnnxNode, axis: int) -> np.ndarray:
    """Weights minus their zero point, of which there may be one for each index of `axis`."""
    if node.proto.input[0] not in node.importer.unrounded:
        raise Unsupported("its input is not what DynamicQuantizeLinear computes")
    weight, zero = node.constant(1).astype(np.float32), node.constant(3) if node.has(3) else np.zeros(1)
    along = [1] * weight.ndim
    along[axis] = zero.size
    return np.asarray((weight - zero.reshape(along)) / DYNAMIC_SCALE, np.float32)


def _matmul_integer(node: OnnxNode) -> Result:
    if len(node.constant(1).shape) != 2:
        raise Unsupported(f"weights {list(node.constant(1).shape)} are not supported")
    return _product(node, _integer_weights(node, 1))


def _cast(node: OnnxNode) -> Result:
    value = node.value(0)
    if node.attribute("to", 1) not in FLOATS and value.name not in node.importer.whole_numbers:
        raise Unsupported("only casts to floats are supported")
    return value


def _softmax(node: OnnxNode) -> Result:
    x, shape = node.value(0), node.shape(0)
    rank = len(shape)
    axis = node.axis(node.attribute("axis", -1 if node.opset >= 13 else 1), rank)
    if node.opset < 13 and axis != rank - 1:  # over all dimensions from axis on
        rows, columns = int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))
        y = node.add("softmax", [node.add("reshape", [node.importer.plain(x)], (rows, columns))], beta=1.0)
        return Value(node.add("reshape", [y], shape))
    if rank == 4 and axis == 1:
        return Value(node.add("softmax", [node.importer.image(x)], beta=1.0), nhwc=True)
    name = node.importer.plain(x)
    if axis == rank - 1:
        return Value(node.add("softmax", [name], beta=1.0))
    perm = tuple(d for d in range(rank) if d != axis) + (axis,)
    y = node.add("softmax", [node.add("transpose", [name], perm=perm)], beta=1.0)
    return Value(node.add("transpose", [y], perm=tuple(int(i) for i in np.argsort(perm))))


# ---- matrices -----------------------------------------------------------------------------------------------------


def _gemm(node: OnnxNode) -> Result:
    weight = node.constant(1).astype(np.float32) * np.float32(node.attribute("alpha", 1.0))
    weight = weight if node.attribute("transB", 0) else weight.T
    if node.attribute("transA", 0) or weight.ndim != 2:
        raise Unsupported("a transposed first operand is not supported")
    bias = None
    if node.has(2):
        values = node.constant(2).astype(np.float32) * np.float32(node.attribute("beta", 1.0))
        if values.size != 1 and not values.shape[-1:] == (values.size,) == weight.shape[:1]:
            raise Unsupported(f"a bias of shape {list(values.shape)} is not one number an output")
        bias = node.importer.constant(np.broadcast_to(values.reshape(-1), weight.shape[:1]), "bias")
    name = node.importer.constant(weight, "weight")
    x = node.importer.plain(node.value(0))
    return Value(node.add("fully_connected", [x, name, bias], keep_num_dims=True))


def _matmul(node: OnnxNode) -> Result:
    weight = node.value(1).data
    if weight is not None and weight.ndim == 2:
        return _product(node, weight)
    if min(len(node.shape(0)), len(node.shape(1))) < 2:
        raise Unsupported("products with a vector are not supported")
    return Value(node.add("matmul", [node.importer.plain(node.value(0)), node.importer.plain(node.value(1))]))


def _product(node: OnnxNode, weight: np.ndarray) -> Value:
    name, x = node.importer.constant(weight.T, "weight"), node.importer.plain(node.value(0))
    return Value(node.add("fully_connected", [x, name, None], keep_num_dims=True))


def _reduce(op: str) -> Callable[[OnnxNode], Result]:
    def convert(node: OnnxNode) -> Result:
        x, rank, keep = node.value(0), len(node.shape(0)), bool(node.attribute("keepdims", 1))
        given = node.integers(1, "axes")
        axes = tuple(sorted(node.axis(axis, rank) for axis in (given if given else range(rank))))
        if axes == (2, 3) and rank == 4:
            y = node.add(op, [node.importer.image(x)], axes=(1, 2), keep_dims=True)
            if keep:
                return Value(y, nhwc=True)
            return Value(node.add("reshape", [y], node.shape(0)[:2]))
        return Value(node.add(op, [node.importer.plain(x)], axes=axes, keep_dims=keep))

    return convert


# ---- shapes -------------------------------------------------------------------------------------------------------


def _reshaped(node: OnnxNode, shape: tuple[int, ...]) -> Value:
    return Value(node.add("reshape", [node.importer.plain(node.value(0))], shape))


def _reshape(node: OnnxNode) -> Result:
    wanted, given = node.integers(1, "shape") or [], node.shape(0)
    if not node.attribute("allowzero", 0):
        wanted = [given[i] if size == 0 and i < len(given) else size for i, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = int(np.prod([size for size in wanted if size != -1]))
        wanted[wanted.index(-1)] = int(np.prod(given)) // max(1, rest)
    if int(np.prod(wanted)) != int(np.prod(given)) or min(wanted, default=1) < 1:
        raise Unsupported(f"{list(given)} cannot become {wanted}")
    return _reshaped(node, tuple(wanted))


def _flatten(node: OnnxNode) -> Result:
    shape, axis = node.shape(0), node.attribute("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return _reshaped(node, (int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))))


def _squeeze(node: OnnxNode) -> Result:
    shape, given = node.shape(0), node.integers(1, "axes")
    axes = [i for i, size in enumerate(shape) if size == 1] if given is None else given
    dropped = {node.axis(axis, len(shape)) for axis in axes}
    return _reshaped(node, tuple(size for i, size in enumerate(shape) if i not in dropped))


def _unsqueeze(node: OnnxNode) -> Result:
    shape, axes = list(node.shape(0)), node.integers(1, "axes") or []
    for axis in sorted(node.axis(axis, len(shape) + len(axes)) for axis in axes):
        shape.insert(axis, 1)
    return _reshaped(node, tuple(shape))


def _transpose(node: OnnxNode) -> Result:
    rank = len(node.shape(0))
    perm = tuple(node.attribute("perm", list(range(rank))[::-1]))
    x = node.operand(0)
    if x.nhwc and perm == TO_NHWC:
        return Value(x.name)  # the Graph has it in that order already
    if not x.nhwc and rank == 4 and perm == TO_NCHW:
        return Value(x.name, nhwc=True)
    return Value(node.add("transpose", [node.importer.plain(x)], perm=perm))


def _concat(node: OnnxNode) -> Result:
    values = [node.value(index) for index in range(len(node.proto.input))]
    rank = len(node.shape(0))
    axis = node.axis(node.attribute("axis", 0), rank)
    if any(value.line for value in values):
        signals: list[str | None] = [node.importer.line(value) for value in values]
        y = node.add("concat", signals, axis=(0, 3, 2)[axis])
        return Value(y, nhwc=True, line=True)
    nhwc = any(value.nhwc for value in values)
    names: list[str | None] = [node.importer.image(v) if nhwc else node.importer.plain(v) for v in values]
    return Value(node.add("concat", names, axis=TO_NHWC.index(axis) if nhwc else axis), nhwc=nhwc)


def sliced(node: OnnxNode, spans: list[range]) -> Value:
    """The elements in `spans`, one per dimension in ONNX's order."""
    x = node.operand(0)
    spans = [spans[axis] for axis in TO_NHWC] if x.nhwc else spans
    if any(len(span) == 0 for span in spans):
        raise Unsupported("a slice would be left empty")
    begin, strides = tuple(span.start for span in spans), tuple(span.step for span in spans)
    shape = tuple(len(span) for span in spans)
    return x.like(node.add("slice", [x.name], shape, begin=begin, strides=strides))


def _slice(node: OnnxNode) -> Result:
    shape = node.shape(0)
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    if starts is None or ends is None or len(starts) != len(ends):
        raise Unsupported("it has no fitting starts and ends")
    axes = node.integers(3, "axes") or list(range(len(starts)))
    steps = node.integers(4, "steps") or [1] * len(starts)
    if not len(axes) == len(steps) == len(starts) or 0 in steps:
        raise Unsupported("its axes or steps do not fit")
    spans = [range(size) for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = node.axis(axis, len(shape))
        # Negative numbers count from the end, as in Python, but an end far below zero is before the first element.
        spans[at] = range(shape[at])[slice(start, None if step < 0 and end < -shape[at] else end, step)]
    return sliced(node, spans)


def _split(node: OnnxNode) -> Result:
    shape = node.shape(0)
    axis = node.axis(node.attribute("axis", 0), len(shape))
    count = len(node.proto.output)
    part = -(-shape[axis] // count)
    sizes = node.integers(1, "split") or [min(part, shape[axis] - i * part) for i in range(count)]
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise Unsupported(f"parts of {sizes} do not fit {count} outputs and a dimension of {shape[axis]}")
    results, at = [], 0
    for size in sizes:
        spans = [range(at, at + size) if i == axis else range(whole) for i, whole in enumerate(shape)]
        results.append(sliced(node, spans))
        at += size
    return results


def _pad(node: OnnxNode) -> Result:
    x, rank = node.operand(0), len(node.shape(0))
    pads, mode = node.integers(1, "pads") or [], node.attribute("mode", "constant")
    value = node.scalar(2) if node.has(2) else float(node.attribute("value", 0.0))
    if node.has(3) or len(pads) != 2 * rank or mode not in ("constant", "reflect"):
        raise Unsupported(f"padding of mode {mode} with pads {pads} is not supported")
    if min(pads) < 0:
        raise Unsupported("negative pads are not supported")
    pairs = [(pads[i], pads[i + rank]) for i in range(rank)]
    pairs = [pairs[axis] for axis in TO_NHWC] if x.nhwc else pairs
    return x.like(node.add("pad", [x.name], pads=tuple(pairs), pad_value=value, pad_mode=mode))


def _resize(node: OnnxNode) -> Result:
    x = node.importer.image(node.value(0))
    _, channels, height, width = node.shape(0)
    upsample = node.proto.op_type == "Upsample"
    scales_at = 1 if upsample or node.opset < 11 else 2
    if not upsample and node.has(3):
        sizes = [int(size) for size in node.constant(3)]
        if node.attribute("axes", None) is not None:
            raise Unsupported("axes are not supported")
        out = sizes[2:]
    else:
        scales = node.constant(scales_at) if node.has(scales_at) else np.array(node.attribute("scales", []))
        if scales.size != 4 or tuple(scales[:2]) != (1, 1):
            raise Unsupported(f"scales {scales.tolist()} do not leave batch and channels as they are")
        exact = [height * float(scales[2]), width * float(scales[3])]
        out = [int(size) for size in exact]
        if any(abs(size - whole) > 1e-4 for size, whole in zip(exact, out, strict=True)):
            out = [round(size) for size in exact]
            if any(abs(size - whole) > 1e-4 for size, whole in zip(exact, out, strict=True)):
                raise Unsupported(f"scales {scales.tolist()} do not lead to whole pixels")
    if len(out) != 2 or min(out) < 1:
        raise Unsupported(f"it makes an image of {out} pixels")
    mode = node.attribute("mode", "nearest")
    how = (
        "asymmetric" if upsample or node.opset < 11 else node.attribute("coordinate_transformation_mode", "half_pixel")
    )
    shape = (1, out[0], out[1], channels)
    if mode == "nearest":
        rounding = node.attribute("nearest_mode", "floor" if upsample or node.opset < 11 else "round_prefer_floor")
        # With an integer factor every pixel becomes a block of equal ones, however coordinates are rounded.
        blocks = out[0] % height == 0 and out[1] % width == 0
        if not ((how, rounding) == ("asymmetric", "floor") or (blocks and (how, rounding) in _BLOCKS)):
            raise Unsupported(f"nearest with {how} and {rounding} is not supported")
        attrs = {"align_corners": False, "half_pixel_centers": False}
        return Value(node.add("resize_nearest", [x], shape, **attrs), nhwc=True)
    if mode not in ("linear", "bilinear") or how not in (
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
    ):
        raise Unsupported(f"mode {mode} with {how} is not supported")
    if node.attribute("antialias", 0):
        raise Unsupported("antialias is not supported")
    if how == "pytorch_half_pixel" and 1 in out:
        raise Unsupported("pytorch_half_pixel to one pixel is not supported")
    attrs = {"align_corners": how == "align_corners", "half_pixel_centers": "half_pixel" in how}
    return Value(node.add("resize_bilinear", [x], shape, **attrs), nhwc=True)


_BLOCKS = {("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
           ("pytorch_half_pixel", "round_prefer_floor")}  # fmt: skip


def _depth_to_space(node: OnnxNode) -> Result:
    x, block = node.importer.image(node.value(0)), node.attribute("blocksize", 1)
    _, channels, height, width = node.shape(0)
    if block < 1 or channels % (block * block):
        raise Unsupported(f"{channels} channels are not a multiple of blocksize squared")
    if node.attribute("mode", "DCR") == "DCR":
        return Value(node.add("depth_to_space", [x], block=block), nhwc=True)
    left = channels // (block * block)  # CRD, as in PyTorch's PixelShuffle: channels vary slowest
    y = node.add("reshape", [x], (1, height, width, left, block * block))
    y = node.add("transpose", [y], perm=(0, 1, 2, 4, 3))  # as DCR, after which the channels are reordered
    y = node.add("reshape", [y], (1, height, width, channels))
    return Value(node.add("depth_to_space", [y], block=block), nhwc=True)


def _space_to_depth(node: OnnxNode) -> Result:
    x, block = node.importer.image(node.value(0)), node.attribute("blocksize", 1)
    return Value(node.add("space_to_depth", [x], block=block), nhwc=True)


CONVERTERS: dict[str, Callable[[OnnxNode], Result]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool("max_pool2d"),
    "AveragePool": _pool("average_pool2d"),
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("max_pool2d"),
    "BatchNormalization": _batch_normalization,
    "Relu": unary("relu"),
    "Sigmoid": unary("sigmoid"),
    "Tanh": unary("tanh"),
    "HardSwish": unary("hard_swish"),
    "LeakyRelu": unary("leaky_relu", alpha=0.01),
    "Elu": unary("elu", alpha=1.0),
    "PRelu": _prelu,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "Neg": _neg,
    "Abs": _abs,
    "Softmax": _softmax,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("reduce_max"),
    "ReduceMin": _reduce("reduce_min"),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    **dict.fromkeys(("Identity", "Dropout", "DequantizeLinear"), _same),
    "QuantizeLinear": _quantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "ConvInteger": lambda node: _convolution(node, _integer_weights(node, 0), None),
    "MatMulInteger": _matmul_integer,
    "Cast": _cast,
}
