"""A transposed convolution with a stride becomes one convolution for each place of an output pixel between the input's.

Every output row y gets the kernel's rows of (y + pad) mod stride only, so that the rows with the same remainder, and
columns alike, are an ordinary convolution of the input. These run on the fast kernels; their results are interleaved by
`depth_to_space`. Comes after `explicit_padding`.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, Tensor
from tulle.passes.rewrite import alpha_of, inputs_of

MIN_OUTPUTS = 3
"""Output channels from which on the convolutions are faster: they compute six at a time."""


def split_transpose_convs(graph: Graph) -> Graph:
    graph = graph.copy()
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _convolutions(graph, node) if _is_split(graph, node) else [node]
    graph.nodes = nodes
    return graph


def _is_split(graph: Graph, node: Node) -> bool:
    if node.op != "transpose_conv2d":
        return False
    weight = graph.constant(node.inputs[1])
    stride, other = node.attrs["strides"]
    if weight is None or stride != other or stride == 1:
        return False
    (_, height, width, _), result = (graph.tensors[n or ""].shape for n in (node.inputs[0], node.output))
    rows, columns = weight.shape[1:3]
    if min(rows, columns) < stride or rows == columns == stride:  # an equal kernel has a kernel of its own
        return False
    fits = result[1:3] == (stride * height, stride * width)
    top, _, left, _ = node.attrs["padding"]
    inside = all(_phase(r, size, stride, pad)[1] >= 0 for size, pad in ((rows, top), (columns, left))
                 for r in range(stride))  # fmt: skip
    return fits and inside and result[3] >= MIN_OUTPUTS


def _phase(remainder: int, kernel: int, stride: int, pad: int) -> tuple[list[int], int, int]:
    """Of outputs stride * i + remainder: the kernel's places in the order in which a convolution has them, and the
    padding before and after."""
    first = (remainder + pad) % stride
    places = list(range(first, kernel, stride))[::-1]
    after = (remainder + pad - first) // stride
    return places, len(places) - 1 - after, after


def _convolutions(graph: Graph, node: Node) -> list[Node]:
    (stride, _), (top, _, left, _) = node.attrs["strides"], node.attrs["padding"]
    x, weight, bias = inputs_of(node)
    values = graph.constant(weight)
    assert values is not None
    shape = graph.tensors[node.output].shape
    small = (1, shape[1] // stride, shape[2] // stride, shape[3])
    activation = {key: value for key, value in node.attrs.items() if key in ("activation", "alpha")}
    alpha = alpha_of(node)
    nodes, parts = [], []
    for row in range(stride):
        rows, above, below = _phase(row, values.shape[1], stride, top)
        for column in range(stride):
            columns, before, behind = _phase(column, values.shape[2], stride, left)
            part = np.ascontiguousarray(values[:, rows][:, :, columns])
            inputs = [x, graph.add_constant(f"{weight}_{row}_{column}", part), bias]
            if alpha is not None:
                inputs += [None, alpha]
            parts.append(graph.add_tensor(Tensor(f"{node.output}_{row}_{column}", small)))
            padding = (above, below, before, behind)
            attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": padding, **activation}
            nodes.append(Node("conv2d", parts[-1], inputs, [parts[-1]], attrs))
    joined = graph.add_tensor(Tensor(f"{node.output}_parts", (*small[:3], stride * stride * shape[3])))
    nodes.append(Node("concat", joined, list(parts), [joined], {"axis": 3, "activation": "none"}))
    nodes.append(Node("depth_to_space", node.name, [joined], list(node.outputs), {"block": stride}))
    return nodes
