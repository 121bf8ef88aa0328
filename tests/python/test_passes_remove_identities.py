"""Ops that change nothing."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph
from tulle.passes.remove_identities import remove_identities

SHAPE = (1, 4, 5, 3)


def sandwiched(op: str, constant: np.ndarray | None = None, swap: bool = False, **attrs: object) -> Graph:
    """relu -> op -> relu6, with the op's output in the middle of the model."""
    build = networks.builder()
    x = build.node("activation", [build.input("x", SHAPE)], "before", activation="relu")
    inputs = [x] if constant is None else [x, build.graph.add_constant("c", constant)]
    shape = attrs.pop("shape", None)
    y = build.node(op, inputs[::-1] if swap else inputs, "same", shape=shape, **attrs)  # type: ignore[arg-type]
    return build.finish(build.node("activation", [y], "after", activation="relu6"))


IDENTITIES = {
    "reshape": lambda: sandwiched("reshape", shape=SHAPE),
    "pad": lambda: sandwiched("pad", pads=((0, 0),) * 4, pad_value=1.0, pad_mode="constant"),
    "slice": lambda: sandwiched("slice", shape=SHAPE, begin=(0,) * 4, strides=(1,) * 4),
    "transpose": lambda: sandwiched("transpose", perm=(0, 1, 2, 3)),
    "concat": lambda: sandwiched("concat", axis=3, activation="none"),
    "resize": lambda: sandwiched("resize_bilinear", shape=SHAPE, align_corners=False, half_pixel_centers=True),
    "mean": lambda: sandwiched("mean", axes=(0,), keep_dims=True),
    "pool": lambda: sandwiched(
        "max_pool2d", kernel=(1, 1), strides=(1, 1), padding="valid", activation="none"
    ),
    "activation": lambda: sandwiched("activation", activation="none"),
    "block": lambda: sandwiched("depth_to_space", block=1),
    "add 0": lambda: sandwiched("add", np.zeros(3, np.float32), activation="none"),
    "0 + x": lambda: sandwiched("add", np.zeros(1, np.float32), swap=True, activation="none"),
    "sub 0": lambda: sandwiched("sub", np.zeros((1, 1, 1, 3), np.float32), activation="none"),
    "mul 1": lambda: sandwiched("mul", np.ones((), np.float32), activation="none"),
    "div 1": lambda: sandwiched("div", np.ones(3, np.float32), activation="none"),
}  # fmt: skip

NO_IDENTITIES = {
    "0 - x": lambda: sandwiched("sub", np.zeros(3, np.float32), swap=True, activation="none"),
    "1 / x": lambda: sandwiched("div", np.ones(3, np.float32), swap=True, activation="none"),
    "add 0 then relu": lambda: sandwiched("add", np.zeros(3, np.float32), activation="relu"),
    "add almost 0": lambda: sandwiched("add", np.array([0, 0, 1e-6], np.float32), activation="none"),
    "broadcast": lambda: sandwiched("mul", np.ones((2, 4, 5, 3), np.float32), activation="none"),
    "transpose": lambda: sandwiched("transpose", perm=(0, 2, 1, 3)),
    "reverse order": lambda: sandwiched("slice", shape=(1, 4, 5, 3), begin=(0, 3, 0, 0), strides=(1, -1, 1, 1)),
    "a part": lambda: sandwiched("slice", shape=(1, 4, 5, 2), begin=(0, 0, 0, 1), strides=(1,) * 4),
    "max pool": lambda: sandwiched("max_pool2d", kernel=(3, 3), strides=(1, 1), padding="same", activation="none"),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_identities_go(case: str) -> None:
    graph = IDENTITIES[case]()
    after = remove_identities(graph)
    assert networks.ops(after) == ["activation", "activation"]
    assert networks.same_outputs(graph, after, 1e-12)


@pytest.mark.parametrize("case", NO_IDENTITIES)
def test_what_changes_something_stays(case: str) -> None:
    graph = NO_IDENTITIES[case]()
    assert len(remove_identities(graph).nodes) == 3


def test_reshapes_are_joined() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    for index, shape in enumerate(((1, 60), (1, 6, 10), (2, 30))):
        x = build.node("reshape", [x], f"r{index}", shape=shape)
    graph = build.finish(build.node("softmax", [x], "y", beta=1.0))
    after = remove_identities(graph)
    assert networks.ops(after) == ["reshape", "softmax"] and after.nodes[0].inputs == ["x"]
    assert networks.same_outputs(graph, after)


def test_an_output_keeps_its_name() -> None:
    build = networks.builder()
    x = build.node("activation", [build.input("x", SHAPE)], "inner", activation="relu")
    other = build.node("activation", [x], "other", activation="tanh")
    same = build.node("reshape", [x], "named", shape=SHAPE)
    graph = build.finish(same, other, build.node("activation", [same], "third", activation="sigmoid"))
    after = remove_identities(graph)
    assert networks.ops(after) == ["activation"] * 3
    assert networks.same_outputs(graph, after)


def test_two_outputs_of_the_same_value_and_a_handed_on_input_are_copied() -> None:
    build = networks.builder()
    x = build.input("x", SHAPE)
    handed = build.node("reshape", [x], "handed", shape=SHAPE)
    y = build.node("activation", [x], "y", activation="relu")
    a = build.node("reshape", [y], "a", shape=SHAPE)
    b = build.node("reshape", [a], "b", shape=SHAPE)
    c = build.node("reshape", [a], "c", shape=SHAPE)
    graph = build.finish(handed, b, c)
    assert networks.same_outputs(graph, remove_identities(graph))
