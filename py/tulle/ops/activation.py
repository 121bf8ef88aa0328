"""Functions of one number: the op `activation`, and what other ops apply to their results when one is fused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import TulleError
from tulle.graph.graph import Graph, Node
from tulle.ops import attributes as attribute
from tulle.ops.channels import Channels, same
from tulle.ops.layout import either
from tulle.ops.op import Example, Input, Op, Operator, equals_input
from tulle.ops.shapes import Shape, Shapes, operand, require
from tulle.ops.windows import picture

if TYPE_CHECKING:
    from tulle.tflite.call import Call


def activate(x: np.ndarray, activation: str, alpha: Any = 0.0) -> np.ndarray:
    """`alpha`: a number for leaky_relu and elu, an array that broadcasts to x for prelu."""
    if activation == "none":
        return x
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "relu6":
        return np.clip(x, 0, 6)
    if activation == "relu_n1_to_1":
        return np.clip(x, -1, 1)
    if activation == "hard_swish":
        return x * np.clip(x + 3, 0, 6) / 6
    if activation == "sigmoid":
        decay = np.exp(-np.abs(x))  # 1 / (1 + exp(-x)) without overflow
        return np.where(x >= 0, 1, decay) / (1 + decay)
    if activation == "tanh":
        return np.tanh(x)
    if activation in ("leaky_relu", "prelu"):
        return np.where(x >= 0, x, alpha * x)
    if activation == "elu":
        return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))
    if activation == "swish":
        return x * activate(x, "sigmoid")
    if activation == "gelu":
        return x * (1 + _erf(x * math.sqrt(0.5))) / 2
    if activation == "gelu_tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    if activation == "softplus":
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    if activation in _FUNCTIONS:
        with np.errstate(all="ignore"):  # infinities and NaN come out as the C library has them
            return _FUNCTIONS[activation](x)
    raise TulleError(f"activation {activation!r} is not known")


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(x.dtype)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": _erf,
}


def torch_activate(x: Any, activation: str, alpha: Any = 0.0) -> Any:
    """The same of a torch.Tensor. `alpha`: a number, or for prelu a tensor that broadcasts to x."""
    import torch
    import torch.nn.functional as F

    if activation == "none":
        return x
    if activation in ("leaky_relu", "prelu"):
        return torch.where(x >= 0, x, alpha * x)
    if activation == "elu":
        return torch.where(x >= 0, x, alpha * torch.expm1(torch.clamp(x, max=0)))
    if activation == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    name = {"relu_n1_to_1": "hardtanh", "hard_swish": "hardswish", "swish": "silu"}.get(activation, activation)
    for module in (F, torch):
        if hasattr(module, name):
            return getattr(module, name)(x)
    raise TulleError(f"activation {activation!r} is not known")


def _shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x = operand(shapes, 0)
    if node.attrs["activation"] == "prelu":
        alpha = operand(shapes, 1, "alpha")
        # As NumPy broadcasts, but never beyond x.
        fits = len(alpha) <= len(x) and all(size in (1, to) for size, to in zip(alpha[::-1], x[::-1], strict=False))
        require(fits, "alpha does not broadcast to the input")
    return x


def _reference(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    return inputs[0]  # the activation is applied afterwards, as a fused one is (graph/reference.py)


# ---- TensorFlow Lite

_TFLITE = {
    "relu": "RELU",
    "relu6": "RELU6",
    "relu_n1_to_1": "RELU_N1_TO_1",
    "hard_swish": "HARD_SWISH",
    "sigmoid": "LOGISTIC",
    "tanh": "TANH",
    "exp": "EXP",
    "log": "LOG",
    "sqrt": "SQRT",
    "rsqrt": "RSQRT",
}
"""Those that are operators without options."""


def _write(graph: Graph, node: Node) -> Operator:
    activation, x = node.attrs["activation"], node.inputs[0]
    if activation == "leaky_relu":
        return Operator("LEAKY_RELU", [x], node.output, "LeakyReluOptions", {"Alpha": node.attrs["alpha"]})
    if activation == "prelu":
        return Operator("PRELU", [x, node.inputs[1]], node.output)
    if activation in ("gelu", "gelu_tanh"):
        return Operator("GELU", [x], node.output, "GeluOptions", {"Approximate": activation == "gelu_tanh"})
    if activation == "elu" and node.attrs.get("alpha", 1.0) != 1.0:
        raise TulleError(f"activation {node.name!r}: TensorFlow Lite's ELU has no alpha but 1")
    kind = "ELU" if activation == "elu" else _TFLITE.get(activation)
    if kind is None:
        raise TulleError(f"activation {node.name!r}: TensorFlow Lite has no operator for {activation}")
    return Operator(kind, [x], node.output)


def _read(activation: str) -> Callable[[Call], None]:
    return lambda call: call.add("activation", [call.input(0)], activation=activation)


def _read_leaky_relu(call: Call) -> None:
    alpha = float(call.options("LeakyReluOptions").Alpha())
    call.add("activation", [call.input(0)], activation="leaky_relu", alpha=alpha)


def _read_elu(call: Call) -> None:
    call.add("activation", [call.input(0)], activation="elu", alpha=1.0)


def _read_gelu(call: Call) -> None:
    approximate = call.options("GeluOptions").Approximate()
    call.add("activation", [call.input(0)], activation="gelu_tanh" if approximate else "gelu")


def _example(random: np.random.Generator) -> Example:
    x = 3 * picture(random)
    choices = [*_TFLITE, "elu", "leaky_relu", "prelu", "gelu", "gelu_tanh", "swish", "softplus", "erf"]
    activation = str(random.choice(choices))
    if activation in ("log", "sqrt", "rsqrt"):
        x = np.abs(x) + 0.1
    attrs: dict[str, Any] = {"activation": activation}
    if activation in ("elu", "leaky_relu"):
        attrs["alpha"] = 1.0 if activation == "elu" else float(np.float32(random.uniform(0.01, 0.9)))
    if activation == "prelu":
        return Example([x, random.standard_normal((1, 1, x.shape[3]))], attrs, constants=(1,))
    return Example([x], attrs)


ACTIVATION = Op(
    "activation", "a function of every element",
    (Input("x"), Input("alpha", "prelu's, one number or one a channel", optional=True, constant="must")),
    _shape, _reference, either("either for images"), _example,
    (attribute.Attribute("activation", "Activation", "activation"), attribute.ALPHA),
    Channels(source=same),
    identity=equals_input(lambda node: node.attrs.get("activation") == "none"),
    torch=lambda node, shapes, result: lambda x, *_: x,
    to_tflite=_write,
    from_tflite={
        **{kind: _read(activation) for activation, kind in _TFLITE.items()},
        "LEAKY_RELU": _read_leaky_relu, "ELU": _read_elu, "GELU": _read_gelu,
    },
)  # fmt: skip

OPS = (ACTIVATION,)
