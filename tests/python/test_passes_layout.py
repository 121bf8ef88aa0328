"""Layouts: what each op gets, and that no choice needs fewer permutes."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import networks
from tulle.graph import Graph
from tulle.ops import OPS
from tulle.ops.layout import EITHER
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.layout import align_ranks, assign_layouts, layout_problem, permutes
from tulle.passes.minimum_cut import MinimumCut
from tulle.zoo.builder import Builder


def laid_out(build: Builder, *outputs: str) -> Graph:
    graph = explicit_padding(build.finish(*outputs))
    after = assign_layouts(graph)
    assert networks.same_outputs(graph, after)
    assert [problem for node in after if (problem := layout_problem(after, node))] == []
    assert all(after.tensors[name].layout == "plain" for name in (*after.inputs, *after.outputs))
    return after


def test_a_convolutional_network_is_permuted_at_its_end_only() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "entry", 8, kernel=3, stride=2)
    y = build.depthwise_conv2d(x, "depthwise")
    y = build.node("add", [x, y], "add", activation="none")
    y = build.node("activation", [y], "activation", activation="tanh")
    graph = laid_out(build, build.conv2d(y, "y", 4))
    assert networks.ops(graph) == ["conv2d", "depthwise_conv2d", "add", "activation", "conv2d", "to_plain"]
    assert permutes(graph) == (1, 0)
    assert graph.nodes[0].inputs[0] == "x", "the entry reads the input as it is"
    assert graph.tensors["add"].layout == "chw" and graph.outputs == ["y"]


def test_a_head_on_vectors_needs_no_permute() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "entry", 8)
    x = build.node("mean", [x], "mean", axes=(1, 2), keep_dims=False)
    weight = build.graph.add_constant("w", networks.noise_array((4, 8)))
    graph = laid_out(build, build.node("fully_connected", [x, weight], "y", activation="none", keep_num_dims=False))
    assert permutes(graph) == (0, 0)
    assert graph.tensors["mean"].layout == "plain"


def test_one_pixel_and_one_channel_change_for_free() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "entry", 8)
    mask = build.conv2d(x, "mask", 1)
    pooled = build.node("mean", [x], "mean", axes=(1, 2), keep_dims=True)
    graph = laid_out(build, mask, build.node("reshape", [build.conv2d(pooled, "head", 5)], "vector", shape=(1, 5)))
    assert permutes(graph) == (0, 2)


def test_many_channels_at_the_entry_and_other_first_ops_are_permuted() -> None:
    build = networks.builder()
    graph = laid_out(build, build.conv2d(build.input("x", (1, 8, 8, 5)), "y", 4))
    assert networks.ops(graph) == ["to_chw", "conv2d", "to_plain"]
    build = networks.builder()
    graph = laid_out(build, build.depthwise_conv2d(build.input("x", (1, 8, 8, 3)), "y"))
    assert networks.ops(graph) == ["to_chw", "depthwise_conv2d", "to_plain"]


def test_an_input_read_in_both_layouts_is_permuted_once() -> None:
    build = networks.builder()
    x = build.input("x", (1, 8, 8, 3))
    a, b = build.depthwise_conv2d(x, "a"), build.depthwise_conv2d(x, "b")
    graph = laid_out(build, build.conv2d(x, "c", 4), build.node("add", [a, b], "d", activation="none"))
    assert networks.ops(graph).count("to_chw") == 1


def test_a_chw_output_that_a_plain_op_reads_too_is_permuted_once() -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 8, 8, 3)), "y", 4)
    z = build.conv2d(y, "z", 4)
    graph = laid_out(build, y, build.node("softmax", [y], "s", beta=1.0), z)
    assert permutes(graph) == (2, 0)  # y and z
    assert graph.outputs == ["y", "s", "z"]


def test_ops_that_work_in_either_follow_the_majority() -> None:
    """Two softmax outputs enter an addition: plain needs fewer permutes than chw."""
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "entry", 4)
    a = build.node("softmax", [x], "a", beta=1.0)
    b = build.node("softmax", [a], "b", beta=2.0)
    y = build.node("add", [a, b], "add", activation="none")
    y = build.node("activation", [y], "activation", activation="tanh")
    graph = laid_out(build, y)
    assert graph.tensors["add"].layout == graph.tensors["activation"].layout == "plain"
    assert permutes(graph) == (1, 0)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((4,), "chw"),
        ((1, 1, 1, 4), "chw"),
        ((1,), "chw"),
        ((), "chw"),
        ((1, 8, 8, 1), "chw"),
        ((8, 1), "plain"),
        ((1, 8, 8, 4), "chw"),
        ((8, 8, 4), "chw"),
    ],
)
def test_operands_that_chw_cannot_broadcast_make_it_plain(shape: tuple[int, ...], layout: str) -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "a", 4)
    constant = build.graph.add_constant("c", networks.noise_array(shape))
    x = build.node("mul", [x, constant], "mul", activation="none")
    graph = laid_out(build, build.conv2d(x, "b", 4))
    assert graph.tensors["mul"].layout == layout


def test_a_vector_gate_gets_the_dimensions_of_an_image() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "a", 4)
    gate = build.node("mean", [x], "gate", axes=(1, 2), keep_dims=False)
    graph = laid_out(build, build.conv2d(build.node("mul", [x, gate], "mul", activation="none"), "b", 4))
    assert graph.tensors["gate_image"].shape == (1, 1, 1, 4)
    assert graph.tensors["mul"].layout == "chw" and permutes(graph)[0] == 1


def fewest_by_trying(graph: Graph) -> int:
    """Permutes that move memory, over every choice for the ops that work in either layout."""
    graph = align_ranks(graph)
    consumers = graph.consumers()
    free = [node.output for node in graph if OPS[node.op].layout.demand(graph, node) == EITHER]
    demands = {node.output: OPS[node.op].layout.demand(graph, node) for node in graph}
    best = 10**9
    for choice in itertools.product(("chw", "plain"), repeat=len(free)):
        layout = demands | dict(zip(free, choice, strict=True))
        count = 0
        for name, tensor in graph.tensors.items():
            if tensor.is_constant or tensor.shape[-1:] in ((1,), (tensor.size,)):
                continue
            own = layout[name] if name in layout and len(tensor.shape) == 4 else "plain"
            ends = {own, *(layout[node.output] for node in consumers[name])}
            count += len(ends | {"plain"} if name in graph.outputs else ends) > 1
        best = min(best, count)
    return best


@pytest.mark.parametrize("seed", range(25))
def test_no_choice_needs_fewer_permutes(seed: int) -> None:
    pick = random.Random(seed)
    build = networks.builder(seed)
    images = [build.input("x", (1, 4, 4, 6))]  # more channels than an entry convolution reads as they are
    for index in range(12):
        x, kind = pick.choice(images[-4:]), pick.randrange(5)
        name = f"t{index}"
        if kind == 0:
            images.append(build.conv2d(x, name, 6))
        elif kind == 1:
            images.append(build.node("softmax", [x], name, beta=1.0))
        elif kind == 2:
            images.append(build.node("activation", [x], name, activation="tanh"))
        else:
            images.append(build.node("add", [x, pick.choice(images)], name, activation="none"))
    graph = laid_out(build, *dict.fromkeys((images[-1], pick.choice(images[1:]))))
    assert permutes(graph)[0] == fewest_by_trying(explicit_padding(build.graph))


def test_minimum_cut_against_all_divisions() -> None:
    for seed in range(40):
        pick = random.Random(seed)
        vertices = ["s", "t", *range(6)]
        groups = [(pick.sample(vertices, pick.randrange(2, 5)), pick.randrange(1, 9)) for _ in range(9)]
        cut = MinimumCut()
        for group, cost in groups:
            cut.keep_together(group, cost)
        side = cut.source_side("s", "t")

        def price(chosen: set, groups: list = groups) -> int:
            return sum(cost for group, cost in groups if 0 < len(chosen.intersection(group)) < len(group))

        choices = itertools.product((False, True), repeat=6)
        every = ({"s", *itertools.compress(range(6), choice)} for choice in choices)
        assert "s" in side and "t" not in side
        assert price(side.intersection(vertices)) == min(map(price, every))


def test_weights_are_left_alone() -> None:
    build = networks.builder()
    graph = laid_out(build, build.conv2d(build.input("x", (1, 8, 8, 3)), "y", 4))
    weight = graph.tensors["y/weight"]
    assert weight.layout == "plain" and isinstance(weight.data, np.ndarray)
