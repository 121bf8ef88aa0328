"""relu(x) - slope * relu(-x), however it is written, and max(x, slope * x) become prelu; nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph, reference
from tulle.passes import lower
from tulle.passes.fuse_slopes import fuse_slopes

SLOPES = np.float32([0.25, -0.5, 1.5, 0.0])


def of_relus(
    *, op: str = "add", swap: bool = False, minus: float = -1.0, activation: str = "none", other: bool = False
) -> Graph:
    """A convolution x, then relu(x) + slopes * (-1 * relu(minus * x)), or with `op` "sub" relu(x) - slopes * relu(...);
    `other`: the upper half is of another tensor."""
    build = networks.builder()
    image = build.input("x", (1, 8, 8, 3))
    x = build.conv2d(image, "conv", 4)
    upper = build.node("activation", [build.conv2d(image, "second", 4) if other else x], "upper", activation="relu")
    mirrored = build.node(
        "mul", [x, build.graph.add_constant("minus", np.float32(minus))], "mirrored", activation="none"
    )
    lower_half = build.node("activation", [mirrored], "lower", activation="relu")
    if op == "add":
        lower_half = build.node(
            "mul", [lower_half, build.graph.add_constant("sign", np.float32(-1))], "signed", activation="none"
        )
    scaled = build.node("mul", [build.graph.add_constant("slopes", SLOPES), lower_half], "scaled", activation="none")
    operands = [scaled, upper] if swap else [upper, scaled]
    return build.finish(build.node(op, operands, "both", activation=activation))


def of_maximum(slope: np.ndarray, *, swap: bool = False, activation: str = "none") -> Graph:
    """A convolution x, then max(x, slope * x)."""
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "conv", 4)
    scaled = build.node("mul", [x, build.graph.add_constant("slope", slope)], "scaled", activation="none")
    return build.finish(build.node("maximum", [scaled, x] if swap else [x, scaled], "larger", activation=activation))


@pytest.mark.parametrize(
    "graph",
    [
        of_relus(),
        of_relus(swap=True),
        of_relus(op="sub"),
        of_maximum(np.float32(0.25)),
        of_maximum(np.float32([0.1, 0.5, 1.0, 0.2]), swap=True),
    ],
    ids=["add", "swapped", "sub", "maximum", "maximum, by channel"],
)
def test_prelu_ends_up_in_the_convolution(graph: Graph) -> None:
    fused = lower(graph)
    assert [node.attrs["activation"] for node in fused if node.op == "conv2d"] == ["prelu"]
    assert not any(node.op in ("mul", "activation", "add", "sub", "maximum") for node in fused)
    image = {"x": np.random.default_rng(0).standard_normal((1, 8, 8, 3))}
    (expected,), (got,) = (reference.run(g, image).values() for g in (graph, fused))
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(
    "graph",
    [
        of_relus(op="sub", swap=True),
        of_relus(minus=-2.0),
        of_relus(minus=1.0),
        of_relus(activation="relu6"),
        of_relus(other=True),
        of_maximum(np.float32(1.5)),
        of_maximum(np.float32(-0.5)),
        of_maximum(np.float32(0)),
        of_maximum(np.float32(np.nan)),
        of_maximum(np.float32(0.25), activation="relu"),
    ],
    ids=["difference swapped", "-2", "+1", "activation", "two tensors", "1.5", "-0.5", "0", "nan", "relu"],
)
def test_others_stay(graph: Graph) -> None:
    assert [node.op for node in fuse_slopes(graph)] == [node.op for node in graph]
