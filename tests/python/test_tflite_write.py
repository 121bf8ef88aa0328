"""Written .tflite files: LiteRT runs them, with the outputs of the graph they came from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tflite as schema

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import Graph, reference
from tulle.graph.stats import layer_stats
from tulle.ops import LAYERS
from tulle.passes import lower
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify import magnitude

OPTIONS = [
    {},
    {"weights": "fp16"},
    {"sparse": True},
    {"weights": "fp16", "sparse": True},
]


def operators(data: bytes) -> list[str]:
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(graph.Operators(i).OpcodeIndex()) for i in range(graph.OperatorsLength())]
    return [schema.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode())) for code in codes]


@pytest.mark.parametrize("model", ["hand_landmark_full", "selfie_segmentation", "palm_detection_lite"])
@pytest.mark.parametrize("weights", ["fp32", "fp16"])
def test_round_trip_equals_the_original(model: str, weights: str, model_path: Callable, litert: Callable) -> None:
    graph = tflite.read(model_path(model))
    data = tflite.write(graph, weights=weights)
    inputs = networks.patchwork(graph)
    # The originals have float16 weights, so nothing is lost. A custom op becomes TRANSPOSE_CONV.
    assert networks.error(litert(data, inputs), litert(model_path(model), inputs), graph) < 1e-6
    again = tflite.read(data)
    assert again.inputs == graph.inputs and again.outputs == graph.outputs


def test_sparse_round_trip_is_as_small_as_the_original(model_path: Callable, litert: Callable) -> None:
    path = model_path("hand_landmark_sparse")
    graph = tflite.read(path)
    data = tflite.write(graph, weights="fp16", sparse=True)
    assert len(data) < 1.05 * path.stat().st_size
    folded = fold_constants(graph)
    layers = {node.name: graph.tensors[node.inputs[1] or ""].shape for node in folded if node.op in LAYERS}
    worth_it = [row for row in layer_stats(folded) if row.zeros >= 2 / 3 and layers[row.name][1:-1] in ((), (1, 1))]
    assert operators(data).count("DENSIFY") == len(worth_it) > 25
    inputs = networks.patchwork(graph)
    assert networks.error(litert(data, inputs), litert(path, inputs), graph) < 1e-6
    again = fold_constants(tflite.read(data))
    weights = [[g.constant(node.inputs[1]) for node in g if node.op == "conv2d"] for g in (again, folded)]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "model", ["hand_landmark_full", "hand_landmark_tulle", "palm_detection_full", "selfie_segmentation"]
)
def test_lowered_graphs_are_written_too(model: str, options: dict, model_path: Callable, litert: Callable) -> None:
    path = model_path(model)
    graph = tflite.read(path)
    inputs = networks.patchwork(graph)
    data = tflite.write(lower(graph), **options)
    # Biases that took up dead channels are no longer exact in float16, and so stay float32.
    tolerance = 1e-3 if model == "selfie_segmentation" else 1e-5
    assert networks.error(litert(data, inputs), litert(path, inputs), graph) < tolerance


@pytest.mark.parametrize("options", OPTIONS)
def test_a_pruned_model_runs_sparse(options: dict, model_path: Callable, litert: Callable) -> None:
    pruned = magnitude(tflite.read(model_path("hand_landmark_full")), 0.8)
    data = tflite.write(pruned, **options)
    inputs = networks.patchwork(pruned)
    assert networks.error(litert(data, inputs), reference.run(pruned, inputs), pruned) < 1e-5
    densified = operators(data).count("DENSIFY")
    assert densified == (sum(node.op == "conv2d" for node in pruned) - 1 if options.get("sparse") else 0)
    if options == {"weights": "fp16", "sparse": True}:
        assert len(data) < 0.45 * model_path("hand_landmark_full").stat().st_size


@pytest.mark.parametrize("options", OPTIONS)
def test_every_op_in_one_network(options: dict, litert: Callable) -> None:
    graph = magnitude(networks.every_op(), 0.75, layers=["project", "narrow"])
    inputs = networks.noise(graph)
    data = tflite.write(graph, **options)
    actual = litert(data, inputs)
    assert networks.error(actual, reference.run(tflite.read(data), inputs)) < 1e-5
    assert networks.error(actual, reference.run(graph, inputs)) < (2e-3 if "weights" in options else 1e-5)


@pytest.mark.parametrize("columns", [200, 300, 70_000])
def test_index_vectors_are_as_narrow_as_they_can_be(columns: int, litert: Callable) -> None:
    weight = np.zeros((3, columns), np.float32)
    weight[0, 0], weight[1, columns - 1], weight[2, 5] = 1, 2, 3
    build = networks.builder()
    x = build.input("x", (1, columns))
    name = build.graph.add_constant("w", weight)
    graph = build.finish(build.node("fully_connected", [x, name, None], "y", activation="none", keep_num_dims=False))
    data = tflite.write(graph, sparse=True)
    model = schema.Model.GetRootAs(data, 0)
    tensors = map(model.Subgraphs(0).Tensors, range(model.Subgraphs(0).TensorsLength()))
    (sparsity,) = [tensor.Sparsity() for tensor in tensors if tensor.Sparsity() is not None]
    kinds = {200: "Uint8Vector", 300: "Uint16Vector", 70_000: "Int32Vector"}
    assert sparsity.DimMetadata(1).ArrayIndicesType() == getattr(schema.SparseIndexVector, kinds[columns])
    assert sparsity.DimMetadata(1).ArraySegmentsType() == schema.SparseIndexVector.Uint8Vector
    np.testing.assert_array_equal(fold_constants(tflite.read(data)).tensors["w"].data, weight)
    inputs = networks.noise(graph)
    assert networks.error(litert(data, inputs), reference.run(graph, inputs)) < 1e-6


def test_values_beyond_float16_stay_float32(litert: Callable) -> None:
    build = networks.builder()
    x = build.input("x", (1, 4))
    weight = networks.noise_array((3, 4))
    weight[0, 0] = 1e6
    name = build.graph.add_constant("w", weight)
    graph = build.finish(build.node("fully_connected", [x, name, None], "y", activation="none", keep_num_dims=False))
    data = tflite.write(graph, weights="fp16")
    assert operators(data) == ["FULLY_CONNECTED"]
    np.testing.assert_array_equal(tflite.read(data).tensors["w"].data, weight)


def test_a_layer_that_is_all_zeros_is_not_written_sparse(litert: Callable) -> None:
    """An empty buffer would make its weights an activation."""
    build = networks.builder()
    x = build.input("x", (1, 4))
    name = build.graph.add_constant("w", np.zeros((3, 4), np.float32))
    bias = build.graph.add_constant("b", np.array([1, 2, 3], np.float32))
    graph = build.finish(build.node("fully_connected", [x, name, bias], "y", activation="none", keep_num_dims=False))
    data = tflite.write(graph, sparse=True)
    np.testing.assert_array_equal(litert(data, networks.noise(graph))["y"], [[1, 2, 3]])


def with_padding(op: str, padding: tuple[int, int, int, int]) -> Graph:
    build = networks.builder()
    x = build.input("x", (1, 6, 7, 3))
    attrs = {"strides": (2, 2), "padding": padding, "activation": "none"}
    if op == "conv2d":
        weight = build.graph.add_constant("w", networks.noise_array((4, 3, 3, 3)))
        return build.finish(build.node(op, [x, weight, None], "y", dilations=(1, 1), **attrs))
    return build.finish(build.node(op, [x], "y", kernel=(3, 3), **attrs))


@pytest.mark.parametrize(
    ("op", "padding", "expected"),
    [
        ("conv2d", (0, 0, 0, 0), ["CONV_2D"]),
        ("conv2d", (0, 1, 1, 1), ["CONV_2D"]),  # what "same" means for 6x7, 3x3, stride 2
        ("conv2d", (1, 0, 1, 1), ["PAD", "CONV_2D"]),
        ("conv2d", (2, 2, 0, 3), ["PAD", "CONV_2D"]),
        ("max_pool2d", (0, 1, 1, 1), ["MAX_POOL_2D"]),
        ("max_pool2d", (1, 1, 1, 1), ["PADV2", "MAX_POOL_2D"]),
        ("average_pool2d", (0, 1, 1, 1), ["AVERAGE_POOL_2D"]),
    ],
)
def test_explicit_padding(op: str, padding: tuple[int, int, int, int], expected: list[str], litert: Callable) -> None:
    graph = with_padding(op, padding)
    data = tflite.write(graph)
    assert operators(data) == expected
    inputs = networks.noise(graph)
    assert networks.error(litert(data, inputs), reference.run(graph, inputs)) < 1e-6


def test_padding_that_tflite_has_not_is_refused() -> None:
    with pytest.raises(TulleError, match=r"average_pool2d 'y': TensorFlow Lite has no padding \(1, 1, 1, 1\)"):
        tflite.write(with_padding("average_pool2d", (1, 1, 1, 1)))


def test_unknown_weights_option_is_refused() -> None:
    with pytest.raises(TulleError, match="'fp32' or 'fp16', not 'int8'"):
        tflite.write(networks.every_op(), weights="int8")
