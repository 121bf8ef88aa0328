"""Shapes and indices that exporters compute with operators such as SHAPE, STRIDED_SLICE and PACK: known at
conversion."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, reference
from tulle.tflite.call import Call

# Values computed from shapes have a handful of elements.
MAX_ELEMENTS = 4096


def fold(call: Call, first: int) -> None:
    """Computes an operator's nodes, those from index `first` on, if they turn constants into integers."""
    graph = call.graph
    nodes = graph.nodes[first:]
    if any(graph.tensors[name].dtype.kind not in "iu" or graph.tensors[name].is_constant for name in call.outputs):
        return
    sources = {name for node in nodes for name in node.inputs} - {node.output for node in nodes}
    if not nodes or any(name is None or not graph.tensors[name].is_constant for name in sources):
        return
    if any(graph.tensors[node.output].size > MAX_ELEMENTS for node in nodes):
        return
    dtype = graph.tensors[call.outputs[0]].dtype
    for node in nodes:
        arrays = [None if name is None else graph.constant(name) for name in node.inputs]
        tensor = graph.tensors[node.output]
        values = _execute(graph, node, arrays)
        tensor.dtype = dtype
        tensor.data = values.reshape(tensor.shape).astype(dtype)
    del graph.nodes[first:]


def _execute(graph: Graph, node: Node, arrays: list[np.ndarray | None]) -> np.ndarray:
    """In float64, which holds every size exactly; division rounds towards zero, as in TFLite."""
    with np.errstate(all="ignore"):
        values = reference.execute(
            graph, node, [None if array is None else array.astype(np.float64) for array in arrays]
        )
    return np.nan_to_num(np.trunc(values))
