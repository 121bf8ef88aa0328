"""What a record of an op says. Each family's module holds the records of its ops; `tulle.ops.OPS` holds them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tulle.graph.graph import Graph, Node, Tensor
from tulle.ops.attributes import FUSED, Attribute
from tulle.ops.channels import NOT_FOLLOWED, Channels
from tulle.ops.layout import Layout

if TYPE_CHECKING:
    from tulle.onnx.operators import OnnxNode, Result
    from tulle.tflite.call import Call

Shape: TypeAlias = tuple[int, ...]
ShapeRule: TypeAlias = Callable[[Node, "list[Shape | None]", Shape], Shape]
"""(node, shapes of its inputs, the shape its output is said to have) -> the shape it has; raises `Mismatch`."""

Reference: TypeAlias = Callable[[Node, "list[Any]", Shape], np.ndarray]
"""(node, arrays of its inputs or None, shape of its output) -> the output before any fused activation."""

TorchRule: TypeAlias = Callable[[Node, "list[Shape | None]", Shape], Callable[..., Any]]
"""(node, shapes of its inputs, shape of its output) -> a function of batches, whose first dimension may be any. It gets
the inputs' tensors; of a layer the module with the weights, then the inputs that are no weights. PyTorch is imported
inside."""


@dataclass(frozen=True)
class Input:
    """One input of an op.

    Attributes:
        name: what it is called; "alpha" is prelu's.
        shape: in words, where the op asks for one.
        optional: whether it may be left out (None).
        constant: "must" be one, "may" be one, or "no": a constant there is folded, so the C library never sees one.
    """

    name: str
    shape: str = ""
    optional: bool = False
    constant: str = "no"


def equals_input(when: Callable[[Node], bool] = lambda node: True) -> Callable[[Graph, Node], str | None]:
    """The `identity` of ops that give their first input back where the output has its shape and `when` is true."""

    def identity(graph: Graph, node: Node) -> str | None:
        x = graph.tensors[node.inputs[0] or ""]
        same = x.shape == graph.tensors[node.output].shape and not x.is_constant and when(node)
        return x.name if same else None

    return identity


@dataclass(frozen=True)
class Weights:
    """What an op with weights (input 1) and bias (input 2) does with them.

    Attributes:
        outputs: which dimension of the weights counts output channels.
        mixes: whether every output channel reads every input channel: weights [out, ..., in].
        macs: multiply-adds of a node as if dense; those that meet padding count too.
        torch_order: the weights' dimensions in the order PyTorch has them.
        torch_layer: (node, shape of the weights, shape of the input, whether there is a bias) -> torch.nn.Module.
    """

    outputs: int
    mixes: bool
    macs: Callable[[Graph, Node], int]
    torch_order: tuple[int, ...]
    torch_layer: Callable[[Node, Shape, Shape, bool], Any]


@dataclass(frozen=True)
class Operator:
    """A TensorFlow Lite operator to be written.

    Attributes:
        kind: a name of tflite.BuiltinOperator.
        inputs: names of tensors in the graph, arrays of the operator's own, or None for one left out.
        output: the tensor's name in the graph.
        options_type: the options' table in the schema, "" for none.
        options: its fields by name; tuples become vectors. Paddings and activations by the Graph's names.
        version: of the operator, which grows with what it is asked to do.
    """

    kind: str
    inputs: Sequence[str | np.ndarray | None]
    output: str
    options_type: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True)
class Example:
    """One node and what it is fed, for tests.

    Attributes:
        inputs: an array for every input, None for one left out.
        attrs: as of a Node as read, that is with "same" and "valid".
        constants: which inputs are constants of the graph.
        shape: of the output where the op leaves it open.
    """

    inputs: Sequence[np.ndarray | None]
    attrs: dict[str, Any] = field(default_factory=dict)
    constants: tuple[int, ...] = ()
    shape: Shape | None = None

    def graph(self, op: Op) -> tuple[Graph, dict[str, np.ndarray]]:
        """A graph of the node alone, and the arrays for its inputs."""
        graph, feeds = Graph(op.name), {}
        names: list[str | None] = []
        for index, array in enumerate(self.inputs):
            if array is None:
                names.append(None)
            elif index in self.constants:
                names.append(graph.add_constant(f"c{index}", array.astype(np.float32)))
            else:
                names.append(graph.add_tensor(Tensor(f"x{index}", array.shape)))
                feeds[f"x{index}"] = array.astype(np.float32)
        node = Node(op.name, "y", names, ["y"], dict(self.attrs))
        shapes = [None if array is None else array.shape for array in self.inputs]
        shape = op.shape(node, shapes, self.shape or ())
        graph.add_tensor(Tensor("y", shape))
        graph.nodes, graph.inputs, graph.outputs = [node], list(feeds), ["y"]
        return graph, feeds


@dataclass(frozen=True)
class Op:
    """Everything that tulle's Python side knows about one op.

    Attributes:
        name: of OpKind in wasm/format/tulle.fbs.
        summary: what it computes, in a few words.
        inputs: its own; a fused prelu's alpha comes after them. The last one repeats if `variadic`.
        attributes: those of a Node, and how they are stored.
        shape, reference: what it makes of its inputs.
        open_shape: whether the output's shape is given by its tensor and cannot be computed from the inputs.
        keeps_elements: whether the output has x's elements, in another order or shape.
        layout: which layouts it runs in.
        fuses_activation: whether an activation that follows becomes part of it.
        channels: what it does to channels.
        identity: the input that the output always equals, None if there is none.
        weights: of a layer.
        torch: its form in PyTorch, None if it cannot be trained through.
        mixes_batch: whether a node is not the same function of each element of the batch, its first dimension.
        to_tflite: how TensorFlow Lite writes it, None if it has no such operator.
        tflite_fuses: whether that operator applies relu, relu6 and relu_n1_to_1 to its result.
        from_tflite, from_onnx: the operators that are this op, and what reads them. Those that are made of several ops
            are read in `tulle.tflite` and `tulle.onnx`.
        example: a random node for the tests that walk all ops.
        stored: whether a `.tulle` file may hold it; what is not is folded away.
    """

    name: str
    summary: str
    inputs: tuple[Input, ...]
    shape: ShapeRule
    reference: Reference
    layout: Layout
    example: Callable[[np.random.Generator], Example]
    attributes: tuple[Attribute, ...] = ()
    channels: Channels = NOT_FOLLOWED
    variadic: bool = False
    open_shape: bool = False
    keeps_elements: bool = False
    fuses_activation: bool = False
    identity: Callable[[Graph, Node], str | None] = lambda graph, node: None
    weights: Weights | None = None
    torch: TorchRule | None = None
    mixes_batch: Callable[[Graph, Node], bool] = lambda graph, node: False
    to_tflite: Callable[[Graph, Node], Operator] | None = None
    tflite_fuses: bool = False
    from_tflite: Mapping[str, Callable[[Call], None]] = field(default_factory=dict)
    from_onnx: Mapping[str, Callable[[OnnxNode], Result]] = field(default_factory=dict)
    stored: bool = True

    @property
    def own_inputs(self) -> int:
        """How many inputs it has besides prelu's alpha."""
        return sum(entry.name != "alpha" for entry in self.inputs)

    @property
    def defaults(self) -> dict[str, Any]:
        """Attributes that readers need not give a node: no activation is fused unless they say so."""
        return {"activation": "none"} if FUSED[0] in self.attributes else {}

    @property
    def may_run_sparse(self) -> bool:
        return any(attribute.name == "sparsity" for attribute in self.attributes)
