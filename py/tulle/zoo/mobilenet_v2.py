"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), as in table 2 of the paper."""

from __future__ import annotations

import os

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.zoo.builder import Builder, RandomWeights, SavedWeights

# Expansion factor, output channels, blocks, stride of the first of them.
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
CLASSES = 1001  # ImageNet's 1000, after a background class


def mobilenet_v2(
    weights_npz: str | os.PathLike[str] | None = None, width: float = 1.0, size: int = 224, seed: int = 0
) -> Graph:
    """An image classifier: input "input" [1, size, size, 3], output "probabilities" [1, 1001] (class 0 is background).

    Args:
        weights_npz: arrays L001_..._w ([out, in, kh, kw]) and L001_..._b, batch normalisation folded in, one pair a
            layer in execution order. Without it the weights are random (He initialisation, from `seed`).
        width: multiplies the number of channels.
        size: height and width of the image in pixels. Pixels are fed as (pixel - 128) / 128.

    Raises TulleError if the weights do not fit, or width or size is not positive.
    """
    if width <= 0 or size < 1:
        raise TulleError(f"width {width} and size {size} must be positive")
    build = Builder("mobilenet_v2", RandomWeights(seed) if weights_npz is None else SavedWeights(weights_npz))
    x = build.input("input", (1, size, size, 3), mean=128, std=128)
    x = build.conv2d(x, "entry", scaled(32, width), kernel=3, stride=2, activation="relu6")
    for stage, (expansion, channels, blocks, stride) in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            name = f"stage{stage}/block{block + 1}"
            x = _inverted_residual(build, x, name, expansion, scaled(channels, width), stride if block == 0 else 1)
    x = build.conv2d(x, "last", scaled(1280, max(1.0, width)), activation="relu6")
    x = build.node("mean", [x], "pool", axes=(1, 2), keep_dims=True)
    x = build.conv2d(x, "classifier", CLASSES)
    x = build.node("reshape", [x], "logits", shape=(1, CLASSES))
    return build.finish(build.node("softmax", [x], "probabilities", beta=1.0))


def _inverted_residual(build: Builder, x: str, name: str, expansion: int, channels: int, stride: int) -> str:
    inputs = build.graph.tensors[x].shape[3]
    y = x
    if expansion != 1:
        y = build.conv2d(y, f"{name}/expand", inputs * expansion, activation="relu6")
    y = build.depthwise_conv2d(y, f"{name}/depthwise", stride=stride, activation="relu6")
    y = build.conv2d(y, f"{name}/project", channels)
    if stride == 1 and inputs == channels:
        y = build.node("add", [x, y], f"{name}/add", activation="none")
    return y


def scaled(channels: int, width: float) -> int:
    """A number of channels times `width`, to the nearest multiple of 8, at least 8 and not more than 10 % lower."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded
