"""Turns a concat with a constant of equal values at an end into a pad, which runs in either layout.

ONNX exporters pad channels with zeros this way; a constant is plain, so such a concat would have to be plain too.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, Tensor
from tulle.passes.remove_dead_code import remove_dead_code


def pad_concats(graph: Graph) -> Graph:
    """Several equal constants at both ends become one pad; others stay."""
    graph = graph.copy()
    nodes: list[Node] = []
    for node in graph.nodes:
        plain = node.op == "concat" and node.attrs.get("activation", "none") == "none"
        nodes += _padded(graph, node) if plain else [node]
    graph.nodes = nodes
    return remove_dead_code(graph)


def _padded(graph: Graph, node: Node) -> list[Node]:
    inputs, axis = list(node.inputs), node.attrs["axis"]
    values = [_value(graph.constant(name)) for name in inputs]
    value = next((end for end in (values[-1], values[0]) if end is not None), None)
    first, last = 0, len(inputs)
    while first < last and values[first] == value:
        first += 1
    while last > first and values[last - 1] == value:
        last -= 1
    if value is None or first == last:
        return [node]
    before, after = (
        sum(graph.tensors[name or ""].shape[axis] for name in part) for part in (inputs[:first], inputs[last:])
    )
    kept, result = inputs[first:last], []
    source, shape = kept[0], list(graph.tensors[node.output].shape)
    if len(kept) > 1:
        shape[axis] -= before + after
        source = graph.add_tensor(Tensor(f"{node.output}_unpadded", tuple(shape)))
        result = [Node("concat", source, kept, [source], dict(node.attrs))]
    pads = tuple((before, after) if at == axis else (0, 0) for at in range(len(shape)))
    attrs = {"pads": pads, "pad_value": value, "pad_mode": "constant"}
    return [*result, Node("pad", node.name, [source], node.outputs, attrs)]


def _value(data: np.ndarray | None) -> float | None:
    """The value that all elements have; None if they differ."""
    if data is None or data.size == 0 or (data != data.flat[0]).any():
        return None
    return float(data.flat[0])
