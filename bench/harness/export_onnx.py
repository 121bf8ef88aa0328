"""A tulle Graph as ONNX, for ONNX Runtime: the ops of the measured models, tensors of rank 4 in ONNX's NCHW."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.errors import BenchError
from tulle.graph import Graph, Node

OPSET = 17
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "maximum": "Max", "minimum": "Min"}


def export_onnx(graph: Graph) -> bytes:
    """The model as an ONNX file. `graph` is one whose weights are dense constants (not lowered: no layouts).

    Inputs of rank 4 are NCHW and outputs of rank 4 too; names are the graph's. Raises BenchError for an op or an
    attribute outside the measured models.
    """
    return _Exporter(graph).model().SerializeToString()


class _Exporter:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.count = 0

    def model(self) -> onnx.ModelProto:
        for node in self.graph:
            convert = getattr(self, f"_{node.op}", None)
            if convert is None and node.op in BINARY:
                convert = self._binary
            if convert is None:
                raise BenchError(f"no ONNX form for op {node.op} ({node.name})")
            convert(node)
        for name in self.graph.outputs:
            if self._plain(name) != name:
                raise BenchError(f"output {name!r} would be handed over as NCHW")
        inputs, outputs = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self._shape(name)) for name in names]
            for names in (self.graph.inputs, self.graph.outputs)
        )
        onnx_graph = helper.make_graph(self.nodes, self.graph.name, inputs, outputs, self.constants)
        model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    # ---- building blocks

    def _shape(self, name: str) -> list[int]:
        """The shape as ONNX sees it."""
        shape = list(self.graph.tensors[name].shape)
        return [shape[i] for i in TO_NCHW] if len(shape) == 4 else shape

    def _new(self, hint: str) -> str:
        self.count += 1
        return f"{hint}/onnx_{self.count}"

    def _emit(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or self._new(op)
        self.nodes.append(helper.make_node(op, inputs, [output], name=self._new(op), **attributes))
        return output

    def _constant(self, values: np.ndarray) -> str:
        name = self._new("constant")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _weight(self, node: Node, index: int) -> np.ndarray:
        data = self.graph.constant(node.inputs[index])
        if data is None:
            raise BenchError(f"{node.op} {node.name!r}: input {index} is not a constant")
        return data.astype(np.float32)

    def _operand(self, name: str, rank: int) -> str:
        """A tensor as the input of an elementwise op with a result of `rank`; constants become NCHW too."""
        data = self.graph.constant(name)
        if data is None:
            return name
        if rank == 4:
            data = data.reshape((1,) * (4 - data.ndim) + data.shape).transpose(TO_NCHW)
        return self._constant(data)

    def _finish(self, node: Node, value: str) -> None:
        """Applies the fused activation to `value` and calls the result by the node's output."""
        activation = node.attrs.get("activation", "none")
        unary = {"none": "Identity", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish"}
        if activation == "none" and self.nodes and self.nodes[-1].output[0] == value:
            self.nodes[-1].output[0] = node.output
        elif activation == "relu6":
            bounds = [self._constant(np.array(limit, np.float32)) for limit in (0, 6)]
            self._emit("Clip", [value, *bounds], node.output)
        elif activation == "prelu":
            alpha = self._weight(node, 1).reshape(-1, 1, 1)
            self._emit("PRelu", [value, self._constant(alpha)], node.output)
        elif activation in unary:
            self._emit(unary[activation], [value], node.output)
        else:
            raise BenchError(f"no ONNX form for activation {activation} ({node.name})")

    def _pads(self, node: Node, kernel: tuple[int, int]) -> dict[str, Any]:
        """ONNX's padding attributes; `same` of TensorFlow is SAME_UPPER."""
        padding = node.attrs["padding"]
        if padding == "same":
            return {"auto_pad": "SAME_UPPER"}
        if padding == "valid":
            return {"pads": [0, 0, 0, 0]}
        top, bottom, left, right = padding
        return {"pads": [top, left, bottom, right]}

    # ---- ops

    def _convolution(self, node: Node, weight: np.ndarray, group: int) -> None:
        """`weight` is [out, in / group, kh, kw]."""
        inputs = [str(node.inputs[0]), self._constant(weight)]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            inputs.append(self._constant(self._weight(node, 2)))
        value = self._emit(
            "Conv",
            inputs,
            group=group,
            kernel_shape=list(weight.shape[2:]),
            strides=list(node.attrs["strides"]),
            dilations=list(node.attrs.get("dilations", (1, 1))),
            **self._pads(node, weight.shape[2:]),
        )
        self._finish(node, value)

    def _conv2d(self, node: Node) -> None:
        self._convolution(node, self._weight(node, 1).transpose(0, 3, 1, 2), 1)

    def _depthwise_conv2d(self, node: Node) -> None:
        channels = self.graph.tensors[str(node.inputs[0])].shape[3]
        self._convolution(node, self._weight(node, 1).transpose(3, 0, 1, 2), channels)

    def _transpose_conv2d(self, node: Node) -> None:
        weight = self._weight(node, 1).transpose(3, 0, 1, 2)
        inputs = [str(node.inputs[0]), self._constant(weight)]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            inputs.append(self._constant(self._weight(node, 2)))
        height, width = self.graph.tensors[node.output].shape[1:3]
        padding = node.attrs["padding"]
        if padding == "same":
            # TensorFlow crops the odd pixel at the bottom and right; so does ONNX with SAME_UPPER and output_shape.
            attributes: dict[str, Any] = {"auto_pad": "SAME_UPPER", "output_shape": [height, width]}
        else:
            attributes = self._pads(node, weight.shape[2:])
        value = self._emit(
            "ConvTranspose",
            inputs,
            kernel_shape=list(weight.shape[2:]),
            strides=list(node.attrs["strides"]),
            **attributes,
        )
        self._finish(node, value)

    def _fully_connected(self, node: Node) -> None:
        weight = self._weight(node, 1)
        rows = self.graph.tensors[node.output].size // weight.shape[0]
        shape = self._constant(np.array([rows, weight.shape[1]]))
        flat = self._emit("Reshape", [self._plain(str(node.inputs[0])), shape])
        inputs = [flat, self._constant(weight)]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            inputs.append(self._constant(self._weight(node, 2)))
        value = self._emit("Gemm", inputs, transB=1)
        if len(self.graph.tensors[node.output].shape) != 2:
            value = self._emit("Reshape", [value, self._constant(np.array(self._shape(node.output)))])
        self._finish(node, value)

    def _binary(self, node: Node) -> None:
        rank = len(self.graph.tensors[node.output].shape)
        inputs = [self._operand(str(name), rank) for name in node.inputs[:2]]
        self._finish(node, self._emit(BINARY[node.op], inputs))

    def _pool(self, node: Node, op: str, **attributes: Any) -> None:
        kernel = node.attrs["kernel"]
        value = self._emit(
            op,
            [str(node.inputs[0])],
            kernel_shape=list(kernel),
            strides=list(node.attrs["strides"]),
            **self._pads(node, kernel),
            **attributes,
        )
        self._finish(node, value)

    def _average_pool2d(self, node: Node) -> None:
        self._pool(node, "AveragePool", count_include_pad=0)

    def _max_pool2d(self, node: Node) -> None:
        self._pool(node, "MaxPool")

    def _mean(self, node: Node) -> None:
        name = str(node.inputs[0])
        axes, keep = list(node.attrs["axes"]), bool(node.attrs["keep_dims"])
        if len(self.graph.tensors[name].shape) == 4:
            axes = [TO_NCHW.index(axis) for axis in axes]
            if not keep and sorted(axes) != [2, 3]:
                raise BenchError(f"mean {node.name!r} over axes {node.attrs['axes']} without keep_dims")
            if sorted(axes) == [2, 3]:
                value = self._emit("GlobalAveragePool", [name])
                if not keep:
                    value = self._emit("Reshape", [value, self._constant(np.array(self._shape(node.output)))])
                self._finish(node, value)
                return
        self._finish(node, self._emit("ReduceMean", [name], axes=axes, keepdims=int(keep)))

    def _resize_bilinear(self, node: Node) -> None:
        if node.attrs["align_corners"]:
            mode = "align_corners"
        else:
            mode = "half_pixel" if node.attrs["half_pixel_centers"] else "asymmetric"
        sizes = self._constant(np.array(self._shape(node.output)))
        inputs = [str(node.inputs[0]), "", "", sizes]
        self._finish(node, self._emit("Resize", inputs, mode="linear", coordinate_transformation_mode=mode))

    def _pad(self, node: Node) -> None:
        pads = list(node.attrs["pads"])
        if node.attrs["pad_mode"] != "constant" or len(pads) != 4:
            raise BenchError(f"pad {node.name!r}: only constant pads of images are exported")
        pads = [pads[i] for i in TO_NCHW]
        amounts = self._constant(np.array([before for before, _ in pads] + [after for _, after in pads]))
        value = self._constant(np.array(node.attrs.get("pad_value", 0.0), np.float32))
        self._finish(node, self._emit("Pad", [str(node.inputs[0]), amounts, value]))

    def _plain(self, name: str) -> str:
        """The tensor in the model's own order."""
        shape = self.graph.tensors[name].shape
        if len(shape) != 4 or shape[1] * shape[2] == 1 or shape[3] == 1:
            return name
        return self._emit("Transpose", [name], perm=TO_NHWC)

    def _reshape(self, node: Node) -> None:
        shape = self.graph.tensors[node.output].shape
        value = self._emit("Reshape", [self._plain(str(node.inputs[0])), self._constant(np.array(shape))])
        if len(shape) == 4:
            value = self._emit("Transpose", [value], perm=TO_NCHW)
        self._finish(node, value)

    def _softmax(self, node: Node) -> None:
        name = str(node.inputs[0])
        if len(self.graph.tensors[name].shape) == 4 or node.attrs.get("beta", 1.0) != 1.0:
            raise BenchError(f"softmax {node.name!r}: only over rows and with beta 1")
        self._finish(node, self._emit("Softmax", [name], axis=-1))

    def _activation(self, node: Node) -> None:
        self._finish(node, self._emit("Identity", [str(node.inputs[0])]))
