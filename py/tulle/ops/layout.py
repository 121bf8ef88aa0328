"""In which layouts an op runs: "chw", "plain", or either, all its activations in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tulle.graph.graph import Graph, Node, Tensor

EITHER = "either"


@dataclass(frozen=True)
class Layout:
    """The rule of an op.

    Attributes:
        choices: "chw", "plain" or both, where some nodes can have either.
        text: the rule in words, for the documents.
        demand: the layout that a node needs its activations in, or EITHER.
        changes: what `to_chw` and `to_plain` read and give.
        reads_any: whether the node reads a tensor in whatever layout it has.
    """

    choices: tuple[str, ...]
    text: str
    demand: Callable[[Graph, Node], str]
    changes: tuple[str, str] | None = None
    reads_any: Callable[[Graph, Node, str], bool] = lambda graph, node, name: False


def activations(graph: Graph, node: Node) -> list[Tensor]:
    """The tensors around a node that are not constants."""
    names = [*(name for name in node.inputs if name is not None), node.output]
    return [graph.tensors[name] for name in names if not graph.tensors[name].is_constant]


def only_images(graph: Graph, node: Node) -> bool:
    """Whether all activations of a node are [1, H, W, C]."""
    return all(len(tensor.shape) == 4 and tensor.shape[0] == 1 for tensor in activations(graph, node))


CHW = Layout(("chw",), "chw", lambda graph, node: "chw")
PLAIN = Layout(("plain",), "plain", lambda graph, node: "plain")


def either(text: str, fits: Callable[[Graph, Node], bool] = lambda graph, node: True) -> Layout:
    """Either layout where all activations are images and `fits` says so; else plain."""

    def demand(graph: Graph, node: Node) -> str:
        return EITHER if only_images(graph, node) and fits(graph, node) else "plain"

    return Layout(("chw", "plain"), text, demand)


IMAGES = either("either for images")
