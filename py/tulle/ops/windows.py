"""What convolutions and pools share: the windows they look through, in NumPy and TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.graph.geometry import explicit_padding
from tulle.graph.graph import Node

if TYPE_CHECKING:
    from tulle.tflite.call import Call


def windows(node: Node, x: np.ndarray, kernel: Sequence[int], shape: Sequence[int], fill: float = 0.0) -> list[Any]:
    """For every place in the kernel, row by row, the [1, out_h, out_w, C] inputs that it meets."""
    strides, dilations = node.attrs["strides"], node.attrs.get("dilations", (1, 1))
    pads = explicit_padding(node.attrs["padding"], (x.shape[1], x.shape[2]), kernel, strides, dilations)
    padded = np.pad(x, ((0, 0), pads[:2], pads[2:], (0, 0)), constant_values=fill)
    result = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilations[0], column * dilations[1]
            bottom, right = top + (shape[1] - 1) * strides[0] + 1, left + (shape[2] - 1) * strides[1] + 1
            result.append(padded[:, top : bottom : strides[0], left : right : strides[1]])
    return result


# ---- TensorFlow Lite


def window_options(node: Node) -> dict[str, Any]:
    """Fields that the options of convolutions and pools share."""
    stride_h, stride_w = node.attrs["strides"]
    return {"Padding": node.attrs["padding"], "StrideW": stride_w, "StrideH": stride_h}


def fused_option(node: Node) -> dict[str, str]:
    return {"FusedActivationFunction": node.attrs.get("activation", "none")}


def read_window(call: Call, options: Any) -> dict[str, Any]:
    """The attributes of those fields."""
    return {
        "strides": (options.StrideH(), options.StrideW()),
        "padding": call.padding(options),
        "activation": call.activation(options),
    }


# ---- examples


def window_attributes(random: np.random.Generator, dilate: bool = False) -> dict[str, Any]:
    """Strides, padding and perhaps dilations; of a kernel of at most 3x3, every one fits an image of at least 5x5."""
    attrs: dict[str, Any] = {"padding": str(random.choice(["same", "valid"])), "strides": _pair(random, 3)}
    if dilate and random.random() < 0.4:  # TensorFlow Lite has no strides together with dilations
        return {**attrs, "strides": (1, 1), "dilations": _pair(random, 2)}
    return {**attrs, "dilations": (1, 1)} if dilate else attrs


def kernel_size(random: np.random.Generator) -> tuple[int, int]:
    return _pair(random, 3)


def _pair(random: np.random.Generator, most: int) -> tuple[int, int]:
    return int(random.integers(1, most + 1)), int(random.integers(1, most + 1))


def picture(random: np.random.Generator, least: int = 5) -> np.ndarray:
    """An image of random numbers, of odd and even sizes."""
    height, width = random.integers(least, least + 10, 2)
    channels = int(random.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 21]))
    return random.standard_normal((1, height, width, channels))
