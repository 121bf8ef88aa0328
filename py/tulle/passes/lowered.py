"""What a lowered graph is: the form that `pack` accepts and the C library runs (docs/architecture.md)."""

from __future__ import annotations

from tulle.errors import TulleError
from tulle.graph import Graph, Node
from tulle.graph.shapes import check_shapes
from tulle.ops import BINARY, LAYERS, OPS
from tulle.ops.channels import channel_count
from tulle.passes.layout import layout_problem
from tulle.passes.rewrite import alpha_of


def require_constant_weights(graph: Graph) -> Graph:
    """Raises TulleError if a layer's weights, bias or prelu alpha are computed while running."""
    for node in graph:
        names: list[str | None] = []
        if node.op in LAYERS:
            names = node.inputs[1:3]
        if node.attrs.get("activation") == "prelu":
            names = [*names, alpha_of(node)]
        for name in names:
            if name is not None and not graph.tensors[name].is_constant:
                raise TulleError(f"{node.op} {node.name!r}: weights must be constant, but {name!r} is computed")
    return graph


def check_lowered(graph: Graph) -> Graph:
    """Raises TulleError, naming the node, unless the graph is in lowered form."""
    check_shapes(require_constant_weights(graph.check()))
    for node in graph:
        problem = _problem(graph, node) or layout_problem(graph, node)
        if problem:
            raise TulleError(f"{node.op} {node.name!r}: {problem}")
    for name in (*graph.inputs, *graph.outputs):
        if graph.tensors[name].is_constant:
            raise TulleError(f"{name!r} is an input or output of the model, but constant")
        if graph.tensors[name].layout != "plain":
            raise TulleError(f"{name!r} is an input or output of the model, so it must be plain")
    return graph


def _problem(graph: Graph, node: Node) -> str | None:
    if not OPS[node.op].stored:
        return "should have been folded"
    if isinstance(node.attrs.get("padding"), str):
        return f"padding is still {node.attrs['padding']!r}"
    if OPS[node.op].may_run_sparse and node.attrs.get("sparsity") not in ("sparse", "dense"):
        return "sparsity is not chosen"
    if any(name is not None and graph.tensors[name].dtype != "float32" for name in (*node.inputs, node.output)):
        return "works on something else than float32"
    if node.attrs.get("activation") == "prelu":
        alpha = graph.tensors[alpha_of(node) or ""]
        if alpha.size not in (1, channel_count(graph, node.output)):
            return f"prelu's alpha {list(alpha.shape)} varies over the image; only one value per channel is supported"
    if node.op in BINARY and all(graph.tensors[name or ""].is_constant for name in node.inputs[:2]):
        return "only has constants to work on"
    return None
