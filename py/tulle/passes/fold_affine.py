"""Folds multiplications and additions of constants, such as batch normalisation, into the preceding convolution."""

from __future__ import annotations

import numpy as np

from tulle.graph import Graph, Node
from tulle.graph.stats import output_dimension
from tulle.ops import LAYERS
from tulle.ops.channels import per_channel
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.passes.rewrite import alpha_of, inputs_of, set_activation, sole_consumer


def fold_affine(graph: Graph) -> Graph:
    """conv(x) * scale + shift, both constant with one value per channel, becomes one convolution.

    The convolution must have constant weights, no activation, and no other consumer.
    """
    graph = graph.copy()
    producer, consumers = graph.producer(), graph.consumers()
    kept = []
    for node in graph.nodes:
        kept.append(node)
        for position in (0, 1):
            conv = _foldable(graph, node, position, producer, consumers)
            if conv is None:
                continue
            channels = graph.tensors[node.output].shape[-1]
            constant = per_channel(graph.constant(node.inputs[1 - position]), channels)
            if constant is None or (node.op == "div" and not constant.all()):
                continue
            scale, shift = _affine(node.op, constant, position)
            _apply(graph, conv, scale, shift)
            set_activation(conv, node.attrs["activation"], node.attrs.get("alpha"), alpha_of(node))
            conv.outputs = [node.output]
            producer[node.output] = conv
            kept.pop()
            break
    graph.nodes = kept
    return remove_dead_code(graph)


def _foldable(
    graph: Graph, node: Node, position: int, producer: dict[str, Node], consumers: dict[str, list[Node]]
) -> Node | None:
    """The convolution that computes the node's operand, if the node can be folded into it."""
    if node.op not in ("add", "sub", "mul", "div") or (node.op == "div" and position == 1):
        return None
    x = node.inputs[position]
    conv = producer.get(x or "")
    if x is None or conv is None or conv.op not in LAYERS or conv.attrs["activation"] != "none":
        return None
    _, weight, bias, *residual = inputs_of(conv)
    constant = graph.constant(weight) is not None and (bias is None or graph.constant(bias) is not None)
    if not constant or any(residual) or sole_consumer(graph, x, consumers) is not node:
        return None
    return conv if graph.tensors[x].shape == graph.tensors[node.output].shape else None


def _affine(op: str, constant: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray]:
    """scale and shift of `op` with the convolution as operand `position` and the constant as the other."""
    zero, one = np.zeros_like(constant), np.ones_like(constant)
    if op == "add":
        return one, constant
    if op == "sub":
        return (one, -constant) if position == 0 else (-one, constant)
    return (constant if op == "mul" else 1 / constant), zero


def _apply(graph: Graph, conv: Node, scale: np.ndarray, shift: np.ndarray) -> None:
    x, weight_name, bias_name, *rest = inputs_of(conv)
    weight, bias = graph.constant(weight_name), graph.constant(bias_name)
    assert weight is not None and weight_name is not None
    dimension = output_dimension(conv)
    along = scale.reshape([-1 if axis == dimension else 1 for axis in range(weight.ndim)])
    scaled = graph.add_constant(weight_name, (weight * along).astype(np.float32))
    total = shift if bias is None else bias.reshape(-1) * scale + shift
    conv.inputs = [x, scaled, graph.add_constant(bias_name or f"{conv.name}_bias", total.astype(np.float32)), *rest]
