"""`TfliteModel`: writes .tflite files operator by operator with LiteRT's schema, independently of tulle's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


class TfliteModel:
    """Tensors are named by their index. Shapes are not checked: LiteRT does that."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers = [schema.BufferT()]
        self.codes: list[Any] = []
        self.operators: list[Any] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self.tensors[index].shape)

    def tensor(
        self, shape: Sequence[int], dtype: Any = np.float32, data: np.ndarray | None = None,
        scale: Sequence[float] | None = None, zero_point: Sequence[int] = (0,), axis: int = 0,
    ) -> int:  # fmt: skip
        """An activation, or a constant if there is data; `scale`: it is quantised, one number a slice of `axis`."""
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.tensors)}"
        tensor.shape = list(shape)
        tensor.type = TYPES[np.dtype(dtype)]
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        if scale is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = list(scale)
            quantization.zeroPoint = list(zero_point)
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, data: Any, dtype: Any = np.float32) -> int:
        data = np.asarray(data, dtype)
        return self.tensor(data.shape, dtype, data)

    def input(self, shape: Sequence[int], dtype: Any = np.float32, **quantization: Any) -> int:
        self.inputs.append(self.tensor(shape, dtype, **quantization))
        return self.inputs[-1]

    def op(
        self, kind: str, inputs: Sequence[int], shape: Sequence[int] | Sequence[Sequence[int]],
        options: str = "", version: int = 1, dtype: Any = np.float32, quantization: dict[str, Any] | None = None,
        custom: bytes = b"", **fields: Any,
    ) -> Any:  # fmt: skip
        """Adds an operator of that `kind` (a builtin's name, or a custom op's); `shape` and `dtype`: of the output, or
        lists of them. Returns the output's tensor, or a list of them.
        """
        several = bool(shape) and not isinstance(shape[0], int | np.integer)
        shapes: Any = shape if several else [shape]
        dtypes = dtype if isinstance(dtype, list) else [dtype] * len(shapes)
        results = [self.tensor(each, kind, **(quantization or {})) for each, kind in zip(shapes, dtypes, strict=True)]
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind, version)
        operator.inputs, operator.outputs = list(inputs), results
        if options:
            table = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                assert hasattr(table, key), key
                setattr(table, key, value)
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = table
        if custom:
            operator.customOptions = np.frombuffer(custom, np.uint8)
        self.operators.append(operator)
        return results if several else results[0]

    def _code(self, kind: str, version: int) -> int:
        code = schema.OperatorCodeT()
        builtin = getattr(schema.BuiltinOperator, kind, schema.BuiltinOperator.CUSTOM)
        if builtin == schema.BuiltinOperator.CUSTOM:
            code.customCode = kind
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
        self.codes.append(code)
        return len(self.codes) - 1

    def finish(self, *outputs: int) -> bytes:
        self.outputs = list(outputs)
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = self.inputs, self.outputs
        model = schema.ModelT()
        model.version, model.subgraphs = 3, [graph]
        model.operatorCodes, model.buffers = self.codes, self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
