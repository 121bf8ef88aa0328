"""Graphs op by op, for tests that want one quickly."""

from __future__ import annotations

from typing import Any

import numpy as np

from tulle.graph import Graph, Node, Tensor


class Builder:
    """A graph op by op; every op takes the last one's output unless told otherwise."""

    def __init__(self) -> None:
        self.graph = Graph("many ops")
        self.rng = np.random.default_rng(0)
        self.last = ""

    def input(self, name: str, *shape: int) -> str:
        self.last = self.graph.add_tensor(Tensor(name, shape))
        self.graph.inputs.append(self.last)
        return self.last

    def constant(self, *shape: int, zeros: float = 0.0) -> str:
        values = np.where(self.rng.random(shape) < zeros, 0, self.rng.standard_normal(shape))
        return self.graph.add_constant("constant", values.astype(np.float32))

    def op(self, kind: str, shape: tuple[int, ...], *others: str | None, x: str | None = None, **attrs: Any) -> str:
        output = self.graph.add_tensor(Tensor(kind, shape))
        self.graph.nodes.append(Node(kind, output, [x or self.last, *others], [output], attrs))
        self.last = output
        return output


WINDOW = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "activation": "relu"}
