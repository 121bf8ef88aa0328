"""How much each layer's sparsity would cost the model as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tulle.graph import Graph
from tulle.runtime import load
from tulle.sparsify.allocation import ErrorCurve
from tulle.sparsify.layers import Layer, layer_weight
from tulle.sparsify.magnitude import prune_weight
from tulle.sparsify.reconstruct import Progress, layer_bias, set_layer
from tulle.sparsify.solve import output_error, solve
from tulle.sparsify.walk import Sight, can_walk, prepare, walk

DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
IMAGES = 64
"""As many images are looked at: the order of the layers is settled sooner than their weights."""


def error_curves(
    graph: Graph,
    layers: Sequence[Layer],
    density: float,
    images: Sequence[np.ndarray],
    *,
    reconstruct: bool,
    seed: int,
    progress: Progress,
) -> dict[str, ErrorCurve]:
    """For each layer the error of the model's outputs with that layer alone sparse.

    The layer's own error is known for all levels; how much of it arrives at the outputs is measured at `density`, and
    taken to be in proportion elsewhere. An output's error is its mean square difference over its variance.

    Args:
        graph: without DEQUANTIZE and DENSIFY.
        density: share of weights kept, near what the levels will be.
    """
    images = images[:IMAGES]
    dense = prepare(graph, layers)
    expected = _outputs(dense, images)
    sights = walk(dense, dense, [layer for layer in layers if can_walk(graph, layer)], images, seed)
    curves = {}
    for index in progress(range(len(layers)), "Measuring each layer's weight"):
        layer = layers[index]
        levels = _reconstructed if reconstruct and can_walk(graph, layer) else _pruned
        sight = next(sights)[1] if can_walk(graph, layer) else None
        densities, errors, weights = levels(graph, layer, sight)
        probe = int(np.argmin(np.abs(densities - density)))
        changed = dense.copy()
        set_layer(changed, layer, weights[probe])
        effect = _distance(_outputs(changed, images), expected)
        scale = effect / max(errors[probe], 1e-12)
        curves[layer.name] = ErrorCurve(np.append(densities, 1.0), np.append(errors * scale, 0.0))
    return curves


Levels = tuple[np.ndarray, np.ndarray, list[np.ndarray]]
"""Rising shares of weights kept, the error of the layer's output at each, and the weights [outputs, inputs + 1]."""


def _reconstructed(graph: Graph, layer: Layer, sight: Sight | None) -> Levels:
    assert sight is not None
    weight = layer_weight(graph, layer).reshape(layer.outputs, layer.inputs)
    path: list[tuple[float, np.ndarray]] = []
    least = max(1, int(DENSITIES[0] * layer.size))
    solve(sight, weight, least, layer.block, polish=False, watch=lambda kept, now: path.append((kept, now)))
    path.sort(key=lambda step: step[0])
    errors = [output_error(sight, weights) for _, weights in path]
    return np.array([kept for kept, _ in path]), np.array(errors), [weights for _, weights in path]


def _pruned(graph: Graph, layer: Layer, sight: Sight | None) -> Levels:
    weight, bias = layer_weight(graph, layer), layer_bias(graph, layer)
    errors, levels = [], []
    for density in DENSITIES:
        pruned = prune_weight(weight, max(1, int(density * layer.size)), layer.block)
        levels.append(np.concatenate([pruned.reshape(layer.outputs, -1), bias[:, None]], axis=1))
        if sight is not None:
            errors.append(output_error(sight, levels[-1]))
        else:  # what the layer sees is not to be had: the energy that is gone stands for it
            errors.append(float(np.sum((weight - pruned) ** 2) / max(np.sum(weight**2), 1e-30)))
    return np.array(DENSITIES), np.array(errors), levels


def _outputs(graph: Graph, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    with load(graph) as model:
        runs = [model(image) for image in images]
    return {name: np.stack([run[name] for run in runs]) for name in graph.outputs}


def _distance(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Mean over the outputs of the mean square difference over the variance."""
    shares = [
        float(np.mean((got[name] - values) ** 2)) / max(float(np.var(values)), 1e-12)
        for name, values in expected.items()
    ]
    return float(np.mean(shares))
