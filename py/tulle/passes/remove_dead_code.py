"""Removes nodes and tensors that no model output depends on."""

from __future__ import annotations

from tulle.graph import Graph


def remove_dead_code(graph: Graph) -> Graph:
    """Model inputs stay, used or not: they are the model's interface."""
    graph = graph.copy()
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name is not None)
    graph.nodes = kept[::-1]
    needed.update(graph.inputs)
    graph.tensors = {name: tensor for name, tensor in graph.tensors.items() if name in needed}
    return graph
