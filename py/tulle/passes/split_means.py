"""Takes the mean of a sum as the sum of the means, where the sum itself is not needed: it is never written to memory.

Gates of MediaPipe's segmentation decoders begin like this. Comes after `fuse_residuals`, which makes additions that
follow a convolution cheaper still.
"""

from __future__ import annotations

from tulle.graph import Graph, Node, Tensor
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import sole_consumer


def split_means(graph: Graph) -> Graph:
    """Mean over height and width of an `add` (no activation, no other reader) of two activations of its shape."""
    graph = graph.copy()
    consumers = graph.consumers()
    sums = {node.output: node for node in graph.nodes if _is_sum(graph, node)}
    nodes: list[Node] = []
    for node in graph.nodes:
        added = sums.get(node.inputs[0] or "") if _is_mean(graph, node) else None
        if added is None or sole_consumer(graph, added.output, consumers) is not node:
            nodes.append(node)
            continue
        shape = graph.tensors[node.output].shape
        means = [graph.add_tensor(Tensor(f"{name}_mean", shape)) for name in added.inputs]
        nodes += [
            Node(node.op, node.name, [operand], [mean], dict(node.attrs))
            for operand, mean in zip(added.inputs, means, strict=True)
        ]
        nodes.append(Node("add", added.name, list(means), list(node.outputs), dict(added.attrs)))
    graph.nodes = nodes
    return remove_dead_code(graph)


def _is_mean(graph: Graph, node: Node) -> bool:
    if node.op == "mean":
        return node.attrs["axes"] == (1, 2)
    plain = node.op == "average_pool2d" and node.attrs["activation"] == "none"
    return plain and graph.tensors[node.output].shape[1:3] == (1, 1)


def _is_sum(graph: Graph, node: Node) -> bool:
    if node.op != "add" or node.attrs["activation"] != "none":
        return False
    operands = [graph.tensors[name or ""] for name in node.inputs]
    return all(x.shape == graph.tensors[node.output].shape and not x.is_constant for x in operands)
