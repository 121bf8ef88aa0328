"""What shape rules are made of."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from tulle.graph.geometry import explicit_padding, output_size
from tulle.graph.graph import Node

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = "list[Shape | None]"


class Mismatch(Exception):
    """Input shapes that an op cannot take."""


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise Mismatch(problem)


def image(shape: Shape | None) -> Shape:
    """The shape, if it is [1, H, W, C]."""
    if shape is None or len(shape) != 4:
        raise Mismatch("needs an image [1, H, W, C]")
    require(shape[0] == 1, "batches other than 1 are not supported")
    return shape


def operand(shapes: Shapes, index: int, what: str = "input") -> Shape:
    shape = shapes[index] if index < len(shapes) else None
    if shape is None:
        raise Mismatch(f"has no {what}")
    return shape


def check_bias(shapes: Shapes, channels: int) -> None:
    if len(shapes) > 2 and shapes[2] is not None:
        require(int(np.prod(shapes[2])) == channels, f"the bias needs {channels} values")


def window(node: Node, size: tuple[int, int], kernel: Shape) -> tuple[int, int]:
    """Output height and width of a convolution or pool."""
    strides, dilations = node.attrs["strides"], node.attrs.get("dilations", (1, 1))
    require(min(*strides, *dilations, *kernel) >= 1, "kernel, strides and dilations must be at least 1")
    top, bottom, left, right = explicit_padding(node.attrs["padding"], size, kernel, strides, dilations)
    height = output_size(size[0], kernel[0], strides[0], dilations[0], top + bottom)
    width = output_size(size[1], kernel[1], strides[1], dilations[1], left + right)
    require(height >= 1 and width >= 1, f"its {kernel[0]}x{kernel[1]} window does not fit the image")
    return height, width


def broadcast(a: Shape, b: Shape) -> Shape:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise Mismatch("shapes do not broadcast") from None


def same_as_input(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    """The shape rule of ops that leave it as it is."""
    return operand(shapes, 0)


def stated_image(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    """The shape rule of ops whose output's height and width its tensor states."""
    channels = image(shapes[0])[3]
    fits = len(stated) == 4 and stated[0] == 1 and stated[3] == channels and min(stated) >= 1
    require(fits, f"cannot make the output {list(stated)}")
    return stated
