"""`unpack`: the bytes of a `.tulle` file -> the lowered Graph that was packed, to look into a file from Python.

The C library verifies files before they run. Here, damaged files raise TulleError too, but only the parts that the
Graph needs are checked.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.files import file_kind
from tulle.graph import Graph, Node, Quantization, Tensor
from tulle.pack.attributes import names, read_attributes
from tulle.pack.checksum import check
from tulle.pack.encoding import Encoded, decode
from tulle.pack.limits import (
    MAX_ELEMENTS,
    MAX_RANK,
    MAX_RECORDS,
    MAX_REFERENCED_FREE,
    MAX_REFERENCED_PER_BYTE,
    MAX_UNPACKED_FREE,
    MAX_UNPACKED_PER_BYTE,
    QUANTIZED_IO,
    VERSION,
)  # fmt: skip
from tulle.pack.schema import tulle_generated as schema
from tulle.passes import check_lowered

_KINDS = {number: name for name, number in names(schema.OpKind).items()}
_LAYOUTS = {number: name for name, number in names(schema.Layout).items()}
_TYPES = {number: name for name, number in names(schema.ValueType).items()}

# Vectors of bytes; the others have numbers of four bytes.
_BYTES = ("ValuesLength", "IndexLength", "ZeroPointsLength")

# The errors that the generated accessors raise when they read out of bounds or partial records.
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, UnicodeDecodeError)


def unpack(data: bytes) -> Graph:
    """The graph in a `.tulle` file: lowered, weights widened to float32, all attributes written out.

    Raises TulleError if the bytes are not such a file, are damaged, or need a newer tulle.
    """
    data = bytes(data)
    if file_kind(data) != "tulle":
        raise TulleError("not a .tulle file: it has no TULL identifier at byte 4")
    try:
        return _graph(data)
    except TulleError as error:
        raise TulleError(f"the .tulle file cannot be read: {error}") from None
    except _DAMAGE as error:
        raise TulleError(f"the .tulle file is damaged or cut short ({len(data)} bytes): {error}") from error


def _graph(data: bytes) -> Graph:
    model = schema.Model.GetRootAs(data)
    check(data, model)
    if model.Version() > VERSION:
        raise TulleError(f"it has format version {model.Version()}, this tulle reads up to {VERSION}: update tulle")
    for feature in (_text(model.Features(index)) for index in range(model.FeaturesLength())):
        if feature != QUANTIZED_IO:
            raise TulleError(f"it needs the feature {feature!r}, which this tulle does not have: update tulle")
    counts = [model.TensorsLength(), model.OpsLength(), model.InputsLength(), model.OutputsLength()]
    if max(counts) > MAX_RECORDS:
        raise TulleError(f"more than {MAX_RECORDS} tensors or ops")

    tensors: list[Tensor] = []
    budget = _Budget(len(data))
    for index in range(model.TensorsLength()):
        table = model.Tensors(index)
        budget.refer(table, table.Name())
        if table.Constant() is not None:
            budget.refer(table.Constant())
            budget.unpacked -= 4 * float(np.prod(table.ShapeAsNumpy(), dtype=np.float64))
            if budget.unpacked < 0:
                raise TulleError(f"tensor {_text(table.Name())!r}: unpacked, the weights are out of proportion")
        tensors.append(_tensor(schema.TensorT.InitFromObj(table)))
    graph = Graph(_text(model.Name()), tensors={tensor.name: tensor for tensor in tensors})
    if len(graph.tensors) != len(tensors):
        raise TulleError("two tensors share one name")
    for index in range(model.OpsLength()):
        budget.refer(model.Ops(index), model.Ops(index).Name())
        graph.nodes.append(_node(schema.OpT.InitFromObj(model.Ops(index)), tensors, graph))
    graph.inputs = [tensors[model.Inputs(index)].name for index in range(model.InputsLength())]
    graph.outputs = [tensors[model.Outputs(index)].name for index in range(model.OutputsLength())]
    for index in {model.Inputs(i) for i in range(counts[2])} | {model.Outputs(i) for i in range(counts[3])}:
        if (table := model.Tensors(index).Quantization()) is not None:
            quantization = _quantization(schema.QuantizationT.InitFromObj(table))
            if not quantization.is_valid or not model.FeaturesLength():
                raise TulleError(f"tensor {tensors[index].name!r}: {quantization} is no quantization")
            graph.quantization[tensors[index].name] = quantization
    return check_lowered(graph)


class _Budget:
    """What a file of `size` bytes may still ask for: a small one can name the same bytes again and again."""

    def __init__(self, size: int) -> None:
        self.referenced = MAX_REFERENCED_FREE + MAX_REFERENCED_PER_BYTE * size
        self.unpacked: float = MAX_UNPACKED_FREE + MAX_UNPACKED_PER_BYTE * size

    def refer(self, table: Any, name: bytes | None = None) -> None:
        """Counts a table's name and vectors."""
        self.referenced -= len(name or b"")
        for method in dir(table):
            if method.endswith("Length"):
                self.referenced -= getattr(table, method)() * (1 if method in _BYTES else 4)
        if self.referenced < 0:
            raise TulleError("its names, lists and weights overlap")


def _text(value: Any) -> str:
    return (value or b"").decode()


def _quantization(record: Any) -> Quantization:
    return Quantization(_TYPES[record.type], float(record.scale), int(record.zeroPoint))


def _tensor(record: Any) -> Tensor:
    name = _text(record.name)
    shape = () if record.shape is None else tuple(int(size) for size in record.shape[: MAX_RANK + 1])
    size = int(np.prod([float(size) for size in shape]))
    if len(shape) > MAX_RANK or min(shape, default=1) < 1 or size > MAX_ELEMENTS:
        raise TulleError(f"tensor {name!r} has the impossible shape {list(shape)}")
    data = None
    if record.constant is not None:
        constant = record.constant
        values = np.zeros(0, np.uint8) if constant.values is None else constant.values
        try:
            scales = None if constant.scales is None else np.asarray(constant.scales, np.float32)
            numbers = constant.type, constant.encoding, constant.count
            stored = Encoded(*numbers, values, constant.index, scales, constant.zeroPoints)
            with np.errstate(over="ignore"):  # infinite, as in the C library
                data = decode(stored, shape).astype(np.float32)
        except TulleError as error:
            raise TulleError(f"constant {name!r}: {error}") from None
    levels = None if record.levels is None else _quantization(record.levels)
    if levels is not None and (data is not None or not levels.is_valid):
        raise TulleError(f"tensor {name!r}: {levels} are no levels of an activation")
    return Tensor(
        name,
        shape,
        np.dtype(np.float32),
        data,
        _LAYOUTS[record.layout],
        float(record.inputMean),
        float(record.inputStd),
        levels,
    )


def _node(record: Any, tensors: list[Tensor], graph: Graph) -> Node:
    kind = _KINDS[record.kind]

    def name(index: int) -> str | None:
        if not -1 <= index < len(tensors):
            raise TulleError(f"{kind} {_text(record.name)!r} names tensor {index} of {len(tensors)}")
        return None if index < 0 else tensors[index].name

    inputs = [name(index) for index in record.inputs]
    outputs = [tensors[index].name for index in record.outputs if name(index) is not None]
    if not inputs or inputs[0] is None or len(outputs) != 1:
        raise TulleError(f"{kind} {_text(record.name)!r} has no input or not one output")
    before, after = (graph.tensors[tensor].shape for tensor in (inputs[0], outputs[0]))
    attrs = read_attributes(record, kind, before, after)
    return Node(kind, _text(record.name), inputs, outputs, attrs)
