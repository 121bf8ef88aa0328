"""Magnitude pruning: the weights closest to zero become zero."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, Node
from tulle.passes.fold_constants import fold_constants

ALLOCATIONS = ("uniform", "erk")


def magnitude(
    graph: Graph, sparsity: float, *, layers: Collection[str] | None = None, allocation: str = "uniform"
) -> Graph:
    """Zeroes the smallest weights of 1x1 convolutions, layer by layer.

    Args:
        graph: not lowered; float16 weights behind DEQUANTIZE are folded to float32 first, and keep float16's values.
        sparsity: share of the weights to be zero, 0 <= sparsity < 1, over all the pruned layers together. Zeros that
            are there already count. Weights of the same magnitude go in the order in which they are stored.
        layers: names of the nodes to prune; by default all that `prunable_layers` lists.
        allocation: "uniform" gives every layer the same sparsity; "erk" (Erdős-Rényi-kernel, Evci et al. 2020,
            arXiv 1911.11134) keeps a share of (in + out) / (in * out) times a common factor, so wide layers lose most.

    Returns the pruned graph, which `tflite.write(sparse=True)` and `passes.lower` recognise as sparse.
    Raises TulleError for a sparsity out of range, an unknown allocation, or layers that cannot be pruned.
    """
    if not 0 <= sparsity < 1:
        raise TulleError(f"sparsity {sparsity} must be at least 0 and less than 1")
    if allocation not in ALLOCATIONS:
        raise TulleError(f"allocation must be one of {', '.join(ALLOCATIONS)}, not {allocation!r}")
    graph = fold_constants(graph)
    possible = {node.name: node for node in graph if _is_pointwise(graph, node)}
    chosen = prunable_layers(graph) if layers is None else list(layers)
    if unknown := [name for name in chosen if name not in possible]:
        raise TulleError(f"not 1x1 convolutions of this model: {', '.join(unknown)}")
    shared: dict[str, str] = {}  # weights that layers share are pruned once
    for name in chosen:
        shared.setdefault(possible[name].inputs[1] or "", name)
    shapes = {name: graph.tensors[weight].shape for weight, name in shared.items()}
    sparsities = _allocate(shapes, sparsity, allocation)
    for weight, name in shared.items():
        data = graph.constant(weight)
        if data is None:
            raise TulleError(f"conv2d {name!r}: its weights are computed while running")
        graph.tensors[weight].data = _prune(data, sparsities[name])
    return graph


def prunable_layers(graph: Graph) -> list[str]:
    """Names of the 1x1 convolutions over maps larger than 1x1.

    Those over a single pixel (squeeze-and-excite, classifiers) are left out: they hold little of the work, and the
    whole model hangs on each of their outputs. Name them to prune them all the same.
    """
    return [node.name for node in graph if _is_pointwise(graph, node) and _pixels(graph, node) > 1]


def _is_pointwise(graph: Graph, node: Node) -> bool:
    return node.op == "conv2d" and graph.tensors[node.inputs[1] or ""].shape[1:3] == (1, 1)


def _pixels(graph: Graph, node: Node) -> int:
    _, height, width, _ = graph.tensors[node.output].shape
    return height * width


def _allocate(shapes: dict[str, tuple[int, ...]], sparsity: float, allocation: str) -> dict[str, float]:
    """The sparsity of every layer."""
    if allocation == "uniform":
        return dict.fromkeys(shapes, sparsity)
    # Layers for which the common factor would keep more than everything stay dense, and the others make up for them.
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    density = {name: (shape[0] + shape[-1]) / (shape[0] * shape[-1]) for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        budget = (1 - sparsity) * sum(sizes.values()) - sum(sizes[name] for name in dense)
        rest = [name for name in shapes if name not in dense]
        factor = max(0.0, budget) / max(1e-12, sum(density[name] * sizes[name] for name in rest))
        full = {name for name in rest if factor * density[name] > 1}
        if not full:
            return {name: 0.0 if name in dense else 1 - factor * density[name] for name in shapes}
        dense |= full


def _prune(weight: np.ndarray, sparsity: float) -> np.ndarray:
    """A copy with round(sparsity * size) zeros, or more if there are more already."""
    pruned = weight.copy()
    count = round(sparsity * weight.size)
    smallest = np.argsort(np.abs(pruned).reshape(-1), kind="stable")[:count]
    pruned.reshape(-1)[smallest] = 0
    return pruned
