"""x * sigmoid(x), as most exporters write SiLU (swish), becomes one activation, which can then be fused.

Comes before `fuse_activations`, which moves it into the convolution that computes x.
"""

from __future__ import annotations

from tulle.graph import Graph, Node
from tulle.passes.remove_dead_code import remove_dead_code


def fuse_gates(graph: Graph) -> Graph:
    graph = graph.copy()
    producer = graph.producer()
    for node in graph.nodes:
        gated = _gated(node, producer)
        if gated is None or graph.tensors[gated].shape != graph.tensors[node.output].shape:
            continue
        node.op, node.inputs, node.attrs = "activation", [gated], {"activation": "swish"}
    return remove_dead_code(graph)


def _gated(node: Node, producer: dict[str, Node]) -> str | None:
    """The x of x * sigmoid(x), None for another node."""
    if node.op != "mul" or node.attrs["activation"] != "none":
        return None
    for x, gate in (node.inputs[:2], node.inputs[1::-1]):
        source = producer.get(gate or "")
        is_sigmoid = source is not None and source.op == "activation" and source.attrs["activation"] == "sigmoid"
        if is_sigmoid and source is not None and source.inputs[0] == x:
            return x
    return None
