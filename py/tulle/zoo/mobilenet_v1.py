"""MobileNet V1 (Howard et al. 2017, arXiv 1704.04861), as in table 1 of the paper."""

from __future__ import annotations

from tulle.graph import Graph
from tulle.zoo.builder import CLASSES_WITH_BACKGROUND, Builder, PathLike, weights_from

# Output channels and stride of the depthwise separable convolutions.
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet_v1(
    weights_npz: PathLike | None = None, width: float = 1.0, size: int = 224, seed: int = 0
) -> Graph:  # fmt: skip
    """An image classifier: input "input" [1, size, size, 3], output "probabilities" [1, 1001] (class 0 is background).

    Args: as of `mobilenet_v2`; every layer but the classifier has `width` times its channels, at least 8.

    Raises TulleError if the weights do not fit, or width or size is not positive.
    """
    build = Builder("mobilenet_v1", weights_from(weights_npz, seed))
    x = build.image(size, width, mean=128, std=128)
    x = build.conv2d(x, "entry", _thin(32, width), kernel=3, stride=2, activation="relu6")
    for number, (channels, stride) in enumerate(BLOCKS, start=1):
        x = build.depthwise_conv2d(x, f"block{number}/depthwise", stride=stride, activation="relu6")
        x = build.conv2d(x, f"block{number}/pointwise", _thin(channels, width), activation="relu6")
    x = build.node("mean", [x], "pool", axes=(1, 2), keep_dims=True)
    x = build.conv2d(x, "classifier", CLASSES_WITH_BACKGROUND)
    x = build.node("reshape", [x], "logits", shape=(1, CLASSES_WITH_BACKGROUND))
    return build.finish(build.node("softmax", [x], "probabilities", beta=1.0))


def _thin(channels: int, width: float) -> int:
    return max(8, int(channels * width))
