"""Computes what depends on constants alone, which exporters leave in the graph: shapes, indices, folded weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tulle.onnx.operators import OnnxNode
from tulle.onnx.values import Unsupported, Value

# Ops whose result has about the size of their inputs, in addition to those checked against MAX_ELEMENTS.
FOLDED = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "Div", "Equal", "Exp", "Flatten", "Floor", "Gather",
    "Identity", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Pow", "Reciprocal", "ReduceProd", "Reshape", "Round",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where", "DequantizeLinear", "ReduceMean",
    "ReduceSum", "ReduceMax", "ReduceMin", "Greater", "Less", "Size", "Sin", "Cos", "Sign", "CumSum", "Trilu", "Erf",
    "Sigmoid", "Or", "ArgMax", "QuantizeLinear", "Tanh", "Relu", "Clip", "LessOrEqual", "GreaterOrEqual", "Xor",
    "ScatterND", "ScatterElements", "GatherND", "GatherElements", "NonZero", "Softmax",
))  # fmt: skip
# Ops whose inputs determine the size of the result.
SIZED: dict[str, Callable[[list[np.ndarray]], float]] = {
    "ConstantOfShape": lambda inputs: _product(inputs[0]),
    "Expand": lambda inputs: _product(inputs[1]),
    "Tile": lambda inputs: inputs[0].size * _product(inputs[1]),
    "Range": lambda inputs: (float(inputs[1]) - float(inputs[0])) / float(inputs[2]),
}
MAX_ELEMENTS = 2**26
# The reference evaluator only has these from this opset on; older versions mean the same.
QUANTISATION, QUANTISATION_OPSET = ("QuantizeLinear", "DequantizeLinear"), 19


def _product(sizes: np.ndarray) -> float:
    return float(np.prod(np.abs(sizes.astype(np.float64))))


def evaluate(node: OnnxNode, opsets: Any) -> dict[str, Value] | None:
    """The outputs of a node whose inputs are constants (or of Shape, whose result is known); None for another."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    proto = node.proto
    if proto.op_type == "Shape" and len(proto.input) == 1:
        shape = np.array(node.shape(0), np.int64)
        return {proto.output[0]: Value(data=shape[node.attribute("start", 0) : node.attribute("end", None)])}
    arrays = {name: node.importer.values[name].data for name in proto.input if name}
    if any(data is None for data in arrays.values()) or proto.domain not in ("", "ai.onnx"):
        return None
    if proto.op_type in SIZED:
        elements = SIZED[proto.op_type]([node.constant(index) for index in range(len(proto.input))])
        if not elements <= MAX_ELEMENTS:
            raise Unsupported(f"it makes a constant of {elements:.3g} elements")
    elif proto.op_type not in FOLDED:
        return None
    outputs = [name for name in proto.output if name]
    graph = helper.make_graph(
        [proto], "constant",
        [helper.make_value_info(name, helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(data.dtype), None))
         for name, data in arrays.items() if data is not None],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )  # fmt: skip
    if proto.op_type in QUANTISATION and node.opset < QUANTISATION_OPSET:
        opsets = [helper.make_opsetid("", QUANTISATION_OPSET)]
    results = ReferenceEvaluator(helper.make_model(graph, opset_imports=list(opsets))).run(None, arrays)
    return {name: Value(data=np.asarray(result)) for name, result in zip(outputs, results, strict=True)}
