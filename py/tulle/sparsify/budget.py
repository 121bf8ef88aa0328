"""How a budget for the whole model becomes a number of zeros for each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tulle.erk import erk_densities
from tulle.errors import TulleError
from tulle.sparsify.layers import Layer

Unit = Literal["weights", "macs", "ms"]
Keep = dict[str, int]
"""Layer name -> how many of its weights are kept."""


@dataclass(frozen=True)
class Budget:
    """What may be left of the chosen layers together.

    Attributes:
        unit: "weights" and "macs" count nonzero weights and the multiply-adds with them, "ms" what the fitted cost
            model predicts.
        limit: a share of the dense layers' from 0 to 1 for weights and macs, milliseconds for ms.
    """

    unit: Unit
    limit: float

    def spent(self, layers: Sequence[Layer], keep: Mapping[str, int]) -> float:
        """What these layers cost with so many nonzero weights, in the units of `limit`."""
        if self.unit == "ms":
            return sum(layer.milliseconds(keep[layer.name]) for layer in layers)
        if self.unit == "macs":
            return sum(keep[layer.name] * layer.pixels for layer in layers) / sum(layer.macs for layer in layers)
        return sum(keep.values()) / sum(layer.size for layer in layers)


def uniform(layers: Sequence[Layer], budget: Budget) -> Keep:
    """The same share of zeros in every layer."""

    def at(density: float) -> Keep:
        return {layer.name: _whole(layer, density) for layer in layers}

    if budget.unit != "ms":
        return at(budget.limit)
    return _fit(layers, budget, at)


def erk(layers: Sequence[Layer], budget: Budget) -> Keep:
    """Erdős-Rényi-kernel: wide layers lose most."""
    shapes = {layer.name: (layer.outputs, layer.inputs) for layer in layers}

    def at(density: float) -> Keep:
        densities = erk_densities(shapes, density)
        return {layer.name: _whole(layer, densities[layer.name]) for layer in layers}

    return at(budget.limit) if budget.unit == "weights" else _fit(layers, budget, at)


@dataclass(frozen=True)
class ErrorCurve:
    """What sparsifying one layer does to the model's outputs: `errors[i]` with a share `densities[i]` of the weights.

    Densities rise, errors fall (they are made to, where measurements do not). `least` is the lowest density at which
    the outputs were looked at; a layer gets no lower one.
    """

    densities: np.ndarray
    errors: np.ndarray
    least: float = 0.0

    def __call__(self, density: np.ndarray) -> np.ndarray:
        """Interpolated; the logarithm of the error is nearly straight between points."""
        errors = np.minimum.accumulate(np.maximum(self.errors, 1e-12))
        return np.exp(np.interp(density, self.densities, np.log(errors)))


def by_sensitivity(layers: Sequence[Layer], budget: Budget, curves: Mapping[str, ErrorCurve]) -> Keep:
    """The levels whose errors have the smallest sum within the budget.

    Each layer takes the level with the smallest error + price * cost; the price is what makes the total fit (Lagrange
    multipliers: optimal among the levels that some price selects).
    """
    densities = {layer.name: np.linspace(max(curves[layer.name].least, 0.01), 1, 100) for layer in layers}
    kept = {layer.name: np.array([_whole(layer, density) for density in densities[layer.name]]) for layer in layers}
    errors = {layer.name: curves[layer.name](densities[layer.name]) for layer in layers}
    if budget.unit == "ms":
        costs = {layer.name: np.array([layer.milliseconds(n) for n in kept[layer.name]]) for layer in layers}
    else:
        costs = {
            layer.name: kept[layer.name] * (layer.pixels if budget.unit == "macs" else 1) * 1.0 for layer in layers
        }

    def at(share: float) -> Keep:
        price = np.exp((0.5 - share) * 80)  # from one end of float64's useful range to the other
        picks = {layer.name: int(np.argmin(errors[layer.name] + price * costs[layer.name])) for layer in layers}
        return {layer.name: int(kept[layer.name][picks[layer.name]]) for layer in layers}

    return _fit(layers, budget, at)


def _whole(layer: Layer, density: float) -> int:
    """How many weights a share is; with blocks, a whole number of columns of the blocks."""
    return layer.size - round((1 - min(1.0, density)) * layer.size / layer.block) * layer.block


def _fit(layers: Sequence[Layer], budget: Budget, at: Callable[[float], Keep]) -> Keep:
    """The most that fits: `at` gives more the larger its argument, from 0 to 1."""
    dense = {layer.name: layer.size for layer in layers}
    if budget.spent(layers, dense) <= budget.limit:
        return dense
    low, high = 0.0, 1.0
    least = budget.spent(layers, at(low))
    if least > budget.limit:
        unit = "ms" if budget.unit == "ms" else f"of the {budget.unit}"
        raise TulleError(
            f"the target of {budget.limit:.3g} {unit} cannot be reached: the sparsest these layers can be "
            f"still takes {least:.3g}"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if budget.spent(layers, at(middle)) <= budget.limit else (low, middle)
    return at(low)
