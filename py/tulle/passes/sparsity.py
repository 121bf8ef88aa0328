"""Chooses for every layer whether its weights are run sparse or dense."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node

# Share of zeros from which the sparse kernels are expected to win over the dense ones.
BREAK_EVEN = 0.5


def choose_sparsity(graph: Graph, mode: str = "auto") -> Graph:
    """Sets `sparsity` to "sparse" or "dense" on every conv2d and fully_connected.

    Only 1x1 convolutions with stride 1 over CHW, and fully connected layers, have sparse kernels. Of these, `mode`
    "auto" runs those sparse that have at least BREAK_EVEN zeros; "always" and "never" say it for all.
    """
    graph = graph.copy()
    for node in graph.nodes:
        if node.op in ("conv2d", "fully_connected"):
            weight = graph.constant(node.inputs[1])
            assert weight is not None, f"{node.name}: weights are not constant"
            zeros = 1 - np.count_nonzero(weight) / weight.size
            chosen = mode == "always" or (mode == "auto" and zeros >= BREAK_EVEN)
            node.attrs["sparsity"] = "sparse" if chosen and _has_sparse_kernel(graph, node, weight) else "dense"
    return graph


def _has_sparse_kernel(graph: Graph, node: Node, weight: np.ndarray) -> bool:
    if node.op == "fully_connected":
        return True
    pointwise = weight.shape[1:3] == (1, 1) and node.attrs["strides"] == (1, 1) and not any(node.attrs["padding"])
    return pointwise and node.inputs[0] not in graph.inputs
