"""What exporters without PRELU write for it becomes one activation, which can then be fused.

Comes before `fuse_activations`, which moves it into the convolution that computes x.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node
from tulle.passes.remove_dead_code import remove_dead_code


def fuse_slopes(graph: Graph) -> Graph:
    """relu(x) - slope * relu(-x), and max(x, slope * x) for slopes from 0 to 1, become prelu."""
    graph = graph.copy()
    producer = graph.producer()
    for node in graph.nodes:
        found = _of_relus(graph, node, producer) or _of_maximum(graph, node, producer)
        if found is None:
            continue
        x, slope = found
        if graph.tensors[x].shape != graph.tensors[node.output].shape:
            continue
        alpha = graph.add_constant("slope", slope.astype(np.float32))
        node.op, node.inputs, node.attrs = "activation", [x, alpha], {"activation": "prelu"}
    return remove_dead_code(graph)


def _of_relus(graph: Graph, node: Node, producer: dict[str, Node]) -> tuple[str, np.ndarray] | None:
    """The x and the slope of relu(x) - slope * relu(-x), however it is written; None for another node."""
    if node.op not in ("add", "sub") or node.attrs["activation"] != "none":
        return None
    pairs = [node.inputs[:2]] if node.op == "sub" else [node.inputs[:2], node.inputs[1::-1]]
    for upper, lower in pairs:
        x = _relu(upper, producer)
        negative, factor = _scaled(graph, lower, producer)
        mirrored, sign = _scaled(graph, _relu(negative, producer), producer)
        if x is not None and mirrored == x and sign.size == 1 and sign.item() == -1:
            return x, factor if node.op == "sub" else -factor
    return None


def _of_maximum(graph: Graph, node: Node, producer: dict[str, Node]) -> tuple[str, np.ndarray] | None:
    """The same of max(x, slope * x)."""
    if node.op != "maximum" or node.attrs["activation"] != "none":
        return None
    for x, scaled in (node.inputs[:2], node.inputs[1::-1]):
        source, slope = _scaled(graph, scaled, producer)
        # At a slope of 0, infinity times 0 would be NaN.
        if x is not None and source == x and x != scaled and bool(((slope > 0) & (slope <= 1)).all()):
            return x, slope
    return None


def _relu(name: str | None, producer: dict[str, Node]) -> str | None:
    """The input of the relu that makes this tensor."""
    node = producer.get(name or "")
    is_relu = node is not None and node.op == "activation" and node.attrs["activation"] == "relu"
    return node.inputs[0] if node is not None and is_relu else None


def _scaled(graph: Graph, name: str | None, producer: dict[str, Node]) -> tuple[str | None, np.ndarray]:
    """The tensor that is multiplied by constants to make this one, and their product, float64."""
    factor = np.ones((), np.float64)
    while (node := producer.get(name or "")) is not None and node.op == "mul" and node.attrs["activation"] == "none":
        constants = [graph.constant(operand) for operand in node.inputs[:2]]
        if constants[0] is not None and constants[1] is None:
            name, factor = node.inputs[1], factor * constants[0].astype(np.float64)
        elif constants[1] is not None and constants[0] is None:
            name, factor = node.inputs[0], factor * constants[1].astype(np.float64)
        else:
            break
    return name, factor
