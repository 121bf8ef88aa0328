"""How a sparsity for a whole network is shared out among its layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tulle.errors import TulleError

ALLOCATIONS = ("global", "uniform", "erk")


def check_sparsity(sparsity: float, what: str = "sparsity") -> None:
    """Raises TulleError unless 0 <= sparsity < 1."""
    if not 0 <= sparsity < 1:
        raise TulleError(f"{what} {sparsity} must be at least 0 and less than 1")


def check_allocation(allocation: str, known: Sequence[str] = ALLOCATIONS) -> None:
    """Raises TulleError for an allocation that is none of `known`."""
    if allocation not in known:
        raise TulleError(f"allocation must be one of {', '.join(known)}, not {allocation!r}")


def layer_sparsities(shapes: Mapping[str, Sequence[int]], sparsity: float, allocation: str) -> dict[str, float]:
    """The share of zeros of every layer so that all weights together have `sparsity`.

    Args:
        shapes: of the weights, as PyTorch has them: [out, in, kernel...] or [out, in].
        allocation: "uniform", or "erk": a layer keeps a share of its weights proportional to the sum of its
            dimensions over their product (Erdős-Rényi-Kernel, Evci et al. 2020, arXiv 1911.11134), so large layers
            lose most. Layers for which that would be more than all their weights stay dense.

    Raises TulleError for a sparsity out of range or another allocation.
    """
    check_sparsity(sparsity)
    check_allocation(allocation, ("uniform", "erk"))
    if allocation == "uniform":
        return dict.fromkeys(shapes, sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        sparse = [name for name in shapes if name not in dense]
        budget = (1 - sparsity) * sum(sizes.values()) - sum(sizes[name] for name in dense)
        scale = budget / sum(raw[name] * sizes[name] for name in sparse) if sparse else 0.0
        full = {name for name in sparse if scale * raw[name] > 1}
        if not full:
            return {name: 0.0 if name in dense else 1 - scale * raw[name] for name in shapes}
        dense |= full
