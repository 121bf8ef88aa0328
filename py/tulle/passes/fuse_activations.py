"""Moves an activation into the op that computes its input, so that it costs no pass over memory of its own."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import per_channel, set_activation, sole_consumer

HOSTS = frozenset((
    "conv2d", "depthwise_conv2d", "transpose_conv2d", "fully_connected", "add", "sub", "mul", "average_pool2d", "max_pool2d",
))  # fmt: skip


def fuse_activations(graph: Graph) -> Graph:
    """An `activation` whose input has no other reader is fused, if its producer has no activation yet.

    prelu's alpha, one number or one a channel, becomes the producer's last input, of shape [channels].
    """
    graph = graph.copy()
    producer, consumers = graph.producer(), graph.consumers()
    for node in list(graph.nodes):
        if node.op != "activation":
            continue
        x = node.inputs[0]
        alpha = None
        if node.attrs["activation"] == "prelu":
            values = per_channel(graph.constant(node.inputs[1]), graph.tensors[node.output].shape[-1])
            if values is None:
                continue
            alpha = graph.add_constant(node.inputs[1] or "alpha", values.astype(np.float32))
            node.inputs = [x, alpha]
        host = producer.get(x or "")
        if host is None or x is None or host.op not in HOSTS or host.attrs["activation"] != "none":
            continue
        if sole_consumer(graph, x, consumers) is not node:
            continue
        set_activation(host, node.attrs["activation"], node.attrs.get("alpha"), alpha)
        host.outputs = list(node.outputs)
        producer[node.output] = host
        graph.nodes.remove(node)
    return remove_dead_code(graph)
