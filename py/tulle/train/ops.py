"""What every op of a Graph is in PyTorch, for batches: TensorFlow Lite's semantics, as in `tulle.graph.reference`.

Activations have the model's own order, images [N, H, W, C]. PyTorch's image functions want [N, C, H, W]; turning one
into the other moves nothing in memory, and leaves the layout that its processor kernels are fastest at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tulle.errors import TulleError
from tulle.graph import Node
from tulle.graph.geometry import explicit_padding, transpose_padding

Shape: TypeAlias = tuple[int, ...]
Function: TypeAlias = "Callable[..., Tensor]"

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "greater": lambda a, b: torch.gt(a, b).to(a),
    "equal": lambda a, b: torch.eq(a, b).to(a),
    "mask": lambda a, b: torch.where(b != 0, a, 0),
}


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "relu_n1_to_1": F.hardtanh,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "swish": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softplus": F.softplus,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "erf": torch.erf,
}


def activate(x: Tensor, activation: str, alpha: Tensor | float = 0.0) -> Tensor:
    """`alpha`: a number for leaky_relu and elu, a tensor that broadcasts to x for prelu."""
    if activation in ACTIVATIONS:
        return ACTIVATIONS[activation](x)
    if activation in ("leaky_relu", "prelu"):
        return torch.where(x >= 0, x, alpha * x)
    if activation == "elu":
        return torch.where(x >= 0, x, alpha * torch.expm1(torch.clamp(x, max=0)))
    raise TulleError(f"activation {activation!r} is not known")


def image_first(x: Tensor) -> Tensor:
    """[N, H, W, C] as [N, C, H, W]."""
    return x.permute(0, 3, 1, 2)


def image_last(x: Tensor) -> Tensor:
    """[N, C, H, W] as [N, H, W, C]."""
    return x.permute(0, 2, 3, 1)


def padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """[N, C, H, W] with (top, bottom, left, right) more pixels, negative for fewer."""
    top, bottom, left, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def build(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    """The function that computes a node's output, without its activation, of its inputs' tensors.

    That of a convolution or fully connected layer takes the module with the weights first, then the inputs that are
    no weights.

    Args:
        shapes, result: of inputs and output, with the model's batch of 1.

    Raises TulleError for an op that is not known.
    """
    if node.op in BINARY:
        function = BINARY[node.op]
        return lambda a, b, *_: function(a, b)
    if node.op not in _BUILDERS:
        raise TulleError(f"{node.op} {node.name!r}: not an op that can be trained")
    return _BUILDERS[node.op](node, shapes, result)


def layer(node: Node, weight: Shape, image: Shape, bias: bool) -> nn.Module:
    """The module for the weights of a convolution or fully connected layer; `weight` is their shape in the Graph."""
    if node.op == "fully_connected":
        return nn.Linear(weight[1], weight[0], bias=bias)
    kernel = (weight[1], weight[2])
    if node.op == "transpose_conv2d":
        return nn.ConvTranspose2d(weight[3], weight[0], kernel, node.attrs["strides"], bias=bias)
    channels, depthwise = image[3], node.op == "depthwise_conv2d"
    top, bottom, left, right = _convolution_padding(node, image, kernel)
    return nn.Conv2d(
        channels, weight[3] if depthwise else weight[0], kernel, node.attrs["strides"],
        padding=(top, left) if (top, left) == (bottom, right) else 0, dilation=node.attrs["dilations"],
        groups=channels if depthwise else 1, bias=bias,
    )  # fmt: skip


# For each op with a layer: how the dimensions of a Graph's weights are ordered in PyTorch, and the way back.
WEIGHT_ORDER = {
    "conv2d": (0, 3, 1, 2),
    "depthwise_conv2d": (3, 0, 1, 2),
    "transpose_conv2d": (3, 0, 1, 2),
    "fully_connected": (0, 1),
}


def _convolution_padding(node: Node, image: Shape, kernel: Shape) -> tuple[int, int, int, int]:
    return explicit_padding(node.attrs["padding"], image[1:3], kernel, node.attrs["strides"], node.attrs["dilations"])


def _convolve(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    image, weight = shapes[0], shapes[1]
    assert image is not None and weight is not None
    top, bottom, left, right = pads = _convolution_padding(node, image, weight[1:3])
    if (top, left) == (bottom, right):
        pads = (0, 0, 0, 0)  # the layer's own

    def function(module: nn.Module, x: Tensor, residual: Tensor | None = None, *_: Any) -> Tensor:
        y = image_last(module(padded(image_first(x), pads)))
        return y if residual is None or node.op != "conv2d" else y + residual

    return function


def _transpose_convolve(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    image, weight, strides = shapes[0], shapes[1], node.attrs["strides"]
    assert image is not None and weight is not None
    top, _, left, _ = transpose_padding(node.attrs["padding"], result[1:3], weight[1:3], strides)
    height, width = ((image[1 + axis] - 1) * strides[axis] + weight[1 + axis] for axis in (0, 1))
    crop = (-top, result[1] + top - height, -left, result[2] + left - width)

    def function(module: nn.ConvTranspose2d, x: Tensor, *_: Any) -> Tensor:
        y = F.conv_transpose2d(image_first(x), module.weight, None, module.stride)
        y = image_last(padded(y, crop))
        return y if module.bias is None else y + module.bias  # the bias covers what the kernel does not reach, too

    return function


def _fully_connected(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda module, x, *_: _reshaped(module(x), result)


def _reshaped(x: Tensor, shape: Shape) -> Tensor:
    """In the shape that the graph states for one image, or for as many as there are."""
    return x.reshape(-1, *shape[1:]) if shape and shape[0] == 1 else x.reshape(shape)


def _average_pool(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    image, kernel, strides = shapes[0], node.attrs["kernel"], node.attrs["strides"]
    assert image is not None
    pads = explicit_padding(node.attrs["padding"], image[1:3], kernel, strides)
    if not any(pads) and tuple(kernel) == image[1:3]:
        # PyTorch's pool adds up pixel after pixel, which over a whole image costs digits; its mean adds pairwise.
        return lambda x, *_: x.mean((1, 2), keepdim=True)
    if not any(pads):
        return lambda x, *_: image_last(F.avg_pool2d(image_first(x), kernel, strides))
    # TensorFlow does not count the padding.
    ones = padded(torch.ones(1, 1, image[1], image[2]), pads)
    factor = 1 / F.avg_pool2d(ones, kernel, strides)
    return lambda x, *_: image_last(F.avg_pool2d(padded(image_first(x), pads), kernel, strides) * factor.to(x.device))


def _max_pool(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    image, kernel, strides = shapes[0], node.attrs["kernel"], node.attrs["strides"]
    assert image is not None
    pads = explicit_padding(node.attrs["padding"], image[1:3], kernel, strides)
    return lambda x, *_: image_last(F.max_pool2d(padded(image_first(x), pads, -torch.inf), kernel, strides))


REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
}


def _reduce(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    function, axes, keep = REDUCTIONS[node.op], tuple(node.attrs["axes"]), bool(node.attrs["keep_dims"])
    # No axes would be all of them to PyTorch.
    return lambda x, *_: function(x, axes, keep) if axes else x


def _argmax(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda x, *_: _reshaped(x.argmax(node.attrs["axis"]).to(x), result)


def _positions(node: Node, size: int, out: int) -> np.ndarray:
    """Where in the input each output pixel lies, float32 as TensorFlow Lite computes it, since rounding decides."""
    aligned = node.attrs["align_corners"] and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if aligned else np.float32(size) / np.float32(out)
    at = np.arange(out, dtype=np.float32)
    if not node.attrs["half_pixel_centers"]:
        return at * scale
    half = np.float32(0.5)
    return (at + half) * scale - (half if node.op == "resize_bilinear" else np.float32(0))


def _resize_bilinear(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    image = shapes[0]
    assert image is not None
    steps = []
    for axis in (1, 2):
        at = _positions(node, image[axis], result[axis])
        low = np.maximum(np.floor(at), 0).astype(np.int64)
        high = np.minimum(np.ceil(at), image[axis] - 1).astype(np.int64)
        share = (at - low).astype(np.float32).reshape([-1 if dim == axis else 1 for dim in range(4)])
        steps.append((axis, torch.from_numpy(low), torch.from_numpy(high), torch.from_numpy(share)))

    def function(x: Tensor, *_: Any) -> Tensor:
        for axis, low, high, share in steps:
            part = share.to(x)
            x = torch.lerp(
                x.index_select(axis, low.to(x.device)),
                x.index_select(axis, high.to(x.device)),
                part,
            )
        return x

    return function


def _resize_nearest(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    image = shapes[0]
    assert image is not None
    picks = []
    for axis in (1, 2):
        at = _positions(node, image[axis], result[axis])
        # Half away from zero, not to even.
        nearest = np.floor(at + np.float32(0.5)) if node.attrs["align_corners"] else np.floor(at)
        picks.append((axis, torch.from_numpy(np.clip(nearest, 0, image[axis] - 1).astype(np.int64))))

    def function(x: Tensor, *_: Any) -> Tensor:
        for axis, pick in picks:
            x = x.index_select(axis, pick.to(x.device))
        return x

    return function


def _concat(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda *xs: torch.cat(xs, node.attrs["axis"])


def _pad(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    pads = node.attrs["pads"]
    if node.attrs["pad_mode"] == "constant":
        flat = [size for pair in reversed(pads) for size in pair]
        return lambda x, *_: F.pad(x, flat, value=node.attrs["pad_value"])
    shape = shapes[0]
    assert shape is not None
    # PyTorch mirrors the last dimensions only, and not symmetrically: the places are those that NumPy finds.
    picks = [
        (axis, torch.from_numpy(np.pad(np.arange(size), pad, mode=node.attrs["pad_mode"])))
        for axis, (size, pad) in enumerate(zip(shape, pads, strict=True))
        if any(pad)
    ]

    def function(x: Tensor, *_: Any) -> Tensor:
        for axis, pick in picks:
            x = x.index_select(axis, pick.to(x.device))
        return x

    return function


def _slice(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    spans = zip(node.attrs["begin"], node.attrs["strides"], result, shapes[0] or (), strict=True)
    picks = [
        (axis, torch.arange(count) * step + first)
        for axis, (first, step, count, size) in enumerate(spans)
        if (first, step, count) != (0, 1, size)
    ]

    def function(x: Tensor, *_: Any) -> Tensor:
        for axis, pick in picks:
            x = x.index_select(axis, pick.to(x.device))
        return x

    return function


def _depth_to_space(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    block = node.attrs["block"]
    _, height, width, channels = result

    def function(x: Tensor, *_: Any) -> Tensor:
        x = x.reshape(-1, height // block, width // block, block, block, channels)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)

    return function


def _space_to_depth(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    block = node.attrs["block"]
    _, height, width, channels = result

    def function(x: Tensor, *_: Any) -> Tensor:
        x = x.reshape(-1, height, block, width, block, channels // (block * block))
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)

    return function


def _reshape(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda x, *_: _reshaped(x, result)


def _transpose(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda x, *_: x.permute(node.attrs["perm"])


def _matmul(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda a, b, *_: a @ b


def _softmax(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda x, *_: F.softmax(x * node.attrs["beta"], -1)


def _activation(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda x, *_: x  # `module` activates every op's result, this one's too


def _same(node: Node, shapes: list[Shape | None], result: Shape) -> Function:
    return lambda x, *_: x


_BUILDERS: dict[str, Callable[[Node, list[Shape | None], Shape], Function]] = {
    "conv2d": _convolve,
    "depthwise_conv2d": _convolve,
    "transpose_conv2d": _transpose_convolve,
    "fully_connected": _fully_connected,
    "average_pool2d": _average_pool,
    "max_pool2d": _max_pool,
    **dict.fromkeys(REDUCTIONS, _reduce),
    "argmax": _argmax,
    "resize_bilinear": _resize_bilinear,
    "resize_nearest": _resize_nearest,
    "concat": _concat,
    "pad": _pad,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "matmul": _matmul,
    "softmax": _softmax,
    "activation": _activation,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "to_chw": _same,
    "to_plain": _same,
}

KNOWN = frozenset({*BINARY, *_BUILDERS})
"""The ops that `build` knows."""
