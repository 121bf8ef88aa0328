"""Divides a concat of more inputs than an op of a `.tulle` file may have into a tree of smaller ones."""

from __future__ import annotations

from tulle.graph import Graph, Node, Tensor

# MAX_OP_INPUTS of the format, which is written from lowered graphs and cannot be imported from here.
MOST = 64


def split_concats(graph: Graph) -> Graph:
    """Every concat has at most 64 inputs; an activation stays with the last of a tree."""
    graph = graph.copy()
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "concat":
            while len(node.inputs) > MOST:
                groups = [node.inputs[start : start + MOST] for start in range(0, len(node.inputs), MOST)]
                node.inputs = [group[0] if len(group) == 1 else _joined(graph, node, group, nodes) for group in groups]
        nodes.append(node)
    graph.nodes = nodes
    return graph


def _joined(graph: Graph, node: Node, group: list[str | None], nodes: list[Node]) -> str:
    """The output of a new concat of `group`."""
    axis, shapes = node.attrs["axis"], [graph.tensors[name or ""].shape for name in group]
    shape = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
    output = graph.add_tensor(Tensor(f"{node.output}_part", shape))
    nodes.append(Node("concat", output, list(group), [output], {"axis": axis, "activation": "none"}))
    return output
