"""Pools: average_pool2d, max_pool2d, and max pooling that remembers places and puts values back to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.graph.geometry import explicit_padding
from tulle.graph.graph import Graph, Node
from tulle.ops import attributes as attribute
from tulle.ops.batches import image_first, image_last, padded
from tulle.ops.channels import Channels, same, two_inputs
from tulle.ops.layout import CHW
from tulle.ops.op import Example, Input, Op, Operator, equals_input
from tulle.ops.shapes import Shape, Shapes, image, operand, require, stated_image, window
from tulle.ops.windows import (
    fused_option,
    kernel_size,
    picture,
    read_window,
    window_attributes,
    window_options,
    windows,
)

if TYPE_CHECKING:
    from tulle.tflite.call import Call

# ---- shapes


def _pool_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    _, height, width, channels = image(shapes[0])
    return 1, *window(node, (height, width), node.attrs["kernel"]), channels


def _unpool_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    image(shapes[0])
    require(operand(shapes, 1, "indices") == shapes[0], "values and indices must have one shape")
    return stated_image(node, shapes, stated)


# ---- NumPy


def _average_pool(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, kernel = inputs[0], node.attrs["kernel"]
    total: Any = sum(windows(node, x, kernel, shape))
    counted = sum(windows(node, np.ones_like(x[..., :1]), kernel, shape))  # the padding is not
    return total / counted


def _max_pool(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    return np.maximum.reduce(windows(node, inputs[0], node.attrs["kernel"], shape, fill=-np.inf))


def _argmax_pool(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    views = windows(node, inputs[0], node.attrs["kernel"], shape, fill=-np.inf)
    return np.argmax(views, axis=0).astype(inputs[0].dtype)


def _unpool(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, indices = inputs[0], inputs[1].astype(int)
    (top, _, left, _), (stride_h, stride_w) = node.attrs["padding"], node.attrs["strides"]
    width = node.attrs["kernel"][1]
    y = np.zeros(shape, x.dtype)
    for _, in_y, in_x, channel in np.ndindex(x.shape):  # in order: of overlapping windows the last one's value stays
        row = in_y * stride_h - top + indices[0, in_y, in_x, channel] // width
        column = in_x * stride_w - left + indices[0, in_y, in_x, channel] % width
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            y[0, row, column, channel] = x[0, in_y, in_x, channel]
    return y


def _one_pixel(node: Node) -> bool:
    return node.attrs.get("kernel") == (1, 1) and node.attrs.get("activation") == "none"


# ---- PyTorch


def _torch_average_pool(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch
    import torch.nn.functional as F

    image, kernel, strides = operand(shapes, 0), node.attrs["kernel"], node.attrs["strides"]
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


def _torch_max_pool(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch
    import torch.nn.functional as F

    image, kernel, strides = operand(shapes, 0), node.attrs["kernel"], node.attrs["strides"]
    pads = explicit_padding(node.attrs["padding"], image[1:3], kernel, strides)
    return lambda x, *_: image_last(F.max_pool2d(padded(image_first(x), pads, -torch.inf), kernel, strides))


# ---- TensorFlow Lite


def _write(kind: str) -> Callable[[Graph, Node], Operator]:
    def write(graph: Graph, node: Node) -> Operator:
        kernel_h, kernel_w = node.attrs["kernel"]
        options = {**window_options(node), **fused_option(node), "FilterWidth": kernel_w, "FilterHeight": kernel_h}
        return Operator(kind, [node.inputs[0]], node.output, "Pool2DOptions", options)

    return write


def _read(op: str) -> Callable[[Call], None]:
    def read(call: Call) -> None:
        options = call.options("Pool2DOptions")
        kernel = (options.FilterHeight(), options.FilterWidth())
        call.add(op, [call.input(0)], kernel=kernel, **read_window(call, options))

    return read


# ---- examples


def _example(random: np.random.Generator) -> Example:
    x = picture(random)
    attrs = {**window_attributes(random), "kernel": kernel_size(random)}
    return Example([x], {**attrs, "activation": str(random.choice(["none", "relu", "relu6"]))})


def _argmax_example(random: np.random.Generator) -> Example:
    example = _example(random)
    return Example(example.inputs, {**example.attrs, "activation": "none"})


def _unpool_example(random: np.random.Generator) -> Example:
    x, (kernel_h, kernel_w) = picture(random, least=2), kernel_size(random)
    places = random.integers(0, kernel_h * kernel_w, x.shape).astype(np.float64)
    top, left = (int(random.integers(0, size)) for size in (kernel_h, kernel_w))
    attrs = {"kernel": (kernel_h, kernel_w), "strides": (kernel_h, kernel_w), "padding": (top, 0, left, 0)}
    shape = (1, x.shape[1] * kernel_h - top, x.shape[2] * kernel_w - left, x.shape[3])
    return Example([x, places], attrs, shape=shape)


# ---- records

_POOL = (attribute.KERNEL, attribute.STRIDES, attribute.PADDING, *attribute.FUSED)


def _pool(name: str, summary: str, reference: Any, torch: Any, kind: str) -> Op:
    return Op(
        name, summary, (Input("x"),), _pool_shape, reference, CHW, _example, _POOL,
        Channels(source=same),
        fuses_activation=True,
        identity=equals_input(_one_pixel),
        torch=torch,
        to_tflite=_write(kind),
        tflite_fuses=True,
        from_tflite={kind: _read(name)},
    )  # fmt: skip


AVERAGE_POOL2D = _pool(
    "average_pool2d", "the mean of every window, padding not counted",
    _average_pool, _torch_average_pool, "AVERAGE_POOL_2D",
)  # fmt: skip
MAX_POOL2D = _pool("max_pool2d", "the maximum of every window", _max_pool, _torch_max_pool, "MAX_POOL_2D")

MAX_POOL2D_ARGMAX = Op(
    "max_pool2d_argmax", "where in its window each maximum is, the first of equals: row * kernel width + column",
    (Input("x"),),
    _pool_shape, _argmax_pool, CHW, _argmax_example, _POOL,
)  # fmt: skip

MAX_UNPOOL2D = Op(
    "max_unpool2d", "x at the places that max_pool2d_argmax gives, zeros elsewhere",
    (Input("x"), Input("indices", "x's shape")),
    _unpool_shape, _unpool, CHW, _unpool_example,
    (attribute.KERNEL, attribute.STRIDES, attribute.PADDING),
    Channels(two_inputs),
    open_shape=True,
)  # fmt: skip

OPS = (AVERAGE_POOL2D, MAX_POOL2D, MAX_POOL2D_ARGMAX, MAX_UNPOOL2D)
