"""`compare`: what a pass did to a graph, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher

from tulle.graph import Graph
from tulle.graph.stats import total_macs, total_parameters
from tulle.ops import LAYERS


@dataclass(frozen=True)
class GraphSize:
    """How large a graph is.

    Attributes:
        ops: nodes.
        tensors: activations, inputs among them.
        parameters: elements of all constants that a node reads.
        macs: multiply-adds of one run, as if dense.
    """

    ops: int
    tensors: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class PassChange:
    """What one pass did.

    Attributes:
        name: of the pass; `passes.PASSES` says what it is for.
        before, after: the graph's size.
        changes: how many more (or, negative, fewer) there are after it, of each kind of op, and of what ops and tensors
            carry: fused activations, channels that layers compute, tensors in chw and the like.
    """

    name: str
    before: GraphSize
    after: GraphSize
    changes: dict[str, int]


def compare(name: str, before: Graph, after: Graph) -> PassChange:
    """What the pass `name` did, of the graph that it took and the one that it gave."""
    counts, counts_before = _counts(after), _counts(before)
    kinds = dict.fromkeys([*counts_before, *counts])
    changes = {kind: counts[kind] - counts_before[kind] for kind in kinds if counts[kind] != counts_before[kind]}
    if not changes and (moved := _moved(before, after)):
        changes["moved ops"] = moved
    return PassChange(name, _size(before), _size(after), changes)


def _size(graph: Graph) -> GraphSize:
    activations = sum(not tensor.is_constant for tensor in graph.tensors.values())
    return GraphSize(len(graph.nodes), activations, total_parameters(graph), total_macs(graph))


def _moved(before: Graph, after: Graph) -> int:
    """How many of the same nodes stand elsewhere."""
    order, now = ([node.output for node in graph] for graph in (before, after))
    blocks = SequenceMatcher(None, order, now, autojunk=False).get_matching_blocks() if order != now else []
    return len(now) - sum(block.size for block in blocks) if blocks else 0


def _counts(graph: Graph) -> Counter[str]:
    result = Counter(sorted(node.op for node in graph))
    for node in graph:
        attrs = node.attrs
        result["fused activations"] += node.op != "activation" and attrs.get("activation", "none") != "none"
        result["fused residuals"] += node.op == "conv2d" and len(node.inputs) > 3 and node.inputs[3] is not None
        result["paddings in numbers"] += not isinstance(attrs.get("padding", ""), str)
        result["channels of layers"] += graph.tensors[node.output].shape[-1] if node.op in LAYERS else 0
        for sparsity in ("sparse", "dense"):
            result[f"{sparsity} layers"] += attrs.get("sparsity") == sparsity
    result["chw tensors"] = sum(tensor.layout == "chw" for tensor in graph.tensors.values())
    inputs = [graph.tensors[name] for name in graph.inputs]
    result["normalised inputs"] = sum((tensor.mean, tensor.std) != (0, 1) for tensor in inputs)
    return result
