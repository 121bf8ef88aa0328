"""Moves upsampling to just before its first consumer: until then only the small map takes memory, and the C library
fuses an upsampling with an addition right after it."""

from __future__ import annotations

import math

from tulle.graph import Graph, Node
from tulle.ops import RESIZES


def late_resizes(graph: Graph) -> Graph:
    graph = graph.copy()
    for resize in [node for node in graph.nodes if _enlarges(graph, node)]:
        reads = (index for index, node in enumerate(graph.nodes) if resize.output in node.inputs)
        first = next(reads, None)
        if first is not None:
            graph.nodes.insert(first, resize)
            graph.nodes.remove(resize)  # where it was, which comes first
    return graph


def _enlarges(graph: Graph, node: Node) -> bool:
    if node.op not in RESIZES:
        return False
    small, large = (graph.tensors[name or ""].shape for name in (node.inputs[0], node.output))
    return math.prod(small) < math.prod(large)
