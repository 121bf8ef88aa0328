"""The layer shapes that kernels are measured on: bench/shapes.json, written by bench/make_shapes.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[1] / "shapes.json"

KINDS = ("pointwise", "vector", "depthwise", "entry", "spatial")
"""1x1 over a map; matrix times vector (fully connected, or 1x1 over one pixel); depthwise; the entry convolution,
which reads the image as it is; any other convolution."""


PATHS = {
    "pointwise": ("sparse", "pairs", "dense"),
    "vector": ("sparse_vector", "dense_vector"),
    "depthwise": ("depthwise", "depthwise_padded"),
    "entry": ("entry",),
    "spatial": ("conv", "winograd"),
}
"""The paths, as a step of a profile has them, that a layer of each kind can take. All others, such as `pool`, are timed
as part of whole models."""

SPARSE_PATHS = ("sparse", "pairs", "sparse_vector")


@dataclass(frozen=True)
class Shape:
    """A layer: channels in and out, size of the input map, (h, w) of kernel and stride, padding top, bottom, left,
    right."""

    kind: str
    inputs: int
    outputs: int
    height: int
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of the output map."""
        top, bottom, left, right = self.padding
        return (
            (self.height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (self.width + left + right - self.kernel[1]) // self.stride[1] + 1,
        )

    @property
    def pixels(self) -> int:
        """Of the output map."""
        return self.out_size[0] * self.out_size[1]

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """As in a Graph: [out, kh, kw, in], depthwise [1, kh, kw, channels]."""
        if self.kind == "depthwise":
            return (1, *self.kernel, self.outputs)
        return (self.outputs, *self.kernel, self.inputs)

    @property
    def macs(self) -> int:
        """Multiply-adds of the dense layer."""
        per_pixel = self.kernel[0] * self.kernel[1] * self.outputs
        return per_pixel * self.pixels * (1 if self.kind == "depthwise" else self.inputs)

    def __str__(self) -> str:
        if self.kind == "vector":
            return f"{self.inputs} to {self.outputs}"
        if self.kind == "depthwise":
            return f"{self.kernel[0]}x{self.kernel[1]}/{self.stride[0]} {self.inputs} at {self.height}x{self.width}"
        window = "" if self.kind == "pointwise" else f"{self.kernel[0]}x{self.kernel[1]}/{self.stride[0]} "
        return f"{window}{self.inputs} to {self.outputs} at {self.height}x{self.width}"

    def order(self) -> tuple[Any, ...]:
        """Sorts by kind, then from large maps to small."""
        place = KINDS.index(self.kind), self.kernel, self.stride, -self.height * self.width
        return (*place, self.inputs, self.outputs, self.height, self.padding)

    def record(self, users: Mapping[str, int]) -> dict[str, Any]:
        """The shape in shapes.json; `users`: the number of layers in each model that have it."""
        record: dict[str, Any] = {"kind": self.kind, "inputs": self.inputs, "outputs": self.outputs}
        record |= {"height": self.height, "width": self.width}
        if self.kind not in ("pointwise", "vector"):
            record |= {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        return {**record, "layers": dict(users)}


def read_shapes() -> list[tuple[Shape, dict[str, int]]]:
    """Every shape, and the number of layers in each model that have it."""
    shapes = []
    for record in json.loads(PATH.read_text()):
        layers = record.pop("layers")
        lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
        shapes.append((Shape(**{**record, **lists}), layers))
    return shapes
