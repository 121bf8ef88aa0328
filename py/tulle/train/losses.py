"""The distance between a student's outputs and features and its teacher's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.ops import OPS

EPSILON = 1e-6
PROBABILITIES = ("mask", "sigmoid", "softmax")
LEAST_MASK = 0.01  # of the pixels: added to the union, so that an empty mask is no division by zero


class Distance:
    """The loss of a student against its teacher, from the outputs and some activations of both.

    - Masks, that is images of probabilities: the soft Jaccard distance for each picture, which is the part in one of
      the two but not in both, divided by the part in either.
    - Other outputs that are probabilities: cross-entropy with the teacher's, minus the teacher's own entropy.
    - Other outputs: mean absolute difference, relative to their spread.
    - Features: mean squared difference, relative to their variance.

    Args:
        graph: of the teacher.
        features: names of activations that student and teacher both have.
        weight: of the features' mean, added to the outputs' mean.
        sample: the teacher's outputs and features for some pictures, to measure spread and variance on.
    """

    def __init__(self, graph: Graph, features: list[str], weight: float, sample: Mapping[str, Tensor]) -> None:
        self.features, self.weight = features, weight
        self.kinds = {name: _kind(graph, name) for name in graph.outputs}
        self.scales = {name: _scale(values) for name, values in sample.items()}

    def __call__(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        outputs = [self._output(name, student[name], teacher[name]) for name in self.kinds]
        loss = torch.stack(outputs).mean()
        if self.features and self.weight:
            parts = [F.mse_loss(student[name], teacher[name]) / self.scales[name] ** 2 for name in self.features]
            loss = loss + self.weight * torch.stack(parts).mean()
        return loss

    def _output(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        if self.kinds[name] == "mask":
            return _mask_distance(student, teacher)
        if self.kinds[name] == "sigmoid":
            student, teacher = student.clamp(EPSILON, 1 - EPSILON), teacher.clamp(EPSILON, 1 - EPSILON)
            return F.binary_cross_entropy(student, teacher) - F.binary_cross_entropy(teacher, teacher)
        if self.kinds[name] == "softmax":
            divergence = teacher * (teacher.clamp(min=EPSILON).log() - student.clamp(min=EPSILON).log())
            return divergence.sum(-1).mean()
        return F.l1_loss(student, teacher) / self.scales[name]


def _mask_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 minus intersection over union, of probabilities.

    Cross-entropy is dominated by pixels where the student is sure and wrong. With few weights it cannot fix them all,
    and lowers the loss faster by being less sure everywhere. This distance rewards as many correct pixels as possible,
    and weighs pictures with a small mask as much as others.
    """
    apart = (student - teacher).abs().flatten(1).sum(1)
    either = torch.maximum(student, teacher).flatten(1).sum(1)
    return (apart / (either + LEAST_MASK * student[0].numel())).mean()


def _kind(graph: Graph, output: str) -> str:
    """ "mask", "sigmoid", "softmax" or "other", looking through ops that only change the shape."""
    makers = graph.producer()
    node = makers.get(output)
    while node is not None and OPS[node.op].keeps_elements:
        node = makers.get(node.inputs[0] or "")
    if node is None:
        return "other"
    kind = "softmax" if node.op == "softmax" else node.attrs.get("activation", "other")
    return "mask" if kind == "sigmoid" and _is_image(graph, output) else kind


def _scale(values: Tensor) -> float:
    """The standard deviation, but at least a hundredth of the magnitude, for values that hardly vary."""
    return max(float(values.std()), 0.01 * float(values.abs().mean()), EPSILON)


def block_ends(graph: Graph) -> list[str]:
    """Names of the activations at the ends of blocks: sums of two activations or, if there are none, convolutions
    without an activation function; only images larger than one pixel.

    Raises TulleError if the graph has neither.
    """
    sums, linear = [], []
    for node in graph:
        if not _is_image(graph, node.output) or node.output in graph.outputs:
            continue
        activations = [name for name in node.inputs if name is not None and graph.constant(name) is None]
        if (node.op == "add" and len(activations) == 2) or (node.op == "conv2d" and len(activations) == 2):
            sums.append(node.output)
        elif node.op == "conv2d" and node.attrs["activation"] == "none":
            linear.append(node.output)
    if not sums and not linear:
        raise TulleError("the model has no blocks whose ends could be compared: set the weight of features to 0")
    return sums or linear


def _is_image(graph: Graph, name: str) -> bool:
    shape = graph.tensors[name].shape
    return len(shape) == 4 and shape[1] * shape[2] > 1


def distances(graph: Graph, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, float]:
    """For each output the mean absolute difference, in % of the range of the teacher's values.

    The range of probabilities is always 1: if a model is always sure, its values hardly vary.
    """
    result = {}
    for name in graph.outputs:
        values = teacher[name]
        spread = 1.0 if _kind(graph, name) in PROBABILITIES else float(values.max() - values.min())
        result[name] = 100 * float((student[name] - values).abs().mean()) / max(spread, EPSILON)
    return result
