"""The passes together, on real models and on what `lower` must refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import Graph, Node, Tensor, reference
from tulle.passes import PASSES, Report, check_lowered, lower

# Ops of each lowered model that are not convolutions, and permutes that move memory.
EXPECTED: dict[str, tuple[dict[str, int], int]] = {
    "hand_landmark_full": ({"mean": 1, "fully_connected": 4}, 0),
    "hand_landmark_lite": ({"mean": 1, "fully_connected": 4, "max_pool2d": 1}, 0),
    "hand_landmark_tulle": ({"mean": 1, "fully_connected": 4}, 0),
    "hand_landmark_sparse": ({"mean": 1, "fully_connected": 3, "reshape": 3, "to_plain": 1}, 0),
    "palm_detection_full": (
        {"max_pool2d": 4, "to_plain": 4, "reshape": 4, "pad": 3, "resize_bilinear": 2, "add": 2, "concat": 2}, 4
    ),
    "palm_detection_lite": (
        {"max_pool2d": 4, "to_plain": 4, "reshape": 4, "pad": 3, "resize_bilinear": 2, "add": 2, "concat": 2}, 4
    ),
    "selfie_segmentation": ({"average_pool2d": 13, "mul": 10, "add": 9, "resize_bilinear": 3, "to_plain": 1}, 0),
    "selfie_segmentation_landscape": ({"mean": 13, "mul": 10, "add": 9, "resize_bilinear": 3, "to_plain": 1}, 0),
}  # fmt: skip
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "transpose_conv2d")


@pytest.mark.parametrize("model", networks.MODELS)
def test_models(model: str, model_path: Callable) -> None:
    graph, report = tflite.read(model_path(model)), Report()
    lowered = lower(graph, report=report)
    assert check_lowered(lowered) is lowered
    rest, permutes = EXPECTED[model]
    counts = Counter(networks.ops(lowered))
    assert {op: count for op, count in counts.items() if op not in CONVOLUTIONS} == rest
    assert report.permutes == permutes
    assert not any(node.op == "activation" for node in lowered), "every activation has a host"
    again = lower(lowered)
    assert sorted(networks.ops(again)) == sorted(networks.ops(lowered))
    inputs = networks.patchwork(graph)
    # In float64 only the rounding of biases that took up dead channels is left.
    assert networks.error(reference.run(lowered, inputs), reference.run(graph, inputs), graph) < 1e-6


def test_the_report_of_the_sparse_hand_model(model_path: Callable) -> None:
    report = Report()
    lowered = lower(tflite.read(model_path("hand_landmark_sparse")), report=report)
    layers = [node.name for node in lowered if node.op in ("conv2d", "fully_connected")]
    assert sorted(report.sparse_layers + report.dense_layers) == sorted(layers)
    assert len(report.sparse_layers) == 30  # every one that was pruned; the least has 49 % zeros
    assert report.macs_after == 259_578_318 < report.macs_before
    assert report.removed_channels and all(count > 0 for count in report.removed_channels.values())
    assert (report.permutes, report.free_permutes) == (0, 1)


def test_the_report_says_what_each_pass_did(model_path: Callable) -> None:
    graph, report = tflite.read(model_path("hand_landmark_full")), Report()
    lowered = lower(graph, report=report)
    assert [change.name for change in report.passes] == [step.name for step in PASSES]
    assert report.passes[0].before.ops == len(graph.nodes)
    for before, after in pairwise(report.passes):
        assert before.after == after.before
    last = report.passes[-1].after
    assert (last.ops, last.macs, last.parameters) == (
        len(lowered.nodes), report.macs_after, report.parameters_after
    )  # fmt: skip
    changes = {change.name: change.changes for change in report.passes if change.changes}
    assert changes["fold_constants"] == {"dequantize": -102}
    assert changes["fuse_residuals"] == {"add": -9, "fused residuals": 9}
    assert changes["remove_dead_channels"] == {"channels of layers": -sum(report.removed_channels.values())}
    assert changes["choose_sparsity"] == {"dense layers": 35}


def test_the_report_counts_ops_that_a_pass_moved(model_path: Callable) -> None:
    report = Report()
    lower(tflite.read(model_path("selfie_segmentation")), report=report)
    assert {"late_resizes": {"moved ops": 3}}.items() <= {c.name: c.changes for c in report.passes}.items()


def test_a_pass_has_a_reason_of_one_line_and_a_name_of_its_own() -> None:
    assert len({step.name for step in PASSES}) == len(PASSES)
    for step in PASSES:
        assert step.reason.endswith(".") and "\n" not in step.reason
        assert str(step) == f"{step.name}: {step.reason}"


@pytest.mark.parametrize(("sparse", "expected"), [("never", 0), ("always", 34)])
def test_sparse_can_be_forced(sparse: str, expected: int, model_path: Callable) -> None:
    report = Report()
    lower(tflite.read(model_path("hand_landmark_full")), sparse=sparse, report=report)
    assert len(report.sparse_layers) == expected
    assert len(report.dense_layers) == 35 - expected


def test_a_network_of_every_op() -> None:
    graph = networks.every_op()
    lowered = lower(graph)
    assert networks.same_outputs(graph, lowered)


def test_the_graph_given_stays_as_it_was(model_path: Callable) -> None:
    graph = tflite.read(model_path("hand_landmark_full"))
    before = str(graph)
    values = {name: tensor.data.copy() for name, tensor in graph.tensors.items() if tensor.data is not None}
    lower(graph, input_mean=1.0, input_std=2.0)
    assert str(graph) == before
    assert all(np.array_equal(graph.tensors[name].data, data) for name, data in values.items())
    assert (graph.tensors["input_1"].mean, graph.tensors["input_1"].std) == (0.0, 1.0)


def test_normalisation_is_set_on_image_inputs() -> None:
    build = networks.builder()
    image, other = build.input("image", (1, 8, 8, 3), mean=5.0), build.input("other", (1, 4))
    y = build.conv2d(image, "y", 4)
    graph = build.finish(y, build.node("activation", [other], "z", activation="relu"))
    lowered = lower(graph, input_mean=127.5, input_std=128)
    assert (lowered.tensors["image"].mean, lowered.tensors["image"].std) == (127.5, 128.0)
    assert (lowered.tensors["other"].mean, lowered.tensors["other"].std) == (0.0, 1.0)
    assert (lower(graph).tensors["image"].mean, lower(graph, input_std=2.0).tensors["image"].mean) == (5.0, 5.0)


@pytest.mark.parametrize(("mean", "std"), [(float("nan"), 1.0), (0.0, 0.0), (0.0, float("inf"))])
def test_impossible_normalisation_is_refused(mean: float, std: float) -> None:
    with pytest.raises(TulleError, match="must be finite, and std not 0"):
        lower(networks.every_op(), input_mean=mean, input_std=std)


def test_normalisation_without_an_image_is_refused() -> None:
    build = networks.builder()
    graph = build.finish(build.node("activation", [build.input("x", (1, 4))], "y", activation="relu"))
    with pytest.raises(TulleError, match="no image input"):
        lower(graph, input_mean=1.0)


def test_an_unknown_sparse_mode_is_refused() -> None:
    with pytest.raises(TulleError, match="'auto', 'always' or 'never', not 'sometimes'"):
        lower(networks.every_op(), sparse="sometimes")


def test_weights_that_are_computed_are_refused() -> None:
    build = networks.builder()
    x, w = build.input("x", (1, 8)), build.input("w", (4, 8))
    graph = build.finish(build.node("fully_connected", [x, w], "y", activation="none", keep_num_dims=False))
    with pytest.raises(TulleError, match="fully_connected 'y': weights must be constant, but 'w' is computed"):
        lower(graph)


def test_a_constant_output_is_computed_all_the_same() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4))
    c = build.graph.add_constant("c", networks.noise_array((1, 4)))
    y = build.node("activation", [x], "y", activation="relu")
    graph = build.finish(y, build.node("activation", [c], "z", activation="relu"))
    assert networks.same_outputs(graph, lower(graph))


def test_prelu_that_varies_over_the_image_is_refused() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 3))
    alpha = build.graph.add_constant("alpha", networks.noise_array((4, 4, 3)))
    graph = build.finish(build.node("activation", [x, alpha], "y", activation="prelu"))
    with pytest.raises(TulleError, match="varies over the image"):
        lower(graph)


def broken(change: Callable[[Graph], object]) -> Graph:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 8, 8, 3)), "entry", 4, kernel=3)
    graph = lower(build.finish(build.depthwise_conv2d(x, "y")))
    change(graph)
    return graph


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda graph: graph.nodes[0].attrs.update(padding="same"), "padding is still 'same'"),
        (lambda graph: graph.nodes[0].attrs.pop("sparsity"), "sparsity is not chosen"),
        (lambda graph: setattr(graph.tensors["entry"], "layout", "plain"), "must be chw"),
        (lambda graph: setattr(graph.tensors["y"], "layout", "chw"), "must turn chw into plain"),
        (lambda graph: setattr(graph.tensors["entry"], "shape", (1, 9, 8, 4)), "should be"),
        (lambda graph: graph.nodes.pop(), "never computed"),
        (
            lambda graph: (
                graph.add_tensor(Tensor("z", (4, 3, 3, 3))),
                graph.nodes.insert(0, Node("dequantize", "z", ["entry/weight"], ["z"])),
            ),
            "dequantize 'z': should have been folded",
        ),
    ],
)
def test_check_lowered_names_what_is_wrong(change: Callable[[Graph], object], cause: str) -> None:
    with pytest.raises(TulleError, match=cause):
        check_lowered(broken(change))
