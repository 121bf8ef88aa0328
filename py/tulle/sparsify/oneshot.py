"""`sparsify`: a dense graph -> a sparse one, in one shot, without labels or training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike
from tulle.graph import Graph
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify.budget import Budget, ErrorCurve, Keep, by_sensitivity, erk, uniform
from tulle.sparsify.layers import Layer, find_layers, layer_weight
from tulle.sparsify.magnitude import prune_weight

Method = Literal["magnitude", "reconstruct"]
Allocation = Literal["uniform", "erk", "sensitivity"]
Progress = Callable[[range, str], Iterable[int]]
"""Wraps a loop to show its progress; the second argument describes the work."""


@dataclass(frozen=True)
class Options:
    """How to sparsify. At most one of the three targets is given; with none, 70 % of the weights become zero.

    Attributes:
        sparsity: share of the chosen layers' weights to be zero, 0 to less than 1. Existing zeros count.
        target_macs: share of the chosen layers' multiply-adds that may be left, more than 0, to 1.
        target_ms: milliseconds that the chosen layers may take together by the fitted cost model (one thread of the
            machine in passes/cost_model.json).
        method: "magnitude" zeroes the smallest weights; "reconstruct" chooses by each weight's effect on the layer's
            output for the calibration images, and solves for the remaining ones. None: "reconstruct" where there are
            calibration images, else "magnitude".
        allocation: "uniform", the same level for all layers; "erk", more for wide ones; "sensitivity", by the
            effect of each layer's error on the model's outputs (needs calibration images).
        block: number of neighbouring output channels that have their zeros in the same columns: 1, 2 or 4.
        layers: names of the nodes to sparsify; by default all that `prunable_layers` lists.
        seed: for the choice of pixels to solve on.
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
    """The result for one layer.

    Attributes:
        outputs, inputs: channels.
        pixels: output pixels per run.
        zeros_before, zeros: number of zero weights before and now.
        ms_dense, ms: predicted milliseconds (see `Options.target_ms`), dense and now.
        error: of its output on the calibration images: mean squared difference from the dense model, divided by the
            variance. None without images.
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
        images: number of calibration images used.
        half: whether the source had float16 weights; then the new weights are exact in float16 too.
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


def sparsify(
    graph: Graph,
    options: Options | None = None,
    *,
    images: Sequence[np.ndarray] = (),
    workfile: PathLike | None = None,
    progress: Progress = lambda items, _: items,
) -> Sparsified:
    """Makes the 1x1 convolutions of a model sparse.

    With `method="reconstruct"` each layer is solved for on the inputs that it sees with all earlier layers sparse, so
    that it compensates for their errors, and gets a new bias. Layers that share their weights, or are padded, are
    pruned by magnitude all the same.

    Args:
        graph: not lowered, as `tflite.read` gives it; it is not changed.
        options: what to do; see `Options`.
        images: calibration images, for a model with one input: uint8 (H, W, 3), normalised with the input's mean and
            std, or float32 of the input's shape. `calibration.read_folder` reads them. They should look like what the
            model will see; a few hundred will do.
        workfile: where finished layers are kept. A run continues from the file that an interrupted run left there, to
            the same result; the caller removes it.
        progress: wraps the loop over the layers.

    The same arguments give the same result on the same machine; with `method="reconstruct"` also only with the same
    number of threads of NumPy's BLAS, by which its sums are rounded.
    Raises TulleError if an option is out of range, there is nothing to sparsify, images are needed and there are none,
    an image does not fit, or the work file cannot be written or belongs to another run.
    """
    options = options or Options()
    budget = options.budget()
    method = options.method or ("reconstruct" if images else "magnitude")
    if options.block not in (1, 2, 4):
        raise TulleError(f"block must be 1, 2 or 4, not {options.block}")
    for value, choices in ((method, get_args(Method)), (options.allocation, get_args(Allocation))):
        if value not in choices:
            what = "method" if choices == get_args(Method) else "allocation"
            raise TulleError(f"{what} must be one of {', '.join(choices)}, not {value!r}")
    if not images and (method == "reconstruct" or options.allocation == "sensitivity"):
        what = "method reconstruct" if method == "reconstruct" else "allocation by sensitivity"
        raise TulleError(f"{what} needs calibration images: pictures like those that the model is for")
    half = has_half_weights(graph)
    graph = fold_constants(graph)
    layers = find_layers(graph, options.layers, options.block)
    if not images:
        keep = _allocate(layers, budget, options)
        sparse = graph.copy()
        for layer in layers:
            sparse.tensors[layer.weight].data = prune_weight(layer_weight(graph, layer), keep[layer.name], layer.block)
        return _sparsified(graph, sparse, layers, method, options, 0, half, {})

    # Not needed without images: in a browser, Python need not load the runtime for magnitude pruning.
    from tulle.sparsify import reconstruct, sensitivity
    from tulle.sparsify.calibration import check_image

    images = [check_image(np.asarray(image), graph) for image in images]
    settings = {**asdict(options), "method": method, "half": half, "layers": [layer.name for layer in layers]}
    done = reconstruct.WorkFile(workfile, reconstruct.fingerprint(graph, settings, images))
    if done.keep is None:
        curves: Mapping[str, ErrorCurve] = {}
        if options.allocation == "sensitivity":
            near = sum(uniform(layers, budget).values()) / sum(layer.size for layer in layers)
            curves = sensitivity.error_curves(
                graph, layers, near, images, reconstruct=method == "reconstruct", seed=options.seed, progress=progress
            )
        done.decide(_allocate(layers, budget, options, curves))
    assert done.keep is not None
    sparse, errors = reconstruct.sweep(
        graph,
        layers,
        done.keep,
        images,
        reconstruct=method == "reconstruct",
        half=half,
        seed=options.seed,
        done=done,
        progress=progress,
    )
    return _sparsified(graph, sparse, layers, method, options, len(images), half, errors)


def has_half_weights(graph: Graph) -> bool:
    """Whether the file had float16 weights."""
    return any(
        node.op == "dequantize" and (data := graph.constant(node.inputs[0])) is not None and data.dtype == np.float16
        for node in graph
    ) or any(tensor.is_constant and tensor.dtype == np.float16 for tensor in graph.tensors.values())


def _allocate(
    layers: Sequence[Layer], budget: Budget, options: Options, curves: Mapping[str, ErrorCurve] | None = None
) -> Keep:
    if options.allocation == "sensitivity":
        return by_sensitivity(layers, budget, curves or {})
    return (uniform if options.allocation == "uniform" else erk)(layers, budget)


def _sparsified(
    before: Graph,
    after: Graph,
    layers: Sequence[Layer],
    method: Method,
    options: Options,
    images: int,
    half: bool,
    errors: Mapping[str, float],
) -> Sparsified:
    results = []
    for layer in layers:
        zeros_before, zeros = (int(np.sum(layer_weight(graph, layer) == 0)) for graph in (before, after))
        results.append(
            LayerResult(
                name=layer.name,
                outputs=layer.outputs,
                inputs=layer.inputs,
                pixels=layer.pixels,
                zeros_before=zeros_before,
                zeros=zeros,
                ms_dense=layer.milliseconds(layer.size),
                ms=layer.milliseconds(layer.size - zeros),
                error=errors.get(layer.name),
            )
        )
    return Sparsified(after, method, options.allocation, images, half, results)
