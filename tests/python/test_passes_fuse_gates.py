"""x times a function of x becomes one activation, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph, reference
from tulle.passes import lower
from tulle.passes.fuse_gates import fuse_gates


def gated(*, swap: bool = False, other: bool = False, activation: str = "none") -> Graph:
    """A convolution, the sigmoid of it (or of its relu, `other`), and their product."""
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "conv", 4)
    source = build.node("activation", [x], "relu", activation="relu") if other else x
    gate = build.node("activation", [source], "gate", activation="sigmoid")
    return build.finish(build.node("mul", [gate, x] if swap else [x, gate], "product", activation=activation))


@pytest.mark.parametrize("swap", [False, True])
def test_swish_ends_up_in_the_convolution(swap: bool) -> None:
    graph = gated(swap=swap)
    fused = lower(graph)
    (conv,) = (node for node in fused if node.op == "conv2d")
    assert conv.attrs["activation"] == "swish"
    assert not any(node.op in ("mul", "activation") for node in fused)
    image = {"x": np.random.default_rng(0).standard_normal((1, 8, 8, 3))}
    (expected,), (got,) = (reference.run(g, image).values() for g in (graph, fused))
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("case", [{"other": True}, {"activation": "relu"}])
def test_other_products_stay(case: dict) -> None:
    graph = gated(**case)
    assert [node.op for node in fuse_gates(graph)] == [node.op for node in graph]


def written_out(
    kind: str, *, scale: float = 1.0, shift: float = 0.0, factor: float = 1.0, order: int = 0, other: bool = False
) -> Graph:
    """A convolution and the activation `kind` of it in small steps, as exporters write it. `scale`, `shift` and
    `factor` make something else of it; `order`: which factors are multiplied first; `other`: by another tensor."""
    build = networks.builder()
    image = build.input("x", (1, 8, 8, 3))
    x = build.conv2d(image, "conv", 4)
    by = build.conv2d(image, "second", 4) if other else x
    names = iter(range(100))

    def step(op: str, a: str, b: str | float | None = None, activation: str = "none") -> str:
        operand = build.graph.add_constant("number", np.float32(b)) if isinstance(b, float) else b
        inputs = [a] if operand is None else [a, operand]
        return build.node(op, inputs, f"step{next(names)}", activation=activation)

    if kind == "gelu":
        gate = step("add", step("activation", step("div", x, float(np.sqrt(2)) / scale), None, "erf"), 1.0 + shift)
        last = 0.5 * factor
    elif kind == "gelu_tanh":
        cube = step("mul", step("mul", x, x), x)
        inner = step("mul", step("add", x, step("mul", cube, 0.044715 * scale)), float(np.sqrt(2 / np.pi)))
        gate, last = step("add", step("activation", inner, None, "tanh"), 1.0 + shift), 0.5 * factor
    elif kind == "hard_swish":
        gate, last = step("activation", step("add", step("mul", x, scale), 3.0 + shift), None, "relu6"), factor / 6
    elif kind == "hard_swish, fused":
        gate, last = step("add", x, 3.0 + shift, "relu6"), factor / 6
    else:  # of a hard sigmoid
        gate = step("minimum", step("add", step("mul", x, scale / 6), 0.5 + shift, "relu"), 1.0)
        last = factor
    if order == 0:
        result = step("mul", step("mul", by, gate), last)
    elif order == 1:
        result = step("mul", step("mul", by, last), gate)
    else:
        result = step("mul", by, step("mul", gate, last))
    return build.finish(result)


KINDS = ("gelu", "gelu_tanh", "hard_swish", "hard_swish, fused", "hard sigmoid")


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_an_activation_in_small_steps_ends_up_in_the_convolution(kind: str, order: int) -> None:
    graph = written_out(kind, order=order)
    fused = lower(graph)
    expected = kind if kind.startswith("gelu") else "hard_swish"
    assert [(node.op, node.attrs["activation"]) for node in fused if node.op not in ("to_chw", "to_plain")] == [
        ("conv2d", expected)
    ]
    image = {"x": 3 * np.random.default_rng(0).standard_normal((1, 8, 8, 3))}
    (expected_values,), (got,) = (reference.run(g, image).values() for g in (graph, fused))
    np.testing.assert_allclose(got, expected_values, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [{"shift": 0.1}, {"factor": 1.1}, {"other": True}], ids=str)
def test_what_is_nearly_an_activation_stays(kind: str, change: dict) -> None:
    if kind == "hard sigmoid" and "factor" in change:
        pytest.skip("it has no factor, so this is an activation times a number")
    graph = written_out(kind, **change)
    assert [node.op for node in fuse_gates(graph)] == [node.op for node in graph]


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "hard_swish", "hard sigmoid"])
def test_another_slope_stays(kind: str) -> None:
    graph = written_out(kind, scale=1.1)
    assert [node.op for node in fuse_gates(graph)] == [node.op for node in graph]
