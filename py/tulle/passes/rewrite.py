"""Small steps that several passes take. They edit the graph given: a pass calls them on its own copy."""

from __future__ import annotations

from tulle.graph import Graph, Node
from tulle.ops import OPS


def inputs_of(node: Node) -> list[str | None]:
    """The op's own inputs, filled up with None to their full number; prelu's alpha is not among them."""
    count = OPS[node.op].own_inputs
    return [*node.inputs, *[None] * count][:count]


def alpha_of(node: Node) -> str | None:
    """The tensor of prelu's alpha, which is the last input; None if the node's activation is another."""
    return node.inputs[OPS[node.op].own_inputs] if node.attrs.get("activation") == "prelu" else None


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
