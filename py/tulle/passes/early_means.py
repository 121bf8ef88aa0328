"""Takes means over a whole map early: of a sum's operands instead of the sum, and of a map before upsampling.

Gates in MediaPipe's segmentation decoders begin with the mean of a sum of two maps, one of them upsampled. With this
pass the sum is never written to memory, and the upsampled map has a single consumer. Comes after `fuse_residuals`,
which makes additions that follow a convolution cheaper still.
"""

from __future__ import annotations

from tulle.graph import Graph, Node, Tensor
from tulle.ops import RESIZES
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import sole_consumer


def early_means(graph: Graph) -> Graph:
    """Rewrites means over height and width of an `add` (no activation, no other consumer) of two activations of its
    shape, and of a resize that gives every pixel the same weight."""
    graph = graph.copy()
    _split_sums(graph)
    producer = graph.producer()
    for node in graph.nodes:
        if not _is_mean(graph, node) or not _is_whole(graph, node):
            continue
        while source := _enlarged(graph, producer.get(node.inputs[0] or "")):
            node.inputs = [source]
            if node.op == "average_pool2d":
                node.attrs["kernel"] = graph.tensors[source].shape[1:3]
    return remove_dead_code(graph)


def _split_sums(graph: Graph) -> None:
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


def _is_mean(graph: Graph, node: Node) -> bool:
    if node.op == "mean":
        return node.attrs["axes"] == (1, 2)
    plain = node.op == "average_pool2d" and node.attrs["activation"] == "none"
    return plain and graph.tensors[node.output].shape[1:3] == (1, 1)


def _is_whole(graph: Graph, node: Node) -> bool:
    """Whether a pool's only window covers the whole map."""
    if node.op == "mean":
        return True
    unpadded = node.attrs["padding"] in ("valid", (0, 0, 0, 0))
    return unpadded and node.attrs["kernel"] == graph.tensors[node.inputs[0] or ""].shape[1:3]


def _is_sum(graph: Graph, node: Node) -> bool:
    if node.op != "add" or node.attrs["activation"] != "none":
        return False
    operands = [graph.tensors[name or ""] for name in node.inputs]
    return all(x.shape == graph.tensors[node.output].shape and not x.is_constant for x in operands)


def _enlarged(graph: Graph, node: Node | None) -> str | None:
    """The input of a resize by an integer factor in which all pixels have the same total weight. With half-pixel
    centers a border pixel gains through the repeated border what it lacks on the other side."""
    if node is None or node.op not in RESIZES or node.attrs["align_corners"]:
        return None
    if node.op == "resize_bilinear" and not node.attrs["half_pixel_centers"]:
        return None
    small, large = (graph.tensors[name or ""].shape[1:3] for name in (node.inputs[0], node.output))
    return node.inputs[0] if all(b % a == 0 for a, b in zip(small, large, strict=True)) else None
