"""Removes ops that change nothing, and merges consecutive reshapes."""

from __future__ import annotations

from tulle.graph import Graph, Node
from tulle.ops import OPS
from tulle.passes.remove_dead_code import remove_dead_code


def remove_identities(graph: Graph) -> Graph:
    graph = graph.copy()
    producer = graph.producer()
    renamed: dict[str, str] = {}  # removed tensor -> the tensor it equals

    def current(name: str | None) -> str | None:
        while name in renamed:
            name = renamed[name]
        return name

    kept, outputs = [], set(graph.outputs)
    for node in graph.nodes:
        node.inputs = [current(name) for name in node.inputs]
        source = producer.get(node.inputs[0] or "")
        if node.op == "reshape" and source is not None and source.op == "reshape":
            node.inputs = list(source.inputs)  # only the shape at the end of a chain matters
        same = OPS[node.op].identity(graph, node)
        if same is None or (node.output in outputs and not _take_over(node, same, producer, renamed, outputs)):
            kept.append(node)
        elif node.output not in outputs:
            renamed[node.output] = same
            if graph.tensors[same].levels is None:  # where it was only rounded, at the edge of a quantised model
                graph.tensors[same].levels = graph.tensors[node.output].levels
    graph.nodes = kept
    for node in graph.nodes:  # consumers between a producer and the identity whose name it took over
        node.inputs = [current(name) for name in node.inputs]
    return remove_dead_code(graph)


def _take_over(node: Node, same: str, producer: dict[str, Node], renamed: dict[str, str], outputs: set[str]) -> bool:
    """Makes the producer of `same` compute the model output that equals it, so that the output keeps its name."""
    if same not in producer or same in outputs:
        return False  # a model input or another output passed through: something has to copy it
    source = producer[same]
    source.outputs = [node.output]
    producer[node.output] = source
    renamed[same] = node.output
    return True
