"""Computes at conversion whatever depends on constants alone: dequantize, densify, reshape or pad of a constant."""

from __future__ import annotations

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, reference
from tulle.passes.remove_dead_code import remove_dead_code

# A small file can ask for enormous constants (a pad, a broadcast), and read one repeatedly; a real model never does.
# Limit for what is read and computed, in float64: bytes for any model, and more for each byte of its constants.
MAX_FOLDED_BYTES, MAX_FOLDED_PER_BYTE = 2**30, 16


def fold_constants(graph: Graph) -> Graph:
    """Every node whose inputs are all constant becomes a constant (float32, computed in float64).

    A node whose result is a model output stays, since outputs must be computed.
    """
    graph = graph.copy()
    kept, outputs = [], set(graph.outputs)
    budget = MAX_FOLDED_BYTES + MAX_FOLDED_PER_BYTE * sum(
        t.data.nbytes for t in graph.tensors.values() if t.data is not None
    )
    for node in graph.nodes:
        inputs = [graph.constant(name) for name in node.inputs]
        computed = any(data is None and name is not None for name, data in zip(node.inputs, inputs, strict=True))
        if computed or inputs[0] is None or node.output in outputs:
            kept.append(node)
            continue
        result = graph.tensors[node.output]
        if node.op == "densify":
            result.data = inputs[0]  # the reader has decoded it
        elif node.op == "dequantize":
            result.data = inputs[0].astype(np.float32)
        else:
            budget -= 8 * (result.size + sum(data.size for data in inputs if data is not None))
            if budget < 0:
                raise TulleError(f"{node.op} {node.name!r}: its result {list(result.shape)} is too large a constant")
            arrays = [None if data is None else data.astype(np.float64) for data in inputs]
            result.data = np.asarray(reference.execute(graph, node, arrays), np.float32, order="C")
    graph.nodes = kept
    return remove_dead_code(graph)
