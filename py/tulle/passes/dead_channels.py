"""Removes unneeded channels: constant ones, whose value is folded into their consumers' biases, and unread ones.

A forward analysis, `known_channels`, finds the constant ones. A backward one, here, finds the needed ones: channels
that a later layer has weights for, unless a known value acts on that layer like a bias; and every channel of the
model's inputs and outputs. Ops that work channel by channel (depthwise, add, pools) keep a channel of their output if
and only if they keep it of their input, so these decisions are joined. Then weights, biases and other constants are
sliced.

Comes after folding, explicit paddings and fused activations.
"""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node
from tulle.ops import BINARY, OPS
from tulle.ops.channels import channel_count, foldable, replace_constant
from tulle.passes.known_channels import contribution, known_channels, mixes, read_channels
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import alpha_of

# Some tens of bytes are kept for each channel of each tensor.
MAX_CHANNELS = 2**23

Masks = dict[str, np.ndarray]  # bool [channels] of every activation


def remove_dead_channels(graph: Graph) -> Graph:
    """The graph without channels that no output depends on; outputs stay equal within rounding.

    A graph whose tensors have more than MAX_CHANNELS between them stays as it is.
    """
    if sum(channel_count(graph, name) for name in graph.tensors) > MAX_CHANNELS:
        return graph.copy()
    known = known_channels(graph)
    kept = needed_channels(graph, known)
    graph = graph.copy()
    for node in graph.nodes:
        if mixes(node):
            _slice_mixing(graph, node, known, kept)
        else:
            OPS[node.op].channels.keep(graph, node, kept[node.output])
        _slice_alpha(graph, node, kept[node.output])
    for name, mask in kept.items():
        tensor = graph.tensors[name]
        if tensor.shape:
            tensor.shape = (*tensor.shape[:-1], int(mask.sum()))
    return remove_dead_code(graph)


def needed_channels(graph: Graph, known: dict[str, np.ndarray]) -> Masks:
    """Which channels must stay, for every activation; at least one each."""
    activations = [*graph.inputs, *(node.output for node in graph)]
    whole = {*graph.inputs, *graph.outputs}
    kept = {name: np.full(channel_count(graph, name), name in whole) for name in activations}
    _spread(graph, known, kept)
    for mask in kept.values():
        mask[0] |= not mask.any()  # a tensor without elements would need special cases everywhere
    _spread(graph, known, kept)
    return kept


def _spread(graph: Graph, known: dict[str, np.ndarray], kept: Masks) -> None:
    """Adds to `kept` the channels that those in it need, until nothing changes."""
    reads = {node.output: read_channels(graph, node) for node in graph if mixes(node)}
    count = -1
    while count != (count := sum(int(mask.sum()) for mask in kept.values())):
        for node in reversed(graph.nodes):
            if mixes(node):
                x = node.inputs[0] or ""
                kept[x] |= reads[node.output][kept[node.output]].any(axis=0) & ~foldable(node, known[x])
            for position in OPS[node.op].channels.operands(node):
                if (node.inputs[position] or "") in kept:
                    _join(graph, node, position, kept)


def _join(graph: Graph, node: Node, position: int, kept: Masks) -> None:
    """Makes an input and the output of a channel-by-channel op keep the same channels."""
    mask, result = kept[node.inputs[position] or ""], kept[node.output]
    source = OPS[node.op].channels.source(graph, node, position)
    if source is None:
        mask[:], result[:] = True, True
        return
    made = source >= 0
    np.logical_or.at(mask, source[made], result[made])
    if not (node.op in BINARY and len(mask) == 1):  # a single channel broadcast to all requires none of them
        result[made] |= mask[source[made]]


def _slice_mixing(graph: Graph, node: Node, known: dict[str, np.ndarray], kept: Masks) -> None:
    inputs, outputs = kept[node.inputs[0] or ""], kept[node.output]
    weight = graph.constant(node.inputs[1])
    assert weight is not None
    added = contribution(weight, known[node.inputs[0] or ""], ~inputs)[outputs]
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None or added.any():
        node.inputs += [None] * (3 - len(node.inputs))
        start = np.zeros(len(added)) if bias is None else bias.reshape(-1)[outputs]
        replace_constant(graph, node, 2, start + added, f"{node.name}_bias")
    replace_constant(graph, node, 1, weight[outputs][..., inputs])


def _slice_alpha(graph: Graph, node: Node, outputs: np.ndarray) -> None:
    if node.attrs.get("activation") != "prelu":
        return
    alpha = graph.constant(alpha_of(node))
    if alpha is not None and alpha.ndim and alpha.shape[-1] == len(outputs):
        replace_constant(graph, node, -1, alpha[..., outputs])
