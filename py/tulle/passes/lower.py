"""`lower` runs `PASSES`: from a graph as read to the form that `pack` accepts and the C library runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

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
from tulle.passes.fuse_slopes import fuse_slopes
from tulle.passes.late_resizes import late_resizes
from tulle.passes.layout import assign_layouts
from tulle.passes.lowered import check_lowered, require_constant_weights
from tulle.passes.lowering_report import Report
from tulle.passes.merge_pads import merge_pads
from tulle.passes.pad_concats import pad_concats
from tulle.passes.pointwise import pointwise
from tulle.passes.remove_identities import remove_identities
from tulle.passes.rows_as_pixels import rows_as_pixels
from tulle.passes.sparsity import choose_sparsity
from tulle.passes.split_concats import split_concats
from tulle.passes.split_transpose_convs import split_transpose_convs
from tulle.passes.trace import compare


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


@dataclass(frozen=True)
class Pass:
    """A row of `PASSES`.

    Attributes:
        run: the function: takes a graph, then the values of `options`, and returns a new graph.
        reason: why it is there, in a line.
        options: names of the arguments of `lower` that it takes.
    """

    run: Callable[..., Graph]
    reason: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.run.__name__

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


PASSES = (
    Pass(set_normalisation, "Image inputs carry the mean and standard deviation that bytes are fed with.",
         ("input_mean", "input_std")),
    Pass(fold_constants, "What depends on constants alone is computed now; float16 and sparse weights are unpacked."),
    Pass(require_constant_weights, "The C library unpacks weights at load: computed ones are refused here, by name."),
    Pass(pad_concats, "A pad runs in either layout; a concat with a constant would have to be plain."),
    Pass(split_concats, "An op of a file has at most 64 inputs."),
    Pass(remove_identities, "Ops that change nothing would copy memory and prevent fusing."),
    Pass(pointwise, "A fully connected layer over an image is a 1x1 convolution, which has the faster kernels."),
    Pass(fold_shuffles, "A channel shuffle as one 1x1 convolution copies slices and stays in chw."),
    Pass(fold_affine, "Multiplications and additions of constants, such as batch normalisation, go into the weights."),
    Pass(fuse_gates, "x times a function of x (SiLU, GELU, hard swish) becomes one activation, to be fused."),
    Pass(fuse_slopes, "relu(x) - slope * relu(-x) and max(x, slope * x) become prelu, which can then be fused."),
    Pass(split_activations, "Separates activations that TFLite fuses into an op but the C library does not."),
    Pass(fuse_activations, "An activation fused into its producer costs no pass over memory."),
    Pass(explicit_padding, '"same" and "valid" become numbers, which later passes and the C library can add to.'),
    Pass(split_transpose_convs, "With a stride, they are convolutions whose results are interleaved."),
    Pass(merge_pads, "Convolutions and pools pad without a copy."),
    Pass(remove_dead_channels, "Constant and unread channels, which pruning leaves behind, cost time for nothing."),
    Pass(convolve_before_resize, "Before an upsampling there are fewer pixels to convolve."),
    Pass(fuse_residuals, "Fused into the convolution, the addition of a residual block costs no pass over memory."),
    Pass(early_means, "The mean of a sum or an upsampled map is taken from its inputs: less is written to memory."),
    Pass(late_resizes, "Until an upsampled map is read, only the small map takes memory."),
    Pass(rows_as_pixels, "A sparse layer over rows, as of a transformer, is a 1x1 convolution, which has the kernel.",
         ("sparse",)),
    Pass(choose_sparsity, "A layer runs sparse if the cost model expects that to be faster.", ("sparse",)),
    Pass(assign_layouts, "Every activation gets a layout, with the fewest changes between the two."),
    Pass(check_lowered, "Everything that the C library cannot run is refused here, in one error."),
)  # fmt: skip
"""All passes, in the order in which they run."""


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
        sparse: "auto" runs a layer sparse if enough of its weights are zero; "always" and "never" decide for all.
        input_mean, input_std: uint8 images are fed as (pixel - mean) / std; set on every image input ([1, H, W, 3]).
        report: filled in with what was done, pass by pass and in all.

    Raises TulleError if the graph holds something that the C library cannot run.
    """
    if sparse not in ("auto", "always", "never"):
        raise TulleError(f"sparse must be 'auto', 'always' or 'never', not {sparse!r}")
    options = {"sparse": sparse, "input_mean": input_mean, "input_std": input_std}
    for step in PASSES:
        before, graph = graph, step.run(graph, *(options[name] for name in step.options))
        if report is not None:
            report.passes.append(compare(step.name, before, graph))
            if step.run is remove_dead_channels:
                report.count_channels(before, graph)
    if report is not None:
        report.count_choices(graph)
    return graph
