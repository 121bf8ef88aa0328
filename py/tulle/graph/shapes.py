"""Shape inference: what every op makes of its inputs' shapes, which is also what it demands of them."""

from __future__ import annotations

from tulle.errors import TulleError
from tulle.graph.graph import Graph, Node
from tulle.ops import OPS
from tulle.ops.shapes import Mismatch, Shape


def output_shape(graph: Graph, node: Node) -> Shape:
    """The shape of the node's output, computed from its inputs and attributes.

    Where the op leaves it open (`open_shape`) the output tensor's own shape is
    checked and returned. Raises TulleError if the inputs do not fit the op.
    """
    op = OPS.get(node.op)
    if op is None:
        raise TulleError(f"{node.op} {node.name!r}: not an op that tulle knows")
    if not node.inputs or node.inputs[0] is None or len(node.outputs) != 1:
        raise TulleError(f"{node.op} {node.name!r}: needs at least one input and exactly one output")
    shapes = [None if name is None else graph.tensors[name].shape for name in node.inputs]
    try:
        return op.shape(node, shapes, graph.tensors[node.output].shape)
    except Mismatch as error:
        listed = ", ".join("-" if shape is None else str(list(shape)) for shape in shapes)
        raise TulleError(f"{node.op} {node.name!r}: {error} (inputs {listed})") from None


def check_shapes(graph: Graph) -> Graph:
    """Raises TulleError unless every tensor has the shape that its op computes."""
    for node in graph:
        computed, stated = output_shape(graph, node), graph.tensors[node.output].shape
        if computed != stated:
            raise TulleError(
                f"{node.op} {node.name!r}: its output should be {list(computed)}, but is said to be {list(stated)}"
            )
    return graph
