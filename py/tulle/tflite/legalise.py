"""Rewrites a graph so that every node is one TensorFlow Lite operator: undoes what lowering fuses."""

from __future__ import annotations

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, Node, Tensor
from tulle.graph.geometry import explicit_padding, transpose_padding
from tulle.ops import OPS
from tulle.passes.fold_constants import fold_constants
from tulle.passes.remove_identities import remove_identities
from tulle.passes.rewrite import alpha_of, inputs_of

# Activations that TensorFlow Lite's kernels fuse.
FUSED = ("none", "relu", "relu6", "relu_n1_to_1")


def legalise(graph: Graph) -> Graph:
    """A graph, lowered or not, in the ops and paddings that TensorFlow Lite has.

    Raises TulleError for a padding that TensorFlow Lite does not have (of average pools and transposed convolutions).
    """
    graph = fold_constants(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        _named_padding(graph, node, nodes)
        nodes.append(node)
        if node.op == "conv2d" and inputs_of(node)[3] is not None:
            node = _split_residual(graph, node, nodes)
        if node.op != "activation":
            _split_activation(graph, node, nodes)
    graph.nodes = nodes
    return remove_identities(graph)


def _named_padding(graph: Graph, node: Node, nodes: list[Node]) -> None:
    """Turns explicit padding into "same" or "valid", or into a separate pad."""
    padding = node.attrs.get("padding")
    if padding is None or isinstance(padding, str):
        return
    name = node.inputs[0] or ""
    x, output, attrs = graph.tensors[name], graph.tensors[node.output].shape, node.attrs
    kernel = attrs["kernel"] if "kernel" in attrs else graph.tensors[node.inputs[1] or ""].shape[1:3]
    for candidate in ("valid", "same"):
        if node.op == "transpose_conv2d":
            equal = transpose_padding(candidate, output[1:3], kernel, attrs["strides"])
        else:
            equal = explicit_padding(candidate, x.shape[1:3], kernel, attrs["strides"], attrs.get("dilations", (1, 1)))
        if tuple(padding) == equal:
            attrs["padding"] = candidate
            return
    if node.op in ("average_pool2d", "transpose_conv2d"):
        raise TulleError(f"{node.op} {node.name!r}: TensorFlow Lite has no padding {padding} for it")
    top, bottom, left, right = padding
    shape = (1, x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3])
    padded = graph.add_tensor(Tensor(f"{name}_padded", shape))
    lowest = float(np.finfo(np.float32).min) if node.op == "max_pool2d" else 0.0
    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    nodes.append(Node("pad", padded, [name], [padded], {"pads": pads, "pad_value": lowest, "pad_mode": "constant"}))
    node.inputs = [padded, *node.inputs[1:]]
    attrs["padding"] = "valid"


def _split_residual(graph: Graph, conv: Node, nodes: list[Node]) -> Node:
    """Turns the residual into a separate addition, with the activation; returns it."""
    x, weight, bias, residual = inputs_of(conv)
    total = conv.output
    product = graph.add_tensor(Tensor(f"{total}_conv", graph.tensors[total].shape))
    add = Node("add", total, [product, residual], [total], {"activation": conv.attrs["activation"]})
    if alpha_of(conv) is not None:
        add.inputs.append(alpha_of(conv))
    if "alpha" in conv.attrs:
        add.attrs["alpha"] = conv.attrs["alpha"]
    conv.inputs, conv.outputs, conv.attrs["activation"] = [x, weight, bias], [product], "none"
    nodes.append(add)
    return add


def _split_activation(graph: Graph, node: Node, nodes: list[Node]) -> None:
    """Turns an activation that TensorFlow Lite does not fuse into a separate node."""
    activation = node.attrs.get("activation", "none")
    if activation == "none" or (activation in FUSED and OPS[node.op].tflite_fuses):
        return
    result = node.output
    before = graph.add_tensor(Tensor(f"{result}_linear", graph.tensors[result].shape))
    split = Node("activation", result, [before], [result], {"activation": activation})
    if activation == "prelu":
        split.inputs.append(alpha_of(node))
        node.inputs = inputs_of(node)
    if "alpha" in node.attrs:
        split.attrs["alpha"] = node.attrs["alpha"]
    node.outputs, node.attrs["activation"] = [before], "none"
    nodes.append(split)
