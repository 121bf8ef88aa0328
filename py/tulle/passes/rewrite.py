"""Small steps that several passes take. They edit the graph given: a pass calls them on its own copy."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node
from tulle.graph.shapes import BINARY

# How many inputs an op has besides prelu's alpha, which comes after them when that activation is fused.
INPUT_COUNTS = {
    "conv2d": 4,
    "depthwise_conv2d": 3,
    "transpose_conv2d": 3,
    "fully_connected": 3,
    **dict.fromkeys(BINARY, 2),
    **dict.fromkeys(("average_pool2d", "max_pool2d", "activation"), 1),
}


def inputs_of(node: Node) -> list[str | None]:
    """The op's own inputs, filled up with None to their full number; prelu's alpha is not among them."""
    count = INPUT_COUNTS[node.op]
    return [*node.inputs, *[None] * count][:count]


def alpha_of(node: Node) -> str | None:
    """The tensor of prelu's alpha, which is the last input; None if the node's activation is another."""
    return node.inputs[INPUT_COUNTS[node.op]] if node.attrs.get("activation") == "prelu" else None


def set_activation(node: Node, activation: str, alpha: float | None, alpha_tensor: str | None) -> None:
    """Gives a node that has none its activation. `alpha`: of leaky_relu and elu; `alpha_tensor`: of prelu."""
    node.attrs["activation"] = activation
    if alpha is not None:
        node.attrs["alpha"] = alpha
    if alpha_tensor is not None:
        node.inputs = [*inputs_of(node), alpha_tensor]


def sole_consumer(graph: Graph, name: str, consumers: dict[str, list[Node]]) -> Node | None:
    """The one node that reads an activation; None if it has several readers or is a model output."""
    readers = consumers[name]
    return readers[0] if len(readers) == 1 and name not in graph.outputs else None


def redirect(graph: Graph, old: str, new: str) -> None:
    """Makes every reader of activation `old` read `new` instead."""
    for node in graph.nodes:
        node.inputs = [new if name == old else name for name in node.inputs]


# A last dimension beyond this is not of channels. Arrays of its size would let a file of a few bytes take gigabytes.
MAX_CHANNELS = 2**16


def per_channel(data: np.ndarray | None, channels: int) -> np.ndarray | None:
    """A constant of one number, or one a channel (last dimension), as float64 [channels]; None if it is neither, or if
    there are more than MAX_CHANNELS."""
    if data is None or channels > MAX_CHANNELS or not (data.size == 1 or data.shape[-1] == data.size == channels):
        return None
    return np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,))
