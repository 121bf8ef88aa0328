"""Enlargements moved to where they are read."""

from __future__ import annotations

import networks
from tulle.graph import Graph, Node, Tensor
from tulle.passes.late_resizes import late_resizes


def resized(size: tuple[int, int]) -> Graph:
    """A resize of x, three other ops, and the addition that reads it."""
    build = networks.builder()
    other = build.input("other", (1, *size, 3))
    result = build.graph.add_tensor(Tensor("resized", (1, *size, 3)))
    attrs = {"align_corners": False, "half_pixel_centers": True}
    build.graph.nodes.append(Node("resize_bilinear", "resize", [build.input("x", (1, 4, 6, 3))], [result], attrs))
    for name in ("a", "b", "c"):
        other = build.node("activation", [other], name, activation="tanh")
    return build.finish(build.node("add", [other, result], "sum", activation="none"))


def test_an_enlargement_comes_before_its_reader() -> None:
    graph = resized((8, 12))
    late = late_resizes(graph)
    assert networks.ops(graph)[0] == "resize_bilinear"
    assert networks.ops(late) == ["activation"] * 3 + ["resize_bilinear", "add"]
    assert networks.same_outputs(graph, late)


def test_a_reduction_stays() -> None:
    assert networks.ops(late_resizes(resized((2, 3))))[0] == "resize_bilinear"


def test_an_output_of_the_model_that_nobody_reads_stays() -> None:
    graph = resized((8, 12))
    graph.nodes[-1].inputs[1] = graph.nodes[-1].inputs[0]
    graph.outputs.append("resized")
    assert networks.ops(late_resizes(graph))[0] == "resize_bilinear"
