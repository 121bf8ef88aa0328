"""A fully connected layer over the channels of an image is a 1x1 convolution, and runs as one, in chw."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph
from tulle.passes.remove_dead_code import remove_dead_code


def pointwise(graph: Graph) -> Graph:
    """Turns `fully_connected` on [1, H, W, C] that keeps these dimensions into `conv2d`."""
    graph = graph.copy()
    for node in graph.nodes:
        if node.op != "fully_connected" or not node.attrs.get("keep_num_dims") or node.attrs["activation"] == "prelu":
            continue  # from an earlier lowering: prelu's alpha has another position in a convolution
        shape, weight = graph.tensors[node.inputs[0] or ""].shape, graph.constant(node.inputs[1])
        if len(shape) != 4 or shape[0] != 1 or shape[1] * shape[2] == 1 or weight is None:
            continue
        name = graph.add_constant(node.inputs[1] or "weight", np.expand_dims(weight, (1, 2)))
        node.op, node.inputs = "conv2d", [node.inputs[0], name, *node.inputs[2:3]]
        kept = {key: value for key, value in node.attrs.items() if key in ("activation", "alpha")}
        node.attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": "valid", **kept}
    return remove_dead_code(graph)
