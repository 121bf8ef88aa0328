"""`read`: a .tflite file as a Graph. The file is untrusted: anything wrong with it raises TulleError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tflite

from tulle.errors import TulleError, Unsupported
from tulle.files import ModelFile, PathLike, in_memory, read_bytes
from tulle.graph import Graph, Tensor
from tulle.graph.shapes import check_shapes
from tulle.ops import OPS
from tulle.tflite import integers, quantized, sparse
from tulle.tflite.call import Call
from tulle.tflite.composites import COMPOSITES
from tulle.tflite.file import BROKEN, DTYPES, MAX_RANK, MAX_TENSOR_ELEMENTS, TYPE_NAMES, File
from tulle.tflite.functions import FUNCTIONS
from tulle.tflite.indexing import INDEXING
from tulle.tflite.logic import LOGIC
from tulle.tflite.mediapipe import MEDIAPIPE

SINGLE = {kind: read for op in OPS.values() for kind, read in op.from_tflite.items()}
"""Operators that are one op of tulle."""

ALL_CONVERTERS = SINGLE | COMPOSITES | FUNCTIONS | INDEXING | LOGIC | MEDIAPIPE
OPERATOR_NAMES = {
    value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int) and name[0] != "_"
}


def read(source: ModelFile, *, outputs: Sequence[str] | None = None, quantized_io: bool = False) -> Graph:
    """Reads a .tflite model from a path or from its bytes.

    Args:
        outputs: names of tensors to read up to, instead of the model's own outputs, so as to leave out later ops such
            as the box selection of object detectors. Only the operators they need are read.
        quantized_io: notes how the file's int8 and uint8 inputs and outputs are quantised (`Graph.quantization`), so
            that a `.tulle` file made of the graph has integers there too.

    The Graph holds the model as the file has it: weights may still be behind `dequantize` and `densify` nodes,
    sparse constants are decoded to dense arrays. Shapes are checked against what the ops compute.

    Quantised tensors become float32; the Graph's `notes` say how that affects the results. With `quantized_io`, a model
    without int8 or uint8 inputs and outputs raises TulleError.

    Of several subgraphs the first is read, which `notes` says.

    Raises TulleError, naming the file and the cause, if the file cannot be read, is damaged, or is not a
    model with batch 1 and static shapes; ops that tulle does not know are listed together with the tensors that
    the part before them ends at.
    """
    given: PathLike | bytes = in_memory(source)
    if isinstance(given, bytes):
        label, name, data = "model", "model", given
    else:
        path = Path(given)
        label, name, data = str(path), path.stem, read_bytes(path)
    try:
        return _Reader(File(data), name, outputs, quantized_io).graph
    except TulleError as error:
        raise TulleError(f"{label}: {error}") from error
    except BROKEN as error:
        raise TulleError(f"{label}: the file is damaged ({type(error).__name__}: {error})") from error


class _Reader:
    """Builds the Graph op by op; `tensors` maps the file's indices to names."""

    def __init__(self, file: File, name: str, outputs: Sequence[str] | None, quantized_io: bool) -> None:
        self.file = file
        self.graph = Graph(name)
        self.names: dict[int, str] = {}
        self.scalings: dict[str, quantized.Scaling] = {}
        self.whole_numbers: set[str] = set()
        ends = file.vector(file.graph.OutputsAsNumpy(), "outputs") if outputs is None else self._find(outputs)
        operators, used = self._needed(ends)
        for index in file.vector(file.graph.InputsAsNumpy(), "inputs"):
            if outputs is not None and index not in used:
                continue
            tensor = self.graph.tensors[self.tensor(index, constant=False)]
            if len(tensor.shape) == 4 and tensor.shape[0] != 1:
                raise TulleError(f"input {tensor.name!r} has shape {list(tensor.shape)}: only batch 1 is supported, "
                                 "so export the model with batch 1")  # fmt: skip
            self.graph.inputs.append(tensor.name)
        self._read_ops(operators, ends)
        self.graph.outputs = [self.tensor(index) for index in ends]
        if not self.graph.inputs or not self.graph.outputs:
            raise TulleError("the model has no inputs or no outputs")
        for names in (self.graph.inputs, self.graph.outputs):
            if len(set(names)) < len(names):
                raise TulleError(f"a tensor is listed twice among the inputs or the outputs: {', '.join(names)}")
        self._check_float()
        if quantized_io:
            self.graph.quantization = quantized.of_ports(self.graph, self.scalings)
        self.graph.notes = [*file.notes, *quantized.notes(self.graph, self.scalings), *self._notes()]
        check_shapes(self.graph.check())

    def _find(self, outputs: Sequence[str]) -> tuple[int, ...]:
        """Indices of the tensors with these names."""
        file = self.file
        names = {file.text(file.tensor(index).Name()): index for index in range(file.tensor_count)}
        if missing := [name for name in outputs if name not in names]:
            raise TulleError(f"there is no tensor {missing[0]!r} to end at")
        return tuple(names[name] for name in outputs)

    def _needed(self, ends: tuple[int, ...]) -> tuple[list[int], set[int]]:
        """The operators that the tensors `ends` depend on, in order, and all tensors that these read."""
        file, used, needed = self.file, set(ends), []
        for index in reversed(range(file.operator_count)):
            operator = file.graph.Operators(index)
            if used.intersection(file.vector(operator.OutputsAsNumpy(), "operator outputs")):
                needed.append(index)
                used.update(file.vector(operator.InputsAsNumpy(), "operator inputs"))
        return needed[::-1], used

    def _notes(self) -> list[str]:
        whole = [name for name in (*self.graph.inputs, *self.graph.outputs) if name in self.whole_numbers]
        return [f"{name!r} holds whole numbers, given as float32" for name in whole]

    def tensor(self, index: int, constant: bool | None = None) -> str:
        """The graph's name for tensor `index` of the file, added to the graph on first use.

        `constant` False: an activation, whatever its buffer holds.
        """
        if index in self.names:
            return self.names[index]
        file, record = self.file, self.file.tensor(index)
        name = self._unique_name(file.text(record.Name()), index)
        shape = file.vector(record.ShapeAsNumpy(), "shapes")
        # A shape signature that begins with -1 has a dynamic batch, for which runtimes use the 1 of the shape itself.
        signature = file.vector(record.ShapeSignatureAsNumpy(), "shapes")
        if any(size < 0 for size in (*shape, *signature[1:])):
            raise TulleError(f"tensor {name!r} has the dynamic shape {list(signature or shape)}: export a static one")
        if len(shape) > MAX_RANK or math.prod(shape) > MAX_TENSOR_ELEMENTS:
            limits = f"at most {MAX_RANK} dimensions, {MAX_TENSOR_ELEMENTS} elements"
            raise TulleError(f"tensor {name!r} has shape {list(shape)}, which is too large ({limits})")
        if record.IsVariable():
            raise TulleError(f"tensor {name!r} is a variable: models with state are not supported")
        dtype = DTYPES.get(record.Type())
        if dtype is None:
            kind = TYPE_NAMES.get(record.Type(), record.Type())
            raise TulleError(f"tensor {name!r} has type {kind}, which is not supported")
        data = None
        if constant is not False:
            values = file.buffer(record.Buffer())
            if len(values) or (constant is None and math.prod(shape) == 0):
                data = self._constant(name, shape, dtype, values, record.Sparsity())
        if data is None and math.prod(shape) == 0:
            raise TulleError(f"tensor {name!r} has the empty shape {list(shape)}")
        self.names[index] = name
        self.graph.tensors[name] = Tensor(name, shape, dtype, data)
        scaling = quantized.scaling(file, record, dtype, shape)
        if scaling is not None:
            self.file.spend_constant(4 * math.prod(shape) if data is not None else 0, name)
            self.graph.tensors[name] = quantized.as_float(self.graph.tensors[name], scaling)
            self.scalings[name] = scaling
        return name

    def _unique_name(self, name: str, index: int) -> str:
        name = name or f"tensor_{index}"
        while name in self.graph.tensors:
            name = f"{name}_{index}"
        return name

    def _constant(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype, raw: np.ndarray, sparsity: object | None
    ) -> np.ndarray:
        """The constant's values; a view into the file unless it is sparse or the machine is big-endian."""
        self.file.spend_constant(math.prod(shape) * dtype.itemsize, name)
        if len(raw) % dtype.itemsize:
            raise TulleError(f"constant {name!r}: {len(raw)} bytes are not whole {dtype} elements")
        values = raw.view(dtype.newbyteorder("<")).astype(dtype, copy=False)
        if sparsity is not None:
            try:
                return sparse.decode(self.file, sparsity, shape, values)
            except TulleError as error:
                raise TulleError(f"sparse constant {name!r}: {error}") from error
        if len(values) != math.prod(shape):
            raise TulleError(f"constant {name!r}: its buffer has {len(values)} elements for shape {list(shape)}")
        return values.reshape(shape)

    def _read_ops(self, operators: list[int], ends: tuple[int, ...]) -> None:
        """Converts the operators with these indices. `ends`: the output tensors."""
        file = self.file
        unsupported, computed = [], set(self.graph.inputs)
        lost: set[int] = set()  # tensors that depend on an unsupported operator
        border: dict[int, None] = {}  # activations that such operators read, in order
        for index in operators:
            operator = file.graph.Operators(index)
            code = file.opcode(operator.OpcodeIndex())
            builtin = file.builtin(code)
            kind = OPERATOR_NAMES.get(builtin, f"operator {builtin}")
            if builtin == tflite.BuiltinOperator.CUSTOM:
                kind = file.text(code.CustomCode())
            inputs = file.vector(operator.InputsAsNumpy(), "operator inputs")
            outputs = file.vector(operator.OutputsAsNumpy(), "operator outputs")
            labels = ", ".join(repr(file.text(file.tensor(output).Name())) for output in outputs)
            converter = ALL_CONVERTERS.get(kind)
            if converter is None or lost.intersection(inputs):
                border.update(dict.fromkeys(inputs))
                lost.update(outputs)
            if converter is None:
                unsupported.append(f"{kind} -> {labels}")
                continue
            first = len(self.graph.nodes)
            try:
                arguments = [None if i == -1 else self.tensor(i) for i in inputs]
                for name in arguments:
                    if name is not None and (data := self.graph.constant(name)) is not None:
                        file.spend_read(data.nbytes, name)
                results = [self.tensor(output, constant=False) for output in outputs]
                if twice := computed.intersection(results):
                    raise TulleError(f"{twice.pop()!r} is computed twice")
                computed.update(results)
                spend, version = file.spend_constant, code.Version()
                call = Call(self.graph, kind, operator, arguments, results, version, spend, self.whole_numbers)
                converter(call)
                integers.fold(call, first)
                quantized.keep_clamp(self.graph, results[0] if results else "", self.scalings)
            except Unsupported as error:
                unsupported.append(f"{kind} -> {labels}: {error}")
                border.update(dict.fromkeys(inputs))
                lost.update(outputs)
            except TulleError:
                if not unsupported:  # else a consequence of an op left out
                    raise
        if unsupported:
            listed = "\n  ".join(unsupported)
            raise TulleError(f"{len(unsupported)} ops are not supported:\n  {listed}{self._hint(border, ends, lost)}")

    def _hint(self, border: dict[int, None], ends: tuple[int, ...], lost: set[int]) -> str:
        """The tensors at which the part without unsupported operators ends."""
        activations = set(self.graph.inputs)
        for node in self.graph:
            if activations.intersection(node.inputs):
                activations.update(node.outputs)
        activations.difference_update(self.graph.inputs)
        indices = [index for index in dict.fromkeys((*border, *ends)) if index not in lost and index in self.names]
        names = [self.names[index] for index in indices if self.names[index] in activations]
        if not names:
            return ""
        listed = ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")
        return f"\nThe part before them can be converted by itself; its outputs (option --outputs) are {listed}"

    def _check_float(self) -> None:
        """Every activation must be float32; only the result of `densify` on a constant may have another type."""
        constants = {node.output for node in self.graph if node.op == "densify"}
        wrong = [
            f"{tensor.name!r} ({tensor.dtype})"
            for tensor in self.graph.tensors.values()
            if not tensor.is_constant and tensor.dtype != np.float32 and tensor.name not in constants
        ]
        if wrong:
            listed = ", ".join(wrong[:20]) + (" ..." if len(wrong) > 20 else "")
            raise TulleError(f"only float32 activations are supported, not {listed}: convert a float model instead")
