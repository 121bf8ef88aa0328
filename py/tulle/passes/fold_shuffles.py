"""Reshapes and transposes that only reorder channels, as in ShuffleNet, become one 1x1 convolution.

In chw that copies slices; the ops themselves would need the image in the model's own order and back.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, reference
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import sole_consumer

MOVES = ("reshape", "transpose")
MAX_CHANNELS = 1024
# Elements that are moved to see what chains of moves do, over the whole graph; ShuffleNet takes some ten million.
MAX_MOVED = 2**27


def fold_shuffles(graph: Graph) -> Graph:
    """Replaces each longest chain of reshapes and transposes that returns an image [1, H, W, C] of the same shape with
    its channels reordered by one convolution."""
    graph = graph.copy()
    producer, consumers = graph.producer(), graph.consumers()
    done: set[str] = set()
    budget = MAX_MOVED
    for node in graph.nodes:
        source = producer.get(node.inputs[0] or "")
        begins = node.op in MOVES and (source is None or source.op not in MOVES)
        if not begins or node.output in done:
            continue
        chain = [node]
        while (after := sole_consumer(graph, chain[-1].output, consumers)) is not None and after.op in MOVES:
            chain.append(after)
        budget -= len(chain) * graph.tensors[node.inputs[0] or ""].size
        found = _shuffle(graph, chain) if budget >= 0 else None
        if found is not None:
            end, order = found
            weight = np.eye(len(order), dtype=np.float32)[order].reshape(len(order), 1, 1, len(order))
            end.inputs = [node.inputs[0], graph.add_constant(f"{end.output}_order", weight), None]
            end.op, end.attrs = "conv2d", permutation()
    return remove_dead_code(graph)


def permutation() -> dict[str, object]:
    """Attributes of a 1x1 convolution that only moves channels."""
    return {"strides": (1, 1), "dilations": (1, 1), "padding": "valid", "activation": "none"}


def _shuffle(graph: Graph, chain: list[Node]) -> tuple[Node, np.ndarray] | None:
    """The last node of the chain after which only the order of channels has changed, and that order."""
    shape = graph.tensors[chain[0].inputs[0] or ""].shape
    if len(shape) != 4 or shape[0] != 1 or len(chain) < 3 or not 1 < shape[3] <= MAX_CHANNELS:
        return None
    start = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
    values, found = start, None
    for node in chain:
        values = reference.execute(graph, node, [values])
        if values.shape != shape:
            continue
        order = values[0, 0, 0]
        if np.array_equal(np.sort(order), np.arange(shape[3])) and np.array_equal(values, start[..., order]):
            found = node, order
    return found
