"""The layers that can be made sparse, and their costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, Node
from tulle.graph.geometry import is_pointwise
from tulle.passes.cost_model import fitted


@dataclass(frozen=True)
class Layer:
    """A 1x1 convolution, the unit that gets its own level of sparsity.

    Attributes:
        name: of its node.
        weight: name of its weights [outputs, 1, 1, inputs], unique to this Layer.
        pixels: output pixels per run, summed over all nodes that share the weights.
        block: number of neighbouring output channels that have their zeros in the same columns.
    """

    name: str
    weight: str
    outputs: int
    inputs: int
    pixels: int
    block: int = 1

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.outputs * self.inputs

    @property
    def macs(self) -> int:
        """Dense multiply-adds per run."""
        return self.size * self.pixels

    def milliseconds(self, nonzeros: int) -> float:
        """The fitted cost model's prediction, sparse or dense, whichever is faster.

        With blocks, every nonzero counts as part of a pair of outputs.
        """
        model = fitted()
        paired = nonzeros if self.block > 1 else 0
        sparse = model.prefers_sparse(self.inputs, self.outputs, self.pixels, nonzeros, paired)
        if sparse:
            return model.sparse_us(self.inputs, self.outputs, self.pixels, nonzeros, paired) / 1e3
        return model.dense_us(self.inputs, self.outputs, self.pixels) / 1e3


def prunable_layers(graph: Graph) -> list[str]:
    """Names of the 1x1 convolutions over maps larger than 1x1.

    Those over a single pixel (squeeze-and-excitation, classifiers) are left out: they do little of the work, and the
    whole model depends on each of their outputs. Name them explicitly to prune them anyway.
    """
    return [node.name for node in graph if is_pointwise(graph, node) and _pixels(graph, node) > 1]


def find_layers(graph: Graph, names: Collection[str] | None = None, block: int = 1) -> list[Layer]:
    """The layers of these names, in execution order; by default what `prunable_layers` lists.

    Nodes that share their weights are one layer, under the name of the first. Raises TulleError if there is no layer,
    a name is not that of a 1x1 convolution, or weights are computed while running.
    """
    possible = {node.name: node for node in graph if is_pointwise(graph, node)}
    chosen = prunable_layers(graph) if names is None else [name for name in possible if name in set(names)]
    if unknown := [name for name in names or () if name not in possible]:
        raise TulleError(f"not 1x1 convolutions of this model: {', '.join(unknown)}")
    if not chosen:
        others = " over more than one pixel" if names is None and possible else ""
        raise TulleError(f"model {graph.name!r} has no 1x1 convolutions{others} to make sparse")
    found: dict[str, Layer] = {}
    for name in chosen:
        node = possible[name]
        weight = node.inputs[1] or ""
        if graph.constant(weight) is None:
            raise TulleError(f"conv2d {name!r}: its weights are computed while running")
        outputs, _, _, inputs = graph.tensors[weight].shape
        pixels = _pixels(graph, node)
        if weight in found:
            name, pixels = found[weight].name, pixels + found[weight].pixels
        found[weight] = Layer(name, weight, outputs, inputs, pixels, block)
    return list(found.values())


def match_layers(graph: Graph, patterns: Iterable[str]) -> list[str]:
    """Names of the 1x1 convolutions that a shell pattern (`*`, `?`, `[...]`) matches.

    Raises TulleError, listing the names there are, if a pattern matches none.
    """
    names = [node.name for node in graph if is_pointwise(graph, node)]
    chosen: set[str] = set()
    for pattern in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise TulleError(f"{pattern!r} matches no 1x1 convolution; there are {', '.join(names) or 'none'}")
        chosen.update(matched)
    return [name for name in names if name in chosen]


def layer_weight(graph: Graph, layer: Layer) -> np.ndarray:
    """The layer's weights [outputs, 1, 1, inputs]."""
    data = graph.constant(layer.weight)
    assert data is not None  # find_layers has checked
    return data


def _pixels(graph: Graph, node: Node) -> int:
    return int(np.prod(graph.tensors[node.output].shape[1:3]))
