"""Moves the addition that ends a residual block into the 1x1 convolution before it: y = act(conv + bias + residual)."""

from __future__ import annotations

from tulle.graph import Graph, Node
from tulle.graph.geometry import is_pointwise
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import alpha_of, inputs_of, set_activation, sole_consumer


def fuse_residuals(graph: Graph) -> Graph:
    """Fuses an `add` of a 1x1 conv2d (no activation, no other consumer) and another activation of the same shape.

    The convolution moves to the addition's place, so the other operand may be computed after it. Of two convolutions
    the later one takes the other as its residual.
    """
    graph = graph.copy()
    producer, consumers = graph.producer(), graph.consumers()
    place = {node.output: index for index, node in enumerate(graph.nodes)}
    for index, node in enumerate(graph.nodes):
        if node.op != "add" or node.inputs[0] == node.inputs[1]:
            continue
        hosts = [conv for x in node.inputs[:2] if (conv := _host(graph, x, node, producer, consumers)) is not None]
        if not hosts:
            continue
        conv = max(hosts, key=lambda host: place[host.output])
        residual = node.inputs[1] if node.inputs[0] == conv.output else node.inputs[0]
        x, weight, bias, _ = inputs_of(conv)
        fused = Node("conv2d", conv.name, [x, weight, bias, residual], list(node.outputs), dict(conv.attrs))
        set_activation(fused, node.attrs["activation"], node.attrs.get("alpha"), alpha_of(node))
        graph.nodes[index] = fused  # the original convolution has no consumer left: dead code
        producer[node.output] = fused
    return remove_dead_code(graph)


def _host(
    graph: Graph, x: str | None, add: Node, producer: dict[str, Node], consumers: dict[str, list[Node]]
) -> Node | None:
    conv = producer.get(x or "")
    if conv is None or x is None or not is_pointwise(graph, conv) or conv.attrs["activation"] != "none":
        return None
    operands = [graph.tensors[name or ""] for name in add.inputs[:2]]
    same = all(tensor.shape == graph.tensors[add.output].shape and not tensor.is_constant for tensor in operands)
    alone = sole_consumer(graph, x, consumers) is add
    return conv if same and alone and inputs_of(conv)[3] is None else None
