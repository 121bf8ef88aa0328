"""Products of matrices: fully_connected with constant weights, matmul of anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import Unsupported
from tulle.graph.graph import Graph, Node
from tulle.ops import attributes as attribute
from tulle.ops.batches import reshaped
from tulle.ops.channels import Channels, no_input, two_inputs
from tulle.ops.convolution import with_bias
from tulle.ops.layout import PLAIN
from tulle.ops.op import Example, Input, Op, Operator, Weights
from tulle.ops.shapes import Shape, Shapes, broadcast, check_bias, operand, require
from tulle.ops.windows import fused_option

if TYPE_CHECKING:
    from tulle.tflite.call import Call

# ---- fully_connected


def _fully_connected_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, weight = operand(shapes, 0), operand(shapes, 1, "weights")
    fits = len(weight) == 2 and len(x) >= 1 and x[-1] == weight[1]
    require(fits, "weights must be [out, last dimension of the input]")
    check_bias(shapes, weight[0])
    if node.attrs.get("keep_num_dims"):
        return *x[:-1], weight[0]
    return int(np.prod(x[:-1], dtype=np.int64)), weight[0]


def _fully_connected(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, weight, bias, *_ = [*inputs, None]
    y = (x @ weight.T).reshape(shape)
    return y if bias is None else y + bias.reshape(-1)


def _macs(graph: Graph, node: Node) -> int:
    weight = graph.tensors[node.inputs[1] or ""]
    return graph.tensors[node.output].size // weight.shape[0] * weight.size


def _torch_layer(node: Node, weight: Shape, image: Shape, bias: bool) -> Any:
    from torch import nn

    return nn.Linear(weight[1], weight[0], bias=bias)


def _torch_fully_connected(node: Node, shapes: Shapes, result: Shape) -> Any:
    return lambda module, x, *_: reshaped(module(x), result)


def _write_fully_connected(graph: Graph, node: Node) -> Operator:
    keep = bool(node.attrs.get("keep_num_dims"))
    options = {**fused_option(node), "KeepNumDims": keep}
    inputs, version = with_bias(graph, node), 5 if keep else 1
    return Operator("FULLY_CONNECTED", inputs, node.output, "FullyConnectedOptions", options, version)


def _read_fully_connected(call: Call) -> None:
    options = call.options("FullyConnectedOptions")
    if not call.is_constant(1):
        _computed_weights(call, options)
        return
    if call.name_of("FullyConnectedOptionsWeightsFormat", options.WeightsFormat()) != "DEFAULT":
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


def _fully_connected_example(random: np.random.Generator) -> Example:
    size, channels = (int(value) for value in random.integers(1, 40, 2))
    keep = bool(random.random() < 0.5)
    x = random.standard_normal((*random.integers(1, 5, int(random.integers(0, 3))), size) if keep else (1, size))
    weight = random.standard_normal((channels, size))
    weight[random.random(weight.shape) < random.choice([0, 0.8])] = 0
    attrs = {"activation": str(random.choice(["none", "relu", "relu6"])), "keep_num_dims": keep}
    return Example([x, weight, random.standard_normal(channels)], attrs, constants=(1, 2))


FULLY_CONNECTED = Op(
    "fully_connected", "x times the transposed weights, over the last dimension",
    (
        Input("x"), Input("weight", "[out, in]", constant="must"),
        Input("bias", "[out]", optional=True, constant="must"),
    ),
    _fully_connected_shape, _fully_connected, PLAIN, _fully_connected_example,
    (
        attribute.SPARSITY,
        attribute.Attribute(
            "keep_num_dims", "flag", required=False, from_shapes=lambda before, after: before[:-1] == after[:-1]
        ),
        *attribute.FUSED,
    ),
    Channels(no_input),
    fuses_activation=True,
    weights=Weights(0, True, _macs, (0, 1), _torch_layer),
    torch=_torch_fully_connected,
    to_tflite=_write_fully_connected,
    tflite_fuses=True,
    from_tflite={"FULLY_CONNECTED": _read_fully_connected},
)  # fmt: skip

# ---- matmul


def _matmul_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    a, b = operand(shapes, 0, "first operand"), operand(shapes, 1, "second operand")
    require(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2], "needs [..., m, k] and [..., k, n]")
    return *broadcast(a[:-2], b[:-2]), a[-2], b[-1]


def ranks_differ(graph: Graph, node: Node) -> bool:
    """Whether an activation that is broadcast has another number of dimensions, so that its first is not the batch."""
    rank = len(graph.tensors[node.output].shape)
    read = [graph.tensors[name] for name in node.inputs if name is not None]
    return any(len(tensor.shape) != rank for tensor in read if not tensor.is_constant)


def _read_batch_matmul(call: Call) -> None:
    options = call.options("BatchMatMulOptions")
    call.product(call.input(0), call.input(1), bool(options.AdjX()), bool(options.AdjY()))


def _write_matmul(graph: Graph, node: Node) -> Operator:
    options = {"AdjX": False, "AdjY": False}
    return Operator("BATCH_MATMUL", list(node.inputs[:2]), node.output, "BatchMatMulOptions", options, version=3)


def _matmul_example(random: np.random.Generator) -> Example:
    batch = [1, *(int(size) for size in random.integers(1, 4, int(random.integers(0, 2))))]
    rows, depth, columns = (int(size) for size in random.integers(1, 20, 3))
    narrow = [1 if random.random() < 0.3 else size for size in batch]
    b = random.standard_normal((*narrow, depth, columns))
    constants = (1,) if random.random() < 0.3 else ()
    return Example([random.standard_normal((*batch, rows, depth)), b], constants=constants)


MATMUL = Op(
    "matmul", "the product of two matrices, computed or constant, with NumPy broadcasting of the dimensions before",
    (Input("a", "[..., m, k]", constant="may"), Input("b", "[..., k, n]", constant="may")),
    _matmul_shape, lambda node, inputs, shape: inputs[0] @ inputs[1], PLAIN, _matmul_example,
    channels=Channels(two_inputs),
    torch=lambda node, shapes, result: lambda a, b, *_: a @ b,
    mixes_batch=lambda graph, node: len(graph.tensors[node.output].shape) < 3 or ranks_differ(graph, node),
    to_tflite=_write_matmul,
    from_tflite={"BATCH_MATMUL": _read_batch_matmul},
)  # fmt: skip

OPS = (FULLY_CONNECTED, MATMUL)
