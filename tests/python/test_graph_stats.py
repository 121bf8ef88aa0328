"""Multiply-adds, parameters, zeros and dead channels."""

from __future__ import annotations

import numpy as np

import networks
from tulle.graph.stats import layer_stats, total_macs, total_parameters


def test_every_kind_of_layer() -> None:
    build = networks.builder()
    x = build.input("x", (1, 8, 8, 3))
    x = build.conv2d(x, "conv", 4, kernel=3, stride=2)
    x = build.depthwise_conv2d(x, "depthwise")
    weight = build.graph.add_constant("up/weight", networks.noise_array((5, 2, 2, 4)))
    x = build.node(
        "transpose_conv2d",
        [x, weight, None],
        "up",
        shape=(1, 8, 8, 5),
        strides=(2, 2),
        padding="same",
        activation="none",
    )
    x = build.node("mean", [x], "mean", axes=(1, 2), keep_dims=False)
    weight = build.graph.add_constant("dense/weight", networks.noise_array((7, 5)))
    graph = build.finish(build.node("fully_connected", [x, weight], "dense", activation="none", keep_num_dims=False))

    conv = graph.tensors["conv/weight"]
    assert conv.data is not None
    data = conv.data.copy()
    data[[1, 3]] = 0
    data[0, 0, 0, :] = 0
    conv.data = data
    depthwise = graph.tensors["depthwise/weight"]
    assert depthwise.data is not None
    depthwise.data = np.where(np.arange(4) == 2, 0, depthwise.data).astype(np.float32)

    rows = {row.name: row for row in layer_stats(graph)}
    assert list(rows) == ["conv", "depthwise", "up", "dense"]
    assert {name: row.macs for name, row in rows.items()} == {
        "conv": 16 * 4 * 27,
        "depthwise": 16 * 4 * 9,
        "up": 16 * 5 * 4 * 4,
        "dense": 35,
    }
    assert {name: row.parameters for name, row in rows.items()} == {"conv": 112, "depthwise": 40, "up": 80, "dense": 35}
    assert rows["conv"].zeros == (2 * 27 + 3) / 108 and rows["conv"].nonzero_macs == 16 * (108 - 57)
    assert (rows["conv"].dead_channels, rows["conv"].output_channels) == (2, 4)
    assert (rows["depthwise"].dead_channels, rows["depthwise"].zeros) == (1, 0.25)
    assert rows["up"].output_shape == (1, 8, 8, 5) and rows["up"].dead_channels == 0
    assert total_macs(graph) == sum(row.macs for row in rows.values())
    assert total_parameters(graph) == 112 + 40 + 80 + 35
