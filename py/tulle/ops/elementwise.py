"""Ops of two operands, element by element, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.graph.graph import Graph, Node, Tensor
from tulle.ops import attributes as attribute
from tulle.ops.channels import Channels, Known, per_channel, replace_constant, two_inputs
from tulle.ops.layout import either
from tulle.ops.matrix import ranks_differ
from tulle.ops.op import Example, Input, Op, Operator
from tulle.ops.shapes import Shape, Shapes, broadcast, operand
from tulle.ops.windows import fused_option, picture

if TYPE_CHECKING:
    from tulle.tflite.call import Call


def _shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    return broadcast(operand(shapes, 0, "first operand"), operand(shapes, 1, "second operand"))


# ---- layout


def _fits_chw(graph: Graph, node: Node) -> bool:
    shape = graph.tensors[node.output].shape
    return all(_operand_fits(graph.tensors[name or ""], shape) for name in node.inputs[:2])


def _operand_fits(operand: Tensor, shape: Shape) -> bool:
    """Whether a chw binary op can read it: as an image of the output's shape, one value a channel or pixel, or one."""
    a_channel = operand.shape[-1:] == (operand.size,) == shape[3:]
    return operand.size == 1 or a_channel or operand.shape in (shape, (*shape[:3], 1))


# ---- channels


def _source(graph: Graph, node: Node, position: int) -> np.ndarray | None:
    source, result = graph.tensors[node.inputs[position] or ""].shape, graph.tensors[node.output].shape
    if not source or not result:
        return None
    return np.arange(result[-1]) if source[-1] == result[-1] else np.zeros(result[-1], int)


def _known(function: Callable[..., Any], zero_wins: bool) -> Callable[[Graph, Node, Known], np.ndarray]:
    def known_values(graph: Graph, node: Node, known: Known) -> np.ndarray:
        a, b = (known[name or ""] for name in node.inputs[:2])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = function(a, b)
        if zero_wins:
            return np.where((a == 0) | (b == 0), 0.0, value)
        return np.where(np.isnan(a) | np.isnan(b), np.nan, value)  # a comparison with NaN would be known

    return known_values


def _keep(graph: Graph, node: Node, outputs: np.ndarray) -> None:
    for position in (0, 1):
        data, source = graph.constant(node.inputs[position]), _source(graph, node, position)
        broadcast_to_all = data is not None and data.shape[-1:] in ((), (1,))
        if data is not None and source is not None and not broadcast_to_all:
            replace_constant(graph, node, position, data[..., outputs[source >= 0]])


def _identity(neutral: float, commutes: bool) -> Callable[[Graph, Node], str | None]:
    """x of x + 0, x - 0, x * 1 and x / 1."""

    def identity(graph: Graph, node: Node) -> str | None:
        result = graph.tensors[node.output].shape
        if node.attrs["activation"] != "none":
            return None
        for x, other in (node.inputs, node.inputs[::-1]):
            values = per_channel(graph.constant(other), result[-1] if result else 1)
            swapped = x != node.inputs[0]
            if x is None or values is None or graph.tensors[x].shape != result or (swapped and not commutes):
                continue
            if (values == neutral).all():
                return x
        return None

    return identity


# ---- PyTorch


def _torch(name: str) -> Callable[..., Any]:
    """PyTorch's function of that name; the truth values of a comparison become numbers."""

    def build(node: Node, shapes: Shapes, result: Shape) -> Any:
        import torch

        function = getattr(torch, name)
        return lambda a, b, *_: function(a, b).to(a)

    return build


def _torch_mask(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch

    return lambda a, b, *_: torch.where(b != 0, a, 0)


# ---- TensorFlow Lite and ONNX


def _write(kind: str, options_type: str, fused: bool) -> Callable[[Graph, Node], Operator]:
    def write(graph: Graph, node: Node) -> Operator:
        return Operator(kind, list(node.inputs[:2]), node.output, options_type, fused_option(node) if fused else {})

    return write


def _read(op: str, options_name: str, fused: bool) -> Callable[[Call], None]:
    def read(call: Call) -> None:
        activation = call.activation(call.options(options_name)) if fused else "none"
        call.add(op, [call.input(0), call.input(1)], activation=activation)

    return read


# ---- examples


def _example(random: np.random.Generator) -> Example:
    x = picture(random)
    _, height, width, channels = x.shape
    shape = {
        "same": x.shape, "number": (1,), "channel": (channels,), "vector": (1, 1, 1, channels),
        "pixel": (1, height, width, 1), "row": (1, 1, width, channels),
    }[str(random.choice(["same", "same", "number", "channel", "vector", "pixel", "row"]))]  # fmt: skip
    other = random.standard_normal(shape)
    other = np.sign(other) * (np.abs(other) + 0.5)  # not near 0, for quotients
    other[random.random(shape) < 0.1] = 0 if random.random() < 0.5 else 1
    is_constant = len(shape) == 1 or random.random() < 0.4
    activation = str(random.choice(["none", "relu", "relu6"]))
    return Example([x, other], {"activation": activation}, constants=(1,) if is_constant else ())


def _quotient(random: np.random.Generator) -> Example:
    example = _example(random)
    divisor = example.inputs[1]
    assert divisor is not None
    return Example([example.inputs[0], np.where(divisor == 0, 1, divisor)], example.attrs, example.constants)


def _comparison(random: np.random.Generator) -> Example:
    """Of few different numbers, so that some are equal."""
    example = _example(random)
    return Example([None if x is None else np.round(x) for x in example.inputs], example.attrs, example.constants)


# ---- records

_LAYOUT = either(
    "either for images, if each operand has the output's shape, one element, one a channel (last dimension: a "
    "constant, or an activation with H*W = 1) or one a pixel (`[1, H, W, 1]`); plain for any other broadcasting",
    _fits_chw,
)


def _binary(
    name: str,
    summary: str,
    function: Callable[..., Any],
    torch: Callable[..., Any],
    *,
    zero_wins: bool = False,
    **more: Any,
) -> Op:
    return Op(
        name, summary, (Input("a", constant="may"), Input("b", constant="may")),
        _shape, lambda node, inputs, shape: function(inputs[0], inputs[1]), _LAYOUT, more.pop("example", _example),
        attribute.FUSED,
        Channels(two_inputs, _source, _known(function, zero_wins), _keep),
        fuses_activation=True, torch=torch, mixes_batch=ranks_differ, **more,
    )  # fmt: skip


def _arithmetic(
    name: str, summary: str, function: Callable[..., Any], torch: str, kind: str, options: str, onnx: tuple[str, ...],
    *, fused: bool = True, neutral: float | None = None, commutes: bool = True, **more: Any,
) -> Op:  # fmt: skip
    """An op that TensorFlow Lite has too."""
    if neutral is not None:
        more["identity"] = _identity(neutral, commutes)
    return _binary(
        name, summary, function, _torch(torch),
        to_tflite=_write(kind, options, fused),
        tflite_fuses=fused,
        from_tflite={kind: _read(name, options, fused)},
        from_onnx=dict.fromkeys(onnx, lambda node: node.combined(name)),
        **more,
    )  # fmt: skip


def _as_number(compare: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: compare(a, b).astype(a.dtype)


def _mask(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(b != 0, a, np.zeros_like(a))


OPS = (
    _arithmetic("add", "a + b", np.add, "add", "ADD", "AddOptions", ("Add", "Sum"), neutral=0.0),
    _arithmetic("sub", "a - b", np.subtract, "sub", "SUB", "SubOptions", ("Sub",), neutral=0.0, commutes=False),
    _arithmetic("mul", "a * b", np.multiply, "mul", "MUL", "MulOptions", ("Mul",), neutral=1.0, zero_wins=True),
    _arithmetic("div", "a / b", np.divide, "div", "DIV", "DivOptions", ("Div",),
                neutral=1.0, commutes=False, example=_quotient),
    _arithmetic("maximum", "the larger of both", np.maximum, "maximum", "MAXIMUM", "MaximumMinimumOptions", ("Max",),
                fused=False),
    _arithmetic("minimum", "the smaller of both", np.minimum, "minimum", "MINIMUM", "MaximumMinimumOptions", ("Min",),
                fused=False),
    _binary("greater", "1 where a > b, else 0", _as_number(np.greater), _torch("gt"), example=_comparison),
    _binary("equal", "1 where a = b, else 0", _as_number(np.equal), _torch("eq"), example=_comparison),
    _binary("mask", "a where b is not 0, else 0", _mask, _torch_mask, example=_comparison),
)  # fmt: skip
