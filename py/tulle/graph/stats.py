"""Numbers about a model: multiply-adds, parameters, zeros, dead channels. `tulle inspect` and reports use them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tulle.graph.graph import Graph, Node
from tulle.ops import LAYERS, OPS


@dataclass(frozen=True)
class LayerStats:
    """One layer with weights.

    Attributes:
        name, op: of the node.
        output_shape: the model's own order.
        macs: multiply-adds of the dense layer.
        nonzero_macs: those whose weight is not zero.
        parameters: elements of weights and bias.
        zeros: share of the weights that are zero, 0 to 1.
        dead_channels: output channels whose weights are all zero, so that they are constant whatever the input.
        output_channels: how many there are.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    macs: int
    nonzero_macs: int
    parameters: int
    zeros: float
    dead_channels: int
    output_channels: int


def layer_stats(graph: Graph) -> list[LayerStats]:
    """A row for every layer with constant weights, in execution order. Fold DEQUANTIZE and DENSIFY first."""
    rows = []
    for node in graph:
        weight = _weight(graph, node)
        if weight is None:
            continue
        nonzero = int(np.count_nonzero(weight)) / weight.size
        channels = weight.shape[output_dimension(node)]
        macs = node_macs(graph, node)
        rows.append(
            LayerStats(
                name=node.name,
                op=node.op,
                output_shape=graph.tensors[node.output].shape,
                macs=macs,
                nonzero_macs=round(macs * nonzero),
                parameters=node_parameters(graph, node),
                zeros=1 - nonzero,
                dead_channels=int(dead_output_channels(graph, node).sum()),
                output_channels=channels,
            )
        )
    return rows


def node_macs(graph: Graph, node: Node) -> int:
    """Multiply-adds of a layer as if dense; those that meet padding count too. 0 for ops without weights."""
    weights = OPS[node.op].weights
    if weights is None or graph.tensors[node.inputs[1] or ""].size == 0:
        return 0
    return weights.macs(graph, node)


def node_parameters(graph: Graph, node: Node) -> int:
    """Elements of the node's constants."""
    names = {name for name in node.inputs if name is not None and graph.tensors[name].is_constant}
    return sum(graph.tensors[name].size for name in names)


def total_macs(graph: Graph) -> int:
    return sum(node_macs(graph, node) for node in graph)


def total_parameters(graph: Graph) -> int:
    """Elements of all constants that a node reads."""
    names = {name for node in graph for name in node.inputs if name is not None}
    return sum(graph.tensors[name].size for name in names if graph.tensors[name].is_constant)


def dead_output_channels(graph: Graph, node: Node) -> np.ndarray:
    """bool [output channels]: those whose weights are all zero."""
    weight = _weight(graph, node)
    if weight is None:
        return np.zeros(0, bool)
    others = tuple(axis for axis in range(weight.ndim) if axis != output_dimension(node))
    return np.logical_not(weight.any(axis=others))


def output_dimension(node: Node) -> int:
    """Which dimension of a layer's weights counts output channels."""
    weights = OPS[node.op].weights
    assert weights is not None
    return weights.outputs


def _weight(graph: Graph, node: Node) -> np.ndarray | None:
    return graph.constant(node.inputs[1]) if node.op in LAYERS else None
