"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), as in table 2 of the paper."""

from __future__ import annotations

from tulle.graph import Graph
from tulle.zoo.builder import CLASSES_WITH_BACKGROUND, Builder, PathLike, scaled, weights_from

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


def mobilenet_v2(weights_npz: PathLike | None = None, width: float = 1.0, size: int = 224, seed: int = 0) -> Graph:
    """An image classifier: input "input" [1, size, size, 3], output "probabilities" [1, 1001] (class 0 is background).

    Args:
        weights_npz: see `builder.SavedWeights`. Without it the weights are random (He initialisation, from `seed`).
        width: multiplies the number of channels.
        size: height and width of the image in pixels. Pixels are fed as (pixel - 128) / 128.

    Raises TulleError if the weights do not fit, or width or size is not positive.
    """
    build = Builder("mobilenet_v2", weights_from(weights_npz, seed))
    x = build.image(size, width, mean=128, std=128)
    x = build.conv2d(x, "entry", scaled(32, width), kernel=3, stride=2, activation="relu6")
    for stage, (expansion, channels, blocks, stride) in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            name = f"stage{stage}/block{block + 1}"
            x = build.inverted_residual(x, name, expansion, scaled(channels, width), 3, stride if block == 0 else 1)
    x = build.conv2d(x, "last", scaled(1280, max(1.0, width)), activation="relu6")
    x = build.node("mean", [x], "pool", axes=(1, 2), keep_dims=True)
    x = build.conv2d(x, "classifier", CLASSES_WITH_BACKGROUND)
    x = build.node("reshape", [x], "logits", shape=(1, CLASSES_WITH_BACKGROUND))
    return build.finish(build.node("softmax", [x], "probabilities", beta=1.0))
