"""`Call`: a TFLite operator as its converter sees it.

A converter adds nodes to the graph, or raises `Unsupported` with the reason why tulle cannot run this operator. Those
of operators that are one op of tulle stand with that op in `tulle.ops`, those made of several in the modules here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tflite

from tulle.errors import Unsupported
from tulle.graph import Graph, Node, Tensor
from tulle.ops import OPS

ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: "none",
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU_N1_TO_1: "relu_n1_to_1",
    tflite.ActivationFunctionType.RELU6: "relu6",
    tflite.ActivationFunctionType.TANH: "tanh",
}
PADDINGS = {tflite.Padding.SAME: "same", tflite.Padding.VALID: "valid"}


@dataclass
class Call:
    """One operator of the file with its tensors' names in the graph."""

    graph: Graph
    kind: str
    operator: Any
    inputs: list[str | None]
    outputs: list[str]
    version: int = 1
    spend: Callable[[int, str], None] = lambda size, name: None
    whole_numbers: set[str] = field(default_factory=set)
    """Activations that are integers in the file and floats in the graph, like all activations."""

    def options(self, name: str) -> Any:
        """The operator's options table, `name` being its type in the schema ("Conv2DOptions")."""
        table = self.operator.BuiltinOptions()
        if table is None or self.operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, name):
            raise Unsupported(f"it has no {name}")
        options = getattr(tflite, name)()
        options.Init(table.Bytes, table.Pos)
        return options

    def activation(self, options: Any) -> str:
        code = options.FusedActivationFunction()
        if code not in ACTIVATIONS:
            raise Unsupported(f"fused activation {code} is not known")
        return ACTIVATIONS[code]

    def padding(self, options: Any) -> str:
        code = options.Padding()
        if code not in PADDINGS:
            raise Unsupported(f"padding {code} is not known")
        return PADDINGS[code]

    def name_of(self, enum: str, code: int) -> str:
        """What the schema's enum calls a number, "" if it has none of it."""
        return next((name for name, number in vars(getattr(tflite, enum)).items() if number == code), "")

    def input(self, index: int) -> str:
        name = self.inputs[index] if index < len(self.inputs) else None
        if name is None:
            raise Unsupported(f"input {index} is missing")
        return name

    def optional(self, index: int) -> str | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def shape(self, index: int) -> tuple[int, ...]:
        return self.graph.tensors[self.input(index)].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.graph.tensors[self.output].shape

    @property
    def output(self) -> str:
        if len(self.outputs) != 1:
            raise Unsupported(f"it has {len(self.outputs)} outputs instead of one")
        return self.outputs[0]

    def integers(self, index: int) -> np.ndarray:
        """The integers of an operand that must be constant."""
        data = self.graph.constant(self.input(index))
        if data is None:
            raise Unsupported(f"operand {self.input(index)!r} is computed while running; it must be a constant")
        if data.dtype.kind not in "iu":
            raise Unsupported(f"operand {self.input(index)!r} has type {data.dtype} instead of an integer type")
        return data.astype(np.int64)

    def weights(self, index: int) -> np.ndarray:
        """The float32 values of a constant operand, which may be behind DEQUANTIZE and DENSIFY."""
        name = self.input(index)
        data = self.graph.constant(name)
        producer = self.graph.producer() if data is None else {}
        while data is None and name in producer and producer[name].op in ("dequantize", "densify"):
            name = producer[name].inputs[0] or ""
            data = self.graph.constant(name)
        if data is None:
            raise Unsupported(f"weights {self.input(index)!r} are computed while running; they must be constant")
        return data.astype(np.float32)

    def is_constant(self, index: int) -> bool:
        """Whether the operand is constant, perhaps behind DEQUANTIZE and DENSIFY."""
        try:
            self.weights(index)
        except Unsupported:
            return False
        return True

    def axes(self, values: np.ndarray, rank: int) -> tuple[int, ...]:
        """Axes counted from either end, made non-negative."""
        if np.any((values < -rank) | (values >= rank)):
            raise Unsupported(f"axes {values.tolist()} are out of range for rank {rank}")
        return tuple(sorted({int(value) % rank for value in values.reshape(-1)}))

    def add(self, op: str, inputs: list[str | None], **attrs: Any) -> None:
        """Adds the node that computes this operator's output."""
        self.append(op, inputs, self.output, **attrs)

    def step(self, suffix: str, op: str, inputs: Sequence[str | None], shape: tuple[int, ...], **attrs: Any) -> str:
        """Adds an intermediate node with a new tensor for its output; returns the tensor."""
        output = self.graph.add_tensor(Tensor(f"{self.outputs[0]}_{suffix}", shape))
        self.append(op, inputs, output, **attrs)
        return output

    def append(self, op: str, inputs: Sequence[str | None], output: str, **attrs: Any) -> None:
        """Adds a node that computes one of the operator's outputs."""
        self.graph.nodes.append(Node(op, output, list(inputs), [output], {**OPS[op].defaults, **attrs}))

    def reserve(self, elements: int) -> None:
        """Counts a constant about to be made; raises TulleError if the file's total is too large."""
        self.spend(4 * elements, self.outputs[0])

    def number(self, value: float) -> str:
        """A constant of one number."""
        return self.graph.add_constant(f"{self.output}_constant", np.array(value, np.float32))

    def number_of(self, index: int) -> float | None:
        """The value of a constant operand of one number; None if it is something else."""
        data = self.graph.constant(self.input(index))
        return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None

    def whole(self, name: str) -> None:
        """Records that an integer tensor is float in the graph."""
        self.graph.tensors[name].dtype = np.dtype(np.float32)
        self.whole_numbers.add(name)

    def product(self, a: str, b: str, transpose_a: bool, transpose_b: bool) -> None:
        """The operator's output as a product of two matrices, which may be activations."""
        names = []
        for name, transposed in ((a, transpose_a), (b, transpose_b)):
            shape = self.graph.tensors[name].shape
            if len(shape) < 2:
                raise Unsupported(f"{list(shape)} is not a matrix")
            if transposed:
                swapped = (*shape[:-2], shape[-1], shape[-2])
                perm = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
                name = self.step("transposed", "transpose", [name], swapped, perm=perm)
            names.append(name)
        self.add("matmul", [*names])

    def reshaped(self, name: str, shape: tuple[int, ...]) -> str:
        """`name` with another shape: the name of a reshape added before the operator's own node."""
        if shape == self.graph.tensors[name].shape:
            return name
        result = self.graph.add_tensor(Tensor(f"{name}_reshaped", shape, self.graph.tensors[name].dtype))
        self.append("reshape", [name], result)
        return result
