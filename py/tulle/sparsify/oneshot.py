"""`sparsify`: a dense graph -> a sparse one, in one shot, without labels or training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify.allocation import Budget, Keep, erk, uniform
from tulle.sparsify.layers import Layer, find_layers
from tulle.sparsify.magnitude import prune_weight

Method = Literal["magnitude", "reconstruct"]
Allocation = Literal["uniform", "erk", "sensitivity"]
Item = TypeVar("Item")
Progress = Callable[[Sequence[Item], str], Iterable[Item]]
"""Wraps a loop, to show how far it is; the second argument says what is being done."""


@dataclass(frozen=True)
class Options:
    """How to sparsify. At most one of the three targets is given; with none, 70 % of the weights become zero.

    Attributes:
        sparsity: share of the chosen layers' weights to be zero, 0 to less than 1. Zeros that are there count.
        target_macs: share of the chosen layers' multiply-adds that may be left, more than 0, to 1.
        target_ms: milliseconds that the chosen layers may take together by the fitted cost model (one thread of the
            machine in passes/cost_model.json).
        method: "magnitude" zeroes the smallest weights; "reconstruct" chooses by what each weight does to the layer's
            output on the calibration images and solves for the others anew. None: "reconstruct" where there are
            calibration images, else "magnitude".
        allocation: "uniform", the same level for all layers; "erk", more for wide ones; "sensitivity", by what each
            layer's error does to the model's outputs (needs calibration images).
        block: so many neighbouring output channels have their zeros in the same columns: 1, 2 or 4.
        layers: names of the nodes to sparsify; by default all that `prunable_layers` lists.
        seed: of the choice of pixels to look at.
    """

    sparsity: float | None = None
    target_macs: float | None = None
    target_ms: float | None = None
    method: Method | None = None
    allocation: Allocation = "uniform"
    block: int = 1
    layers: Collection[str] | None = None
    seed: int = 0

    def budget(self) -> Budget:
        """The target. Raises TulleError if it is out of range or there are several."""
        given = [value for value in (self.sparsity, self.target_macs, self.target_ms) if value is not None]
        if len(given) > 1:
            raise TulleError("give one of sparsity, target MACs and target milliseconds, not several")
        if self.target_ms is not None:
            if not 0 < self.target_ms < float("inf"):
                raise TulleError(f"a target of {self.target_ms} ms must be more than 0")
            return Budget("ms", self.target_ms)
        if self.target_macs is not None:
            if not 0 < self.target_macs <= 1:
                raise TulleError(f"a target of {self.target_macs} of the MACs must be more than 0 and at most 1")
            return Budget("macs", self.target_macs)
        sparsity = 0.7 if self.sparsity is None else self.sparsity
        if not 0 <= sparsity < 1:
            raise TulleError(f"sparsity {sparsity} must be at least 0 and less than 1")
        return Budget("weights", 1 - sparsity)


@dataclass(frozen=True)
class LayerResult:
    """What became of one layer.

    Attributes:
        outputs, inputs: channels.
        pixels: output pixels a run.
        zeros_before, zeros: weights that were and are zero.
        ms_dense, ms: predicted milliseconds (see `Options.target_ms`) without a zero and as it is now.
        error: of its output on the calibration images, against the dense model: the mean square of the difference over
            the variance. None where there were no images.
    """

    name: str
    outputs: int
    inputs: int
    pixels: int
    zeros_before: int
    zeros: int
    ms_dense: float
    ms: float
    error: float | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.outputs * self.inputs

    @property
    def macs(self) -> int:
        """Multiply-adds as if dense."""
        return self.size * self.pixels

    @property
    def nonzero_macs(self) -> int:
        """Multiply-adds whose weight is not zero."""
        return (self.size - self.zeros) * self.pixels


@dataclass(frozen=True)
class Sparsified:
    """A sparsified model.

    Attributes:
        graph: with DEQUANTIZE and DENSIFY folded, not lowered.
        method, allocation: what was used.
        images: how many calibration images were looked at.
        half: whether the source had float16 weights; then the new ones are numbers that float16 holds too.
        layers: the chosen layers, in execution order.
    """

    graph: Graph
    method: Method
    allocation: Allocation
    images: int
    half: bool
    layers: list[LayerResult]

    @property
    def zeros(self) -> float:
        """Share of the chosen layers' weights that are zero."""
        return sum(layer.zeros for layer in self.layers) / sum(layer.size for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """All but the graph as plain values, for JSON."""
        plain = {"method": self.method, "allocation": self.allocation, "images": self.images, "zeros": self.zeros}
        return {**plain, "layers": [asdict(layer) for layer in self.layers]}


def sparsify(graph: Graph, options: Options | None = None) -> Sparsified:
    """Makes the 1x1 convolutions of a model sparse.

    Args:
        graph: not lowered, as `tflite.read` gives it; it is not changed.
        options: what to do; see `Options`.

    Raises TulleError if an option is out of range or there is nothing to sparsify.
    """
    options = options or Options()
    budget = options.budget()
    if options.block not in (1, 2, 4):
        raise TulleError(f"block must be 1, 2 or 4, not {options.block}")
    half = has_half_weights(graph)
    graph = fold_constants(graph)
    layers = find_layers(graph, options.layers, options.block)
    method = options.method or "magnitude"
    keep = _allocate(layers, budget, options)
    sparse = graph.copy()
    for layer in layers:
        data = graph.constant(layer.weight)
        assert data is not None  # find_layers has looked
        sparse.tensors[layer.weight].data = prune_weight(data, keep[layer.name], layer.block)
    results = [_result(graph, sparse, layer) for layer in layers]
    return Sparsified(sparse, method, options.allocation, 0, half, results)


def has_half_weights(graph: Graph) -> bool:
    """Whether the file held weights as float16."""
    return any(
        node.op == "dequantize" and (data := graph.constant(node.inputs[0])) is not None and data.dtype == np.float16
        for node in graph
    ) or any(tensor.is_constant and tensor.dtype == np.float16 for tensor in graph.tensors.values())


def _allocate(layers: Sequence[Layer], budget: Budget, options: Options) -> Keep:
    if options.allocation == "uniform":
        return uniform(layers, budget)
    if options.allocation == "erk":
        return erk(layers, budget)
    raise TulleError(f"allocation must be one of uniform, erk, not {options.allocation!r}")


def _result(before: Graph, after: Graph, layer: Layer, error: float | None = None) -> LayerResult:
    zeros = [_zeros(graph, layer) for graph in (before, after)]
    return LayerResult(
        name=layer.name,
        outputs=layer.outputs,
        inputs=layer.inputs,
        pixels=layer.pixels,
        zeros_before=zeros[0],
        zeros=zeros[1],
        ms_dense=layer.milliseconds(layer.size),
        ms=layer.milliseconds(layer.size - zeros[1]),
        error=error,
    )


def _zeros(graph: Graph, layer: Layer) -> int:
    data = graph.constant(layer.weight)
    assert data is not None  # find_layers has looked
    return int(np.count_nonzero(data == 0))
