"""How an op's output channels (last dimension) come from its input's, for the analyses of dead channels."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node
from tulle.graph.shapes import BINARY, POOLS, REDUCTIONS, RESIZES

# Weights [out, ..., in]: every output channel reads every input channel.
MIXING = ("conv2d", "transpose_conv2d", "fully_connected")


def channel_count(graph: Graph, name: str | None) -> int:
    """Size of the last dimension; 1 for a scalar."""
    shape = graph.tensors[name or ""].shape
    return shape[-1] if shape else 1


def operands(node: Node) -> list[int]:
    """Positions of the inputs that pass through channel by channel: not weights, biases and prelu's alpha."""
    if node.op == "concat":
        return list(range(len(node.inputs)))
    if node.op in (*BINARY, "matmul", "max_unpool2d", "sample_bilinear"):
        return [0, 1]
    if node.op == "conv2d":
        return [3] if len(node.inputs) > 3 and node.inputs[3] is not None else []
    return [] if node.op in MIXING else [0]


def read_channels(graph: Graph, node: Node) -> np.ndarray:
    """bool [out, in] of a node in MIXING: whether an output channel has a weight for an input channel."""
    weight = graph.constant(node.inputs[1])
    assert weight is not None
    return (weight != 0).any(axis=tuple(range(1, weight.ndim - 1)))


def channel_map(graph: Graph, node: Node, position: int) -> np.ndarray | None:
    """For every output channel, the channel of input `position` that it is made of (-1: none of them).

    None if the op does not keep channels apart, or moves them in a way that is not worth following.
    """
    source, result = graph.tensors[node.inputs[position] or ""].shape, graph.tensors[node.output].shape
    if not source or not result:
        return None
    channels, out_channels, last = source[-1], result[-1], len(source) - 1
    same = np.arange(out_channels)
    if node.op == "depthwise_conv2d":
        return same // (out_channels // channels)
    if node.op in BINARY:
        return same if channels == out_channels else np.zeros(out_channels, int)
    if node.op == "concat" and node.attrs["axis"] == last:
        start = sum(channel_count(graph, name) for name in node.inputs[:position])
        return _window(out_channels, start, channels)
    if node.op == "pad":
        before, after = node.attrs["pads"][last]
        mirrored = node.attrs["pad_mode"] != "constant" and before + after > 0
        return None if mirrored else _window(out_channels, before, channels)
    channelwise = {
        "conv2d": True,  # the residual
        "concat": True,
        "activation": True,
        "reshape": channels == out_channels,
        "transpose": node.attrs.get("perm", ())[-1:] == (last,),
        "slice": channels == out_channels,
        **dict.fromkeys((*POOLS, *RESIZES, "to_chw", "to_plain"), True),
        **dict.fromkeys(REDUCTIONS, last not in node.attrs.get("axes", ())),
    }
    return same if channelwise.get(node.op, False) else None


def _window(out_channels: int, start: int, channels: int) -> np.ndarray:
    result = np.full(out_channels, -1)
    result[start : start + channels] = np.arange(channels)
    return result
