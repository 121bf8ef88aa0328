"""Which layers are run sparse."""

from __future__ import annotations

import numpy as np
import pytest

import networks
from tulle.graph import Graph
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.sparsity import choose_sparsity


def network(zeros: float) -> Graph:
    """An entry, a 1x1 convolution, one with stride 2, one of 3x3, and a fully connected layer, all with those zeros."""
    build = networks.builder()
    x = build.input("x", (1, 8, 8, 3))
    x = build.conv2d(x, "entry", 10)
    x = build.conv2d(x, "pointwise", 10)
    x = build.conv2d(x, "strided", 10, stride=2)
    x = build.conv2d(x, "spatial", 10, kernel=3)
    x = build.node("mean", [x], "mean", axes=(1, 2), keep_dims=False)
    weight = build.graph.add_constant("dense/weight", networks.noise_array((10, 10)))
    graph = build.finish(build.node("fully_connected", [x, weight], "dense", activation="none", keep_num_dims=False))
    for name, tensor in graph.tensors.items():
        if name.endswith("/weight") and tensor.data is not None:
            data = tensor.data.copy()
            data.reshape(-1)[: round(zeros * data.size)] = 0
            tensor.data = data
    return explicit_padding(graph)


def sparse_layers(zeros: float, mode: str) -> list[str]:
    graph = choose_sparsity(network(zeros), mode)
    chosen = {node.name: node.attrs["sparsity"] for node in graph if node.op in ("conv2d", "fully_connected")}
    assert set(chosen.values()) <= {"sparse", "dense"} and len(chosen) == 5
    return [name for name, kind in chosen.items() if kind == "sparse"]


@pytest.mark.parametrize(
    ("mode", "zeros", "expected"),
    [
        ("auto", 0.0, []),
        ("auto", 0.95, ["pointwise", "dense"]),
        ("always", 0.0, ["pointwise", "dense"]),
        ("never", 0.9, []),
    ],
)
def test_zeros_and_mode_decide_where_there_is_a_sparse_kernel(mode: str, zeros: float, expected: list[str]) -> None:
    assert sparse_layers(zeros, mode) == expected


def test_negative_zero_is_zero() -> None:
    graph = network(0.0)
    weight = graph.tensors["pointwise/weight"]
    weight.data = np.full_like(weight.data, -0.0)
    chosen = {node.name: node.attrs.get("sparsity") for node in choose_sparsity(graph)}
    assert chosen["pointwise"] == "sparse" and chosen["dense"] == "dense"
