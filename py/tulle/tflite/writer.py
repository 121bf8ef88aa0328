"""`write`: a Graph as a .tflite file that LiteRT runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import tflite

from tulle.errors import TulleError
from tulle.files import TFLITE_IDENTIFIER
from tulle.graph import Graph, Node
from tulle.graph.geometry import is_pointwise
from tulle.ops import OPS
from tulle.ops.op import Operator
from tulle.tflite.call import ACTIVATIONS, PADDINGS
from tulle.tflite.legalise import legalise

# Weights of 1x1 convolutions and fully connected layers with at least this share of zeros are stored sparse: XNNPACK
# runs them sparse from this threshold, and with float16 values it makes the file smaller.
SPARSE_FROM = 2 / 3

TYPES = {
    np.dtype(np.float32): tflite.TensorType.FLOAT32,
    np.dtype(np.float16): tflite.TensorType.FLOAT16,
    np.dtype(np.int32): tflite.TensorType.INT32,
}

CODES = {
    "Padding": {name: code for code, name in PADDINGS.items()},
    "FusedActivationFunction": {name: code for code, name in ACTIVATIONS.items()},
    "Mode": {"reflect": tflite.MirrorPadMode.REFLECT, "symmetric": tflite.MirrorPadMode.SYMMETRIC},
}
"""Options that have names in a Graph and numbers in a file."""


def write(graph: Graph, *, weights: str = "fp32", sparse: bool = False) -> bytes:
    """The .tflite file of a graph, lowered or not; names of inputs and outputs are kept.

    Args:
        weights: "fp32", or "fp16" for half-precision constants with DEQUANTIZE. Constants beyond float16's range,
            and biases that are not exact in it, stay float32.
        sparse: stores 1x1 convolution and fully connected weights with at least 2/3 zeros as CSR with DENSIFY.

    Raises TulleError if the graph has something that TensorFlow Lite lacks.
    """
    if weights not in ("fp32", "fp16"):
        raise TulleError(f"weights must be 'fp32' or 'fp16', not {weights!r}")
    return _Writer(legalise(graph.check()), weights == "fp16", sparse).finish()


def _emitted(graph: Graph, node: Node) -> Operator:
    """The operator that computes a node's output."""
    op = OPS.get(node.op)
    if op is None or op.to_tflite is None:
        raise TulleError(f"{node.op} {node.name!r}: TensorFlow Lite has no such operator")
    return op.to_tflite(graph, node)


class _Writer:
    """Collects the offsets of tables while walking the graph: FlatBuffers are built from the leaves up."""

    def __init__(self, graph: Graph, half: bool, sparse: bool) -> None:
        self.graph, self.half, self.sparse = graph, half, sparse
        self.builder = flatbuffers.Builder(1024)
        self.tensors: list[int] = []
        self.buffers: list[int] = [self._buffer(b"")]  # buffer 0 is the empty one, by convention
        self.operators: list[int] = []
        self.codes: dict[tuple[str, int], int] = {}
        self.indices: dict[str, int] = {}
        for name in graph.inputs:
            self._activation(name)
        for node in graph.nodes:
            self._operator(node, _emitted(graph, node))

    def finish(self) -> bytes:
        builder, graph = self.builder, self.graph
        inputs = builder.CreateNumpyVector(np.array([self.indices[name] for name in graph.inputs], np.int32))
        outputs = builder.CreateNumpyVector(np.array([self._input(name) for name in graph.outputs], np.int32))
        tensors, operators = self._tables(self.tensors), self._tables(self.operators)
        name = builder.CreateString(graph.name)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operators)
        tflite.SubGraphAddName(builder, name)
        subgraphs = self._tables([tflite.SubGraphEnd(builder)])

        codes = self._tables([self._operator_code(kind, version) for kind, version in self.codes])
        buffers = self._tables(self.buffers)
        description = builder.CreateString("Written by tulle.")
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddDescription(builder, description)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), file_identifier=TFLITE_IDENTIFIER)
        return bytes(builder.Output())

    # ---- pieces of FlatBuffers

    def _tables(self, offsets: Sequence[int]) -> int:
        """A vector of tables, or of strings."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def _buffer(self, data: bytes) -> int:
        builder = self.builder
        if data:
            builder.StartVector(1, len(data), 16)  # the schema wants data aligned so that it can be used in place
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        tflite.BufferStart(builder)
        if data:
            tflite.BufferAddData(builder, vector)
        return tflite.BufferEnd(builder)

    def _tensor(self, name: str, shape: Sequence[int], dtype: np.dtype, data: bytes = b"", sparsity: int = 0) -> int:
        """Adds a tensor, constant if there is data; returns its index."""
        buffer = 0
        if data:
            buffer = len(self.buffers)
            self.buffers.append(self._buffer(data))
        builder = self.builder
        label = builder.CreateString(name)
        dims = builder.CreateNumpyVector(np.array(shape, np.int32))
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, dims)
        tflite.TensorAddType(builder, TYPES[dtype])
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, label)
        if sparsity:
            tflite.TensorAddSparsity(builder, sparsity)
        self.tensors.append(tflite.TensorEnd(builder))
        return len(self.tensors) - 1

    def _operator_code(self, kind: str, version: int) -> int:
        code = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(self.builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self.builder, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(self.builder, code)
        tflite.OperatorCodeAddVersion(self.builder, version)
        return tflite.OperatorCodeEnd(self.builder)

    # ---- from graph to file

    def _activation(self, name: str) -> int:
        tensor = self.graph.tensors[name]
        self.indices[name] = self._tensor(name, tensor.shape, tensor.dtype)
        return self.indices[name]

    def _operator(self, node: Node, operator: Operator) -> None:
        inputs = [
            -1 if name is None else self._input(name, node) if isinstance(name, str) else self._operand(node, name)
            for name in operator.inputs
        ]
        self._add(operator, inputs, self._activation(operator.output))

    def _add(self, operator: Operator, inputs: list[int], output: int) -> None:
        builder = self.builder
        code = self.codes.setdefault((operator.kind, operator.version), len(self.codes))
        vectors = {key: builder.CreateNumpyVector(np.array(value, np.int32))
                   for key, value in operator.options.items() if isinstance(value, tuple)}  # fmt: skip
        if operator.options_type:
            getattr(tflite, f"{operator.options_type}Start")(builder)
            for key, value in operator.options.items():
                number = CODES[key][value] if isinstance(value, str) else vectors.get(key, value)
                getattr(tflite, f"{operator.options_type}Add{key}")(builder, number)
            options = getattr(tflite, f"{operator.options_type}End")(builder)
        input_vector = builder.CreateNumpyVector(np.array(inputs, np.int32))
        output_vector = builder.CreateNumpyVector(np.array([output], np.int32))
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, code)
        tflite.OperatorAddInputs(builder, input_vector)
        tflite.OperatorAddOutputs(builder, output_vector)
        if operator.options_type:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, operator.options_type))
            tflite.OperatorAddBuiltinOptions(builder, options)
        self.operators.append(tflite.OperatorEnd(builder))

    def _operand(self, node: Node, values: np.ndarray) -> int:
        """A constant that says how to run an op: a shape, paddings, axes."""
        return self._tensor(f"{node.name}/operand", values.shape, values.dtype, values.tobytes())

    def _input(self, name: str, node: Node | None = None) -> int:
        if name not in self.indices:
            data = self.graph.constant(name)
            assert data is not None, f"{name} is used before it is computed"
            sparse = self.sparse and node is not None and _can_be_sparse(self.graph, node, name, data)
            self.indices[name] = self._weights(name, data, sparse)
        return self.indices[name]

    def _weights(self, name: str, data: np.ndarray, sparse: bool) -> int:
        """The float32 tensor of a constant, with the DENSIFY and DEQUANTIZE that lead to it."""
        stored: np.ndarray = data.astype(np.float32)
        if self.half:
            with np.errstate(over="ignore"):
                halved = data.astype(np.float16)
            # Vectors are small but affect every pixel, so biases that are not exact in float16 stay float32.
            if np.isfinite(halved).all() and (data.ndim > 1 or (halved == data).all()):
                stored = halved
        half = np.dtype(np.float16)
        label = f"{name}/float16" if stored.dtype == half else name
        if sparse:
            source = self._sparse_tensor(f"{label}/sparse", stored)
            index = self._tensor(label, stored.shape, stored.dtype)
            self._add(Operator("DENSIFY", [], "", "DensifyOptions"), [source], index)
        else:
            index = self._tensor(label, stored.shape, stored.dtype, stored.tobytes())
        if stored.dtype == half:
            source, index = index, self._tensor(name, stored.shape, np.dtype(np.float32))
            # Version 3 takes float16.
            dequantize = Operator("DEQUANTIZE", [], "", "DequantizeOptions", version=3)
            self._add(dequantize, [source], index)
        return index

    def _sparse_tensor(self, name: str, values: np.ndarray) -> int:
        """Dense in all dimensions but the last, which is CSR: the nonzeros of every row with their columns."""
        builder, rank = self.builder, values.ndim
        rows = values.reshape(-1, values.shape[-1])
        _, columns = np.nonzero(rows)
        segments = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))])
        segment_type, segment_vector = self._index_vector(segments)
        index_type, index_vector = self._index_vector(columns)
        dims = []
        for size in values.shape[:-1]:
            tflite.DimensionMetadataStart(builder)
            tflite.DimensionMetadataAddFormat(builder, tflite.DimensionType.DENSE)
            tflite.DimensionMetadataAddDenseSize(builder, size)
            dims.append(tflite.DimensionMetadataEnd(builder))
        tflite.DimensionMetadataStart(builder)
        tflite.DimensionMetadataAddFormat(builder, tflite.DimensionType.SPARSE_CSR)
        tflite.DimensionMetadataAddArraySegmentsType(builder, segment_type)
        tflite.DimensionMetadataAddArraySegments(builder, segment_vector)
        tflite.DimensionMetadataAddArrayIndicesType(builder, index_type)
        tflite.DimensionMetadataAddArrayIndices(builder, index_vector)
        dims.append(tflite.DimensionMetadataEnd(builder))
        metadata = self._tables(dims)
        order = builder.CreateNumpyVector(np.arange(rank, dtype=np.int32))
        tflite.SparsityParametersStart(builder)
        tflite.SparsityParametersAddTraversalOrder(builder, order)
        tflite.SparsityParametersAddDimMetadata(builder, metadata)
        sparsity = tflite.SparsityParametersEnd(builder)
        return self._tensor(name, values.shape, values.dtype, values[values != 0].tobytes(), sparsity)

    def _index_vector(self, values: np.ndarray) -> tuple[int, int]:
        """The union type and table of an index vector, as narrow as its values allow."""
        largest = int(values.max(initial=0))
        kind = "Uint8Vector" if largest < 2**8 else "Uint16Vector" if largest < 2**16 else "Int32Vector"
        dtype = {"Uint8Vector": np.uint8, "Uint16Vector": np.uint16, "Int32Vector": np.int32}[kind]
        vector = self.builder.CreateNumpyVector(values.astype(dtype))
        module: Any = tflite
        getattr(module, f"{kind}Start")(self.builder)
        getattr(module, f"{kind}AddValues")(self.builder, vector)
        return getattr(tflite.SparseIndexVector, kind), getattr(module, f"{kind}End")(self.builder)


def _can_be_sparse(graph: Graph, node: Node, name: str, data: np.ndarray) -> bool:
    is_weight = len(node.inputs) > 1 and node.inputs[1] == name
    zeros = int(np.count_nonzero(data == 0)) / max(1, data.size)
    # A tensor without values would have an empty buffer, which would mean it is not constant.
    able = is_weight and (node.op == "fully_connected" or is_pointwise(graph, node))
    return able and SPARSE_FROM <= zeros < 1
