"""Removes ops that change nothing, and joins reshapes that follow each other."""

from __future__ import annotations

from tulle.graph import Graph, Node
from tulle.graph.shapes import BINARY, POOLS, REDUCTIONS, RESIZES
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import per_channel, redirect


def remove_identities(graph: Graph) -> Graph:
    graph = graph.copy()
    producer = graph.producer()
    for node in list(graph.nodes):
        if node.op == "reshape":  # only the shape at the end of a chain of them matters
            source = producer.get(node.inputs[0] or "")
            while source is not None and source.op == "reshape":
                node.inputs = list(source.inputs)
                source = producer.get(source.inputs[0] or "")
        kept = _unchanged(graph, node)
        if kept is None:
            continue
        if node.output not in graph.outputs:
            redirect(graph, node.output, kept)
        elif kept in producer and kept not in graph.outputs:
            redirect(graph, kept, node.output)  # the output keeps its name: its producer takes it over
            source = producer[kept]
            source.outputs = [node.output]
            producer[node.output] = source
        else:
            continue  # an input or another output handed on: something has to copy it
        graph.nodes.remove(node)
    return remove_dead_code(graph)


def _unchanged(graph: Graph, node: Node) -> str | None:
    """The input that the node's output always equals, None if there is none."""
    x = node.inputs[0]
    if x is None or graph.tensors[x].is_constant:
        return None
    shape, result, attrs = graph.tensors[x].shape, graph.tensors[node.output].shape, node.attrs
    if node.op in BINARY and attrs["activation"] == "none":
        return _neutral_operand(graph, node)
    same = shape == result and {
        "reshape": True,
        "pad": True,
        "slice": True,
        "concat": len(node.inputs) == 1 and attrs.get("activation", "none") == "none",
        "transpose": attrs.get("perm") == tuple(range(len(shape))),
        "activation": attrs.get("activation") == "none",
        "depth_to_space": True,
        "space_to_depth": True,
        **dict.fromkeys(RESIZES, True),
        **dict.fromkeys(REDUCTIONS, True),  # over dimensions of size 1
        **dict.fromkeys(POOLS, attrs.get("kernel") == (1, 1) and attrs.get("activation") == "none"),
    }.get(node.op, False)
    return x if same else None


def _neutral_operand(graph: Graph, node: Node) -> str | None:
    """x of x + 0, x - 0, x * 1 and x / 1."""
    neutral = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}.get(node.op)
    result = graph.tensors[node.output].shape
    for x, other in (node.inputs, node.inputs[::-1]):
        values = per_channel(graph.constant(other), result[-1] if result else 1)
        swapped = x != node.inputs[0]
        if x is None or values is None or graph.tensors[x].shape != result or (swapped and node.op in ("sub", "div")):
            continue
        if neutral is not None and (values == neutral).all():
            return x
    return None
