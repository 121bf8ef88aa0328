"""Convolutions: conv2d, depthwise_conv2d, transpose_conv2d. Weights are TensorFlow Lite's."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import Unsupported
from tulle.graph.geometry import explicit_padding, transpose_padding
from tulle.graph.graph import Graph, Node
from tulle.ops import attributes as attribute
from tulle.ops.batches import image_first, image_last, padded
from tulle.ops.channels import Channels, Known, bias_of, foldable, no_input, replace_constant, unfollowed
from tulle.ops.layout import CHW, Layout
from tulle.ops.op import Example, Input, Op, Operator, Weights
from tulle.ops.shapes import Shape, Shapes, check_bias, image, operand, require, window
from tulle.ops.windows import (
    fused_option,
    kernel_size,
    picture,
    read_window,
    window_attributes,
    window_options,
    windows,
)

if TYPE_CHECKING:
    from tulle.tflite.call import Call

# A convolution with at most this many input channels reads a model input as it is.
MAX_ENTRY_CHANNELS = 4
# Elements of the weights that a grouped convolution may become: 256 MiB.
MAX_UNGROUPED = 2**26

# ---- shapes


def _conv2d_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    _, height, width, channels = image(shapes[0])
    weight = operand(shapes, 1, "weights")
    require(len(weight) == 4 and weight[3] == channels, f"weights must be [out, kh, kw, {channels}]")
    check_bias(shapes, weight[0])
    result = (1, *window(node, (height, width), weight[1:3]), weight[0])
    if len(shapes) > 3 and shapes[3] is not None:
        require(shapes[3] == result, f"the residual must be {list(result)}")
    return result


def _depthwise_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    _, height, width, channels = image(shapes[0])
    weight = operand(shapes, 1, "weights")
    fits = len(weight) == 4 and weight[0] == 1 and weight[3] > 0 and weight[3] % channels == 0
    require(fits, f"weights must be [1, kh, kw, a multiple of {channels}]")
    check_bias(shapes, weight[3])
    return 1, *window(node, (height, width), weight[1:3]), weight[3]


def _transpose_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    _, height, width, channels = image(shapes[0])
    weight = operand(shapes, 1, "weights")
    require(len(weight) == 4 and weight[3] == channels, f"weights must be [out, kh, kw, {channels}]")
    check_bias(shapes, weight[0])
    require(len(stated) == 4 and stated[0] == 1 and stated[3] == weight[0], f"cannot make the output {list(stated)}")
    if isinstance(node.attrs["padding"], str):  # the forward convolution over the output must give the input back
        forward = window(node, (stated[1], stated[2]), weight[1:3])
        require(forward == (height, width), f"an output of {list(stated)} needs a {forward[0]}x{forward[1]} input")
    return stated


# ---- NumPy


def _conv2d(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, weight, bias, residual, *_ = [*inputs, None, None]
    taps = weight.transpose(1, 2, 3, 0).reshape(-1, weight.shape[3], weight.shape[0])
    y: Any = sum(view @ tap for view, tap in zip(windows(node, x, weight.shape[1:3], shape), taps, strict=True))
    y = y if bias is None else y + bias.reshape(-1)
    return y if residual is None else y + residual


def _depthwise(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, weight, bias, *_ = [*inputs, None]
    wide = np.repeat(x, weight.shape[3] // x.shape[3], axis=3)
    taps = weight.reshape(-1, weight.shape[3])
    y: Any = sum(view * tap for view, tap in zip(windows(node, wide, weight.shape[1:3], shape), taps, strict=True))
    return y if bias is None else y + bias.reshape(-1)


def _transpose(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, weight, bias, *_ = [*inputs, None]
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


# ---- layout and channels


def _reads_entry(graph: Graph, node: Node, name: str) -> bool:
    """The entry convolution reads the model's own input, whose layout is plain."""
    if name not in graph.inputs or graph.tensors[name].shape[-1] > MAX_ENTRY_CHANNELS:
        return False
    return node.inputs[0] == name and node.inputs.count(name) == 1


def _residual(node: Node) -> list[int]:
    return [3] if len(node.inputs) > 3 and node.inputs[3] is not None else []


def _residual_source(graph: Graph, node: Node, position: int) -> np.ndarray:
    return np.arange(graph.tensors[node.output].shape[-1])


def _depthwise_source(graph: Graph, node: Node, position: int) -> np.ndarray:
    channels, out_channels = (graph.tensors[name or ""].shape[-1] for name in (node.inputs[position], node.output))
    return np.arange(out_channels) // (out_channels // channels)


def _depthwise_known(graph: Graph, node: Node, known: Known) -> np.ndarray:
    weight = graph.constant(node.inputs[1])
    assert weight is not None
    source, x = _depthwise_source(graph, node, 0), known[node.inputs[0] or ""]
    settled, taps = foldable(node, x)[source], weight.reshape(-1, weight.shape[-1])
    from_input = np.where(settled, x[source] * taps.sum(axis=0, dtype=np.float64), np.nan)
    return bias_of(graph, node, weight.shape[-1]) + np.where(taps.any(axis=0), from_input, 0.0)


def _depthwise_keep(graph: Graph, node: Node, outputs: np.ndarray) -> None:
    weight, bias = (graph.constant(name) for name in [*node.inputs, None][1:3])
    assert weight is not None
    replace_constant(graph, node, 1, weight[..., outputs])
    if bias is not None:
        replace_constant(graph, node, 2, bias.reshape(-1)[outputs])


def _macs(graph: Graph, node: Node) -> int:
    weight = graph.tensors[node.inputs[1] or ""]
    channels = weight.shape[3 if node.op == "depthwise_conv2d" else 0]
    return graph.tensors[node.output].size // channels * weight.size


def _transpose_macs(graph: Graph, node: Node) -> int:
    _, height, width, _ = graph.tensors[node.inputs[0] or ""].shape  # every input pixel meets every weight
    return height * width * graph.tensors[node.inputs[1] or ""].size


# ---- PyTorch


def _torch_padding(node: Node, image: Shape, kernel: Shape) -> tuple[int, int, int, int]:
    return explicit_padding(node.attrs["padding"], image[1:3], kernel, node.attrs["strides"], node.attrs["dilations"])


def _torch_layer(node: Node, weight: Shape, image: Shape, bias: bool) -> Any:
    from torch import nn

    channels, depthwise, kernel = image[3], node.op == "depthwise_conv2d", (weight[1], weight[2])
    top, bottom, left, right = _torch_padding(node, image, kernel)
    return nn.Conv2d(
        channels, weight[3] if depthwise else weight[0], kernel, node.attrs["strides"],
        padding=(top, left) if (top, left) == (bottom, right) else 0, dilation=node.attrs["dilations"],
        groups=channels if depthwise else 1, bias=bias,
    )  # fmt: skip


def _torch_transpose_layer(node: Node, weight: Shape, image: Shape, bias: bool) -> Any:
    from torch import nn

    return nn.ConvTranspose2d(weight[3], weight[0], (weight[1], weight[2]), node.attrs["strides"], bias=bias)


def _torch_convolve(node: Node, shapes: Shapes, result: Shape) -> Any:
    top, bottom, left, right = pads = _torch_padding(node, operand(shapes, 0), operand(shapes, 1)[1:3])
    if (top, left) == (bottom, right):
        pads = (0, 0, 0, 0)  # the layer's own

    def function(module: Any, x: Any, residual: Any = None, *_: Any) -> Any:
        y = image_last(module(padded(image_first(x), pads)))
        return y if residual is None or node.op != "conv2d" else y + residual

    return function


def _torch_transpose(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch.nn.functional as F

    image, weight, strides = operand(shapes, 0), operand(shapes, 1), node.attrs["strides"]
    top, _, left, _ = transpose_padding(node.attrs["padding"], result[1:3], weight[1:3], strides)
    height, width = ((image[1 + axis] - 1) * strides[axis] + weight[1 + axis] for axis in (0, 1))
    crop = (-top, result[1] + top - height, -left, result[2] + left - width)

    def function(module: Any, x: Any, *_: Any) -> Any:
        y = F.conv_transpose2d(image_first(x), module.weight, None, module.stride)
        y = image_last(padded(y, crop))
        return y if module.bias is None else y + module.bias  # the bias covers what the kernel does not reach, too

    return function


# ---- TensorFlow Lite


def with_bias(graph: Graph, node: Node) -> list[str | np.ndarray | None]:
    """Input, weights and bias: LiteRT wants one, so zeros stand for a bias left out."""
    x, weight, bias = [*node.inputs, None][:3]
    channels = graph.tensors[node.output].shape[-1]
    return [x, weight, np.zeros(channels, np.float32) if bias is None else bias]


def _write(kind: str, options_type: str) -> Any:
    def write(graph: Graph, node: Node) -> Operator:
        dilation_h, dilation_w = node.attrs["dilations"]
        dilations = {"DilationWFactor": dilation_w, "DilationHFactor": dilation_h}
        options = {**window_options(node), **fused_option(node), **dilations}
        version = 1
        if node.op == "depthwise_conv2d":
            x, weight = (graph.tensors[name or ""].shape for name in node.inputs[:2])
            options["DepthMultiplier"] = weight[3] // x[3]
            version = 2 if (dilation_h, dilation_w) != (1, 1) else 1
        return Operator(kind, with_bias(graph, node), node.output, options_type, options, version)

    return write


def _write_transpose(graph: Graph, node: Node) -> Operator:
    x, weight, bias = with_bias(graph, node)
    inputs = [np.array(graph.tensors[node.output].shape, np.int32), weight, x, bias]
    # Version 3 has a bias.
    return Operator("TRANSPOSE_CONV", inputs, node.output, "TransposeConvOptions", window_options(node), version=3)


def _read(op: str, options_name: str) -> Any:
    def read(call: Call) -> None:
        options = call.options(options_name)
        weight = call.input(1)
        if op == "conv2d" and len(call.shape(0)) == len(call.shape(1)) == 4 and call.shape(0)[3] != call.shape(1)[3]:
            weight = _ungrouped(call)
        dilations = (options.DilationHFactor(), options.DilationWFactor())
        inputs = [call.input(0), weight, call.optional(2)]
        call.add(op, inputs, dilations=dilations, **read_window(call, options))

    return read


def _ungrouped(call: Call) -> str:
    """The weights of a grouped convolution as those of one over all channels: zeros between groups."""
    channels, (out, height, width, depth) = call.shape(0)[3], call.shape(1)
    groups = channels // max(1, depth)
    if depth < 1 or channels % depth or out % groups:
        raise Unsupported(f"weights {list(call.shape(1))} do not fit {channels} channels")
    if out * height * width * channels > MAX_UNGROUPED:
        raise Unsupported(f"{groups} groups over {channels} channels are too many to run as one convolution")
    call.reserve(out * height * width * channels)
    grouped = call.weights(1).reshape(groups, out // groups, height, width, depth)
    whole = np.zeros((groups, out // groups, height, width, groups, depth), np.float32)
    for group in range(groups):
        whole[group, ..., group, :] = grouped[group]
    return call.graph.add_constant(f"{call.output}_ungrouped", whole.reshape(out, height, width, channels))


def _read_transpose(call: Call) -> None:
    options = call.options("TransposeConvOptions")
    stated = tuple(call.integers(0).reshape(-1).tolist())
    if stated != call.output_shape:
        raise Unsupported(f"its operand asks for an output of {list(stated)}, the tensor has {list(call.output_shape)}")
    call.add("transpose_conv2d", [call.input(2), call.input(1), call.optional(3)], **read_window(call, options))


# MediaPipe's custom op; its options are TfLiteTransposeConvParams: TfLitePadding, stride width, stride height.
TRANSPOSE_CONV_PARAMS = struct.Struct("<3i")
CUSTOM_PADDINGS = {1: "same", 2: "valid"}


def _read_transpose_bias(call: Call) -> None:
    raw = call.operator.CustomOptionsAsNumpy()
    if not isinstance(raw, np.ndarray) or raw.nbytes < TRANSPOSE_CONV_PARAMS.size:
        raise Unsupported("its custom options are too short for TfLiteTransposeConvParams")
    padding, stride_w, stride_h = TRANSPOSE_CONV_PARAMS.unpack_from(raw.tobytes())
    if padding not in CUSTOM_PADDINGS:
        raise Unsupported(f"padding {padding} is not known")
    call.add(
        "transpose_conv2d", [call.input(0), call.input(1), call.optional(2)],
        strides=(stride_h, stride_w), padding=CUSTOM_PADDINGS[padding],
    )  # fmt: skip


# ---- examples


def _example(random: np.random.Generator) -> Example:
    x = picture(random)
    channels, kernel = int(random.integers(1, 35)), kernel_size(random)
    weight = random.standard_normal((channels, *kernel, x.shape[3]))
    weight[random.random(weight.shape) < random.choice([0, 0.8])] = 0
    bias = random.standard_normal((channels,)) if random.random() < 0.7 else None
    attrs = {**window_attributes(random, dilate=True), "activation": _fused(random)}
    return Example([x, weight, bias], attrs, constants=(1, 2))


def _depthwise_example(random: np.random.Generator) -> Example:
    x, kernel, multiplier = picture(random), kernel_size(random), int(random.choice([1, 1, 2, 3]))
    weight = random.standard_normal((1, *kernel, x.shape[3] * multiplier))
    attrs = {**window_attributes(random, dilate=True), "activation": _fused(random)}
    return Example([x, weight, random.standard_normal((weight.shape[3],))], attrs, constants=(1, 2))


def _transpose_example(random: np.random.Generator) -> Example:
    x, kernel, channels = picture(random, least=1), kernel_size(random), int(random.integers(1, 19))
    attrs = window_attributes(random)
    sizes = []
    for size, k, stride in zip(x.shape[1:3], kernel, attrs["strides"], strict=True):
        least, most = (size - 1) * stride + k, size * stride + k - 1
        if attrs["padding"] == "same":
            least, most = (size - 1) * stride + 1, size * stride
        sizes.append(int(random.integers(least, most + 1)))
    weight = random.standard_normal((channels, *kernel, x.shape[3]))
    return Example(
        [x, weight, random.standard_normal(channels)],
        {**attrs, "activation": _fused(random)},
        (1, 2),
        (1, *sizes, channels),
    )


def _fused(random: np.random.Generator) -> str:
    return str(random.choice(["none", "relu", "relu6", "relu_n1_to_1"]))


# ---- records

_ENTRY = Layout(
    ("chw",),
    f"chw; x may also be a plain model input of at most {MAX_ENTRY_CHANNELS} channels (the entry convolution)",
    lambda graph, node: "chw",
    reads_any=_reads_entry,
)

CONV2D = Op(
    "conv2d", "a convolution",
    (
        Input("x"), Input("weight", "[out, kh, kw, in]", constant="must"),
        Input("bias", "[out]", optional=True, constant="must"),
        Input("residual", "the output's shape", optional=True),
    ),
    _conv2d_shape, _conv2d, _ENTRY, _example,
    (attribute.STRIDES, attribute.DILATIONS, attribute.PADDING, attribute.SPARSITY, *attribute.FUSED),
    Channels(_residual, _residual_source),
    fuses_activation=True,
    weights=Weights(0, True, _macs, (0, 3, 1, 2), _torch_layer),
    torch=_torch_convolve,
    to_tflite=_write("CONV_2D", "Conv2DOptions"),
    tflite_fuses=True,
    from_tflite={"CONV_2D": _read("conv2d", "Conv2DOptions")},
)  # fmt: skip

DEPTHWISE_CONV2D = Op(
    "depthwise_conv2d", "a convolution of every channel on its own, or into `m` of them",
    (
        Input("x"), Input("weight", "[1, kh, kw, in*m]", constant="must"),
        Input("bias", "[in*m]", optional=True, constant="must"),
    ),
    _depthwise_shape, _depthwise, CHW, _depthwise_example,
    (attribute.STRIDES, attribute.DILATIONS, attribute.PADDING, *attribute.FUSED),
    Channels(source=_depthwise_source, known=_depthwise_known, keep=_depthwise_keep),
    fuses_activation=True,
    weights=Weights(3, False, _macs, (3, 0, 1, 2), _torch_layer),
    torch=_torch_convolve,
    to_tflite=_write("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"),
    tflite_fuses=True,
    from_tflite={"DEPTHWISE_CONV_2D": _read("depthwise_conv2d", "DepthwiseConv2DOptions")},
)  # fmt: skip

TRANSPOSE_CONV2D = Op(
    "transpose_conv2d", "the transpose of a convolution over the output",
    (
        Input("x"), Input("weight", "[out, kh, kw, in]", constant="must"),
        Input("bias", "[out]", optional=True, constant="must"),
    ),
    _transpose_shape, _transpose, CHW, _transpose_example,
    (attribute.STRIDES, attribute.PADDING, *attribute.FUSED),
    Channels(no_input, unfollowed),
    open_shape=True,
    fuses_activation=True,
    weights=Weights(0, True, _transpose_macs, (3, 0, 1, 2), _torch_transpose_layer),
    torch=_torch_transpose,
    to_tflite=_write_transpose,
    from_tflite={"TRANSPOSE_CONV": _read_transpose, "Convolution2DTransposeBias": _read_transpose_bias},
)  # fmt: skip

OPS = (CONV2D, DEPTHWISE_CONV2D, TRANSPOSE_CONV2D)
