"""Which channels have the same known value at every position, whatever the model's input is.

A convolution whose weights for an output channel are all zero makes one. Ops that work channel by channel keep a known
channel known, except where a window contains zeros of its padding: then the border differs from the interior, unless
the value or the weights are zero.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node, reference
from tulle.graph.shapes import BINARY
from tulle.passes.channels import MIXING, channel_count, channel_map, read_channels
from tulle.passes.rewrite import alpha_of, per_channel

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
        if node.op in MIXING:
            values = _mixed(graph, node, known)
        elif node.op == "depthwise_conv2d":
            values = _depthwise(graph, node, known)
        elif node.op in BINARY:
            values = _binary(graph, node, known)
        else:
            values = _passed_on(graph, node, known)
        known[node.output] = _finite(_activated(graph, node, values))
    return known


def foldable(node: Node, known: Values) -> np.ndarray:
    """bool [channels]: input channels whose known value acts on a convolution like a bias."""
    if node.op == "transpose_conv2d" or any(node.attrs.get("padding", ())):
        return known == 0  # windows at the border contain zeros where inner ones contain the value
    return ~np.isnan(known)


def contribution(weight: np.ndarray, known: Values, channels: np.ndarray) -> np.ndarray:
    """float64 [out]: the contribution of input `channels` (bool), with their known values, to every output channel."""
    by_channel = weight.reshape(weight.shape[0], -1, weight.shape[-1]).sum(axis=1, dtype=np.float64)
    return by_channel @ np.where(channels & ~np.isnan(known), known, 0.0)


def _finite(values: Values) -> Values:
    return np.where(np.isfinite(values), values, np.nan)


def _bias(graph: Graph, node: Node, channels: int) -> Values:
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros(channels) if bias is None else bias.reshape(-1).astype(np.float64)


def _mixed(graph: Graph, node: Node, known: dict[str, Values]) -> Values:
    weight, x = graph.constant(node.inputs[1]), known[node.inputs[0] or ""]
    assert weight is not None
    settled = foldable(node, x)
    constant = ~read_channels(graph, node)[:, ~settled].any(axis=1)
    value = _bias(graph, node, weight.shape[0]) + contribution(weight, x, settled)
    if node.op == "conv2d" and len(node.inputs) > 3 and node.inputs[3] is not None:
        value = value + known[node.inputs[3]]
    return np.where(constant, value, np.nan)


def _depthwise(graph: Graph, node: Node, known: dict[str, Values]) -> Values:
    weight = graph.constant(node.inputs[1])
    assert weight is not None
    source = channel_map(graph, node, 0)
    x = known[node.inputs[0] or ""]
    settled, taps = foldable(node, x)[source], weight.reshape(-1, weight.shape[-1])
    from_input = np.where(settled, x[source] * taps.sum(axis=0, dtype=np.float64), np.nan)
    return _bias(graph, node, weight.shape[-1]) + np.where(taps.any(axis=0), from_input, 0.0)


def _binary(graph: Graph, node: Node, known: dict[str, Values]) -> Values:
    a, b = (known[name or ""] for name in node.inputs[:2])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = reference.BINARY_FUNCTIONS[node.op](a, b)
    if node.op == "mul":
        return np.where((a == 0) | (b == 0), 0.0, value)
    return np.where(np.isnan(a) | np.isnan(b), np.nan, value)  # a comparison with NaN would be known


def _passed_on(graph: Graph, node: Node, known: dict[str, Values]) -> Values:
    """Ops that work channel by channel: each output channel comes from one input channel, in concat of any input."""
    channels = channel_count(graph, node.output)
    values = np.full(channels, np.nan)
    if node.op == "concat" and node.attrs["axis"] != len(graph.tensors[node.output].shape) - 1:
        first, *others = (known[name or ""] for name in node.inputs)
        return np.where(np.all([first == other for other in others], axis=0), first, np.nan) if others else first
    for position, name in enumerate(node.inputs if node.op == "concat" else node.inputs[:1]):
        source = channel_map(graph, node, position)
        if source is not None:
            values[source >= 0] = known[name or ""][source[source >= 0]]
    if node.op == "pad" and node.attrs["pad_mode"] == "constant":
        source, fill = channel_map(graph, node, 0), node.attrs["pad_value"]
        assert source is not None
        around = any(before or after for before, after in node.attrs["pads"][:-1])
        values = np.where(around & (source >= 0) & (values != fill), np.nan, values)
        values[source < 0] = fill
    if node.op == "sum":
        values = values * (graph.tensors[node.inputs[0] or ""].size / max(1, graph.tensors[node.output].size))
    return values


def _activated(graph: Graph, node: Node, values: Values) -> Values:
    activation = node.attrs.get("activation", "none")
    alpha = node.attrs.get("alpha", 0.0)
    if activation == "prelu":
        alpha = per_channel(graph.constant(alpha_of(node)), len(values))
        if alpha is None:
            return np.full(len(values), np.nan)
    return reference.activate(values, activation, alpha)
