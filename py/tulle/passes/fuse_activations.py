"""Fuses an activation into the op that computes its input, which saves a pass over memory.

`split_activations` does the reverse for ops that can have one in TensorFlow Lite but not in the C library.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, Tensor
from tulle.ops import OPS
from tulle.ops.channels import channel_count, per_channel
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import set_activation, sole_consumer


def fuse_activations(graph: Graph) -> Graph:
    """An `activation` whose input has no other consumer is fused, if its producer has no activation yet.

    prelu's alpha, one value or one per channel, becomes the producer's last input, of shape [channels].
    """
    graph = graph.copy()
    producer, consumers = graph.producer(), graph.consumers()
    kept = []
    for node in graph.nodes:
        kept.append(node)
        if node.op != "activation":
            continue
        x = node.inputs[0]
        alpha = None
        if node.attrs["activation"] == "prelu":
            values = per_channel(graph.constant(node.inputs[1]), channel_count(graph, node.output))
            if values is None:
                continue
            shape = graph.tensors[node.output].shape[-1:]
            alpha = graph.add_constant(node.inputs[1] or "alpha", values.astype(np.float32).reshape(shape))
            node.inputs = [x, alpha]
        host = producer.get(x or "")
        if host is None or x is None or not OPS[host.op].fuses_activation or host.attrs["activation"] != "none":
            continue
        if sole_consumer(graph, x, consumers) is not node:
            continue
        set_activation(host, node.attrs["activation"], node.attrs.get("alpha"), alpha)
        host.outputs = list(node.outputs)
        producer[node.output] = host
        kept.pop()
    graph.nodes = kept
    return remove_dead_code(graph)


def split_activations(graph: Graph) -> Graph:
    """Moves an activation that TensorFlow Lite fuses and the C library does not (a concat's) to a separate node."""
    graph = graph.copy()
    nodes = []
    for node in graph.nodes:
        nodes.append(node)
        activation = node.attrs.get("activation", "none")
        op = OPS[node.op]
        if activation == "none" or op.fuses_activation or not op.tflite_fuses:
            continue
        result = graph.tensors[node.output]
        joined = graph.add_tensor(Tensor(f"{node.output}_concat", result.shape))
        nodes.append(Node("activation", node.output, [joined], [node.output], {"activation": activation}))
        node.outputs, node.attrs["activation"] = [joined], "none"
    graph.nodes = nodes
    return graph
