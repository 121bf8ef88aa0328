#!/usr/bin/env python3
"""Writes bench/shapes.json: the shapes of real models' convolutions after lowering, each once with its users.

    python bench/make_shapes.py

They are kept as data so that what bench/kernels.py measures does not change unnoticed with a model or a pass.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from harness.models import SPECS, tflite_bytes
from harness.shapes import PATH, Shape
from tulle import read_tflite
from tulle.graph import Graph, Node
from tulle.passes.lower import lower
from tulle.zoo import ARCHITECTURES

FILES = (
    "hand_landmark_full",
    "hand_landmark_lite",
    "hand_landmark_sparse",
    "selfie_segmentation",
    "selfie_segmentation_landscape",
)
ZOO = ("mobilenet_v1", "mobilenet_v2", "efficientnet_lite0")


def graphs() -> Iterator[tuple[str, Graph]]:
    for name in FILES:
        yield name, lower(read_tflite(tflite_bytes(SPECS[name])))
    for name in ZOO:
        yield name, lower(ARCHITECTURES[name].build())


def shape_of(graph: Graph, node: Node) -> Shape | None:
    """The shape of a convolution or fully connected layer, None for any other op."""
    if node.op not in ("conv2d", "depthwise_conv2d", "fully_connected"):
        return None
    assert node.inputs[0] is not None and node.inputs[1] is not None
    x, weight = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]]
    if node.op == "fully_connected":
        return Shape("vector", weight.shape[1], weight.shape[0], 1, 1)
    _, height, width, channels = x.shape
    _, kernel_h, kernel_w, last = weight.shape
    (stride_h, stride_w), padding = node.attrs["strides"], node.attrs["padding"]
    outputs = last if node.op == "depthwise_conv2d" else weight.shape[0]
    general = channels, outputs, height, width, (kernel_h, kernel_w), (stride_h, stride_w), tuple(padding)
    if node.op == "depthwise_conv2d":
        return Shape("depthwise", *general)
    if (kernel_h, kernel_w, stride_h, stride_w, *padding) != (1, 1, 1, 1, 0, 0, 0, 0):
        return Shape("entry" if x.layout == "plain" else "spatial", *general)
    return Shape("pointwise" if height * width > 1 else "vector", channels, outputs, height, width)


def main() -> None:
    users: dict[Shape, Counter[str]] = {}
    for name, graph in graphs():
        for node in graph:
            if (shape := shape_of(graph, node)) is not None:
                users.setdefault(shape, Counter())[name] += 1
    rows = [json.dumps(shape.record(users[shape])) for shape in sorted(users, key=Shape.order)]
    PATH.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"bench/{PATH.name}: {len(rows)} shapes")


if __name__ == "__main__":
    main()
