"""How each TFLite operator becomes nodes of the Graph: the table `CONVERTERS`, by operator name.

Attributes and their names are those of docs/architecture.md. A converter adds its nodes to the graph, or raises
`Unsupported` with the reason why tulle cannot run this operator.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tflite

from tulle.graph import Graph, Node, Tensor

ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: "none",
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU_N1_TO_1: "relu_n1_to_1",
    tflite.ActivationFunctionType.RELU6: "relu6",
    tflite.ActivationFunctionType.TANH: "tanh",
}
PADDINGS = {tflite.Padding.SAME: "same", tflite.Padding.VALID: "valid"}
# MediaPipe's custom op; its options are TfLiteTransposeConvParams: TfLitePadding, stride width, stride height.
TRANSPOSE_CONV_BIAS = "Convolution2DTransposeBias"
TRANSPOSE_CONV_PARAMS = struct.Struct("<3i")
CUSTOM_PADDINGS = {1: "same", 2: "valid"}

# Elements of the weights that a grouped convolution may become: 256 MiB.
MAX_UNGROUPED = 2**26


class Unsupported(Exception):
    """The reason why tulle cannot run an operator."""


@dataclass
class Call:
    """One operator of the file with its tensors' names in the graph."""

    graph: Graph
    kind: str
    operator: Any
    inputs: list[str | None]
    outputs: list[str]
    version: int = 1
    spend: Callable[[int, str], None] = lambda size, name: None
    whole_numbers: set[str] = field(default_factory=set)
    """Activations that are integers in the file and floats in the graph, like all activations."""

    def options(self, name: str) -> Any:
        """The operator's options table, `name` being its type in the schema ("Conv2DOptions")."""
        table = self.operator.BuiltinOptions()
        if table is None or self.operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, name):
            raise Unsupported(f"it has no {name}")
        options = getattr(tflite, name)()
        options.Init(table.Bytes, table.Pos)
        return options

    def activation(self, options: Any) -> str:
        code = options.FusedActivationFunction()
        if code not in ACTIVATIONS:
            raise Unsupported(f"fused activation {code} is not known")
        return ACTIVATIONS[code]

    def input(self, index: int) -> str:
        name = self.inputs[index] if index < len(self.inputs) else None
        if name is None:
            raise Unsupported(f"input {index} is missing")
        return name

    def optional(self, index: int) -> str | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def shape(self, index: int) -> tuple[int, ...]:
        return self.graph.tensors[self.input(index)].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.graph.tensors[self.output].shape

    @property
    def output(self) -> str:
        if len(self.outputs) != 1:
            raise Unsupported(f"it has {len(self.outputs)} outputs instead of one")
        return self.outputs[0]

    def integers(self, index: int) -> np.ndarray:
        """The integers of an operand that must be constant."""
        data = self.graph.constant(self.input(index))
        if data is None:
            raise Unsupported(f"operand {self.input(index)!r} is computed while running; it must be a constant")
        if data.dtype.kind not in "iu":
            raise Unsupported(f"operand {self.input(index)!r} has type {data.dtype} instead of an integer type")
        return data.astype(np.int64)

    def weights(self, index: int) -> np.ndarray:
        """The float32 values of a constant operand, which may be behind DEQUANTIZE and DENSIFY."""
        name = self.input(index)
        data = self.graph.constant(name)
        producer = self.graph.producer() if data is None else {}
        while data is None and name in producer and producer[name].op in ("dequantize", "densify"):
            name = producer[name].inputs[0] or ""
            data = self.graph.constant(name)
        if data is None:
            raise Unsupported(f"weights {self.input(index)!r} are computed while running; they must be constant")
        return data.astype(np.float32)

    def is_constant(self, index: int) -> bool:
        """Whether the operand is constant, perhaps behind DEQUANTIZE and DENSIFY."""
        try:
            self.weights(index)
        except Unsupported:
            return False
        return True

    def axes(self, values: np.ndarray, rank: int) -> tuple[int, ...]:
        """Axes counted from either end, made non-negative."""
        if np.any((values < -rank) | (values >= rank)):
            raise Unsupported(f"axes {values.tolist()} are out of range for rank {rank}")
        return tuple(sorted({int(value) % rank for value in values.reshape(-1)}))

    def add(self, op: str, inputs: list[str | None], **attrs: Any) -> None:
        """Adds the node that computes this operator's output."""
        self.graph.nodes.append(Node(op, self.output, inputs, [self.output], attrs))

    def step(self, suffix: str, op: str, inputs: Sequence[str | None], shape: tuple[int, ...], **attrs: Any) -> str:
        """Adds an intermediate node with a new tensor for its output; returns the tensor."""
        output = self.graph.add_tensor(Tensor(f"{self.outputs[0]}_{suffix}", shape))
        self.graph.nodes.append(Node(op, output, list(inputs), [output], attrs))
        return output

    def append(self, op: str, inputs: Sequence[str | None], output: str, **attrs: Any) -> None:
        """Adds a node that computes one of the operator's outputs."""
        self.graph.nodes.append(Node(op, output, list(inputs), [output], attrs))

    def reserve(self, elements: int) -> None:
        """Counts a constant about to be made; raises TulleError if the file's total is too large."""
        self.spend(4 * elements, self.outputs[0])

    def number(self, value: float) -> str:
        """A constant of one number."""
        return self.graph.add_constant(f"{self.output}_constant", np.array(value, np.float32))

    def number_of(self, index: int) -> float | None:
        """The value of a constant operand of one number; None if it is something else."""
        data = self.graph.constant(self.input(index))
        return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None

    def whole(self, name: str) -> None:
        """Records that an integer tensor is float in the graph."""
        self.graph.tensors[name].dtype = np.dtype(np.float32)
        self.whole_numbers.add(name)

    def product(self, a: str, b: str, transpose_a: bool, transpose_b: bool) -> None:
        """The operator's output as a product of two matrices, which may be activations."""
        names = []
        for name, transposed in ((a, transpose_a), (b, transpose_b)):
            shape = self.graph.tensors[name].shape
            if len(shape) < 2:
                raise Unsupported(f"{list(shape)} is not a matrix")
            if transposed:
                swapped = (*shape[:-2], shape[-1], shape[-2])
                perm = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
                name = self.step("transposed", "transpose", [name], swapped, perm=perm)
            names.append(name)
        self.add("matmul", [*names])

    def reshaped(self, name: str, shape: tuple[int, ...]) -> str:
        """`name` with another shape: the name of a reshape added before the operator's own node."""
        if shape == self.graph.tensors[name].shape:
            return name
        result = self.graph.add_tensor(Tensor(f"{name}_reshaped", shape, self.graph.tensors[name].dtype))
        self.graph.nodes.append(Node("reshape", result, [name], [result]))
        return result


def _convolution(op: str, options_name: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        options = call.options(options_name)
        weight = call.input(1)
        if op == "conv2d" and len(call.shape(0)) == len(call.shape(1)) == 4 and call.shape(0)[3] != call.shape(1)[3]:
            weight = _ungrouped(call)
        call.add(
            op, [call.input(0), weight, call.optional(2)],
            strides=(options.StrideH(), options.StrideW()),
            dilations=(options.DilationHFactor(), options.DilationWFactor()),
            padding=PADDINGS[options.Padding()],
            activation=call.activation(options),
        )  # fmt: skip

    return convert


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


def _transpose_conv(call: Call) -> None:
    options = call.options("TransposeConvOptions")
    stated = tuple(call.integers(0).reshape(-1).tolist())
    if stated != call.output_shape:
        raise Unsupported(f"its operand asks for an output of {list(stated)}, the tensor has {list(call.output_shape)}")
    call.add(
        "transpose_conv2d", [call.input(2), call.input(1), call.optional(3)],
        strides=(options.StrideH(), options.StrideW()),
        padding=PADDINGS[options.Padding()],
        activation=call.activation(options),
    )  # fmt: skip


def _transpose_conv_bias(call: Call) -> None:
    raw = call.operator.CustomOptionsAsNumpy()
    if not isinstance(raw, np.ndarray) or raw.nbytes < TRANSPOSE_CONV_PARAMS.size:
        raise Unsupported("its custom options are too short for TfLiteTransposeConvParams")
    padding, stride_w, stride_h = TRANSPOSE_CONV_PARAMS.unpack_from(raw.tobytes())
    if padding not in CUSTOM_PADDINGS:
        raise Unsupported(f"padding {padding} is not known")
    call.add(
        "transpose_conv2d", [call.input(0), call.input(1), call.optional(2)],
        strides=(stride_h, stride_w), padding=CUSTOM_PADDINGS[padding], activation="none",
    )  # fmt: skip


def _fully_connected(call: Call) -> None:
    options = call.options("FullyConnectedOptions")
    if not call.is_constant(1):
        _computed_weights(call, options)
        return
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise Unsupported("shuffled weights are not supported")
    x, weight = call.input(0), call.shape(1)
    size = int(np.prod(call.shape(0), dtype=np.int64))
    if len(weight) != 2 or weight[1] < 1 or size % weight[1]:
        raise Unsupported(f"weights {list(weight)} do not fit the input {list(call.shape(0))}")
    if not options.KeepNumDims():  # the input is taken as rows of `in` elements, whatever its shape
        x = call.reshaped(x, (size // weight[1], weight[1]))
    call.add(
        "fully_connected", [x, call.input(1), call.optional(2)],
        activation=call.activation(options), keep_num_dims=bool(options.KeepNumDims()),
    )  # fmt: skip


def _computed_weights(call: Call, options: Any) -> None:
    """A fully connected layer whose weights are an activation becomes a matrix product."""
    if call.optional(2) is not None or call.activation(options) != "none" or not options.KeepNumDims():
        raise Unsupported("with computed weights, neither bias nor activation nor another number of dimensions")
    call.product(call.input(0), call.input(1), False, True)


def _binary(op: str, options_name: str | None) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        activation = call.activation(call.options(options_name)) if options_name else "none"
        call.add(op, [call.input(0), call.input(1)], activation=activation)

    return convert


def _pool(op: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        options = call.options("Pool2DOptions")
        call.add(
            op, [call.input(0)],
            kernel=(options.FilterHeight(), options.FilterWidth()),
            strides=(options.StrideH(), options.StrideW()),
            padding=PADDINGS[options.Padding()],
            activation=call.activation(options),
        )  # fmt: skip

    return convert


def _reduce(op: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        axes = call.axes(call.integers(1), len(call.shape(0)))
        call.add(op, [call.input(0)], axes=axes, keep_dims=bool(call.options("ReducerOptions").KeepDims()))

    return convert


def _resize(op: str, options_name: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        options = call.options(options_name)
        size = tuple(call.integers(1).reshape(-1).tolist())
        if size != call.output_shape[1:3]:
            raise Unsupported(f"its operand asks for {list(size)}, the output has {list(call.output_shape)}")
        call.add(
            op, [call.input(0)],
            align_corners=bool(options.AlignCorners()), half_pixel_centers=bool(options.HalfPixelCenters()),
        )  # fmt: skip

    return convert


def _concat(call: Call) -> None:
    options, rank = call.options("ConcatenationOptions"), len(call.shape(0))
    (axis,) = call.axes(np.array([options.Axis()]), rank)
    call.add("concat", [call.input(i) for i in range(len(call.inputs))], axis=axis, activation=call.activation(options))


def _pad(call: Call) -> None:
    value, mode = 0.0, "constant"
    if call.kind == "PADV2":
        data = call.graph.constant(call.input(2))
        if data is None or data.size != 1 or data.dtype.kind != "f":
            raise Unsupported("the value to pad with must be a constant float")
        value = float(data.reshape(-1)[0])
    elif call.kind == "MIRROR_PAD":
        reflect = call.options("MirrorPadOptions").Mode() == tflite.MirrorPadMode.REFLECT
        mode = "reflect" if reflect else "symmetric"
    pads = call.integers(1)
    if pads.shape != (len(call.shape(0)), 2):
        raise Unsupported(f"paddings of shape {list(pads.shape)} do not fit the input {list(call.shape(0))}")
    pairs = tuple((int(before), int(after)) for before, after in pads)
    call.add("pad", [call.input(0)], pads=pairs, pad_value=value, pad_mode=mode)


def _reshape(call: Call) -> None:
    # The new shape is in an operand or in the options too; the output tensor has the resolved one.
    call.add("reshape", [call.input(0)])


def _transpose(call: Call) -> None:
    call.add("transpose", [call.input(0)], perm=tuple(call.integers(1).reshape(-1).tolist()))


def _slice(call: Call) -> None:
    begin = tuple(call.integers(1).reshape(-1).tolist())
    size = call.integers(2).reshape(-1).tolist()
    if not len(begin) == len(size) == len(call.shape(0)):
        raise Unsupported(f"begin {list(begin)} and size {size} do not fit the input {list(call.shape(0))}")
    stated = tuple(
        whole - first if count == -1 else count for whole, first, count in zip(call.shape(0), begin, size, strict=True)
    )
    if stated != call.output_shape:
        raise Unsupported(f"begin and size give {list(stated)}, the output has {list(call.output_shape)}")
    call.add("slice", [call.input(0)], begin=begin, strides=(1,) * len(begin))


def _strided_slice(call: Call) -> None:
    options, shape = call.options("StridedSliceOptions"), call.shape(0)
    if options.EllipsisMask() or options.NewAxisMask():
        raise Unsupported("ellipsis and new axes are not supported")
    bounds = [call.integers(index).reshape(-1).tolist() for index in (1, 2, 3)]
    if any(len(values) != len(bounds[0]) for values in bounds) or len(bounds[0]) > len(shape):
        raise Unsupported(f"begin, end and strides do not fit the input {list(shape)}")
    begins, strides, sizes, kept = [], [], [], []
    for axis, size in enumerate(shape):
        first, last, step = (values[axis] for values in bounds) if axis < len(bounds[0]) else (0, size, 1)
        if options.Offset() and axis < len(bounds[0]):  # `end` counts from `begin`
            last += first
        if step == 0:
            raise Unsupported("a stride is 0")
        shrink = options.ShrinkAxisMask() >> axis & 1
        if shrink:
            step = 1
            first += size if first < 0 else 0
            last = first + 1
            if not 0 <= first < size:
                raise Unsupported(f"index {first} is outside axis {axis} of {list(shape)}")
        span = slice(
            None if options.BeginMask() >> axis & 1 and not shrink else first,
            None if options.EndMask() >> axis & 1 and not shrink else last,
            step,
        )
        picked = range(size)[span]
        if not picked:
            raise Unsupported(f"axis {axis} of {list(shape)} would be left empty")
        begins.append(picked.start)
        strides.append(step)
        sizes.append(len(picked))
        if not shrink:
            kept.append(len(picked))
    if tuple(kept) != call.output_shape:
        raise Unsupported(f"it gives {kept}, the output has {list(call.output_shape)}")
    if kept == sizes:
        call.add("slice", [call.input(0)], begin=tuple(begins), strides=tuple(strides))
        return
    picked_name = call.graph.add_tensor(Tensor(f"{call.output}_slice", tuple(sizes)))
    attrs = {"begin": tuple(begins), "strides": tuple(strides)}
    call.graph.nodes.append(Node("slice", picked_name, [call.input(0)], [picked_name], attrs))
    call.add("reshape", [picked_name])


def _softmax(call: Call) -> None:
    call.add("softmax", [call.input(0)], beta=float(call.options("SoftmaxOptions").Beta()))


def _activation(activation: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        call.add("activation", [call.input(0)], activation=activation)

    return convert


def _leaky_relu(call: Call) -> None:
    alpha = float(call.options("LeakyReluOptions").Alpha())
    call.add("activation", [call.input(0)], activation="leaky_relu", alpha=alpha)


def _elu(call: Call) -> None:
    call.add("activation", [call.input(0)], activation="elu", alpha=1.0)


def _block(op: str, options_name: str) -> Callable[[Call], None]:
    def convert(call: Call) -> None:
        call.add(op, [call.input(0)], block=int(call.options(options_name).BlockSize()))

    return convert


def _dequantize(call: Call) -> None:
    dtype = call.graph.tensors[call.input(0)].dtype
    if dtype == np.float32:  # the reader has turned quantised tensors into floats
        call.add("reshape", [call.input(0)])
        return
    if dtype != np.float16:  # a constant, perhaps through DENSIFY: the reader refuses other float16 activations
        raise Unsupported(f"its input has type {dtype}: only float16 weights are supported")
    call.add("dequantize", [call.input(0)])


def _densify(call: Call) -> None:
    # The reader has decoded the constant already; DENSIFY only renames it.
    source, result = call.graph.tensors[call.input(0)], call.graph.tensors[call.output]
    if not source.is_constant or source.dtype != result.dtype:
        raise Unsupported("its input must be a constant of the output's type")
    call.add("densify", [call.input(0)])


CONVERTERS: dict[str, Callable[[Call], None]] = {
    "CONV_2D": _convolution("conv2d", "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": _convolution("depthwise_conv2d", "DepthwiseConv2DOptions"),
    "TRANSPOSE_CONV": _transpose_conv,
    TRANSPOSE_CONV_BIAS: _transpose_conv_bias,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _binary("add", "AddOptions"),
    "SUB": _binary("sub", "SubOptions"),
    "MUL": _binary("mul", "MulOptions"),
    "DIV": _binary("div", "DivOptions"),
    "MAXIMUM": _binary("maximum", None),
    "MINIMUM": _binary("minimum", None),
    "AVERAGE_POOL_2D": _pool("average_pool2d"),
    "MAX_POOL_2D": _pool("max_pool2d"),
    "MEAN": _reduce("mean"),
    "SUM": _reduce("sum"),
    "REDUCE_MAX": _reduce("reduce_max"),
    "REDUCE_MIN": _reduce("reduce_min"),
    "RESIZE_BILINEAR": _resize("resize_bilinear", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("resize_nearest", "ResizeNearestNeighborOptions"),
    "CONCATENATION": _concat,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _pad,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SOFTMAX": _softmax,
    "RELU": _activation("relu"),
    "RELU6": _activation("relu6"),
    "RELU_N1_TO_1": _activation("relu_n1_to_1"),
    "HARD_SWISH": _activation("hard_swish"),
    "LOGISTIC": _activation("sigmoid"),
    "TANH": _activation("tanh"),
    "EXP": _activation("exp"),
    "LOG": _activation("log"),
    "SQRT": _activation("sqrt"),
    "RSQRT": _activation("rsqrt"),
    "LEAKY_RELU": _leaky_relu,
    "ELU": _elu,
    "DEPTH_TO_SPACE": _block("depth_to_space", "DepthToSpaceOptions"),
    "SPACE_TO_DEPTH": _block("space_to_depth", "SpaceToDepthOptions"),
    "DEQUANTIZE": _dequantize,
    "DENSIFY": _densify,
}
