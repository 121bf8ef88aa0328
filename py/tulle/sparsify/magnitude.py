"""Magnitude pruning: sets the smallest weights to zero."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify.budget import Budget, erk, uniform
from tulle.sparsify.layers import find_layers

ALLOCATIONS = {"uniform": uniform, "erk": erk}


def magnitude(
    graph: Graph,
    sparsity: float,
    *,
    layers: Collection[str] | None = None,
    allocation: str = "uniform",
    block: int = 1,
) -> Graph:
    """Zeroes the smallest weights of 1x1 convolutions, layer by layer. Needs nothing but the weights.

    Args:
        graph: not lowered; float16 weights behind DEQUANTIZE are folded to float32 first, and keep float16's values.
        sparsity: share of the weights to be zero, 0 <= sparsity < 1, over all the pruned layers together. Existing
            zeros count. Weights of the same magnitude are pruned in the order in which they are stored.
        layers: names of the nodes to prune; by default all that `prunable_layers` lists.
        allocation: "uniform" gives every layer the same sparsity; "erk" (Erdős-Rényi-kernel, Evci et al. 2020,
            arXiv 1911.11134) keeps a share of (in + out) / (in * out) times a common factor, so wide layers lose most.
        block: number of neighbouring output channels that get their zeros in the same columns.

    Returns the pruned graph, which `tflite.write(sparse=True)` and `passes.lower` recognise as sparse.
    Raises TulleError for a sparsity out of range, an unknown allocation, or layers that cannot be pruned.
    """
    if not 0 <= sparsity < 1:
        raise TulleError(f"sparsity {sparsity} must be at least 0 and less than 1")
    if allocation not in ALLOCATIONS:
        raise TulleError(f"allocation must be one of {', '.join(ALLOCATIONS)}, not {allocation!r}")
    graph = fold_constants(graph)
    chosen = find_layers(graph, layers, block)
    keep = ALLOCATIONS[allocation](chosen, Budget("weights", 1 - sparsity))
    for layer in chosen:
        data = graph.constant(layer.weight)
        assert data is not None  # find_layers has checked
        graph.tensors[layer.weight].data = prune_weight(data, keep[layer.name], block)
    return graph


def prune_weight(weight: np.ndarray, keep: int, block: int = 1) -> np.ndarray:
    """A copy of weights [outputs, ..., inputs] with at most `keep` of them left, the largest.

    With blocks, sums of squares over `block` neighbouring outputs are compared; the last block may be smaller.
    """
    pruned = weight.copy()
    flat = pruned.reshape(len(weight), -1)
    if block == 1:
        smallest = np.argsort(np.abs(flat).reshape(-1), kind="stable")[: weight.size - keep]
        flat.reshape(-1)[smallest] = 0
        return pruned
    starts = np.arange(0, len(flat), block)
    energy = np.add.reduceat(flat.astype(np.float64) ** 2, starts, axis=0)
    sizes = np.diff(np.append(starts, len(flat)))
    # Means, so that a smaller last block competes on equal terms.
    order = np.argsort((energy / sizes[:, None]).reshape(-1), kind="stable")
    cost = np.repeat(sizes, flat.shape[1])[order]
    gone = np.zeros(energy.size, bool)
    gone[order[: int(np.searchsorted(np.cumsum(cost), weight.size - keep)) + 1 if keep < weight.size else 0]] = True
    flat[np.repeat(gone.reshape(energy.shape), sizes, axis=0)] = 0
    return pruned
