"""EfficientNet-Lite0 to 4: EfficientNet (Tan and Le 2019, arXiv 1905.11946, table 1) as Google released it for TFLite.

"Lite" has relu6 instead of swish, no squeeze-and-excite, and a stem, a head and first and last stages that are not
scaled with the rest.
"""

from __future__ import annotations

import math

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.zoo.builder import Builder, PathLike, scaled, weights_from

# Expansion factor, output channels, blocks, kernel, stride of the first of them.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
# Width and depth multipliers, and the size of the image that each variant was trained with.
VARIANTS = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))
CLASSES = 1000


def efficientnet_lite(
    variant: int = 0, weights_npz: PathLike | None = None, width: float = 1.0, size: int | None = None, seed: int = 0
) -> Graph:
    """An image classifier: input "input" [1, size, size, 3], output "probabilities" [1, 1000].

    Args:
        variant: 0 to 4.
        weights_npz: see `builder.SavedWeights`; without it the weights are random, from `seed`.
        width: multiplies the number of channels once more.
        size: height and width of the image in pixels; by default the variant's own. Pixels are fed as
            (pixel - 127) / 128.

    Raises TulleError if the weights do not fit, or variant, width or size is out of range.
    """
    if variant not in range(len(VARIANTS)):
        raise TulleError(f"EfficientNet-Lite{variant} does not exist: there are 0 to {len(VARIANTS) - 1}")
    own_width, depth, own_size = VARIANTS[variant]
    build = Builder(f"efficientnet_lite{variant}", weights_from(weights_npz, seed))
    x = build.image(own_size if size is None else size, width, mean=127, std=128)
    x = build.conv2d(x, "entry", scaled(32, width), kernel=3, stride=2, activation="relu6")
    for stage, (expansion, channels, blocks, kernel, stride) in enumerate(STAGES, start=1):
        if 1 < stage < len(STAGES):
            blocks = math.ceil(blocks * depth)
        for block in range(blocks):
            x = build.inverted_residual(
                x, f"stage{stage}/block{block + 1}", expansion, scaled(channels, own_width * width),
                kernel, stride if block == 0 else 1,
            )  # fmt: skip
    x = build.conv2d(x, "last", scaled(1280, max(1.0, width)), activation="relu6")
    x = build.node("mean", [x], "pool", axes=(1, 2), keep_dims=False)
    x = build.fully_connected(x, "logits", CLASSES)
    return build.finish(build.node("softmax", [x], "probabilities", beta=1.0))
