"""A reference executor in NumPy: runs what `tulle.ops` says every op means, plainly but fast enough to use.

It is the oracle for the C kernels, and computes in float64 unless asked otherwise. Semantics are TensorFlow Lite's.
Arrays are in the model's own order, whatever layout a lowered graph assigns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.graph.graph import Graph, Node
from tulle.ops import OPS
from tulle.ops.activation import activate

__all__ = ["activate", "execute", "run"]

Array = np.ndarray


def run(
    graph: Graph,
    inputs: dict[str, Array],
    dtype: Any = np.float64,
    keep: Collection[str] | Callable[[str], bool] | None = None,
) -> dict[str, Array]:
    """Runs a graph, lowered or not, on one set of inputs.

    Args:
        inputs: an array for every model input, of its shape.
        dtype: what to compute in.
        keep: activations to return besides the outputs: their names, or a function from name to bool.

    Returns the outputs by name (and what was kept), in `dtype`.
    Raises TulleError if an input is missing, unknown or of another shape.
    """
    for name in inputs:
        if name not in graph.inputs:
            raise TulleError(f"there is no input {name!r}; the inputs are {', '.join(graph.inputs)}")
    values: dict[str, Array] = {}
    for name in graph.inputs:
        if name not in inputs:
            raise TulleError(f"input {name!r} is missing")
        values[name] = np.asarray(inputs[name], dtype)
        if values[name].shape != graph.tensors[name].shape:
            raise TulleError(f"input {name!r} has shape {values[name].shape} instead of {graph.tensors[name].shape}")

    outputs = set(graph.outputs)
    wanted = keep if callable(keep) else set(keep or ()).__contains__
    for name, tensor in graph.tensors.items():
        if tensor.data is not None:
            values[name] = tensor.data.astype(dtype)
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    for index, node in enumerate(graph.nodes):
        values[node.output] = execute(graph, node, [None if name is None else values[name] for name in node.inputs])
        for used in set(node.inputs):  # what nobody will read again goes, so that large models fit
            if used is not None and last_use[used] == index and used not in outputs and not wanted(used):
                del values[used]
    kept = [node.output for node in graph.nodes if wanted(node.output) and node.output not in outputs]
    return {name: values[name] for name in (*graph.outputs, *kept)}


def execute(graph: Graph, node: Node, inputs: list[Array | None]) -> Array:
    """The output of one node, given its input arrays (None for one left out), in the inputs' dtype."""
    if node.op not in OPS:
        raise TulleError(f"{node.op} {node.name!r}: not an op that tulle knows")
    result = OPS[node.op].reference(node, inputs, graph.tensors[node.output].shape)
    activation = node.attrs.get("activation", "none")
    return activate(result, activation, inputs[-1] if activation == "prelu" else node.attrs.get("alpha", 0.0))
