"""Removes ops that change nothing, and merges consecutive reshapes."""

from __future__ import annotations

from tulle.graph import Graph, Node
from tulle.graph.shapes import BINARY, POOLS, REDUCTIONS, RESIZES
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import per_channel


def remove_identities(graph: Graph) -> Graph:
    graph = graph.copy()
    producer = graph.producer()
    renamed: dict[str, str] = {}  # removed tensor -> the tensor it equals

    def current(name: str | None) -> str | None:
        while name in renamed:
            name = renamed[name]
        return name

    kept = []
    for node in graph.nodes:
        node.inputs = [current(name) for name in node.inputs]
        source = producer.get(node.inputs[0] or "")
        if node.op == "reshape" and source is not None and source.op == "reshape":
            node.inputs = list(source.inputs)  # only the shape at the end of a chain matters
        same = _unchanged(graph, node)
        if same is None or (node.output in graph.outputs and not _take_over(graph, node, same, producer, renamed)):
            kept.append(node)
        elif node.output not in graph.outputs:
            renamed[node.output] = same
    graph.nodes = kept
    for node in graph.nodes:  # consumers between a producer and the identity whose name it took over
        node.inputs = [current(name) for name in node.inputs]
    return remove_dead_code(graph)


def _take_over(graph: Graph, node: Node, same: str, producer: dict[str, Node], renamed: dict[str, str]) -> bool:
    """Makes the producer of `same` compute the model output that equals it, so that the output keeps its name."""
    if same not in producer or same in graph.outputs:
        return False  # a model input or another output passed through: something has to copy it
    source = producer[same]
    source.outputs = [node.output]
    producer[node.output] = source
    renamed[same] = node.output
    return True


def _unchanged(graph: Graph, node: Node) -> str | None:
    """The input that the node's output always equals, None if there is none."""
    attrs = node.attrs
    if node.op in BINARY:
        return _neutral_operand(graph, node) if attrs["activation"] == "none" else None
    x = node.inputs[0]
    if x is None or graph.tensors[x].is_constant:
        return None
    shape, result = graph.tensors[x].shape, graph.tensors[node.output].shape
    same = shape == result and {
        "reshape": True,
        "pad": True,
        "slice": all(step == 1 for step in attrs.get("strides", ())),  # not one that reverses the order
        "concat": len(node.inputs) == 1 and attrs.get("activation", "none") == "none",
        "transpose": attrs.get("perm") == tuple(range(len(shape))),
        "activation": attrs.get("activation") == "none",
        "depth_to_space": True,
        "space_to_depth": True,
        **dict.fromkeys((*RESIZES, "to_chw", "to_plain"), True),  # layouts of an earlier lowering are chosen again
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
