"""`Graph`, `Node` and `Tensor`: the whole of a model, small enough to print and to diff."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tulle.errors import TulleError


@dataclass(frozen=True)
class Quantization:
    """Integers of 8 bits that stand for real numbers: (integer - zero_point) * scale.

    Attributes:
        dtype: "int8" or "uint8".
    """

    dtype: str
    scale: float
    zero_point: int

    @property
    def is_valid(self) -> bool:
        """Whether a `.tulle` file can hold it."""
        if self.dtype not in ("int8", "uint8"):
            return False
        info = np.iinfo(self.dtype)
        scale = np.float32(self.scale)
        return bool(np.isfinite(scale) and scale > 0 and info.min <= self.zero_point <= info.max)


@dataclass
class Tensor:
    """An activation, or a constant when `data` is there.

    Attributes:
        name: unique in its graph.
        shape: the model's own order; images are (1, H, W, C) whatever the layout.
        dtype: of the elements; float32 for every activation.
        data: the constant's values, of exactly `shape` and `dtype`; None for an activation.
        layout: "plain" (row-major in the order of `shape`) or "chw"; set by the layout pass.
        mean, std: of an input that is an image: uint8 pixels are fed as (pixel - mean) / std.
        levels: of an activation: the integers that a quantised model rounds it to. The graph computes in float32; the
            runtime may compute with these integers where that is faster.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))
    data: np.ndarray | None = None
    layout: str = "plain"
    mean: float = 0.0
    std: float = 1.0
    levels: Quantization | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass
class Node:
    """One op: `inputs` and `outputs` are tensor names, None for an optional input left out."""

    op: str
    name: str
    inputs: list[str | None]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The only output, as nearly every op has."""
        return self.outputs[0]


@dataclass
class Graph:
    """Nodes in execution order over named tensors. Passes take one and return a new one."""

    name: str = "model"
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What whoever made the graph has to say about it, for people."""
    quantization: dict[str, Quantization] = field(default_factory=dict)
    """Of the inputs and outputs that a `.tulle` file of the graph takes and gives as integers, by name."""

    def copy(self) -> Graph:
        """A copy whose nodes and tensors can be changed; constant arrays are shared, so never edit them in place."""
        return Graph(
            self.name,
            [Node(n.op, n.name, list(n.inputs), list(n.outputs), dict(n.attrs)) for n in self.nodes],
            {k: replace(t) for k, t in self.tensors.items()},
            list(self.inputs),
            list(self.outputs),
            list(self.notes),
            dict(self.quantization),
        )

    def add_tensor(self, tensor: Tensor) -> str:
        """Adds the tensor, renaming it if its name is taken; returns the name."""
        tensor.name = self._free_name(tensor.name or "tensor")
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _free_name(self, base: str) -> str:
        """`base`, or with the number after those taken. By halves: a file can have thousands of tensors of one name."""
        if base not in self.tensors:
            return base
        taken, free = 0, 1
        while f"{base}_{free}" in self.tensors:
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (taken + free) // 2
            if f"{base}_{middle}" in self.tensors:
                taken = middle
            else:
                free = middle
        return f"{base}_{free}"

    def add_constant(self, name: str, data: np.ndarray) -> str:
        """Adds an array as a constant tensor; returns its (unique) name."""
        data = np.asarray(data, order="C")  # ascontiguousarray gives a single number a dimension
        return self.add_tensor(Tensor(name, data.shape, data.dtype, data))

    def constant(self, name: str | None) -> np.ndarray | None:
        """The values of a constant tensor, None for an activation or an input left out."""
        return None if name is None else self.tensors[name].data

    def producer(self) -> dict[str, Node]:
        """Which node computes each activation."""
        return {out: node for node in self.nodes for out in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Which nodes read each tensor (a node reading it twice appears twice). Model outputs are not counted."""
        result: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in node.inputs:
                if name is not None:
                    result[name].append(node)
        return result

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def check(self) -> Graph:
        """Raises TulleError unless names resolve, order is topological and constants match their shapes."""
        known = set(self.inputs) | {t.name for t in self.tensors.values() if t.is_constant}
        for name in [*self.inputs, *self.outputs]:
            if name not in self.tensors:
                raise TulleError(f"graph {self.name!r}: input or output {name!r} is not a tensor")
        for key, tensor in self.tensors.items():
            if key != tensor.name:
                raise TulleError(f"graph {self.name!r}: tensor {tensor.name!r} is filed under {key!r}")
            data = tensor.data
            if data is not None and (data.shape != tuple(tensor.shape) or data.dtype != tensor.dtype):
                raise TulleError(f"constant {key!r} does not match its shape {tensor.shape} and dtype {tensor.dtype}")
        for node in self.nodes:
            for source in node.inputs:
                if source is not None and source not in known:
                    raise TulleError(f"{node.op} {node.name!r}: input {source!r} is not computed before it is used")
            for name in node.outputs:
                if name not in self.tensors or name in known:
                    raise TulleError(f"{node.op} {node.name!r}: output {name!r} is missing or computed twice")
                known.add(name)
        for name in self.outputs:
            if name not in known:
                raise TulleError(f"graph {self.name!r}: output {name!r} is never computed")
        return self

    def __str__(self) -> str:
        def describe(name: str | None) -> str:
            if name is None:
                return "-"
            tensor = self.tensors[name]
            return f"{'#' if tensor.is_constant else ''}{name}{list(tensor.shape)}"

        def listed(names: Iterable[str | None]) -> str:
            return ", ".join(map(describe, names))

        lines = [f"graph {self.name}: {listed(self.inputs)} -> {listed(self.outputs)}"]
        for node in self.nodes:
            attrs = "".join(f" {k}={v}" for k, v in sorted(node.attrs.items()))
            lines.append(f"  {listed(node.outputs)} = {node.op}({listed(node.inputs)}){attrs}")
        return "\n".join(lines)
