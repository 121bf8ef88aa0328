"""Replaces "same" and "valid" by the numbers of pixels they stand for."""

from __future__ import annotations

from tulle.graph import Graph
from tulle.graph.geometry import explicit_padding as padding_of
from tulle.graph.geometry import transpose_padding


def explicit_padding(graph: Graph) -> Graph:
    """Every `padding` becomes (top, bottom, left, right): of the input, or of the output for transpose_conv2d."""
    graph = graph.copy()
    for node in graph.nodes:
        if "padding" not in node.attrs:
            continue
        attrs, x = node.attrs, graph.tensors[node.inputs[0] or ""].shape
        kernel = attrs["kernel"] if "kernel" in attrs else graph.tensors[node.inputs[1] or ""].shape[1:3]
        if node.op == "transpose_conv2d":
            output = graph.tensors[node.output].shape
            attrs["padding"] = transpose_padding(attrs["padding"], output[1:3], kernel, attrs["strides"])
        else:
            dilations = attrs.get("dilations", (1, 1))
            attrs["padding"] = padding_of(attrs["padding"], x[1:3], kernel, attrs["strides"], dilations)
    return graph
