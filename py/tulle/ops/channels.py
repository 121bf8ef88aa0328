"""What an op does to channels (the last dimension): for finding constant ones, and for removing those nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tulle.graph.graph import Graph, Node

Known = dict[str, np.ndarray]
"""float64 [channels] of every tensor: the value that a channel has at every position, NaN where none is known."""


def channel_count(graph: Graph, name: str | None) -> int:
    """Size of the last dimension; 1 for a scalar."""
    shape = graph.tensors[name or ""].shape
    return shape[-1] if shape else 1


# A last dimension beyond this is not of channels. Arrays of its size would let a file of a few bytes take gigabytes.
MAX_CHANNELS = 2**16


def per_channel(data: np.ndarray | None, channels: int) -> np.ndarray | None:
    """A constant of one number, or one a channel (last dimension), as float64 [channels]; None if it is neither, or if
    there are more than MAX_CHANNELS."""
    if data is None or channels > MAX_CHANNELS or not (data.size == 1 or data.shape[-1] == data.size == channels):
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,))


# ---- operands: positions of the inputs that pass through channel by channel, not weights, biases and prelu's alpha --


def first_input(node: Node) -> list[int]:
    return [0]


def two_inputs(node: Node) -> list[int]:
    return [0, 1]


def no_input(node: Node) -> list[int]:
    return []


# ---- source: for every output channel, the channel of input `position` that it is made of (-1: none of them) ---------


def unfollowed(graph: Graph, node: Node, position: int) -> np.ndarray | None:
    """The op does not keep channels apart, or moves them in a way that is not worth following."""
    return None


def same(graph: Graph, node: Node, position: int) -> np.ndarray | None:
    """Every output channel is made of the same channel of the input."""
    source, result = graph.tensors[node.inputs[position] or ""].shape, graph.tensors[node.output].shape
    return np.arange(result[-1]) if source and result else None


def same_if(keeps: Callable[[Graph, Node], bool]) -> Callable[[Graph, Node, int], np.ndarray | None]:
    """The same, for nodes of which `keeps` is true."""
    return lambda graph, node, position: same(graph, node, position) if keeps(graph, node) else None


def same_size(graph: Graph, node: Node) -> bool:
    """Whether the first input has as many channels as the output."""
    return channel_count(graph, node.inputs[0]) == channel_count(graph, node.output)


def stretch(out_channels: int, start: int, channels: int) -> np.ndarray:
    """The input's channels in order from output channel `start` on."""
    result = np.full(out_channels, -1)
    result[start : start + channels] = np.arange(channels)
    return result


# ---- the values of channels ----------------------------------------------------------------------------------------


def foldable(node: Node, known: np.ndarray) -> np.ndarray:
    """bool [channels]: input channels whose known value acts on a convolution like a bias."""
    if node.op == "transpose_conv2d" or any(node.attrs.get("padding", ())):
        return known == 0  # windows at the border contain zeros where inner ones contain the value
    return ~np.isnan(known)


def bias_of(graph: Graph, node: Node, channels: int) -> np.ndarray:
    """float64 [channels], zeros where there is no bias."""
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros(channels) if bias is None else bias.reshape(-1).astype(np.float64)


def replace_constant(graph: Graph, node: Node, position: int, values: np.ndarray, label: str | None = None) -> None:
    """Gives the node its own constant, unless it has these values already (layers may share a bias)."""
    name, values = node.inputs[position], values.astype(np.float32)
    before = graph.constant(name)
    if before is None or before.size != values.size or (before.reshape(values.shape) != values).any():
        node.inputs[position] = graph.add_constant(name or label or "constant", values)


@dataclass(frozen=True)
class Channels:
    """The rules of an op.

    Attributes:
        operands: positions of the inputs that pass through channel by channel.
        source: for every output channel, the channel of input `position` that it is made of (-1: none of them); None
            if the op does not keep channels apart, or moves them in a way that is not worth following.
        known: values of the output's channels, before an activation; by default a known channel of the first input is
            handed on as it is, which is wrong for an op that does not map a constant channel to itself.
        keep: edits constants and attributes of a node of which only some output channels (bool) are kept.
    """

    operands: Callable[[Node], list[int]] = first_input
    source: Callable[[Graph, Node, int], np.ndarray | None] = unfollowed
    known: Callable[[Graph, Node, Known], np.ndarray] | None = None
    keep: Callable[[Graph, Node, np.ndarray], None] = lambda graph, node, outputs: None

    def values(self, graph: Graph, node: Node, known: Known) -> np.ndarray:
        """float64 [channels]: what is known of the output before an activation."""
        return self.known(graph, node, known) if self.known else handed_on(graph, node, known, self.source)


NOT_FOLLOWED = Channels()
"""Of an op that mixes channels or moves them about: all are needed, and none is known."""


def handed_on(
    graph: Graph, node: Node, known: Known, source: Callable[[Graph, Node, int], np.ndarray | None]
) -> np.ndarray:
    """Known channels of the first input are known channels of the output."""
    values = np.full(channel_count(graph, node.output), np.nan)
    channels = source(graph, node, 0)
    if channels is not None:
        values[channels >= 0] = known[node.inputs[0] or ""][channels[channels >= 0]]
    return values
