"""How each node of a legalised Graph becomes a TensorFlow Lite operator: the reverse of `builtin_ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tflite

from tulle.errors import TulleError
from tulle.graph import Graph, Node
from tulle.tflite.builtin_ops import ACTIVATIONS, PADDINGS

ACTIVATION_CODES = {name: code for code, name in ACTIVATIONS.items()}
PADDING_CODES = {name: code for code, name in PADDINGS.items()}
Operators = tflite.BuiltinOperator


@dataclass
class Operator:
    """A TensorFlow Lite operator.

    Attributes:
        code: of tflite.BuiltinOperator.
        inputs: names of tensors in the graph, arrays of the operator's own, or None for one left out.
        output: the tensor's name in the graph.
        options_type: the options' table in the schema, "" for none.
        options: its fields by name; tuples become vectors.
        version: of the operator, which grows with what it is asked to do.
    """

    code: int
    inputs: Sequence[str | np.ndarray | None]
    output: str
    options_type: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1


def emit(graph: Graph, node: Node) -> Operator:
    """The operator that computes a node's output."""
    if node.op not in _EMITTERS:
        raise TulleError(f"{node.op} {node.name!r}: TensorFlow Lite has no such operator")
    return _EMITTERS[node.op](graph, node)


def _integers(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def _fused(node: Node) -> dict[str, int]:
    return {"FusedActivationFunction": ACTIVATION_CODES[node.attrs.get("activation", "none")]}


def _window(node: Node) -> dict[str, int]:
    stride_h, stride_w = node.attrs["strides"]
    return {"Padding": PADDING_CODES[node.attrs["padding"]], "StrideW": stride_w, "StrideH": stride_h}


def _convolution(code: int, options_type: str) -> Callable[[Graph, Node], Operator]:
    def convert(graph: Graph, node: Node) -> Operator:
        dilation_h, dilation_w = node.attrs["dilations"]
        options = {**_window(node), **_fused(node), "DilationWFactor": dilation_w, "DilationHFactor": dilation_h}
        version = 1
        if node.op == "depthwise_conv2d":
            x, weight = (graph.tensors[name or ""].shape for name in node.inputs[:2])
            options["DepthMultiplier"] = weight[3] // x[3]
            version = 2 if (dilation_h, dilation_w) != (1, 1) else 1
        return Operator(code, _with_bias(graph, node), node.output, options_type, options, version)

    return convert


def _with_bias(graph: Graph, node: Node) -> list[str | np.ndarray | None]:
    """Input, weights and bias: LiteRT wants one, so zeros stand for a bias left out."""
    x, weight, bias = [*node.inputs, None][:3]
    channels = graph.tensors[node.output].shape[-1]
    return [x, weight, np.zeros(channels, np.float32) if bias is None else bias]


def _transpose_conv(graph: Graph, node: Node) -> Operator:
    x, weight, bias = _with_bias(graph, node)
    inputs = [_integers(graph.tensors[node.output].shape), weight, x, bias]
    # Version 3 has a bias.
    return Operator(Operators.TRANSPOSE_CONV, inputs, node.output, "TransposeConvOptions", _window(node), version=3)


def _fully_connected(graph: Graph, node: Node) -> Operator:
    keep = bool(node.attrs.get("keep_num_dims"))
    options = {**_fused(node), "KeepNumDims": keep}
    inputs, version = _with_bias(graph, node), 5 if keep else 1
    return Operator(Operators.FULLY_CONNECTED, inputs, node.output, "FullyConnectedOptions", options, version)


def _binary(code: int, options_type: str, fused: bool = True) -> Callable[[Graph, Node], Operator]:
    def convert(graph: Graph, node: Node) -> Operator:
        return Operator(code, list(node.inputs[:2]), node.output, options_type, _fused(node) if fused else {})

    return convert


def _pool(code: int) -> Callable[[Graph, Node], Operator]:
    def convert(graph: Graph, node: Node) -> Operator:
        kernel_h, kernel_w = node.attrs["kernel"]
        options = {**_window(node), **_fused(node), "FilterWidth": kernel_w, "FilterHeight": kernel_h}
        return Operator(code, [node.inputs[0]], node.output, "Pool2DOptions", options)

    return convert


def _reduce(code: int) -> Callable[[Graph, Node], Operator]:
    def convert(graph: Graph, node: Node) -> Operator:
        inputs = [node.inputs[0], _integers(node.attrs["axes"])]
        return Operator(code, inputs, node.output, "ReducerOptions", {"KeepDims": node.attrs["keep_dims"]})

    return convert


def _resize(code: int, options_type: str) -> Callable[[Graph, Node], Operator]:
    def convert(graph: Graph, node: Node) -> Operator:
        size = _integers(graph.tensors[node.output].shape[1:3])
        options = {"AlignCorners": node.attrs["align_corners"], "HalfPixelCenters": node.attrs["half_pixel_centers"]}
        version = 3 if node.attrs["half_pixel_centers"] else 1
        return Operator(code, [node.inputs[0], size], node.output, options_type, options, version)

    return convert


def _concat(graph: Graph, node: Node) -> Operator:
    options = {"Axis": node.attrs["axis"], **_fused(node)}
    return Operator(Operators.CONCATENATION, list(node.inputs), node.output, "ConcatenationOptions", options)


def _pad(graph: Graph, node: Node) -> Operator:
    x, pads = node.inputs[0], _integers(node.attrs["pads"])
    if node.attrs["pad_mode"] != "constant":
        reflect = node.attrs["pad_mode"] == "reflect"
        mode = tflite.MirrorPadMode.REFLECT if reflect else tflite.MirrorPadMode.SYMMETRIC
        return Operator(Operators.MIRROR_PAD, [x, pads], node.output, "MirrorPadOptions", {"Mode": mode})
    if node.attrs["pad_value"] == 0:
        return Operator(Operators.PAD, [x, pads], node.output, "PadOptions")
    value = np.array([node.attrs["pad_value"]], np.float32)
    return Operator(Operators.PADV2, [x, pads, value], node.output, "PadV2Options")


def _reshape(graph: Graph, node: Node) -> Operator:
    shape = graph.tensors[node.output].shape
    inputs = [node.inputs[0], _integers(shape)]
    return Operator(Operators.RESHAPE, inputs, node.output, "ReshapeOptions", {"NewShape": shape})


def _transpose(graph: Graph, node: Node) -> Operator:
    inputs = [node.inputs[0], _integers(node.attrs["perm"])]
    return Operator(Operators.TRANSPOSE, inputs, node.output, "TransposeOptions")


def _slice(graph: Graph, node: Node) -> Operator:
    begin, strides = _integers(node.attrs["begin"]), _integers(node.attrs["strides"])
    size = _integers(graph.tensors[node.output].shape)
    if (strides == 1).all():
        return Operator(Operators.SLICE, [node.inputs[0], begin, size], node.output, "SliceOptions")
    end = begin + (size - 1) * strides + np.sign(strides)
    size = _integers(graph.tensors[node.inputs[0] or ""].shape)
    end = np.where(end < 0, -size - 1, end)  # before the first: -1 would be the last
    return Operator(Operators.STRIDED_SLICE, [node.inputs[0], begin, end, strides], node.output, "StridedSliceOptions")


def _softmax(graph: Graph, node: Node) -> Operator:
    return Operator(Operators.SOFTMAX, [node.inputs[0]], node.output, "SoftmaxOptions", {"Beta": node.attrs["beta"]})


def _activation(graph: Graph, node: Node) -> Operator:
    activation, x = node.attrs["activation"], node.inputs[0]
    if activation == "leaky_relu":
        options = {"Alpha": node.attrs["alpha"]}
        return Operator(Operators.LEAKY_RELU, [x], node.output, "LeakyReluOptions", options)
    if activation == "prelu":
        return Operator(Operators.PRELU, [x, node.inputs[1]], node.output)
    if activation == "elu" and node.attrs.get("alpha", 1.0) != 1.0:
        raise TulleError(f"activation {node.name!r}: TensorFlow Lite's ELU has no alpha but 1")
    return Operator(_ACTIVATIONS[activation], [x], node.output)


def _block(code: int, options_type: str) -> Callable[[Graph, Node], Operator]:
    def convert(graph: Graph, node: Node) -> Operator:
        return Operator(code, [node.inputs[0]], node.output, options_type, {"BlockSize": node.attrs["block"]})

    return convert


_ACTIVATIONS = {
    "relu": Operators.RELU,
    "relu6": Operators.RELU6,
    "relu_n1_to_1": Operators.RELU_N1_TO_1,
    "hard_swish": Operators.HARD_SWISH,
    "sigmoid": Operators.LOGISTIC,
    "tanh": Operators.TANH,
    "elu": Operators.ELU,
}

_EMITTERS: dict[str, Callable[[Graph, Node], Operator]] = {
    "conv2d": _convolution(Operators.CONV_2D, "Conv2DOptions"),
    "depthwise_conv2d": _convolution(Operators.DEPTHWISE_CONV_2D, "DepthwiseConv2DOptions"),
    "transpose_conv2d": _transpose_conv,
    "fully_connected": _fully_connected,
    "add": _binary(Operators.ADD, "AddOptions"),
    "sub": _binary(Operators.SUB, "SubOptions"),
    "mul": _binary(Operators.MUL, "MulOptions"),
    "div": _binary(Operators.DIV, "DivOptions"),
    "maximum": _binary(Operators.MAXIMUM, "MaximumMinimumOptions", fused=False),
    "minimum": _binary(Operators.MINIMUM, "MaximumMinimumOptions", fused=False),
    "average_pool2d": _pool(Operators.AVERAGE_POOL_2D),
    "max_pool2d": _pool(Operators.MAX_POOL_2D),
    "mean": _reduce(Operators.MEAN),
    "sum": _reduce(Operators.SUM),
    "resize_bilinear": _resize(Operators.RESIZE_BILINEAR, "ResizeBilinearOptions"),
    "resize_nearest": _resize(Operators.RESIZE_NEAREST_NEIGHBOR, "ResizeNearestNeighborOptions"),
    "concat": _concat,
    "pad": _pad,
    **dict.fromkeys(("reshape", "to_chw", "to_plain"), _reshape),
    "transpose": _transpose,
    "slice": _slice,
    "softmax": _softmax,
    "activation": _activation,
    "depth_to_space": _block(Operators.DEPTH_TO_SPACE, "DepthToSpaceOptions"),
    "space_to_depth": _block(Operators.SPACE_TO_DEPTH, "SpaceToDepthOptions"),
}
