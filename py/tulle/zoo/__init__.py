"""Architectures built as Graphs, with published or random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tulle.graph import Graph
from tulle.zoo.efficientnet_lite import VARIANTS, efficientnet_lite
from tulle.zoo.mobilenet_v1 import mobilenet_v1
from tulle.zoo.mobilenet_v2 import mobilenet_v2
from tulle.zoo.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small


@dataclass(frozen=True)
class Architecture:
    """A network of the zoo: `build(weights_npz=None, width=1.0, size=..., seed=0)` makes its Graph.

    Attributes:
        paper: where its tables are.
        size: height and width of the image it is made for, in pixels.
    """

    build: Callable[..., Graph]
    paper: str
    size: int = 224


ARCHITECTURES = {
    "mobilenet_v1": Architecture(mobilenet_v1, "arXiv 1704.04861"),
    "mobilenet_v2": Architecture(mobilenet_v2, "arXiv 1801.04381"),
    "mobilenet_v3_large": Architecture(mobilenet_v3_large, "arXiv 1905.02244"),
    "mobilenet_v3_small": Architecture(mobilenet_v3_small, "arXiv 1905.02244"),
    **{
        f"efficientnet_lite{number}": Architecture(partial(efficientnet_lite, number), "arXiv 1905.11946", size)
        for number, (_, _, size) in enumerate(VARIANTS)
    },
}
"""Every architecture by its name."""

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "efficientnet_lite",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
]
