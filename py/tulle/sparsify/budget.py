"""Divides a budget for the whole model into a number of weights to keep for each layer."""

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
    """A budget for all chosen layers together.

    Attributes:
        unit: "weights" and "macs" count nonzero weights and their multiply-adds; "ms" is the fitted cost model's
            prediction.
        limit: for weights and macs a share of the dense layers', 0 to 1; for ms milliseconds.
    """

    unit: Unit
    limit: float

    def spent(self, layers: Sequence[Layer], keep: Mapping[str, int]) -> float:
        """The cost of these layers with these numbers of nonzero weights, in the units of `limit`."""
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
    """The effect of one layer's sparsity on the model's outputs: `errors[i]` with a share `densities[i]` of the
    weights.

    Densities rise and errors fall (measurements that do not are adjusted). `least` is the lowest density at which the
    outputs were measured; a layer gets no lower one.
    """

    densities: np.ndarray
    errors: np.ndarray
    least: float = 0.0

    def __call__(self, density: np.ndarray) -> np.ndarray:
        """Interpolated; the logarithm of the error is nearly linear between points."""
        errors = np.minimum.accumulate(np.maximum(self.errors, 1e-12))
        return np.exp(np.interp(density, self.densities, np.log(errors)))


def by_sensitivity(layers: Sequence[Layer], budget: Budget, curves: Mapping[str, ErrorCurve]) -> Keep:
    """The levels whose errors have the smallest sum within the budget.

    Each layer takes the level with the smallest error + price * cost, and the price is chosen so that the total fits
    (Lagrange multipliers: optimal among the levels that some price selects).
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
    """The number of weights in a share; with blocks, a whole number of the blocks' columns."""
    return layer.size - round((1 - min(1.0, density)) * layer.size / layer.block) * layer.block


def _fit(layers: Sequence[Layer], budget: Budget, at: Callable[[float], Keep]) -> Keep:
    """The largest result of `at` within the budget; `at` rises with its argument, from 0 to 1."""
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
