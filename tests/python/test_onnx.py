"""ONNX models: every op and attribute against ONNX's own reference evaluator, and what is said about other files."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tulle
from tulle.cli import main
from tulle.errors import TulleError

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from tulle.onnx import read  # noqa: E402


class OnnxModel:
    """Nodes behind each other; `opset` of the default domain."""

    def __init__(self, shape: Sequence[int | str], opset: int = 17, seed: int = 0) -> None:
        self.random, self.opset = np.random.default_rng(seed), opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]

    def constant(self, data: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(data, dtype), name))
        return name

    def noise(self, *shape: int) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        return self.constant(self.random.standard_normal(shape) / fan**0.5)

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def finish(self, *outputs: str) -> bytes:
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "test", self.inputs, infos, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return bytes(model.SerializeToString())


def same_as_onnx(data: bytes, seed: int = 0) -> tulle.Graph:
    """Checks tulle's answers against ONNX's; returns the Graph as read."""
    graph, evaluator = read(data), ReferenceEvaluator(onnx.load_model_from_string(data))
    random = np.random.default_rng(seed)
    ours, theirs = {}, {}
    for info, name in zip(onnx.load_model_from_string(data).graph.input, graph.inputs, strict=True):
        shape = tuple(max(1, dim.dim_value) for dim in info.type.tensor_type.shape.dim)
        theirs[name] = random.standard_normal(shape).astype(np.float32)
        moved = graph.tensors[name].shape != shape
        ours[name] = np.ascontiguousarray(theirs[name].transpose(0, 2, 3, 1)) if moved else theirs[name]
    expected = evaluator.run(graph.outputs, theirs)
    with tulle.load(graph) as model:
        got = model(ours)
    for name, values in zip(graph.outputs, expected, strict=True):
        assert got[name].shape == values.shape, name
        np.testing.assert_allclose(got[name], values, rtol=0, atol=2e-5 * max(1, np.abs(values).max()), err_msg=name)
    return graph


def positive(m: OnnxModel) -> str:
    return m.node("Add", m.node("Abs", "x"), m.constant(0.1))


def grid(m: OnnxModel, spread: float = 1.2) -> str:
    """Positions [1, 9, 6, 2] made of the image, most of them from -1 to 1, some beyond."""
    pairs = m.node("Reshape", m.node("Slice", "x", *(m.constant([n], np.int64) for n in (0, 12, 2))),
                   m.constant([1, 2, 9, -1], np.int64))  # fmt: skip
    few = m.node("Slice", pairs, *(m.constant([n], np.int64) for n in (0, 6, 3)))
    return m.node("Transpose", m.node("Mul", m.node("Tanh", few), m.constant(spread)), perm=[0, 2, 3, 1])


def signal(m: OnnxModel) -> str:
    """The image as [1, 6, 63]."""
    return m.node("Reshape", "x", m.constant([1, 6, -1], np.int64))


def flat_shape(m: OnnxModel) -> str:
    """What PyTorch writes for x.view(x.size(0), -1)."""
    batch = m.node("Gather", m.node("Shape", "x"), m.constant(0, np.int64))
    batch = m.node("Unsqueeze", batch, m.constant([0], np.int64))
    return m.node("Concat", batch, m.constant([-1], np.int64), axis=0)


def top(m: OnnxModel, x: str, k: int, **attributes: int) -> str:
    """The values plus the places they were at."""
    values, places = m.node("TopK", x, m.constant([k], np.int64), outputs=2, **attributes)
    return m.node("Add", values, m.node("Cast", places, to=1))


IMAGE = (1, 6, 9, 7)
Case = Callable[[OnnxModel], str]

CASES: dict[str, Case] = {
    "conv": lambda m: m.node("Conv", "x", m.noise(5, 6, 3, 3), m.noise(5), pads=[1, 0, 2, 1], strides=[2, 1]),
    "conv dilated": lambda m: m.node("Conv", "x", m.noise(5, 6, 3, 2), dilations=[2, 3]),
    "conv of a signal": lambda m: m.node(
        "Conv", signal(m), m.noise(5, 6, 4), m.noise(5), pads=[1, 2], strides=[2], dilations=[3]
    ),
    "depthwise of a signal": lambda m: m.node("Conv", signal(m), m.noise(6, 1, 3), group=6, auto_pad="SAME_UPPER"),
    "signals until the end": lambda m: m.node(
        "Concat",
        *[m.node(op, m.node("PRelu", m.node("Add", m.node("BatchNormalization", m.node("Conv", signal(m),
          m.noise(4, 6, 3)), m.noise(4), m.noise(4), m.noise(4), m.constant(np.full(4, 0.7))), second),
          m.noise(4, 1)), kernel_shape=[3], strides=[2], pads=[1, 0])
          for op, second in (("MaxPool", m.noise(4, 1)), ("AveragePool", m.node("Conv", signal(m), m.noise(1, 6, 3))))],
        axis=1,
    ),
    "signal and image": lambda m: m.node(
        "Mul", m.node("Conv", "x", m.noise(9, 6, 1, 1)), m.node("Conv", m.node("Reshape", "x", m.constant([1, 54, 7],
        np.int64)), m.noise(9, 54, 1))
    ),
    "signal and numbers": lambda m: m.node(
        "Max", m.node("Clip", m.node("Conv", signal(m), m.noise(4, 6, 3)), m.constant(0.1)), m.noise(61), m.noise(1)
    ),
    "conv transpose of a signal": lambda m: m.node(
        "ConvTranspose", signal(m), m.noise(6, 4, 3), m.noise(4), strides=[2], pads=[1, 1], output_padding=[1]
    ),
    "conv transpose of a signal to": lambda m: m.node(
        "ConvTranspose", signal(m), m.noise(6, 4, 3), strides=[2], output_shape=[127]
    ),
    "mean of a signal": lambda m: m.node("GlobalAveragePool", m.node("Softplus", m.node("Conv", signal(m),
        m.noise(4, 6, 3)))),
    "clip between computed numbers": lambda m: m.node(
        "Clip", m.node("Conv", "x", m.noise(4, 6, 3, 3)), m.node("ReduceMin", "x", keepdims=0),
        m.node("Mul", m.node("ReduceMax", "x", keepdims=0), m.constant(0.1))
    ),
    "signal and others": lambda m: m.node(
        "Softmax", m.node("Transpose", m.node("Slice", m.node("Conv", signal(m), m.noise(4, 6, 3)),
        m.constant([3], np.int64), m.constant([9], np.int64), m.constant([2], np.int64)), perm=[0, 2, 1])
    ),
    "conv same upper": lambda m: m.node("Conv", "x", m.noise(5, 6, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv same lower": lambda m: m.node("Conv", "x", m.noise(5, 6, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    "depthwise": lambda m: m.node("Conv", "x", m.noise(12, 1, 3, 3), m.noise(12), group=6, pads=[1] * 4),
    "grouped": lambda m: m.node("Conv", "x", m.noise(9, 2, 3, 3), m.noise(9), group=3, pads=[1] * 4),
    "conv transpose": lambda m: m.node(
        "ConvTranspose", "x", m.noise(6, 4, 3, 3), m.noise(4), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]
    ),
    "conv transpose same": lambda m: m.node(
        "ConvTranspose", "x", m.noise(6, 4, 3, 4), m.noise(4), strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "batch norm": lambda m: m.node(
        "BatchNormalization", "x", m.noise(6), m.noise(6), m.noise(6), m.constant(np.full(6, 0.7)), epsilon=1e-3
    ),
    "max pool": lambda m: m.node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "max pool ceil": lambda m: m.node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "average pool": lambda m: m.node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "average pool counted": lambda m: m.node(
        "AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1
    ),
    "global average pool": lambda m: m.node("Flatten", m.node("GlobalAveragePool", "x")),
    "global max pool": lambda m: m.node("GlobalMaxPool", "x"),
    "add a channel": lambda m: m.node("Add", m.node("Relu", "x"), m.noise(6, 1, 1)),
    "sub from a number": lambda m: m.node("Sub", m.constant(2.5), "x"),
    "mul an image": lambda m: m.node("Mul", m.node("GlobalAveragePool", "x"), "x"),
    "div by columns": lambda m: m.node("Div", "x", m.constant(np.arange(1, 8))),
    "max of three": lambda m: m.node("Max", "x", m.constant(0.1), m.node("Neg", "x")),
    "hard sigmoid": lambda m: m.node("HardSigmoid", "x", alpha=0.3, beta=0.4),
    "hard swish": lambda m: m.node("HardSwish", "x"),
    "leaky relu": lambda m: m.node("LeakyRelu", "x"),
    "elu": lambda m: m.node("Elu", "x", alpha=0.6),
    "prelu": lambda m: m.node("PRelu", "x", m.noise(6, 1, 1)),
    "clip": lambda m: m.node("Clip", "x", m.constant(-0.3), m.constant(0.8)),
    "clip above": lambda m: m.node("Clip", "x", "", m.constant(0.8)),
    "relu6": lambda m: m.node("Clip", "x", m.constant(0.0), m.constant(6.0)),
    "sigmoid times x": lambda m: m.node("Mul", "x", m.node("Sigmoid", "x")),
    "abs": lambda m: m.node("Abs", m.node("Tanh", "x")),
    "softmax over channels": lambda m: m.node("Softmax", "x", axis=1),
    "softmax over rows": lambda m: m.node("Softmax", "x", axis=2),
    "reduce mean": lambda m: m.node("ReduceMean", "x", axes=[2, 3], keepdims=0),
    "reduce mean over channels": lambda m: m.node("ReduceMean", "x", axes=[1], keepdims=1),
    "flatten gemm": lambda m: m.node("Gemm", m.node("Flatten", "x"), m.noise(8, 378), m.noise(8), transB=1, alpha=0.5),
    "matmul": lambda m: m.node("Add", m.node("MatMul", "x", m.noise(7, 5)), m.noise(5)),
    "reshape transpose": lambda m: m.node(
        "Transpose", m.node("Reshape", "x", m.constant([0, 2, 3, -1], np.int64)), perm=[0, 2, 1, 3]
    ),
    "to nhwc": lambda m: m.node("Transpose", m.node("Conv", "x", m.noise(5, 6, 1, 1)), perm=[0, 2, 3, 1]),
    "shuffle": lambda m: m.node(
        "Reshape",
        m.node("Transpose", m.node("Reshape", "x", m.constant([1, 2, 3, 9, 7], np.int64)), perm=[0, 2, 1, 3, 4]),
        m.constant([1, 6, 9, 7], np.int64),
    ),
    "squeeze": lambda m: m.node(
        "Squeeze", m.node("Unsqueeze", "x", m.constant([2, -1], np.int64)), m.constant([0], np.int64)
    ),
    "concat": lambda m: m.node("Concat", "x", m.node("Conv", "x", m.noise(5, 6, 1, 1)), m.noise(1, 2, 9, 7), axis=1),
    "concat rows": lambda m: m.node("Concat", "x", m.node("MaxPool", "x", kernel_shape=[1, 1]), axis=-2),
    "split": lambda m: m.node("Concat", *m.node("Split", "x", outputs=3, axis=1)[::-1], axis=1),
    "slice": lambda m: m.node(
        "Slice", "x", m.constant([1, -2], np.int64), m.constant([100, -9], np.int64), m.constant([1, 3], np.int64),
        m.constant([2, -1], np.int64),
    ),
    "pad": lambda m: m.node("Pad", "x", m.constant([0, 1, 2, 0, 0, 0, 1, 3], np.int64), m.constant(0.5)),
    "pad for a pool": lambda m: m.node(
        "MaxPool", m.node("Pad", "x", m.constant([0, 0, 1, 0, 0, 0, 0, 2], np.int64), m.constant(-np.inf)),
        kernel_shape=[3, 3], strides=[2, 2]
    ),
    "pad reflect": lambda m: m.node("Pad", "x", m.constant([0, 0, 2, 1, 0, 0, 1, 3], np.int64), mode="reflect"),
    "nearest twice": lambda m: m.node("Resize", "x", "", m.constant([1, 1, 2, 3])),
    "nearest asymmetric": lambda m: m.node(
        "Resize", "x", "", "", m.constant([1, 6, 13, 5], np.int64),
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "linear": lambda m: m.node("Resize", "x", "", "", m.constant([1, 6, 13, 11], np.int64), mode="linear"),
    "linear corners": lambda m: m.node(
        "Resize", "x", "", m.constant([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "linear asymmetric": lambda m: m.node(
        "Resize", "x", "", m.constant([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="asymmetric"
    ),
    "depth to space": lambda m: m.node("DepthToSpace", m.node("Conv", "x", m.noise(8, 6, 1, 1)), blocksize=2),
    "pixel shuffle": lambda m: m.node(
        "DepthToSpace", m.node("Conv", "x", m.noise(8, 6, 1, 1)), blocksize=2, mode="CRD"
    ),
    "space to depth": lambda m: m.node(
        "SpaceToDepth", m.node("MaxPool", "x", kernel_shape=[2, 2]), blocksize=2
    ),
    "exp": lambda m: m.node("Exp", "x"),
    "log": lambda m: m.node("Log", positive(m)),
    "sqrt": lambda m: m.node("Sqrt", positive(m)),
    "erf": lambda m: m.node("Erf", "x"),
    "softplus": lambda m: m.node("Softplus", "x"),
    "reciprocal": lambda m: m.node("Reciprocal", positive(m)),
    "softsign": lambda m: m.node("Softsign", "x"),
    "selu": lambda m: m.node("Selu", "x", alpha=1.5, gamma=1.2),
    "celu": lambda m: m.node("Celu", "x", alpha=0.7),
    "square": lambda m: m.node("Pow", "x", m.constant(2.0)),
    "cube below": lambda m: m.node("Pow", positive(m), m.constant(-3.0)),
    "root": lambda m: m.node("Pow", positive(m), m.constant(0.5)),
    "power": lambda m: m.node("Pow", positive(m), m.constant(1.7)),
    "power of a constant": lambda m: m.node("Pow", m.constant(2.5), "x"),
    "mean of three": lambda m: m.node("Mean", "x", m.node("Tanh", "x"), m.node("Relu", "x")),
    "gelu of PyTorch": lambda m: m.node(
        "Mul", m.constant(0.5),
        m.node("Mul", "x", m.node("Add", m.node("Erf", m.node("Div", "x", m.constant(2**0.5))), m.constant(1.0))),
    ),
    "greater": lambda m: m.node("Where", m.node("Greater", "x", m.constant(0.3)), "x", m.constant(-1.0)),
    "less": lambda m: m.node("Where", m.node("Less", "x", m.noise(7)), m.node("Exp", "x"), "x"),
    "at most": lambda m: m.node("Where", m.node("LessOrEqual", "x", m.constant(0.0)), "x", m.noise(6, 1, 1)),
    "at least and not": lambda m: m.node(
        "Where", m.node("And", m.node("GreaterOrEqual", "x", m.constant(-1.0)),
                        m.node("Not", m.node("Greater", "x", m.constant(1.0)))), "x", m.constant(0.0),
    ),
    "where by a constant": lambda m: m.node("Where", m.constant(np.arange(7) % 2 == 0, np.bool_), "x", m.constant(2.0)),
    "sign": lambda m: m.node("Sign", "x"),
    "instance norm": lambda m: m.node("InstanceNormalization", "x", m.noise(6), m.noise(6), epsilon=1e-3),
    "group norm of PyTorch": lambda m: m.node(
        "InstanceNormalization", m.node("Reshape", "x", m.constant([0, 3, -1], np.int64)), m.noise(3), m.noise(3)
    ),
    "layer norm": lambda m: m.node("LayerNormalization", "x", m.noise(7), m.noise(7), axis=-1),
    "layer norm of an image": lambda m: m.node("LayerNormalization", "x", m.noise(6, 9, 7), axis=1),
    "lp norm": lambda m: m.node("LpNormalization", "x", axis=1),
    "log softmax": lambda m: m.node("LogSoftmax", "x", axis=1),
    "reduce sum": lambda m: m.node("ReduceSum", "x", m.constant([1], np.int64), keepdims=0),
    "sum of three": lambda m: m.node("Sum", "x", m.node("Tanh", "x"), m.noise(7)),
    "min of two": lambda m: m.node("Min", m.node("Identity", "x"), m.noise(6, 1, 1)),
    "or": lambda m: m.node(
        "Where", m.node("Or", m.node("Less", "x", m.constant(-1.0)), m.node("Greater", "x", m.constant(0.5))),
        "x", m.noise(7),
    ),
    "reduce max": lambda m: m.node("ReduceMax", "x", axes=[2, 3]),
    "reduce min": lambda m: m.node("ReduceMin", "x", axes=[1], keepdims=0),
    "reduce l1": lambda m: m.node("ReduceL1", "x", axes=[1, 2]),
    "reduce l2": lambda m: m.node("ReduceL2", "x", axes=[3], keepdims=0),
    "reduce sum of squares": lambda m: m.node("ReduceSumSquare", "x", axes=[2]),
    "arg max": lambda m: m.node("ArgMax", "x", axis=1),
    "arg min": lambda m: m.node("Cast", m.node("ArgMin", "x", axis=3, keepdims=0), to=1),
    "cumulative sums": lambda m: m.node("CumSum", "x", m.constant(-2, np.int64)),
    "cumulative sums before each": lambda m: m.node("CumSum", "x", m.constant(3, np.int32), exclusive=1),
    "cumulative sums from the end": lambda m: m.node("CumSum", "x", m.constant(1, np.int64), exclusive=1, reverse=1),
    "cumulative sums of a map": lambda m: m.node("CumSum", m.node("Conv", "x", m.noise(5, 6, 3, 3)),
        m.constant(1, np.int64), reverse=1),
    "cumulative sums of a signal": lambda m: m.node("CumSum", m.node("Conv", signal(m), m.noise(5, 6, 3)),
        m.constant(2, np.int64)),
    "cumulative sums of a signal's channels": lambda m: m.node("CumSum", m.node("Conv", signal(m), m.noise(5, 6, 3)),
        m.constant(-2, np.int64)),
    "top k": lambda m: top(m, "x", 3),
    "top k of the smallest": lambda m: top(m, "x", 9, axis=2, largest=0),
    "top k of a map's channels": lambda m: top(m, m.node("Conv", "x", m.noise(5, 6, 3, 3)), 4, axis=-3),
    "top k of a signal": lambda m: top(m, m.node("Conv", signal(m), m.noise(5, 6, 3)), 1, axis=2, largest=0),
    "gather": lambda m: m.node("Gather", "x", m.constant([3, 4, 5, 1, 0], np.int64), axis=1),
    "gather one": lambda m: m.node("Gather", "x", m.constant(-2, np.int64), axis=2),
    "gather a table": lambda m: m.node("Gather", "x", m.constant([[0, 2, 4], [6, 5, 5]], np.int64), axis=3),
    "expand": lambda m: m.node("Expand", m.node("GlobalAveragePool", "x"), m.constant([1, 6, 4, 3], np.int64)),
    "tile": lambda m: m.node("Tile", "x", m.constant([1, 2, 1, 3], np.int64)),
    "attention": lambda m: m.node(
        "MatMul", m.node("Softmax", m.node("MatMul", "x", m.node("Transpose", "x", perm=[0, 1, 3, 2])), axis=-1), "x"
    ),
    "matmul of a constant": lambda m: m.node("MatMul", m.noise(5, 9), "x"),
    "matmuls of constants": lambda m: m.node("MatMul", "x", m.noise(1, 6, 7, 4)),
    "grid sample": lambda m: m.node("GridSample", "x", grid(m)),
    "grid sample corners": lambda m: m.node("GridSample", "x", grid(m), align_corners=1, padding_mode="border"),
    "dropout": lambda m: m.node("Dropout", "x", outputs=2)[0],
    "shape arithmetic": lambda m: m.node("Reshape", "x", flat_shape(m)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_ops(name: str) -> None:
    m = OnnxModel(IMAGE)
    same_as_onnx(m.finish(CASES[name](m)))


@pytest.mark.parametrize("name", ["conv", "max pool ceil", "concat rows", "softmax over channels", "slice", "pad"])
def test_ops_between_convolutions(name: str) -> None:
    """The same where tensors are images in the Graph's order already."""
    m = OnnxModel((1, 3, 9, 7))
    m.nodes.append(helper.make_node("Conv", ["image", m.noise(6, 3, 1, 1)], ["x"]))
    m.inputs[0].name = "image"
    y = CASES[name](m)
    graph = same_as_onnx(m.finish(y))
    assert graph.tensors["image"].shape == (1, 9, 7, 3)
    assert "was [1, 3, 9, 7] in ONNX" in graph.notes[0]


@pytest.mark.parametrize("shape", [(1, 6, 6), (1, 6, 1, 6), (1, 6, 6, 1), (1, 1, 6, 6), (1, 6, 6, 6)])
def test_dimensions_are_told_apart_where_their_sizes_are_equal(shape: tuple[int, ...]) -> None:
    m = OnnxModel(shape)
    ones = [1] * (len(shape) - 2)
    y = m.node("Conv", "x", m.noise(6, shape[1], *ones), m.noise(6))
    y = m.node("BatchNormalization", y, m.noise(6), m.noise(6), m.noise(6), m.constant(np.full(6, 0.7)))
    pooled = m.node("MaxPool", y, kernel_shape=ones)
    means = [m.node("ReduceMean", y, axes=[axis]) for axis in range(1, len(shape))]
    same_as_onnx(
        m.finish(m.node("Mul", m.node("Add", pooled, "x"), m.noise(6)), m.node("GlobalAveragePool", y), *means)
    )


SLOPES = [(6, 1, 1), (1, 6, 1, 1), (6,), (1, 1, 1, 6), (6, 1), (1, 1, 6, 1), (6, 6), (6, 6, 6), (1, 6, 1, 6), (1,)]


@pytest.mark.parametrize("slope", SLOPES)
def test_slopes_broadcast_from_the_last_dimension(slope: tuple[int, ...]) -> None:
    m = OnnxModel((1, 6, 6, 6))
    x = m.random.standard_normal((1, 6, 6, 6)).astype(np.float32)
    slopes = m.random.standard_normal(slope).astype(np.float32)
    before = m.node("PRelu", "x", m.constant(slopes))
    behind = m.node("PRelu", m.node("Conv", "x", m.constant(np.eye(6).reshape(6, 6, 1, 1))), m.constant(slopes))
    with tulle.load(read(m.finish(before, behind))) as model:
        for values in model(x).values():
            np.testing.assert_allclose(values, np.where(x < 0, x * slopes, x), atol=1e-6)


def test_a_slope_that_does_not_fit_is_refused() -> None:
    m = OnnxModel((1, 6, 6, 6))
    refused(m.finish(m.node("PRelu", "x", m.noise(5))), r"a slope of shape \[5\] does not fit \[1, 6, 6, 6\]")


@pytest.mark.parametrize(("op", "shape"), [("Reshape", (2,)), ("Expand", (4,)), ("Tile", (4,))])
def test_complex_numbers_are_refused(op: str, shape: tuple[int, ...]) -> None:
    m = OnnxModel((1, 6, 6, 6))
    refused(m.finish(m.node(op, "x", m.constant(np.full(shape, 6 + 1j), np.complex64))), "holds complex numbers")


@pytest.mark.parametrize("op", ["Add", "Mul", "Greater", "PRelu"])
def test_operands_of_opset_6_begin_at_their_axis(op: str) -> None:
    m = OnnxModel((1, 6, 6, 6), opset=6)
    x, values = m.random.standard_normal((1, 6, 6, 6)).astype(np.float32), m.random.standard_normal(6)
    values = values.astype(np.float32)
    along = values.reshape(6, 1, 1)
    attributes = {} if op == "PRelu" else {"broadcast": 1, "axis": 1}
    y = m.node(op, "x", m.constant(values), **attributes)
    expected = {"Add": x + along, "Mul": x * along, "Greater": x > along, "PRelu": np.where(x < 0, x * along, x)}[op]
    with tulle.load(read(m.finish(y))) as model:
        np.testing.assert_allclose(model(x)[y], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "cause"), [([1, 2], "not one integer"), (1.0, "not one integer"), (4, "axis 4 is"), (-5, "axis -5 is")]
)
def test_cumulative_sums_along_no_axis_are_refused(axis: object, cause: str) -> None:
    m = OnnxModel(IMAGE)
    refused(m.finish(m.node("CumSum", "x", m.constant(axis, None))), cause)


def test_cumulative_sums_along_a_computed_axis_are_refused() -> None:
    m = OnnxModel(IMAGE)
    refused(m.finish(m.node("CumSum", "x", m.node("ReduceMax", "x", keepdims=0))), "computed while running")


@pytest.mark.parametrize(
    ("k", "axis", "cause"),
    [
        (np.int64(0), 1, "k is 0, not from 1 to 6"), (np.int64(7), 1, "k is 7"), (np.int64(-1), 1, "k is -1"),
        (np.int64(2**62), 1, "k is 4611686018427387904"), (np.array([1, 2]), 1, "not one integer"),
        (np.float32(1), 1, "not one integer"), (np.int64(1), 4, "axis 4 is"), (np.int64(1), -5, "axis -5 is"),
    ],
)  # fmt: skip
def test_top_k_of_more_than_there_are_is_refused(k: Any, axis: int, cause: str) -> None:
    m = OnnxModel(IMAGE)
    values, _ = m.node("TopK", "x", m.constant(k, k.dtype), outputs=2, axis=axis)
    refused(m.finish(values), cause)


def test_top_k_of_a_computed_k_is_refused() -> None:
    m = OnnxModel(IMAGE)
    refused(m.finish(m.node("TopK", "x", m.node("ReduceMax", "x", keepdims=0), outputs=2)[0]), "computed while running")


def test_top_k_of_opset_1_has_k_as_an_attribute() -> None:
    m = OnnxModel((2, 5), opset=9)
    x = np.array([[3, 1, 3, 2, 0], [0, 0, 0, 0, 0]], np.float32)
    values, places = m.node("TopK", "x", outputs=2, k=3)
    with tulle.load(read(m.finish(values, places))) as model:
        outputs = model(x)
    np.testing.assert_array_equal(outputs[values], [[3, 3, 2], [0, 0, 0]])
    np.testing.assert_array_equal(outputs[places], [[0, 2, 3], [0, 1, 2]])


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("shape", [(1,), (31,), (2, 17, 3), (1, 5, 3, 9)])
def test_top_k_orders_as_onnx_runtime_does(shape: tuple[int, ...], largest: int) -> None:
    """Equal numbers, both zeros, infinities and NaN, along every axis; tulle sorts where it need not."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    choice = np.array([-np.inf, -2, -0.0, 0.0, 1, 3, np.inf, np.nan], np.float32)
    for axis, size in enumerate(shape):
        for k in sorted({1, (size + 1) // 2, size}):
            m = OnnxModel(shape)
            x = m.random.choice(choice, shape)
            outputs = m.node("TopK", "x", m.constant([k], np.int64), outputs=2, axis=axis, largest=largest)
            unsorted = m.node(
                "TopK", "x", m.constant([k], np.int64), outputs=2, axis=axis - len(shape), largest=largest, sorted=0
            )
            with tulle.load(read(m.finish(*outputs, *unsorted))) as model:
                got = model(x)
            proto = onnx.load_model_from_string(m.finish(*outputs))
            for info, kind in zip(proto.graph.output, (TensorProto.FLOAT, TensorProto.INT64), strict=True):
                info.type.tensor_type.elem_type = kind
            session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
            for name, again, values in zip(outputs, unsorted, session.run(outputs, {"x": x}), strict=True):
                np.testing.assert_array_equal(got[name], values)
                np.testing.assert_array_equal(got[again], values)


def test_a_bias_that_varies_over_the_rows_is_refused() -> None:
    m = OnnxModel((6, 4))
    refused(m.finish(m.node("Gemm", "x", m.noise(4, 6), m.noise(6, 1))), "is not one number an output")


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 8, 9, 10, 15, 16, 33, -1, -2, -9, -16])
def test_whole_powers_of_negative_numbers(exponent: int) -> None:
    """0 and NaN too, whose power 0 is 1."""
    m = OnnxModel((1, 2, 3, 2))
    x = np.array([-2, -1.5, -1, -0.5, -1e-20, 0, 1e-20, 0.5, 1, 2, np.inf, np.nan], np.float32).reshape(1, 2, 3, 2)
    y = m.node("Pow", "x", m.constant(float(exponent)))
    with np.errstate(all="ignore"):
        expected = np.power(x, np.float32(exponent))
    with tulle.load(read(m.finish(y))) as model:
        np.testing.assert_allclose(model(x)[y], expected, rtol=1e-5)


def test_grouped_transposed_convolutions() -> None:
    """ONNX's evaluator fails on these, so every group is compared with a convolution of its own."""
    m = OnnxModel((1, 6, 5, 4))
    weight = m.random.standard_normal((6, 2, 2, 3)).astype(np.float32)
    grouped = m.node("ConvTranspose", "x", m.constant(weight), group=3, strides=[2, 3])
    parts = m.node("Split", "x", outputs=3, axis=1)
    single = [
        m.node("ConvTranspose", part, m.constant(weight[2 * i : 2 * i + 2]), strides=[2, 3])
        for i, part in enumerate(parts)
    ]
    with tulle.load(read(m.finish(grouped, m.node("Concat", *single, axis=1)))) as model:
        one, other = model(m.random.standard_normal((1, 6, 5, 4)).astype(np.float32)).values()
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_transposed_convolutions_to_a_stated_shape() -> None:
    """ONNX's evaluator lacks output_shape; by the specification, what is too much is cropped in front first."""
    m = OnnxModel(IMAGE)
    weight = m.noise(6, 4, 4, 4)
    stated = m.node("ConvTranspose", "x", weight, strides=[2, 2], output_shape=[18, 15])
    padded = m.node("ConvTranspose", "x", weight, strides=[2, 2], pads=[1, 1, 1, 0])
    with tulle.load(read(m.finish(stated, padded))) as model:
        one, other = model(m.random.standard_normal(IMAGE).astype(np.float32)).values()
    assert one.shape == (1, 4, 18, 15)
    np.testing.assert_array_equal(one, other)


def test_older_opsets_keep_lists_in_attributes() -> None:
    m = OnnxModel((1, 6, 8, 8), opset=9)
    y = m.node("Clip", "x", min=-0.5, max=0.5)
    y = m.node("Slice", y, axes=[1, 2], starts=[1, 0], ends=[5, -1])
    y = m.node("Upsample", y, m.constant([1, 1, 2, 2]), mode="nearest")
    y = m.node("Squeeze", m.node("ReduceMean", y, axes=[2, 3], keepdims=1), axes=[2, 3])
    same_as_onnx(m.finish(m.node("Softmax", y)))


def test_several_inputs_and_outputs() -> None:
    m = OnnxModel((1, 3, 8, 8))
    m.inputs.append(helper.make_tensor_value_info("vector", TensorProto.FLOAT, ("batch", 4)))
    y = m.node("Conv", "x", m.noise(4, 3, 3, 3))
    scale = m.node("Unsqueeze", m.node("Sigmoid", "vector"), m.constant([2, 3], np.int64))
    gated = m.node("Mul", y, scale)
    graph = same_as_onnx(m.finish(gated, m.node("GlobalAveragePool", y)))
    assert graph.tensors[graph.outputs[0]].shape == (1, 4, 6, 6)  # ONNX's order


def test_the_command_converts_and_says_what_changed(tmp_path: Path) -> None:
    m = OnnxModel((1, 3, 16, 16))
    source, target = tmp_path / "model.onnx", tmp_path / "model.tulle"
    source.write_bytes(m.finish(m.node("Relu", m.node("Conv", "x", m.noise(4, 3, 3, 3), strides=[2, 2]))))
    outcome = CliRunner().invoke(main, ["convert", str(source), "-o", str(target)])
    assert outcome.exit_code == 0, outcome.output
    assert "input 'x' was [1, 3, 16, 16] in ONNX" in outcome.output
    with tulle.load(target) as model:
        assert model.inputs[0].takes_images


def test_other_commands_take_onnx_too(tmp_path: Path) -> None:
    """Weights in a file of their own, as exporters write large ones."""
    m = OnnxModel((1, 3, 8, "width"))
    y = m.node("Conv", m.node("Relu", m.node("Conv", "x", m.noise(64, 3, 3, 3))), m.noise(64, 64, 1, 1))
    source, target = tmp_path / "net.onnx", tmp_path / "sparse.tflite"
    proto = onnx.load_model_from_string(m.finish(m.node("Relu", y)))
    onnx.save(proto, source, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    shape = ["--input-shape", "x=1,3,8,9"]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, [*arguments, *shape], catch_exceptions=False)

    result = run("sparsify", str(source), "-o", str(target), "--sparsity", "0.75")
    assert result.exit_code == 0, result.output
    assert "note: input 'x' was [1, 3, 8, 9] in ONNX" in result.stderr
    assert "note: without --calibration" in result.stderr
    assert "75.0% of the weights of 1 layers are zero (52.7% of all: other layers stay as they were)" in result.stdout
    whole = source.stat().st_size + (tmp_path / "net.onnx.data").stat().st_size
    assert f"({source}: {whole / 1000:.3g} kB)" in result.stdout
    described = run("inspect", str(source)).stdout
    assert f"onnx file, {whole / 1000:.3g} kB" in described and "64x64" not in described and "8x9x3" in described
    assert "8x9x3" in CliRunner().invoke(main, ["inspect", str(target)]).stdout
    assert f"{whole / 1000:.3g} kB" in run("convert", str(source), "-o", str(tmp_path / "net.tulle")).stdout


def test_the_command_takes_shapes(tmp_path: Path) -> None:
    m = OnnxModel(("batch", 3, "rows", "columns"))
    source, target = tmp_path / "model.onnx", tmp_path / "model.tulle"
    source.write_bytes(m.finish(m.node("Conv", "x", m.noise(4, 3, 3, 3))))
    command = ["convert", str(source), "-o", str(target)]
    assert "choose one by --input-shape x=1,3,SIZE,SIZE" in CliRunner().invoke(main, command).stderr
    assert CliRunner().invoke(main, [*command, "--input-shape", "x=1,3,8,9"]).exit_code == 0
    with tulle.load(target) as model:
        assert model.inputs[0].shape == (1, 8, 9, 3)
    for wrong in ("1,3,8,9", "x=1,3,8,wide", "x="):
        assert "is not of the form" in CliRunner().invoke(main, [*command, "--input-shape", wrong]).output
    with pytest.raises(TulleError, match="of an ONNX file only"):
        tulle.convert(bytes(4) + b"TFL3", input_shapes={"x": (1, 3, 8, 9)})


def refused(data: bytes, cause: str) -> None:
    with pytest.raises(TulleError, match=cause):
        read(data)


def test_what_cannot_run_is_listed_together() -> None:
    m = OnnxModel((1, 6, 9, 7))
    before = m.node("Relu", "x")
    y = m.node("GlobalLpPool", before)
    y = m.node("Relu", y)
    z = m.node("Hardmax", "x")
    data = m.finish(m.node("Add", y, y), z)
    refused(data, rf"2 ops are not supported:\n  GlobalLpPool -> .*\n  Hardmax -> .*\nThe part .* are '{before}'$")
    assert read(data, outputs=[before]).outputs == [before]
    with pytest.raises(TulleError, match="'nowhere' is never computed"):
        read(data, outputs=["nowhere"])


def test_group_normalisation() -> None:
    """By its definition: ONNX's evaluator wants the scale a group as older opsets have it."""
    m = OnnxModel((1, 6, 5, 4), opset=21)
    scale, bias = m.random.standard_normal((2, 6)).astype(np.float32)
    y = m.node("GroupNormalization", "x", m.constant(scale), m.constant(bias), num_groups=3, epsilon=1e-3)
    x = m.random.standard_normal((1, 6, 5, 4)).astype(np.float32)
    rows = x.reshape(3, -1).astype(np.float64)
    rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-3)
    expected = rows.reshape(x.shape) * scale.reshape(1, 6, 1, 1) + bias.reshape(1, 6, 1, 1)
    with tulle.load(read(m.finish(y))) as model:
        np.testing.assert_allclose(model(x)[y], expected, atol=1e-5)


@pytest.mark.parametrize("size", [3, 4, 9])
def test_local_response_normalisation(size: int) -> None:
    """By its definition: ONNX's evaluator sums squares for the first channel only."""
    m = OnnxModel(IMAGE)
    y = m.node("LRN", "x", size=size, alpha=0.4, beta=0.7, bias=1.5)
    x = m.random.standard_normal(IMAGE).astype(np.float32)
    sums = np.zeros(IMAGE)
    for channel in range(6):
        first, last = max(0, channel - (size - 1) // 2), min(5, channel + size // 2)
        sums[:, channel] = (x[:, first : last + 1].astype(np.float64) ** 2).sum(axis=1)
    with tulle.load(read(m.finish(y))) as model:
        np.testing.assert_allclose(model(x)[y], x / (1.5 + 0.4 / size * sums) ** 0.7, atol=1e-5)


def test_maximum_of_a_signal() -> None:
    """Where ONNX's reference evaluator is wrong: it takes the maximum over the channels too."""
    m = OnnxModel((1, 6, 63))
    y = m.node("GlobalMaxPool", "x")
    x = m.random.standard_normal((1, 6, 63)).astype(np.float32)
    with tulle.load(read(m.finish(y))) as model:
        np.testing.assert_array_equal(model(x)[y], x.max(axis=2, keepdims=True))


def single(m: OnnxModel) -> str:
    """The sum of a vector: a tensor without dimensions."""
    return m.node("ReduceSum", "x", m.constant([0], np.int64), keepdims=0)


def compared(m: OnnxModel, op: str) -> str:
    return m.node(op, single(m), m.constant(0.1))


SINGLE: dict[str, Case] = {
    **{op: lambda m, op=op: m.node(op, single(m)) for op in (
        "Exp", "Erf", "Softplus", "Reciprocal", "Selu", "Celu", "Sign", "Relu", "Sigmoid", "Tanh", "HardSwish",
        "LeakyRelu", "Elu", "HardSigmoid", "Neg", "Abs", "Identity", "Dropout", "Gelu", "Mish", "Transpose")},
    **{op: lambda m, op=op: m.node(op, m.node("Abs", single(m))) for op in ("Log", "Sqrt")},
    **{f"{op} of {kind}": lambda m, op=op, c=c: m.node(op, single(m), m.constant(c))
       for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum") for kind, c in (("a number", 2.0), ("one", [2.0]))},
    **{f"{op} of many": lambda m, op=op: m.node(op, single(m), "x")
       for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    **{f"{op} of a constant": lambda m, op=op: m.node(op, m.constant(2.5), single(m))
       for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Mean")},
    **{f"Pow {e}": lambda m, e=e: m.node("Pow", m.node("Abs", single(m)), m.constant(e))
       for e in (2.0, 0.0, 3.0, -1.0, 0.5, -0.5, 1.7)},
    "PRelu": lambda m: m.node("PRelu", m.node("Neg", m.node("Abs", single(m))), m.constant(0.2)),
    "Clip": lambda m: m.node("Clip", single(m), m.constant(-0.5), m.constant(0.5)),
    "Clip above": lambda m: m.node("Clip", single(m), "", m.constant(0.5)),
    **{op: lambda m, op=op: m.node("Cast", compared(m, op), to=1)
       for op in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")},
    **{f"Not {op}": lambda m, op=op: m.node("Cast", m.node("Not", compared(m, op)), to=1)
       for op in ("Greater", "Less")},
    **{op: lambda m, op=op: m.node("Cast", m.node(op, compared(m, "Greater"), compared(m, "Less")), to=1)
       for op in ("And", "Or")},
    "Where": lambda m: m.node("Where", compared(m, "Greater"), single(m), m.constant(7.0)),
    "Where of many": lambda m: m.node("Where", compared(m, "Less"), "x", m.constant(7.0)),
    **{f"{op} to one": lambda m, op=op: m.node("Neg", m.node(op, "x", keepdims=0))
       for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")},
    **{f"{op} of one": lambda m, op=op: m.node(op, single(m), keepdims=0)
       for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")},
    "ArgMax": lambda m: m.node("Abs", m.node("Cast", m.node("ArgMax", "x", axis=0, keepdims=0), to=1)),
    "Gather": lambda m: m.node("Abs", m.node("Gather", "x", m.constant(2, np.int64))),
    "Unsqueeze": lambda m: m.node("Unsqueeze", single(m), m.constant([0], np.int64)),
    "Squeeze": lambda m: m.node("Abs", m.node("Squeeze", m.node("ReduceSum", "x", m.constant([0], np.int64)))),
    "Reshape": lambda m: m.node("Neg", m.node("Reshape", m.node("ReduceSum", "x"), m.constant([], np.int64))),
    "Flatten": lambda m: m.node("Flatten", single(m), axis=0),
    "Expand": lambda m: m.node("Expand", single(m), m.constant([2, 3], np.int64)),
    "Tile": lambda m: m.node("Tile", single(m), m.constant([], np.int64)),
}  # fmt: skip


@pytest.mark.parametrize("case", SINGLE)
def test_single_numbers(case: str) -> None:
    """Operators on tensors without dimensions."""
    m = OnnxModel((5,), opset=20 if case in ("Gelu", "Mish") else 17)
    same_as_onnx(m.finish(SINGLE[case](m)))


@pytest.mark.parametrize(("op", "cause"), [("Pow", "makes .* wider"), ("PRelu", "does not broadcast")])
def test_single_numbers_are_not_made_wider(op: str, cause: str) -> None:
    m = OnnxModel((5,))
    refused(m.finish(m.node(op, single(m), m.constant([2.0]))), cause)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_mish(approximate: str) -> None:
    m = OnnxModel(IMAGE, opset=20)
    same_as_onnx(m.finish(m.node("Gelu", "x", approximate=approximate), m.node("Mish", "x")))


def test_shapes_left_open_are_chosen() -> None:
    m = OnnxModel(("batch", 3, "height", "width"))
    shape = m.node("Slice", m.node("Shape", "x"), m.constant([2], np.int64), m.constant([4], np.int64))
    rows = m.node("Gather", shape, m.constant(0, np.int64))  # what YOLO's heads make their grid of
    grid = m.node("Range", m.constant(0, np.int64), rows, m.constant(1, np.int64))
    column = m.node("Reshape", m.node("Cast", grid, to=TensorProto.FLOAT), m.constant([-1, 1], np.int64))
    y = m.node("Add", m.node("Conv", "x", m.noise(3, 3, 1, 1)), column)
    data = m.finish(y)
    graph = read(data, input_shapes={"x": (1, 3, 5, 4)})
    assert graph.tensors["x"].shape == (1, 5, 4, 3)
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 4)).astype(np.float32)
    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(data)).run([y], {"x": x})
    with tulle.load(graph) as model:
        np.testing.assert_allclose(model(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))[y], expected, atol=1e-6)


def test_shapes_that_are_not_static_are_refused() -> None:
    m = OnnxModel((1, 3, "height", 4))
    data = m.finish(m.node("Relu", "x"))
    refused(data, r"dynamic shape \[1, 3, 'height', 4\]: choose one by --input-shape x=1,3,SIZE,4")
    for shape in [(1, 3, 8, 5), (1, 3, 8), (1, 8, 4, 3)]:
        with pytest.raises(TulleError, match=r"has the shape .* does not fit it"):
            read(data, input_shapes={"x": shape})
    with pytest.raises(TulleError, match="dynamic"):
        read(data, input_shapes={"x": (1, 3, 0, 4)})
    with pytest.raises(TulleError, match="no input 'image' to give a shape to"):
        read(data, input_shapes={"x": (1, 3, 8, 4), "image": (1,)})
    m = OnnxModel((2, 3, 4, 4))
    refused(m.finish(m.node("Relu", "x")), "only batch 1 is supported, so export the model with batch 1")
    m = OnnxModel(())
    refused(m.finish(m.node("Relu", "x")), "single number")
    m.inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, (1, 3))]
    refused(m.finish(m.node("Cast", "x", to=TensorProto.FLOAT)), "input 'x' is int64: it must be of floats")


@pytest.mark.parametrize("rows", [1, 2])
def test_a_branch_is_chosen_where_its_condition_is_known(rows: int) -> None:
    """As PyTorch's exporter writes squeeze(2), whose result depends on the size of the dimension."""
    m = OnnxModel((1, 3, rows, 4))
    size = m.node("Gather", m.node("Shape", "x"), m.constant(2, np.int64))
    features = m.node("Relu", "x")  # only the branches read it

    def branch(name: str, *nodes: Any) -> Any:
        end = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
        axes = numpy_helper.from_array(np.array([2]), f"{name}_axes")
        return helper.make_graph(nodes, name, [], [end], [axes])

    squeeze = branch("then", helper.make_node("Squeeze", [features, "then_axes"], ["squeezed"]))
    negate = branch("else", helper.make_node("Neg", [features], ["m"]), helper.make_node("Neg", ["m"], ["same"]))
    one = m.node("Equal", size, m.constant(1, np.int64))
    same_as_onnx(m.finish(m.node("Abs", m.node("If", one, then_branch=squeeze, else_branch=negate))))


def test_ranges_that_are_too_long_are_refused() -> None:
    m = OnnxModel((1, 3))
    grid = m.node("Range", m.constant(0.0), m.constant(1e12), m.constant(1.0))
    refused(m.finish(m.node("Add", "x", grid)), r"constant of 1e\+12 elements")


@pytest.mark.parametrize("opset", [13, 19])
@pytest.mark.parametrize(("high", "low"), [(6.0, 0), (3.0, 0), (3.0, 128)])
def test_quantised_models_keep_what_the_range_of_their_integers_implies(high: float, low: int, opset: int) -> None:
    """ONNX Runtime's quantiser leaves a Relu or Clip(0, 6) out where integers from 0 on follow."""
    scale = high / (255 - low)
    data, y = quantised_model(scale, low, opset)
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.float32) / 255
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(quantised_model(scale, low, 19)[0]))
    (expected,) = evaluator.run([y], {"x": x})
    graph = read(data)
    assert any("quantised" in note for note in graph.notes) and graph.tensors["x"].shape == (1, 8, 8, 3)
    with tulle.load(graph) as model:
        got = model(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))[y]
    inside = (expected < high - scale) & (expected > scale * (1 - low))
    np.testing.assert_allclose(got[inside], expected[inside], atol=0.51 * scale)
    assert not inside.all() and (got.min() < 0) == (low > 0) and (got.max() <= 6) == (high == 6)


@pytest.mark.parametrize("zeros", [1, 4])
def test_dynamically_quantised_models_are_converted_to_float(zeros: int) -> None:
    """As ONNX Runtime's quantize_dynamic writes them: integers computed while running, scales multiplied behind."""
    m = OnnxModel((1, 3, 8, 8))

    def layer(op: str, x: str, shape: tuple[int, ...]) -> str:
        stored, scale, zero = m.node("DynamicQuantizeLinear", x, outputs=3)
        weights = m.constant(m.random.integers(125, 132, shape), np.uint8)
        middle = m.constant(126 + np.arange(zeros) if zeros > 1 else np.array(128), np.uint8)
        scales = m.node("Mul", scale, m.constant(0.01))
        bias = m.constant(
            m.random.random((1, 4, 1, 1) if len(shape) == 4 else (1, 4)) / 200
        )  # less than a weight's step
        bias = m.node("Cast", m.node("Floor", m.node("Div", bias, scales)), to=TensorProto.INT32)
        total = m.node("Add", m.node(op, stored, weights, zero, middle), bias)
        return m.node("Mul", m.node("Cast", total, to=TensorProto.FLOAT), scales)

    features = m.node("GlobalAveragePool", m.node("Relu", layer("ConvInteger", "x", (4, 3, 3, 3))))
    y = layer("MatMulInteger", m.node("Flatten", features), (4, 4))
    data = m.finish(y)
    x = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32)
    (expected,) = ReferenceEvaluator(onnx.load_model_from_string(data)).run([y], {"x": x})
    graph = read(data)
    assert any("quantised" in note for note in graph.notes)
    with tulle.load(graph) as model:
        got = model(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))[y]
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())
    m = OnnxModel((1, 3, 8, 8))
    stored = m.node("QuantizeLinear", "x", m.constant(0.1), m.constant(0, np.uint8))
    refused(m.finish(m.node("ConvInteger", stored, m.constant(np.ones((4, 3, 3, 3)), np.uint8))), "is not what Dynamic")


def quantised_model(scale: float, low: int, opset: int) -> tuple[bytes, str]:
    """A convolution with quantised weights whose result is stored as bytes, of which `low` stands for 0."""
    m = OnnxModel((1, 3, 8, 8), opset)
    step, zero = m.constant(0.05), m.constant(3, np.int8)
    weights = m.node("DequantizeLinear", m.node("QuantizeLinear", m.noise(6, 3, 3, 3), step, zero), step, zero)
    pixel = m.constant(1 / 255), m.constant(0, np.uint8)
    x = m.node("DequantizeLinear", m.node("QuantizeLinear", "x", *pixel), *pixel)
    features = m.node("Mul", m.node("Conv", x, weights), m.constant(30.0))
    stored = m.node("QuantizeLinear", features, m.constant(scale), m.constant(low, np.uint8))
    y = m.node("DequantizeLinear", stored, m.constant(scale), m.constant(low, np.uint8))
    return m.finish(y), y


def test_an_output_is_listed_once() -> None:
    m = OnnxModel((1, 3, 8, 8))
    y = m.node("Relu", "x")
    refused(m.finish(y, y), "output 'n0_0' is listed twice")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    m = OnnxModel((1, 3, 8, 8))
    data = m.finish(m.node("Conv", "x", m.noise(4, 3, 3, 3)))
    refused(b"", "no nodes")
    refused(b"\x00" * 40, "not an ONNX file")
    refused(data[: len(data) // 2], "not an ONNX file|damaged|never computed|no nodes")
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = np.frombuffer(data, np.uint8).copy()
        changed[random.integers(0, len(data), 3)] = random.integers(0, 256, 3)
        with suppress(TulleError):
            read(changed.tobytes())
    with pytest.raises(TulleError, match="cannot be read"):
        tulle.convert(tmp_path / "none.onnx")


def test_constants_out_of_proportion_are_refused() -> None:
    m = OnnxModel((1, 3, 8, 8))
    huge = m.node("ConstantOfShape", m.constant([1 << 20, 1 << 20], np.int64))
    refused(m.finish(m.node("Add", "x", huge)), r"it makes a constant of 1.1e\+12 elements")


@pytest.mark.parametrize("what", ["Add", "Gather", "GatherND", "Concat", "Expand", "Tile"])
def test_constants_made_of_small_ones_are_refused_before_they_are_made(what: str) -> None:
    """A few hundred kilobytes that would become hundreds of gigabytes."""
    m = OnnxModel((1, 3))
    long, rows = m.constant(np.zeros(50_000)), m.constant(np.zeros((50_000, 1)))
    huge = {
        "Add": lambda: m.node("Add", long, rows),
        "Gather": lambda: m.node("Gather", m.node("Transpose", rows), m.constant(np.zeros(50_000), np.int64), axis=0),
        "GatherND": lambda: m.node("GatherND", m.node("Transpose", rows), m.constant(np.zeros((50_000, 1)), np.int64)),
        "Concat": lambda: m.node("Concat", *[long] * 50_000, axis=0),
        "Expand": lambda: m.node("Expand", long, m.constant([50_000, 50_000], np.int64)),
        "Tile": lambda: m.node("Tile", long, m.constant([50_000], np.int64)),
    }[what]()
    m.nodes.append(helper.make_node("Reshape", [huge, m.constant([-1, 1], np.int64)], ["flat"]))
    tracemalloc.start()
    with pytest.raises(TulleError, match=r"it makes a constant of 2.5e\+09 elements"):
        read(m.finish(m.node("MatMul", "x", "flat")))
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_many_constants_that_add_up_are_refused() -> None:
    m = OnnxModel((1, 3))
    y = "x"
    for _ in range(40):
        made = m.node("ConstantOfShape", m.constant([2**22, 1], np.int64))  # lazily zero, so not much memory
        y = m.node("Add", y, m.node("Gather", made, m.constant([0], np.int64)))
    refused(m.finish(y), "out of proportion")


def test_expanding_to_a_usual_size_is_not_refused() -> None:
    m = OnnxModel((1, 4, 64, 64))
    spread = m.node("Expand", m.noise(1, 1, 64, 64), m.constant([1, 4, 64, 64], np.int64))
    same_as_onnx(m.finish(m.node("Add", "x", spread)))
