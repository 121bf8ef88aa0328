"""Which channels have the same known value at every position, whatever the model's input is.

A convolution whose weights for an output channel are all zero makes one. Ops that work channel by channel keep a known
channel known, except where a window contains zeros of its padding: then the border differs from the interior, unless
the value or the weights are zero.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, reference
from tulle.ops import OPS
from tulle.ops.channels import bias_of, channel_count, foldable, per_channel
from tulle.passes.rewrite import alpha_of

Values = np.ndarray  # float64 [channels], NaN where nothing is known


def known_channels(graph: Graph) -> dict[str, Values]:
    """The known value of every channel (last dimension) of every tensor; NaN where it is not known."""
    known: dict[str, Values] = {}
    for name, tensor in graph.tensors.items():
        known[name] = np.full(channel_count(graph, name), np.nan)
        if tensor.data is not None and tensor.data.size:
            rows = tensor.data.reshape(-1, channel_count(graph, name))
            known[name] = _finite(np.where((rows == rows[0]).all(axis=0), rows[0], np.nan).astype(np.float64))
    for node in graph:
        values = _mixed(graph, node, known) if mixes(node) else OPS[node.op].channels.values(graph, node, known)
        known[node.output] = _finite(_activated(graph, node, values))
    return known


def mixes(node: Node) -> bool:
    """Whether every output channel reads every input channel, through weights [out, ..., in]."""
    weights = OPS[node.op].weights
    return weights is not None and weights.mixes


def read_channels(graph: Graph, node: Node) -> np.ndarray:
    """bool [out, in] of a node that mixes channels: whether an output channel has a weight for an input channel."""
    weight = graph.constant(node.inputs[1])
    assert weight is not None
    return (weight != 0).any(axis=tuple(range(1, weight.ndim - 1)))


def contribution(weight: np.ndarray, known: Values, channels: np.ndarray) -> np.ndarray:
    """float64 [out]: the contribution of input `channels` (bool), with their known values, to every output channel."""
    by_channel = weight.reshape(weight.shape[0], -1, weight.shape[-1]).sum(axis=1, dtype=np.float64)
    return by_channel @ np.where(channels & ~np.isnan(known), known, 0.0)


def _finite(values: Values) -> Values:
    return np.where(np.isfinite(values), values, np.nan)


def _mixed(graph: Graph, node: Node, known: dict[str, Values]) -> Values:
    weight, x = graph.constant(node.inputs[1]), known[node.inputs[0] or ""]
    assert weight is not None
    settled = foldable(node, x)
    constant = ~read_channels(graph, node)[:, ~settled].any(axis=1)
    value = bias_of(graph, node, weight.shape[0]) + contribution(weight, x, settled)
    for position in OPS[node.op].channels.operands(node):  # the residual
        value = value + known[node.inputs[position] or ""]
    return np.where(constant, value, np.nan)


def _activated(graph: Graph, node: Node, values: Values) -> Values:
    activation = node.attrs.get("activation", "none")
    alpha = node.attrs.get("alpha", 0.0)
    if activation == "prelu":
        alpha = per_channel(graph.constant(alpha_of(node)), len(values))
        if alpha is None:
            return np.full(len(values), np.nan)
    return reference.activate(values, activation, alpha)
