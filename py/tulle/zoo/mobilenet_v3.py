"""MobileNetV3 (Howard et al. 2019, arXiv 1905.02244), as in tables 1 and 2 of the paper.

No weights are published in a form usable here: these are architectures to measure and to train.
"""

from __future__ import annotations

from tulle.graph import Graph
from tulle.zoo.builder import CLASSES_WITH_BACKGROUND, Builder, PathLike, scaled, weights_from

# Kernel, expanded channels, output channels, squeeze-and-excite, activation, stride.
Block = tuple[int, int, int, bool, str, int]
RELU, SWISH = "relu", "hard_swish"
LARGE: tuple[Block, ...] = (
    (3, 16, 16, False, RELU, 1),
    (3, 64, 24, False, RELU, 2),
    (3, 72, 24, False, RELU, 1),
    (5, 72, 40, True, RELU, 2),
    (5, 120, 40, True, RELU, 1),
    (5, 120, 40, True, RELU, 1),
    (3, 240, 80, False, SWISH, 2),
    (3, 200, 80, False, SWISH, 1),
    (3, 184, 80, False, SWISH, 1),
    (3, 184, 80, False, SWISH, 1),
    (3, 480, 112, True, SWISH, 1),
    (3, 672, 112, True, SWISH, 1),
    (5, 672, 160, True, SWISH, 2),
    (5, 960, 160, True, SWISH, 1),
    (5, 960, 160, True, SWISH, 1),
)
SMALL: tuple[Block, ...] = (
    (3, 16, 16, True, RELU, 2),
    (3, 72, 24, False, RELU, 2),
    (3, 88, 24, False, RELU, 1),
    (5, 96, 40, True, SWISH, 2),
    (5, 240, 40, True, SWISH, 1),
    (5, 240, 40, True, SWISH, 1),
    (5, 120, 48, True, SWISH, 1),
    (5, 144, 48, True, SWISH, 1),
    (5, 288, 96, True, SWISH, 2),
    (5, 576, 96, True, SWISH, 1),
    (5, 576, 96, True, SWISH, 1),
)


def mobilenet_v3_large(
    weights_npz: PathLike | None = None, width: float = 1.0, size: int = 224, seed: int = 0
) -> Graph:  # fmt: skip
    """An image classifier: input "input" [1, size, size, 3], output "probabilities" [1, 1001] (class 0 is background).

    Args: as of `mobilenet_v2`. Raises TulleError if the weights do not fit, or width or size is not positive.
    """
    return _mobilenet_v3("mobilenet_v3_large", LARGE, 960, 1280, weights_npz, width, size, seed)


def mobilenet_v3_small(
    weights_npz: PathLike | None = None, width: float = 1.0, size: int = 224, seed: int = 0
) -> Graph:  # fmt: skip
    """The small one; otherwise as `mobilenet_v3_large`."""
    return _mobilenet_v3("mobilenet_v3_small", SMALL, 576, 1024, weights_npz, width, size, seed)


def _mobilenet_v3(
    name: str, blocks: tuple[Block, ...], last: int, head: int,
    weights_npz: PathLike | None, width: float, size: int, seed: int,
) -> Graph:  # fmt: skip
    build = Builder(name, weights_from(weights_npz, seed))
    x = build.image(size, width, mean=128, std=128)
    x = build.conv2d(x, "entry", scaled(16, width), kernel=3, stride=2, activation=SWISH)
    for number, block in enumerate(blocks, start=1):
        x = _block(build, x, f"block{number}", block, width)
    x = build.conv2d(x, "last", scaled(last, width), activation=SWISH)
    x = build.node("mean", [x], "pool", axes=(1, 2), keep_dims=True)
    x = build.conv2d(x, "head", scaled(head, max(1.0, width)), activation=SWISH)
    x = build.conv2d(x, "classifier", CLASSES_WITH_BACKGROUND)
    x = build.node("reshape", [x], "logits", shape=(1, CLASSES_WITH_BACKGROUND))
    return build.finish(build.node("softmax", [x], "probabilities", beta=1.0))


def _block(build: Builder, x: str, name: str, block: Block, width: float) -> str:
    kernel, expanded, channels, squeeze, activation, stride = block
    expanded, channels, inputs = scaled(expanded, width), scaled(channels, width), build.channels(x)
    y = x
    if expanded != inputs:
        y = build.conv2d(y, f"{name}/expand", expanded, activation=activation)
    y = build.depthwise_conv2d(y, f"{name}/depthwise", kernel, stride, activation)
    if squeeze:
        y = _squeeze_excite(build, y, f"{name}/squeeze", scaled(expanded / 4, 1.0))
    y = build.conv2d(y, f"{name}/project", channels)
    if stride == 1 and inputs == channels:
        y = build.node("add", [x, y], f"{name}/add", activation="none")
    return y


def _squeeze_excite(build: Builder, x: str, name: str, channels: int) -> str:
    """x times one factor per channel, computed from the channels' means, with a hard sigmoid, relu6(x + 3) / 6."""
    gate = build.node("mean", [x], f"{name}/pool", axes=(1, 2), keep_dims=True)
    gate = build.conv2d(gate, f"{name}/reduce", channels, activation="relu")
    gate = build.conv2d(gate, f"{name}/expand", build.channels(x))
    gate = build.node("add", [gate, build.number(f"{name}/three", 3.0)], f"{name}/shift", activation="relu6")
    gate = build.node("mul", [gate, build.number(f"{name}/sixth", 1 / 6)], f"{name}/gate", activation="none")
    return build.node("mul", [x, gate], f"{name}/scale", activation="none")
