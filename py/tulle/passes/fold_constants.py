"""Computes at conversion what depends on constants alone: dequantize, densify, reshape or pad of a constant."""

from __future__ import annotations

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, reference
from tulle.passes.remove_dead_code import remove_dead_code

# A small file can ask for enormous constants (a pad, a broadcast); a real model never does.
MAX_FOLDED_BYTES = 2**30


def fold_constants(graph: Graph) -> Graph:
    """Every node with nothing but constants for inputs becomes a constant (float32, computed in float64).

    A node whose result is a model output stays, since outputs must be computed.
    """
    graph = graph.copy()
    kept, folded_bytes = [], 0
    for node in graph.nodes:
        inputs = [None if name is None else graph.tensors[name] for name in node.inputs]
        if node.output in graph.outputs or not all(tensor is None or tensor.is_constant for tensor in inputs):
            kept.append(node)
            continue
        result = graph.tensors[node.output]
        if node.op == "densify":
            result.data = inputs[0].data  # type: ignore[union-attr]  # the reader has decoded it
        elif node.op == "dequantize":
            result.data = inputs[0].data.astype(np.float32)  # type: ignore[union-attr]
        else:
            folded_bytes += 8 * result.size
            if folded_bytes > MAX_FOLDED_BYTES:
                raise TulleError(f"{node.op} {node.name!r}: its constant result would be too large ({list(result.shape)})")
            arrays = [None if tensor is None else tensor.data.astype(np.float64) for tensor in inputs]  # type: ignore[union-attr]
            result.data = np.ascontiguousarray(reference.execute(graph, node, arrays), np.float32)
    graph.nodes = kept
    return remove_dead_code(graph)
