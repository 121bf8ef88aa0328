"""`erk_densities`: how many weights of each layer Erdős-Rényi-kernel keeps, for `sparsify` and for `train`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def erk_densities(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, float]:
    """The share of its weights that each layer keeps, so that all together keep `density` (0 to 1).

    It is proportional to the sum of the layer's dimensions over their product (Evci et al. 2020, arXiv 1911.11134), so
    that large layers lose most. Layers that would keep more than all their weights stay dense, and the others make up
    for them.

    Args:
        shapes: of the weights, by name; dimensions in any order.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    scores = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in dense]
        left = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        factor = max(0.0, left) / sum(scores[name] * sizes[name] for name in rest) if rest else 0.0
        full = {name for name in rest if factor * scores[name] > 1}
        if not full:
            return {name: 1.0 if name in dense else factor * scores[name] for name in shapes}
        dense |= full
