"""A tulle Graph as a TensorFlow.js graph model: the ops of the measured models, as a frozen TensorFlow graph."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from harness.errors import BenchError
from tulle.graph import Graph, Node

BINARY = {"add": "AddV2", "sub": "Sub", "mul": "Mul", "div": "RealDiv", "maximum": "Maximum", "minimum": "Minimum"}
UNARY = {"relu": "Relu", "relu6": "Relu6", "sigmoid": "Sigmoid", "tanh": "Tanh"}
FUSABLE = {"relu": "Relu", "relu6": "Relu6"}
DTYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32"}


def export_tfjs(graph: Graph) -> tuple[bytes, bytes]:
    """The model as model.json and its weights. `graph` is one whose weights are dense constants (not lowered).

    Nodes are numbered, since TensorFlow.js gives some characters of a TFLite name a meaning; "inputs" and "outputs" of
    the JSON list [node, name] in the graph's order. Raises BenchError for what no measured model has.
    """
    return _Exporter(graph).files()


def _string(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def _integers(values: Any) -> dict[str, Any]:
    return {"list": {"i": [str(int(value)) for value in values]}}


def _dimensions(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"dim": [{"size": str(size)} for size in shape]}


class _Exporter:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[dict[str, Any]] = []
        self.specs: list[dict[str, Any]] = []
        self.weights = bytearray()
        self.names: dict[str, str] = {}

    def files(self) -> tuple[bytes, bytes]:
        for name in self.graph.inputs:
            shape = self.graph.tensors[name].shape
            attributes = {"dtype": {"type": "DT_FLOAT"}, "shape": {"shape": _dimensions(shape)}}
            self.names[name] = self._emit("Placeholder", [], **attributes)
        for node in self.graph:
            convert = getattr(self, f"_{node.op}", None)
            if convert is None and node.op in BINARY:
                convert = self._binary
            if convert is None:
                raise BenchError(f"no TensorFlow.js form for op {node.op} ({node.name})")
            self.names[node.output] = convert(node)
        model = {
            "format": "graph-model",
            "inputs": [[self.names[name], name] for name in self.graph.inputs],
            "outputs": [[self.names[name], name] for name in self.graph.outputs],
            "modelTopology": {"node": self.nodes, "library": {}, "versions": {"producer": 987}},
            "weightsManifest": [{"paths": ["weights.bin"], "weights": self.specs}],
        }
        return json.dumps(model).encode(), bytes(self.weights)

    # ---- building blocks

    def _emit(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        if op not in ("Placeholder", "Const"):
            attributes["T"] = {"type": "DT_FLOAT"}
        self.nodes.append({"name": name, "op": op, "input": inputs, "attr": attributes})
        return name

    def _constant(self, values: np.ndarray) -> str:
        dtype = DTYPES[values.dtype.name]
        tensor = {"dtype": dtype, "tensorShape": _dimensions(values.shape)}
        name = self._emit("Const", [], dtype={"type": dtype}, value={"tensor": tensor})
        self.specs.append({"name": name, "shape": list(values.shape), "dtype": values.dtype.name})
        self.weights += np.ascontiguousarray(values).tobytes()
        return name

    def _input(self, node: Node, index: int) -> str:
        """The TensorFlow.js name of an input, constants included."""
        name = str(node.inputs[index])
        if name not in self.names:
            self.names[name] = self._constant(self._weight(node, index))
        return self.names[name]

    def _weight(self, node: Node, index: int) -> np.ndarray:
        data = self.graph.constant(node.inputs[index])
        if data is None:
            raise BenchError(f"{node.op} {node.name!r}: input {index} is not a constant")
        return data.astype(np.float32)

    def _has(self, node: Node, index: int) -> bool:
        return len(node.inputs) > index and node.inputs[index] is not None

    def _activated(self, node: Node, value: str) -> str:
        activation = node.attrs.get("activation", "none")
        if activation == "none":
            return value
        if activation in UNARY:
            return self._emit(UNARY[activation], [value])
        if activation == "hard_swish":
            shifted = self._emit("AddV2", [value, self._constant(np.array([3], np.float32))])
            gate = self._emit("Mul", [self._emit("Relu6", [shifted]), self._constant(np.array([1 / 6], np.float32))])
            return self._emit("Mul", [value, gate])
        if activation == "prelu":
            return self._emit("Prelu", [value, self._constant(self._weight(node, 1))])
        raise BenchError(f"no TensorFlow.js form for activation {activation} ({node.name})")

    def _padding(self, node: Node) -> dict[str, Any]:
        padding = node.attrs["padding"]
        if isinstance(padding, str):
            return {"padding": _string(padding.upper())}
        top, bottom, left, right = padding
        return {"padding": _string("EXPLICIT"), "explicit_paddings": _integers([0, 0, top, bottom, left, right, 0, 0])}

    def _spatial(self, node: Node, key: str, of: Any) -> dict[str, Any]:
        return {key: _integers([1, *of, 1])}

    # ---- ops

    def _convolution(self, node: Node, op: str, fused: str, weight: np.ndarray) -> str:
        attributes = {
            "data_format": _string("NHWC"),
            **self._spatial(node, "strides", node.attrs["strides"]),
            **self._spatial(node, "dilations", node.attrs.get("dilations", (1, 1))),
            **self._padding(node),
        }
        inputs = [self._input(node, 0), self._constant(weight)]
        if not self._has(node, 2):
            return self._activated(node, self._emit(op, inputs, **attributes))
        activation = node.attrs.get("activation", "none")
        ops = ["BiasAdd"] + ([FUSABLE[activation]] if activation in FUSABLE else [])
        attributes["fused_ops"] = {"list": {"s": [_string(name)["s"] for name in ops]}}
        attributes["num_args"] = {"i": "1"}
        value = self._emit(fused, [*inputs, self._input(node, 2)], **attributes)
        return value if activation in FUSABLE else self._activated(node, value)

    def _conv2d(self, node: Node) -> str:
        return self._convolution(node, "Conv2D", "_FusedConv2D", self._weight(node, 1).transpose(1, 2, 3, 0))

    def _depthwise_conv2d(self, node: Node) -> str:
        weight = self._weight(node, 1)
        channels = self.graph.tensors[str(node.inputs[0])].shape[3]
        weight = weight.reshape(*weight.shape[1:3], channels, -1)
        return self._convolution(node, "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative", weight)

    def _transpose_conv2d(self, node: Node) -> str:
        shape = self._constant(np.array(self.graph.tensors[node.output].shape, np.int32))
        value = self._emit(
            "Conv2DBackpropInput",
            [shape, self._constant(self._weight(node, 1).transpose(1, 2, 0, 3)), self._input(node, 0)],
            data_format=_string("NHWC"),
            **self._spatial(node, "strides", node.attrs["strides"]),
            **self._padding(node),
        )
        if self._has(node, 2):
            value = self._emit("BiasAdd", [value, self._input(node, 2)], data_format=_string("NHWC"))
        return self._activated(node, value)

    def _fully_connected(self, node: Node) -> str:
        weight = self._weight(node, 1)
        rows = self.graph.tensors[node.output].size // weight.shape[0]
        flat = self._reshaped(self._input(node, 0), (rows, weight.shape[1]))
        value = self._emit(
            "MatMul", [flat, self._constant(weight.T)], transpose_a={"b": False}, transpose_b={"b": False}
        )
        if self._has(node, 2):
            value = self._emit("BiasAdd", [value, self._input(node, 2)], data_format=_string("NHWC"))
        shape = self.graph.tensors[node.output].shape
        return self._activated(node, value if len(shape) == 2 else self._reshaped(value, shape))

    def _binary(self, node: Node) -> str:
        return self._activated(node, self._emit(BINARY[node.op], [self._input(node, 0), self._input(node, 1)]))

    def _pool(self, node: Node, op: str) -> str:
        value = self._emit(
            op,
            [self._input(node, 0)],
            data_format=_string("NHWC"),
            **self._spatial(node, "ksize", node.attrs["kernel"]),
            **self._spatial(node, "strides", node.attrs["strides"]),
            **self._padding(node),
        )
        return self._activated(node, value)

    def _average_pool2d(self, node: Node) -> str:
        return self._pool(node, "AvgPool")

    def _max_pool2d(self, node: Node) -> str:
        return self._pool(node, "MaxPool")

    def _mean(self, node: Node) -> str:
        axes = self._constant(np.array(node.attrs["axes"], np.int32))
        return self._emit("Mean", [self._input(node, 0), axes], keep_dims={"b": bool(node.attrs["keep_dims"])})

    def _resize_bilinear(self, node: Node) -> str:
        size = self._constant(np.array(self.graph.tensors[node.output].shape[1:3], np.int32))
        flags = {key: {"b": bool(node.attrs[key])} for key in ("align_corners", "half_pixel_centers")}
        return self._emit("ResizeBilinear", [self._input(node, 0), size], **flags)

    def _pad(self, node: Node) -> str:
        if node.attrs["pad_mode"] != "constant":
            raise BenchError(f"pad {node.name!r}: only constant pads are exported")
        amounts = self._constant(np.array(node.attrs["pads"], np.int32))
        value = self._constant(np.array(node.attrs.get("pad_value", 0.0), np.float32))
        return self._emit("PadV2", [self._input(node, 0), amounts, value])

    def _reshaped(self, value: str, shape: tuple[int, ...]) -> str:
        return self._emit("Reshape", [value, self._constant(np.array(shape, np.int32))])

    def _reshape(self, node: Node) -> str:
        return self._reshaped(self._input(node, 0), self.graph.tensors[node.output].shape)

    def _softmax(self, node: Node) -> str:
        if node.attrs.get("beta", 1.0) != 1.0:
            raise BenchError(f"softmax {node.name!r}: only with beta 1")
        return self._emit("Softmax", [self._input(node, 0)])

    def _activation(self, node: Node) -> str:
        return self._activated(node, self._input(node, 0))
