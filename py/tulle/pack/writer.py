"""`pack`: a lowered Graph -> the bytes of a `.tulle` file. docs/format.md is the specification."""

from __future__ import annotations

import math
from typing import Any, get_args

import flatbuffers
import numpy as np

from tulle.errors import TulleError
from tulle.files import TULLE_IDENTIFIER
from tulle.graph import Graph, Node, Quantization, Tensor
from tulle.graph.stats import output_dimension
from tulle.ops import LAYERS
from tulle.pack.attributes import names, write_attributes
from tulle.pack.checksum import with_checksum
from tulle.pack.encoding import Weights, store
from tulle.pack.limits import (
    ALIGNMENT,
    MAX_ELEMENTS,
    MAX_FILE_BYTES,
    MAX_OP_INPUTS,
    MAX_RANK,
    MAX_RECORDS,
    MAX_UNPACKED_FREE,
    MAX_UNPACKED_PER_BYTE,
    QUANTIZED_IO,
    VERSION,
)  # fmt: skip
from tulle.pack.schema import tulle_generated as schema
from tulle.passes import check_lowered
from tulle.version import __version__

_KINDS = names(schema.OpKind)
_LAYOUTS = names(schema.Layout)
_TYPES = names(schema.ValueType)


def pack(graph: Graph, weights: Weights = "auto") -> bytes:
    """A lowered graph (docs/architecture.md) as a `.tulle` file. The same graph gives the same bytes.

    `weights`: "auto" stores a constant as int8, uint8 or float16 where that is lossless, the smallest of them, and as
    float32 otherwise; "fp16" rounds the weights of convolutions and fully connected layers; "int8" rounds them to 255
    levels per output channel and stores all else as "auto" does; "fp32" stores every value as float32.

    Raises TulleError if the graph is not lowered, has ops or attributes that the format does not know, exceeds one of
    its limits, or if a weight does not fit float16 or is not finite where it should be rounded to int8.
    """
    if weights not in get_args(Weights):
        raise TulleError(f"weights={weights!r} is not one of {', '.join(get_args(Weights))}")
    _check(graph)
    used = _used_tensors(graph)
    numbers = {name: number for number, name in enumerate(used)}
    axes = {node.inputs[1]: output_dimension(node) for node in graph if node.op in LAYERS}

    model = schema.ModelT()
    model.version = VERSION
    model.name = graph.name
    model.producer = f"tulle {__version__}"
    model.tensors = [_tensor(graph.tensors[name], weights, axes.get(name)) for name in used]
    model.ops = [_op(node, numbers) for node in graph]
    model.inputs = np.array([numbers[name] for name in graph.inputs], "<u4")
    model.outputs = np.array([numbers[name] for name in graph.outputs], "<u4")
    model.checksum = 0  # until the bytes are there
    for name, quantization in graph.quantization.items():
        model.tensors[numbers[name]].quantization = _quantization(quantization)
    if graph.quantization:
        model.features = [QUANTIZED_IO]
    stored = sum(t.constant.values.size for t in model.tensors if t.constant is not None)
    if stored > MAX_FILE_BYTES // 2:  # the builder doubles its buffer
        raise TulleError(f"graph {graph.name!r}: {stored} bytes of weights are more than a file can hold")

    builder = _AlignedBuilder(stored + (1 << 16))
    builder.Finish(model.Pack(builder), file_identifier=TULLE_IDENTIFIER)
    data = with_checksum(builder.Output())
    read = [name for node in graph for name in node.inputs if name is not None and graph.tensors[name].is_constant]
    unpacked = 4 * sum(graph.tensors[name].size for name in read)
    if unpacked > MAX_UNPACKED_FREE + MAX_UNPACKED_PER_BYTE * len(data):
        raise TulleError(
            f"graph {graph.name!r}: its constants take {unpacked >> 20} MiB unpacked and are zeros but for "
            f"{len(data)} bytes; no reader would take such a file"
        )
    return data


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Applies the schema's force_align: 64, which flatc's Python code ignores, to every [ubyte] vector."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype == np.uint8:
            self.Prep(ALIGNMENT, x.size)
        return int(super().CreateNumpyVector(x))


def _used_tensors(graph: Graph) -> list[str]:
    """Tensors that the model needs, in order of first use."""
    used = dict.fromkeys(graph.inputs)
    for node in graph:
        used.update(dict.fromkeys(name for name in [*node.inputs, *node.outputs] if name is not None))
    return list(used)


def _quantization(quantization: Quantization) -> Any:
    record = schema.QuantizationT()
    record.type = _TYPES[quantization.dtype]
    record.scale, record.zeroPoint = quantization.scale, quantization.zero_point
    return record


def _tensor(tensor: Tensor, weights: Weights, channel_axis: int | None) -> Any:
    """`channel_axis`: None for constants that are not a layer's weights."""
    record = schema.TensorT()
    record.name = tensor.name
    record.shape = np.array(tensor.shape, "<i4")
    record.layout = _LAYOUTS[tensor.layout]
    record.inputMean, record.inputStd = float(tensor.mean), float(tensor.std)
    if tensor.data is not None:
        stored = store(tensor.name, tensor.data, weights, channel_axis)
        record.constant = constant = schema.ConstantT()
        constant.type, constant.encoding, constant.count = stored.type, stored.encoding, stored.count
        constant.values, constant.index = stored.values, stored.index
        constant.scales, constant.zeroPoints = stored.scales, stored.zero_points
    elif tensor.levels is not None:
        record.levels = _quantization(tensor.levels)
    return record


def _op(node: Node, numbers: dict[str, int]) -> Any:
    record = schema.OpT()
    record.kind = _KINDS[node.op]
    record.name = node.name
    record.inputs = np.array([-1 if name is None else numbers[name] for name in node.inputs], "<i4")
    record.outputs = np.array([numbers[name] for name in node.outputs], "<i4")
    write_attributes(record, node.op, node.name, node.attrs)
    return record


def _check(graph: Graph) -> None:
    """Raises TulleError unless the graph is lowered and within the format's limits."""
    unknown = sorted({node.op for node in graph if node.op not in _KINDS})
    if unknown:
        raise TulleError(
            f"graph {graph.name!r}: {', '.join(unknown)} cannot be stored in a .tulle file: lower the graph first"
        )
    for node in graph:
        write_attributes(schema.OpT(), node.op, node.name, node.attrs)  # for its errors
        if not 1 <= len(node.inputs) <= MAX_OP_INPUTS:
            raise TulleError(
                f"{node.op} {node.name!r} has {len(node.inputs)} inputs; a file can hold 1 to {MAX_OP_INPUTS}"
            )
    check_lowered(graph)
    used = _used_tensors(graph)
    for what, count in [("tensors", len(used)), ("ops", len(graph.nodes))]:
        if count > MAX_RECORDS:
            raise TulleError(f"graph {graph.name!r} has {count} {what}; a file can hold {MAX_RECORDS}")
    for name in used:
        _check_tensor(graph.tensors[name])
    for name, quantization in graph.quantization.items():
        if name not in (*graph.inputs, *graph.outputs) or not quantization.is_valid:
            raise TulleError(f"tensor {name!r}: {quantization} is no quantization of an input or output")


def _check_tensor(tensor: Tensor) -> None:
    if len(tensor.shape) > MAX_RANK or min(tensor.shape, default=1) < 1 or tensor.size > MAX_ELEMENTS:
        raise TulleError(
            f"tensor {tensor.name!r} has shape {list(tensor.shape)}; a file can hold {MAX_RANK} dimensions "
            f"and {MAX_ELEMENTS} elements, and none that is empty"
        )
    if tensor.layout not in _LAYOUTS:
        raise TulleError(f"tensor {tensor.name!r}: layout {tensor.layout!r} is not one of {', '.join(_LAYOUTS)}")
    if not (math.isfinite(tensor.mean) and math.isfinite(tensor.std) and tensor.std):
        raise TulleError(f"input {tensor.name!r}: mean {tensor.mean} and std {tensor.std} cannot normalise an image")
    if tensor.levels is not None and not tensor.levels.is_valid:
        raise TulleError(f"tensor {tensor.name!r}: {tensor.levels} are no levels")
