"""Chooses for every layer whether its weights are run sparse or dense."""

from __future__ import annotations

import math

import numpy as np

from tulle.graph import Graph, Node
from tulle.graph.geometry import is_pointwise
from tulle.ops import OPS
from tulle.passes.cost_model import is_faster_sparse

INTEGER_GAIN = 2.8
"""How many times as fast a dense layer runs in integers (see docs/performance.md)."""


def choose_sparsity(graph: Graph, mode: str = "auto") -> Graph:
    """Sets `sparsity` to "sparse" or "dense" on every conv2d and fully_connected.

    Only 1x1 convolutions with stride 1 over CHW, and fully connected layers, have sparse kernels. `mode` "auto" runs
    those sparse that the cost model expects to be faster; "always" and "never" decide for all.
    """
    graph = graph.copy()
    for node in graph.nodes:
        if OPS[node.op].may_run_sparse:
            weight = graph.constant(node.inputs[1])
            assert weight is not None, f"{node.name}: weights are not constant"
            able = _has_sparse_kernel(graph, node)
            chosen = mode == "always" or (mode == "auto" and able and _is_faster_sparse(graph, node, weight))
            node.attrs["sparsity"] = "sparse" if able and chosen else "dense"
    return graph


def _has_sparse_kernel(graph: Graph, node: Node) -> bool:
    if node.op == "fully_connected":
        return True
    whole = node.attrs["strides"] == (1, 1) and not any(node.attrs["padding"])
    return is_pointwise(graph, node) and whole and node.inputs[0] not in graph.inputs


def _is_faster_sparse(graph: Graph, node: Node, weight: np.ndarray) -> bool:
    rows = math.prod(graph.tensors[node.output].shape) // len(weight)
    if node.op == "fully_connected" and rows > 1:
        return False  # sparse, it runs row by row; `rows_as_pixels` has taken those that gain
    # Of a quantised model, dense layers may run in integers and sparse ones may not.
    x = node.inputs[0]
    in_integers = x is not None and graph.tensors[x].levels is not None
    return is_faster_sparse(weight, rows, INTEGER_GAIN if in_integers else 1)
