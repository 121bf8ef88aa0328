"""`lower`: all passes in order, from a graph as read to the form that `pack` accepts and the C library runs."""

from __future__ import annotations

import math
from dataclasses import replace

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.passes.convolve_before_resize import convolve_before_resize
from tulle.passes.dead_channels import remove_dead_channels
from tulle.passes.early_means import early_means
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.fold_affine import fold_affine
from tulle.passes.fold_constants import fold_constants
from tulle.passes.fold_shuffles import fold_shuffles
from tulle.passes.fuse_activations import fuse_activations, split_activations
from tulle.passes.fuse_gates import fuse_gates
from tulle.passes.fuse_residuals import fuse_residuals
from tulle.passes.late_resizes import late_resizes
from tulle.passes.layout import assign_layouts
from tulle.passes.lowered import check_lowered, require_constant_weights
from tulle.passes.lowering_report import Report
from tulle.passes.merge_pads import merge_pads
from tulle.passes.pad_concats import pad_concats
from tulle.passes.pointwise import pointwise
from tulle.passes.remove_identities import remove_identities
from tulle.passes.sparsity import choose_sparsity


def lower(
    graph: Graph,
    *,
    sparse: str = "auto",
    input_mean: float | None = None,
    input_std: float | None = None,
    report: Report | None = None,
) -> Graph:
    """Folds, fuses and lays out a graph, lowered before or not; outputs stay equal within rounding.

    Args:
        sparse: "auto" runs a layer sparse where enough of its weights are zero, "always" and "never" say it for all.
        input_mean, input_std: uint8 images are fed as (pixel - mean) / std; set on every image input ([1, H, W, 3]).
        report: filled in with what was done.

    Raises TulleError if the graph holds something that the C library cannot run.
    """
    if sparse not in ("auto", "always", "never"):
        raise TulleError(f"sparse must be 'auto', 'always' or 'never', not {sparse!r}")
    report = report or Report()
    graph = set_normalisation(graph, input_mean, input_std)
    graph = require_constant_weights(fold_constants(graph))
    graph = fold_shuffles(pointwise(remove_identities(pad_concats(graph))))
    graph = fold_affine(graph)
    graph = fuse_activations(split_activations(fuse_gates(graph)))
    whole = merge_pads(explicit_padding(graph))
    graph = remove_dead_channels(whole)
    report.count_channels(whole, graph)
    graph = late_resizes(early_means(fuse_residuals(convolve_before_resize(graph))))
    graph = assign_layouts(choose_sparsity(graph, sparse))
    report.count_choices(graph)
    return check_lowered(graph)


def set_normalisation(graph: Graph, mean: float | None, std: float | None) -> Graph:
    """The graph with `mean` and `std` (None: as they are) on its image inputs."""
    if mean is None and std is None:
        return graph
    if not math.isfinite(mean or 0) or not math.isfinite(1 if std is None else std) or std == 0:
        raise TulleError(f"input mean {mean} and std {std} must be finite, and std not 0")
    graph = graph.copy()
    images = [name for name in graph.inputs if len(shape := graph.tensors[name].shape) == 4 and shape[3] == 3]
    if not images:
        raise TulleError("an input mean or std was given, but the model has no image input [1, H, W, 3]")
    for name in images:
        tensor = graph.tensors[name]
        graph.tensors[name] = replace(
            tensor, mean=tensor.mean if mean is None else float(mean), std=tensor.std if std is None else float(std)
        )
    return graph
