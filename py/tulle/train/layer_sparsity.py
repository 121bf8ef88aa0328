"""Divides the sparsity of a whole network among its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tulle.erk import erk_densities
from tulle.errors import TulleError

ALLOCATIONS = ("uniform", "erk", "global")


def check_sparsity(sparsity: float, what: str = "sparsity") -> None:
    """Raises TulleError unless 0 <= sparsity < 1."""
    if not 0 <= sparsity < 1:
        raise TulleError(f"{what} {sparsity} must be at least 0 and less than 1")


def check_allocation(allocation: str, known: Sequence[str] = ALLOCATIONS) -> None:
    """Raises TulleError for an allocation that is not one of `known`."""
    if allocation not in known:
        raise TulleError(f"allocation must be one of {', '.join(known)}, not {allocation!r}")


def layer_sparsities(shapes: Mapping[str, Sequence[int]], sparsity: float, allocation: str) -> dict[str, float]:
    """The share of zeros of every layer, such that all weights together have `sparsity`.

    Args:
        shapes: of the weights, in PyTorch's order: [out, in, kernel...] or [out, in].
        allocation: "uniform", or "erk": see `tulle.erk`.

    Raises TulleError for a sparsity out of range or another allocation.
    """
    check_sparsity(sparsity)
    check_allocation(allocation, ("uniform", "erk"))
    if allocation == "uniform":
        return dict.fromkeys(shapes, sparsity)
    return {name: 1 - density for name, density in erk_densities(shapes, 1 - sparsity).items()}
