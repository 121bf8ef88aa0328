"""A segmenter of narrow convolutions, as those of hair are built: bottlenecks of 4 to 64 channels over large maps, max
pools that keep places and unpooling, transposed convolutions of few channels, a PReLU slope for every channel.

Its weights are random. MediaPipe's own such models are in no package.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tflite_model import TfliteModel


class _Network:
    def __init__(self, size: int, channels: int) -> None:
        self.model = TfliteModel()
        self.random = np.random.default_rng(0)
        self.x = self.model.input((1, size, size, channels))

    def weights(self, *shape: int) -> int:
        fan_in = int(np.prod(shape[1:]))
        return self.model.constant(self.random.standard_normal(shape) * (1.5 / fan_in) ** 0.5)

    def bias(self, channels: int) -> int:
        return self.model.constant(self.random.standard_normal(channels) * 0.1)

    def conv(self, x: int, channels: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> int:
        _, height, width, inputs = self.model.shape(x)
        weight = self.weights(channels, kernel, kernel, inputs)
        shape = (1, -(-height // stride), -(-width // stride), channels)
        return self.model.op(
            "CONV_2D", [x, weight, self.bias(channels)], shape, "Conv2DOptions", padding=0,
            strideW=stride, strideH=stride, dilationWFactor=dilation, dilationHFactor=dilation,
        )  # fmt: skip

    def prelu(self, x: int) -> int:
        shape = self.model.shape(x)
        alpha = self.model.constant(self.random.random((1, 1, shape[3])) * 0.3)
        return self.model.op("PRELU", [x, alpha], shape)

    def add(self, x: int, y: int) -> int:
        return self.prelu(self.model.op("ADD", [x, y], self.model.shape(x), "AddOptions"))

    def pool(self, x: int) -> list[int]:
        """The maxima of 2x2 windows, and their places."""
        _, height, width, channels = self.model.shape(x)
        small = (1, height // 2, width // 2, channels)
        found: list[int] = self.model.op("MaxPoolingWithArgmax2D", [x], [small, small], custom=_POOL)
        return found

    def unpool(self, x: int, places: int) -> int:
        _, height, width, channels = self.model.shape(x)
        return self.model.op("MaxUnpooling2D", [x, places], (1, 2 * height, 2 * width, channels), custom=_POOL)

    def transposed(self, x: int, channels: int, kernel: int = 2) -> int:
        _, height, width, inputs = self.model.shape(x)
        weight = self.weights(channels, kernel, kernel, inputs)
        options = struct.pack("<3i", 1, 2, 2)  # same, stride 2
        inputs_ = [x, weight, self.bias(channels)]
        return self.model.op(
            "Convolution2DTransposeBias", inputs_, (1, 2 * height, 2 * width, channels), custom=options
        )

    def bottleneck(self, x: int, inner: int, dilation: int = 1) -> int:
        y = self.prelu(self.conv(x, inner))
        y = self.prelu(self.conv(y, inner, 3, dilation=dilation))
        return self.add(self.conv(y, self.model.shape(x)[3]), x)

    def down(self, x: int, channels: int, inner: int) -> tuple[int, int]:
        """Half the size; also the places of the maxima."""
        y = self.prelu(self.conv(x, inner, 2, 2))
        y = self.conv(self.prelu(self.conv(y, inner, 3)), channels)
        pooled, places = self.pool(x)
        missing = channels - self.model.shape(pooled)[3]
        if missing:
            pads = self.model.constant([[0, 0], [0, 0], [0, 0], [0, missing]], np.int32)
            pooled = self.model.op("PAD", [pooled, pads], (*self.model.shape(pooled)[:3], channels), "PadOptions")
        return self.add(y, pooled), places

    def up(self, x: int, channels: int, inner: int, places: int) -> int:
        """Twice the size."""
        y = self.prelu(self.conv(x, inner))
        y = self.conv(self.prelu(self.transposed(y, inner)), channels)
        return self.add(y, self.unpool(self.conv(x, channels), places))


# TfLitePoolParams: padding (2: valid), stride width and height, filter width and height, activation, computed padding.
_POOL = struct.pack("<6i4i", 2, 2, 2, 2, 2, 0, 0, 0, 0, 0)


def narrow_segmenter(size: int = 512, channels: int = 4) -> bytes:
    """The file: input [1, size, size, channels], output [1, size, size, 2]. `size` is a multiple of 16."""
    network = _Network(size, channels)
    x: Any = network.prelu(network.conv(network.x, 8, 2, 2))
    x, first = network.down(x, 16, 4)
    x = network.bottleneck(x, 4)
    x, second = network.down(x, 32, 8)
    for _ in range(2):
        x = network.bottleneck(x, 8)
    x, third = network.down(x, 64, 16)
    for dilation in (1, 2, 1, 4):
        x = network.bottleneck(x, 16, dilation)
    x = network.bottleneck(network.up(x, 32, 8, third), 8)
    x = network.bottleneck(network.up(x, 16, 4, second), 4)
    x = network.bottleneck(network.up(x, 8, 4, first), 4)
    return network.model.finish(network.transposed(x, 2))
