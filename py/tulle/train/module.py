"""`GraphModule`: a Graph as a `torch.nn.Module`, and back.

module = from_tflite("hand_landmark_full.tflite")
outputs = module(images)                   # images [N, 224, 224, 3] -> {name: tensor}
... train ...
data = tulle.tflite.write(to_graph(module), sparse=True)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tulle.errors import TulleError
from tulle.files import PathLike
from tulle.graph import Graph, Node
from tulle.graph.shapes import check_shapes
from tulle.ops import LAYERS, OPS
from tulle.ops.activation import torch_activate
from tulle.passes.fold_constants import fold_constants
from tulle.tflite import read


def from_tflite(source: PathLike | bytes) -> GraphModule:
    """The module of a .tflite file, given by its path or its bytes. Raises TulleError if it cannot be read."""
    return from_graph(read(source))


def from_graph(graph: Graph) -> GraphModule:
    """The module of a graph, lowered or not. Weights and biases of layers are trained; other constants (prelu's
    alphas, factors) stay as they are. Weights behind DEQUANTIZE and DENSIFY are folded to float32 first.

    Raises TulleError for an op that is not known or weights that are computed while running.
    """
    return GraphModule(graph)


def to_graph(module: GraphModule) -> Graph:
    """The graph that the module was made from, with the module's weights in place of its constants.

    Raises TulleError for another module than `from_tflite` and `from_graph` give: export that with torch.onnx.export.
    """
    if not isinstance(module, GraphModule):
        raise TulleError(
            f"to_graph takes the module of a graph (from_tflite, from_graph), not {type(module).__name__}: export a "
            "module of your own with torch.onnx.export, and read that file"
        )
    graph = module.graph.copy()
    parameters = dict(module.named_parameters())
    for parameter, tensor in module.tensor_names.items():
        values = parameters[parameter].detach().cpu().float()
        order = module.weight_orders.get(parameter)
        if order is not None:
            values = values.permute(sorted(range(len(order)), key=order.__getitem__))
        graph.tensors[tensor].data = values.reshape(graph.tensors[tensor].shape).contiguous().numpy().copy()
    return graph


class GraphModule(nn.Module):
    """Runs a Graph on batches.

    Its convolutions and fully connected layers are PyTorch's own modules, in `layers` by the names of their nodes
    (with "_" for "."), so that everything written for `nn.Conv2d` works here.

    Attributes:
        graph: with constants folded.
        tensor_names: parameter name -> name of the graph's constant.
        weight_orders: weight name -> the graph's dimensions in PyTorch's order.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = _with_own_weights(check_shapes(fold_constants(graph).check()))
        self.layers = nn.ModuleDict()
        self.tensor_names: dict[str, str] = {}
        self.weight_orders: dict[str, tuple[int, ...]] = {}
        self._layer_keys: dict[str, str] = {}
        self._functions: dict[str, Callable[..., Tensor]] = {}
        self._constants: dict[str, str] = {}
        self._shared: dict[str, nn.Parameter] = {}
        self._one_by_one = _needs_batch_of_one(self.graph)
        for node in self.graph:
            tensors = [None if name is None else self.graph.tensors[name] for name in node.inputs]
            shapes = [None if tensor is None else tensor.shape for tensor in tensors]
            self._functions[node.output] = _function(node, shapes, self.graph.tensors[node.output].shape)
            if node.op in LAYERS:
                self._add_layer(node)
            for tensor in tensors[3:] if node.op in LAYERS else tensors:
                if tensor is not None and tensor.data is not None and tensor.name not in self._constants:
                    self._constants[tensor.name] = f"constant{len(self._constants)}"
                    values = torch.from_numpy(tensor.data.copy())
                    self.register_buffer(self._constants[tensor.name], values, persistent=False)

    def forward(self, inputs: Tensor | Mapping[str, Tensor], keep: Collection[str] = ()) -> dict[str, Tensor]:
        """Outputs by name, for a batch of any size.

        Args:
            inputs: float32 [N, ...] in the model's own order, such as [N, H, W, 3]; by name if there are several.
            keep: names of activations to return too.

        Raises TulleError if an input is missing or of another shape, or if the model cannot take batches.
        """
        values = self._checked(inputs)
        wanted = {*self.graph.outputs, *keep}
        if unknown := wanted - values.keys() - self._functions.keys():
            raise TulleError(f"the model computes no {', '.join(sorted(unknown))}")
        last_use = {name: node for node in self.graph for name in node.inputs}
        for node in self.graph:
            values[node.output] = self._execute(node, values)
            for name in set(node.inputs):  # frees activations that have no further consumer
                if name in values and last_use[name] is node and name not in wanted:
                    del values[name]
        return {name: values[name] for name in (*self.graph.outputs, *(k for k in keep if k not in self.graph.outputs))}

    def layer(self, node: str) -> nn.Module:
        """The module with the weights of a convolution or fully connected node."""
        return self.layers[self._layer_keys[node]]

    def _checked(self, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = inputs if isinstance(inputs, Mapping) else dict.fromkeys(self.graph.inputs[:1], inputs)
        if set(given) != set(self.graph.inputs):
            raise TulleError(f"the model's inputs are {', '.join(self.graph.inputs)}; given: {', '.join(given)}")
        for name, value in given.items():
            shape = self.graph.tensors[name].shape
            if self._one_by_one and tuple(value.shape) != shape:
                reason = f"the model takes one image at a time, as {self._one_by_one}"
                raise TulleError(f"input {name!r} has shape {tuple(value.shape)} instead of {shape}: {reason}")
            if value.ndim != len(shape) or tuple(value.shape[1:]) != shape[1:] or len(value) == 0:
                raise TulleError(f"input {name!r} has shape {tuple(value.shape)} instead of (N, *{shape[1:]})")
        return dict(given)

    def _execute(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        def value(name: str | None) -> Tensor | None:
            if name is None:
                return None
            return values[name] if name in values else self.get_buffer(self._constants[name])

        if node.op in LAYERS:
            extra = [value(name) for name in node.inputs[3:]]
            result = self._functions[node.output](self.layer(node.name), value(node.inputs[0]), *extra)
        else:
            extra = [value(name) for name in node.inputs]
            result = self._functions[node.output](*extra)
        activation = node.attrs.get("activation", "none")
        alpha: Any = extra[-1] if activation == "prelu" else node.attrs.get("alpha", 0.0)
        return torch_activate(result, activation, alpha)

    def _add_layer(self, node: Node) -> None:
        x, weight, bias = [*node.inputs, None][:3]
        if weight is None or any(name and self.graph.constant(name) is None for name in (weight, bias)):
            raise TulleError(f"{node.op} {node.name!r}: its weights or bias are computed while running")
        image = self.graph.tensors[x or ""].shape
        weights = OPS[node.op].weights
        assert weights is not None
        layer = weights.torch_layer(node, self.graph.tensors[weight].shape, image, bias is not None)
        key = node.name.replace(".", "_") or "layer"
        while key in self.layers or hasattr(self.layers, key):
            key += "_"
        self.layers[key] = layer
        self._layer_keys[node.name] = key
        self._set_parameter(layer, f"layers.{key}", "weight", weight, weights.torch_order)
        if bias is not None:
            self._set_parameter(layer, f"layers.{key}", "bias", bias, None)

    def _set_parameter(
        self, layer: nn.Module, path: str, kind: str, tensor: str, order: tuple[int, ...] | None
    ) -> None:
        """Sets a layer's parameter to the constant's values; layers that share a constant share the parameter."""
        if tensor in self._shared:
            setattr(layer, kind, self._shared[tensor])
            return
        data = self.graph.constant(tensor)
        assert data is not None
        values = torch.from_numpy(data.copy()).float()
        if order is None:
            values = values.reshape(-1)
        else:
            values = values.permute(order).contiguous()
            self.weight_orders[f"{path}.{kind}"] = order
        self._shared[tensor] = nn.Parameter(values)
        setattr(layer, kind, self._shared[tensor])
        self.tensor_names[f"{path}.{kind}"] = tensor


def _function(node: Node, shapes: list[tuple[int, ...] | None], result: tuple[int, ...]) -> Callable[..., Tensor]:
    op = OPS.get(node.op)
    if op is None or op.torch is None:
        raise TulleError(f"{node.op} {node.name!r}: not an op that can be trained")
    return op.torch(node, shapes, result)


def _with_own_weights(graph: Graph) -> Graph:
    """Copies constants of layers that other kinds of ops also read: only the layers' copies are trained."""
    graph = graph.copy()
    roles: dict[str, set[tuple[str, int]]] = {}
    for node in graph:
        for slot, name in enumerate(node.inputs):
            if name is not None and graph.constant(name) is not None:
                roles.setdefault(name, set()).add(_role(node, slot))
    copies: dict[tuple[str, tuple[str, int]], str] = {}
    for node in graph:
        for slot in (1, 2):
            name = node.inputs[slot] if node.op in LAYERS and slot < len(node.inputs) else None
            data = graph.constant(name)
            if name is None or data is None or len(roles[name]) == 1:
                continue
            key = (name, _role(node, slot))
            if key not in copies:
                copies[key] = graph.add_constant(name, data)
            node.inputs[slot] = copies[key]
    return graph


def _role(node: Node, slot: int) -> tuple[str, int]:
    """Constants used in different roles are separate parameters; biases are all one role."""
    if node.op not in LAYERS or slot not in (1, 2):
        return "other", 0
    return ("bias", slot) if slot == 2 else (node.op, slot)


def _needs_batch_of_one(graph: Graph) -> str:
    """Why the first dimension of some tensor is not a batch; "" if it is for all tensors."""
    for name in graph.inputs:
        if graph.tensors[name].shape[:1] != (1,):
            return f"input {name!r} has shape {graph.tensors[name].shape}"
    for node in graph:
        if graph.tensors[node.output].shape[:1] != (1,) or OPS[node.op].mixes_batch(graph, node):
            return f"{node.op} {node.name!r} does not keep the first dimension apart"
    return ""
