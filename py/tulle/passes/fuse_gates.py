"""x times a function of x, as exporters write SiLU (swish), GELU and hard swish, becomes one activation, which can then
be fused.

Comes before `fuse_activations`, which moves it into the convolution that computes x.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from tulle.graph import Graph, Node
from tulle.passes.remove_dead_code import remove_dead_code


def fuse_gates(graph: Graph) -> Graph:
    """x sigmoid(x), x (1 + erf(x / sqrt 2)) / 2 and its approximation by tanh, and x relu6(x + 3) / 6."""
    graph = graph.copy()
    matcher = _Matcher(graph)
    for node in graph.nodes:
        gated = matcher.gated(node)
        if gated is None or graph.tensors[gated[0]].shape != graph.tensors[node.output].shape:
            continue
        x, activation = gated
        node.op, node.inputs, node.attrs = "activation", [x], {"activation": activation}
    return remove_dead_code(graph)


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4)


class _Matcher:
    """Recognises what tensors are made of. Numbers of a file are float32 or rounded by hand: see `_close`."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.producer = graph, graph.producer()

    def gated(self, node: Node) -> tuple[str, str] | None:
        """x and the activation if the node is x times a gate, None for another node."""
        if node.op not in ("mul", "div"):
            return None
        for gate in self.factors(node.output)[1]:
            for x, factor, activation in self.gates(gate):
                constant, factors = self.factors(node.output, (x, gate))
                if sorted(factors) == sorted((x, gate)) and _close(constant, factor):
                    return x, activation
        return None

    def gates(self, name: str) -> list[tuple[str, float, str]]:
        """If the tensor is a gate: of which x, with which factor x and the gate give an activation, and that."""
        node = self.producer.get(name)
        if node is None:
            return []
        x = node.inputs[0] or ""
        if node.op == "activation" and node.attrs["activation"] == "sigmoid":
            return [(x, 1.0, "swish")]
        shifted, shift = self.shifted(name)
        source = self.producer.get(shifted)
        if shift == 1 and source is not None and source.op == "activation":
            scale, factors = self.factors(source.inputs[0] or "")
            if source.attrs["activation"] == "erf" and len(factors) == 1 and _close(scale, math.sqrt(0.5)):
                return [(factors[0], 0.5, "gelu")]
            if source.attrs["activation"] == "tanh" and len(factors) == 1 and _close(scale, math.sqrt(2 / math.pi)):
                return [(x, 0.5, "gelu_tanh") for x in self.of_cubic(factors[0])]
        limit, inner = self.clipped(name)
        if inner is None:
            return []
        line, offset = self.shifted(inner)
        slope, factors = self.factors(line)
        if len(factors) == 1 and _close(slope / limit, 1 / 6) and _close(offset / limit, 0.5):
            return [(factors[0], 1 / limit, "hard_swish")]
        return []

    def of_cubic(self, name: str) -> list[str]:
        """The x of x + 0.044715 x^3."""
        node = self.producer.get(name)
        if node is None or node.op != "add" or node.attrs["activation"] != "none":
            return []
        found = []
        for x, cubic in (node.inputs[:2], node.inputs[1::-1]):
            scale, factors = self.factors(cubic or "", (x or "",))
            if x and factors == [x] * 3 and _close(scale, 0.044715):
                found.append(x)
        return found

    def clipped(self, name: str) -> tuple[float, str | None]:
        """(high, y) if the tensor is y clipped to 0 and `high`; y is None otherwise. Where the clip is part of the node
        that makes y, y has the clip's name: `shifted` does not look at activations."""
        node = self.producer.get(name)
        if node is not None and node.op == "minimum" and node.attrs["activation"] == "none":
            for y, constant in (node.inputs[:2], node.inputs[1::-1]):
                high, relu = self.number(constant), self.producer.get(y or "")
                if high is not None and high > 0 and relu is not None and relu.attrs.get("activation") == "relu":
                    return high, relu.inputs[0] if relu.op == "activation" else y
        if node is not None and node.attrs.get("activation") == "relu6":
            return 6.0, node.inputs[0] if node.op == "activation" else name
        return 1.0, None

    def shifted(self, name: str) -> tuple[str, float]:
        """(y, c) if the tensor is y + c, whatever activation follows; (the tensor, 0) otherwise."""
        node = self.producer.get(name)
        if node is not None and node.op == "add":
            for y, constant in (node.inputs[:2], node.inputs[1::-1]):
                number = self.number(constant)
                if number is not None and y is not None:
                    return y, number
        return name, 0.0

    def factors(self, name: str, whole: Collection[str] = (), depth: int = 4) -> tuple[float, list[str]]:
        """The tensor as a product of a number and tensors; those in `whole` are not taken apart."""
        node = self.producer.get(name)
        if name in whole or depth == 0 or node is None or node.attrs.get("activation") != "none":
            return 1.0, [name]
        a, b = (*node.inputs, None, None)[:2]
        if node.op == "div" and (divisor := self.number(b)) and a is not None:
            constant, factors = self.factors(a, whole, depth - 1)
            return constant / divisor, factors
        if node.op != "mul" or a is None or b is None:
            return 1.0, [name]
        constant, factors = 1.0, []
        for operand in (a, b):
            number = self.number(operand)
            part, more = (number, []) if number is not None else self.factors(operand, whole, depth - 1)
            constant, factors = constant * part, factors + more
        return constant, factors

    def number(self, name: str | None) -> float | None:
        """The value of a constant of one element."""
        data = self.graph.constant(name)
        return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None
