"""A sparse layer over several rows, such as the tokens of a transformer, runs as a 1x1 convolution of a map of one row.

Only convolutions have a sparse kernel that reads many pixels at once. Dense rows have a kernel of their own.
"""

from __future__ import annotations

import math

import numpy as np

from tulle.graph import Graph, Node, Tensor
from tulle.passes.cost_model import is_faster_sparse
from tulle.passes.rewrite import alpha_of, inputs_of


def rows_as_pixels(graph: Graph, sparse: str) -> Graph:
    """Turns `fully_connected` over more than one row into `conv2d` where the cost model expects that to be faster
    sparse, or `sparse` is "always"; nowhere if it is "never"."""
    graph = graph.copy()
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _over_pixels(graph, node) if sparse != "never" and _gains(graph, node, sparse) else [node]
    graph.nodes = nodes
    return graph


def _gains(graph: Graph, node: Node, sparse: str) -> bool:
    if node.op != "fully_connected":
        return False
    x, weight = graph.tensors[node.inputs[0] or ""], graph.constant(node.inputs[1])
    if weight is None or (rows := math.prod(x.shape) // weight.shape[1]) == 1:
        return False
    if x.levels is not None:  # quantised layers run in integers
        return False
    return sparse == "always" or is_faster_sparse(weight, rows)


def _over_pixels(graph: Graph, node: Node) -> list[Node]:
    x, weight, bias = inputs_of(node)
    values = graph.constant(weight)
    assert x is not None and values is not None
    outputs, inputs = values.shape
    rows = math.prod(graph.tensors[x].shape) // inputs
    pixels = graph.add_tensor(Tensor(f"{x}_pixels", (1, 1, rows, inputs)))
    result = graph.add_tensor(Tensor(f"{node.output}_pixels", (1, 1, rows, outputs)))
    operands = [pixels, graph.add_constant(weight or "weight", np.expand_dims(values, (1, 2))), bias]
    if (alpha := alpha_of(node)) is not None:
        operands += [None, alpha]
    activation = {key: value for key, value in node.attrs.items() if key in ("activation", "alpha")}
    attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": (0, 0, 0, 0), **activation}
    return [
        Node("reshape", pixels, [x], [pixels], {}),
        Node("conv2d", node.name, operands, [result], attrs),
        Node("reshape", f"{node.name}_rows", [result], list(node.outputs), {}),
    ]
