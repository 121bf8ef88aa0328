"""Magnitude pruning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.graph.stats import layer_stats
from tulle.passes import Report, lower
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify import magnitude, prunable_layers
from tulle.zoo import mobilenet_v2


@pytest.fixture(scope="module")
def network() -> Graph:
    return mobilenet_v2(width=0.35, size=64)


def zeros(graph: Graph) -> dict[str, float]:
    return {row.name: row.zeros for row in layer_stats(graph)}


def test_the_smallest_weights_go_and_the_others_stay(network: Graph) -> None:
    pruned = magnitude(network, 0.7, layers=["last"])
    before, after = network.tensors["last/weight"].data, pruned.tensors["last/weight"].data
    assert before is not None and after is not None
    gone = after == 0
    assert gone.sum() == round(0.7 * before.size)
    assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
    np.testing.assert_array_equal(after[~gone], before[~gone])
    assert (before != 0).all(), "the graph given must not change"
    assert [name for name, share in zeros(pruned).items() if share > 0] == ["last"]


def test_pointwise_layers_over_more_than_one_pixel_are_pruned_alike(network: Graph) -> None:
    shares = zeros(magnitude(network, 0.8))
    pruned = [name for name, share in shares.items() if share > 0]
    assert pruned == prunable_layers(network)
    assert "classifier" not in pruned and "entry" not in pruned and "stage2/block1/expand" in pruned
    assert all(abs(shares[name] - 0.8) < 0.01 for name in pruned)


def test_squeeze_and_excite_layers_are_left_alone_unless_named(model_path: Callable) -> None:
    graph = tflite.read(model_path("selfie_segmentation"))
    single = [node.name for node in graph if node.op == "conv2d" and graph.tensors[node.output].shape[1:3] == (1, 1)]
    assert len(single) >= 15 and not set(single) & set(prunable_layers(graph))
    assert zeros(magnitude(graph, 0.5, layers=single[:1]))[single[0]] == 0.5


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_erk_has_the_same_sum_and_spares_small_layers(network: Graph, sparsity: float) -> None:
    pruned = magnitude(network, sparsity, allocation="erk")
    shares, names = zeros(pruned), prunable_layers(network)
    sizes = {name: network.tensors[f"{name}/weight"].size for name in names}
    total = sum(shares[name] * sizes[name] for name in names) / sum(sizes.values())
    assert abs(total - sparsity) < 1e-3
    smallest, largest = min(names, key=sizes.__getitem__), max(names, key=sizes.__getitem__)
    assert shares[largest] > sparsity > shares[smallest]


def test_weights_that_layers_share_are_pruned_once() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 4, 4, 4)), "a", 4)
    build.conv2d(x, "b", 4)
    build.graph.nodes[1].inputs[1] = "a/weight"
    pruned = magnitude(build.finish("b"), 0.5)
    assert np.count_nonzero(pruned.tensors["a/weight"].data) == 8


def test_float16_models_keep_their_values_and_write_as_float16(model_path: Callable, litert: Callable) -> None:
    graph = tflite.read(model_path("hand_landmark_full"))
    pruned = magnitude(graph, 0.8)
    again = fold_constants(tflite.read(tflite.write(pruned, weights="fp16", sparse=True)))
    before, after = zeros(pruned), zeros(again)
    assert before == after
    for node, same in zip(pruned, again, strict=True):
        for ours, theirs in zip(node.inputs, same.inputs, strict=True):
            np.testing.assert_array_equal(pruned.constant(ours), again.constant(theirs))


def test_pruned_layers_are_run_sparse(model_path: Callable) -> None:
    report = Report()
    lower(magnitude(tflite.read(model_path("hand_landmark_full")), 0.8), report=report)
    # Where dead channels are cut out of a layer, fewer zeros are left in what remains of it.
    assert len(report.sparse_layers) > 20


def test_nothing_to_prune_is_nothing(network: Graph) -> None:
    assert max(zeros(magnitude(network, 0.0)).values()) == 0


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": -0.1}, "at least 0"),
        ({"sparsity": float("nan")}, "at least 0"),
        ({"sparsity": 0.5, "allocation": "global"}, "one of uniform, erk, not 'global'"),
        (
            {"sparsity": 0.5, "layers": ["last", "entry", "nowhere"]},
            "not 1x1 convolutions of this model: entry, nowhere",
        ),
    ],
)
def test_wrong_options_are_refused(network: Graph, options: dict, cause: str) -> None:
    with pytest.raises(TulleError, match=cause):
        magnitude(network, **options)
