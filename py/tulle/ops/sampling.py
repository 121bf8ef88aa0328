"""Images looked up at computed positions: sample_bilinear."""

from __future__ import annotations

from typing import Any

import numpy as np

from tulle.graph.graph import Node
from tulle.ops.channels import Channels, two_inputs
from tulle.ops.layout import CHW
from tulle.ops.op import Example, Input, Op
from tulle.ops.shapes import Shape, Shapes, image, operand, require
from tulle.ops.windows import picture


def _shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    source, at = image(shapes[0]), operand(shapes, 1, "positions")
    require(len(at) == 4 and at[0] == 1 and at[3] == 2, "positions must be [1, H, W, 2]")
    return 1, at[1], at[2], source[3]


def _sample_bilinear(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x, at = inputs
    _, height, width, _ = x.shape
    columns, rows = at[0, ..., 0], at[0, ..., 1]
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    columns, rows = np.where(inside, columns, 0), np.where(inside, rows, 0)
    left, top = columns.astype(int), rows.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (columns - left)[..., None], (rows - top)[..., None]
    upper = x[0, top, left] * (1 - across) + x[0, top, right] * across
    lower = x[0, bottom, left] * (1 - across) + x[0, bottom, right] * across
    return ((upper * (1 - down) + lower * down) * inside[..., None])[None]


def _example(random: np.random.Generator) -> Example:
    x = picture(random, least=2)
    _, height, width, _ = x.shape
    positions = random.uniform(-1, 1, (1, *random.integers(1, 12, 2), 2)) * 1.1  # some beyond the image
    return Example([x, (positions + 1) / 2 * (width - 1, height - 1)])


SAMPLE_BILINEAR = Op(
    "sample_bilinear", "x interpolated at positions (x, y) in pixels, 0 where one is beyond the image",
    (Input("x"), Input("positions", "[1, H, W, 2]")),
    _shape, _sample_bilinear, CHW, _example,
    channels=Channels(two_inputs),
)  # fmt: skip

OPS = (SAMPLE_BILINEAR,)
