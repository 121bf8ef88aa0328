"""Merges a pad over height and width into its consumers, which pad without a copy.

Comes after `explicit_padding` and `fuse_activations`.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node
from tulle.passes.remove_dead_code import remove_dead_code


def merge_pads(graph: Graph) -> Graph:
    """Removes a pad if all its consumers can take it over."""
    graph = graph.copy()
    producer, consumers, outputs = graph.producer(), graph.consumers(), set(graph.outputs)
    for node in list(graph.nodes):
        if node.op != "pad" or not _pads_space(node) or node.output in outputs:
            continue
        readers = consumers[node.output]
        if not all(_takes_over(node, reader, producer) for reader in readers):
            continue
        _, (top, bottom), (left, right), _ = node.attrs["pads"]
        for reader in readers:
            before = reader.attrs["padding"]
            reader.attrs["padding"] = (before[0] + top, before[1] + bottom, before[2] + left, before[3] + right)
            reader.inputs = [node.inputs[0], *reader.inputs[1:]]
    return remove_dead_code(graph)


def _pads_space(node: Node) -> bool:
    pads = node.attrs["pads"]
    return len(pads) == 4 and pads[0] == (0, 0) and pads[3] == (0, 0) and node.attrs["pad_mode"] == "constant"


def _takes_over(pad: Node, reader: Node, producer: dict[str, Node]) -> bool:
    value = pad.attrs["pad_value"]
    if reader.op in ("conv2d", "depthwise_conv2d"):
        return value == 0 and reader.inputs.count(pad.output) == 1 and reader.inputs[0] == pad.output
    if reader.op == "max_pool2d":
        # A max pool's own padding never wins. Neither do the lowest number and -inf, if every window contains an
        # input, nor zeros where besides no input is negative. An average, on the other hand, counts what a pad adds.
        source = producer.get(pad.inputs[0] or "")
        positive = source is not None and source.attrs.get("activation") in ("relu", "relu6", "sigmoid")
        (kernel_h, kernel_w), before = reader.attrs["kernel"], reader.attrs["padding"]
        _, rows, columns, _ = pad.attrs["pads"]
        inside = max(rows) + max(before[:2]) < kernel_h and max(columns) + max(before[2:]) < kernel_w
        return inside and (value <= np.finfo(np.float32).min or (value == 0 and positive))
    return False
