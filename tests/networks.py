"""Small networks, inputs and comparisons that several tests share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tulle.graph import Graph, reference
from tulle.graph.shapes import check_shapes
from tulle.zoo.builder import Builder, RandomWeights

MODELS = (
    "hand_landmark_full",
    "hand_landmark_lite",
    "hand_landmark_sparse",
    "hand_landmark_tulle",
    "palm_detection_full",
    "palm_detection_lite",
    "selfie_segmentation",
    "selfie_segmentation_landscape",
)


def builder(seed: int = 0) -> Builder:
    return Builder("test", RandomWeights(seed))


def patchwork(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs by name, 0 to 1; images in patches of 16x16, since networks answer white noise with nothing."""
    random = np.random.default_rng(seed)
    inputs = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        values = random.random(shape)
        if len(shape) == 4:
            values[:] = values[:, ::16, ::16].repeat(16, axis=1).repeat(16, axis=2)[:, : shape[1], : shape[2]]
        inputs[name] = values.astype(np.float32)
    return inputs


def noise(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Normally distributed inputs by name."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(graph.tensors[name].shape).astype(np.float32) for name in graph.inputs}


def error(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], graph: Graph | None = None) -> float:
    """The largest difference between outputs, relative to the range of each.

    The range is the expected one (at least 1e-3, for constant outputs), or 1 for what `graph` computes by a sigmoid.
    """
    assert set(actual) == set(expected)
    makers = graph.producer() if graph else {}
    result = 0.0
    for name, values in expected.items():
        assert actual[name].shape == values.shape
        sigmoid = name in makers and makers[name].attrs.get("activation") == "sigmoid"
        reach = 1.0 if sigmoid else max(1e-3, float(np.ptp(values)))
        result = max(result, float(np.abs(actual[name].astype(np.float64) - values).max()) / reach)
    return result


def every_op() -> Graph:
    """A small network with most ops, float16 and sparse weights when written so, and one of each kind of head."""
    build = builder(1)
    x = build.input("image", (1, 8, 8, 3))
    entry = build.conv2d(x, "entry", 8, kernel=3, stride=2, activation="relu6")
    y = build.depthwise_conv2d(entry, "depthwise", activation="relu")
    y = build.conv2d(y, "project", 16)
    wider = build.node(
        "pad", [entry], "wider", pads=((0, 0), (0, 0), (0, 0), (0, 8)), pad_value=0.0, pad_mode="constant"
    )
    y = build.node("add", [y, wider], "add", activation="none")
    alpha = build.graph.add_constant("alpha", np.full((1, 1, 16), 0.1, np.float32))
    y = build.node("activation", [y, alpha], "prelu", activation="prelu")
    z = build.node("resize_bilinear", [y], "up", shape=(1, 8, 8, 16), align_corners=False, half_pixel_centers=True)
    z = build.conv2d(z, "narrow", 4)
    z = build.node(
        "average_pool2d", [z], "pool", kernel=(2, 2), strides=(2, 2), padding="same", activation="none"
    )  # fmt: skip
    z = build.node("slice", [z], "slice", shape=(1, 2, 2, 4), begin=(0, 1, 0, 0), strides=(1, 1, 2, 1))
    z = build.node("transpose", [z], "transpose", perm=(0, 3, 1, 2))
    z = build.node("reshape", [z], "flat", shape=(1, 16))
    weight = build.graph.add_constant("dense/weight", noise_array((5, 16)))
    z = build.node("fully_connected", [z, weight, None], "dense", activation="none", keep_num_dims=False)
    mean = build.node("mean", [y], "mean", axes=(1, 2), keep_dims=False)
    z = build.node("concat", [z, mean], "concat", axis=1, activation="none")
    return build.finish(build.node("softmax", [z], "probabilities", beta=1.0))


def noise_array(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same_outputs(before: Graph, after: Graph, tolerance: float = 1e-6) -> bool:
    """Whether two graphs compute the same on random inputs, in float64, and `after` holds together."""
    check_shapes(after.check())
    assert after.inputs == before.inputs and after.outputs == before.outputs
    inputs = noise(before)
    return error(reference.run(after, inputs), reference.run(before, inputs)) < tolerance


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph]
