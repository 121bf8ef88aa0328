"""Graphs as PyTorch modules: the same answers as LiteRT's, in batches too, and back to .tflite."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (see docs/training.md)")

from PIL import Image  # noqa: E402

import networks  # noqa: E402
import random_models  # noqa: E402
import tulle  # noqa: E402
from tulle import tflite  # noqa: E402
from tulle.errors import TulleError  # noqa: E402
from tulle.graph import Graph, Node, Tensor  # noqa: E402
from tulle.ops import OPS  # noqa: E402
from tulle.passes.fold_constants import fold_constants  # noqa: E402
from tulle.train import GraphModule, from_graph, from_tflite, to_graph  # noqa: E402
from tulle.zoo import ARCHITECTURES  # noqa: E402

MODELS = [
    "hand_landmark_full",
    "hand_landmark_lite",
    "hand_landmark_tulle",
    "selfie_segmentation",
    "selfie_segmentation_landscape",
    "palm_detection_full",
]
PICTURES = sorted((Path(__file__).parents[2] / "demos" / "images").glob("*.jpg"))


def answers(module: GraphModule, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        outputs = module({name: torch.from_numpy(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def picture(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Values 0 to 1, as MediaPipe's models take them."""
    with Image.open(path) as image:
        pixels = image.convert("RGB").resize((shape[2], shape[1]))
    return np.asarray(pixels, np.float32)[None] / 255


def error(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Largest absolute error in parts of the expected output's range."""
    assert set(got) == set(expected)
    return max(
        float(np.abs(got[name] - values).max() / max(np.ptp(values), np.abs(values).max(), 1e-6))
        for name, values in expected.items()
    )


@pytest.mark.parametrize("name", MODELS)
def test_module_equals_litert(name: str, model_path: Callable, litert: Callable) -> None:
    module = from_tflite(model_path(name))
    (x,) = module.graph.inputs
    shape = module.graph.tensors[x].shape
    random = np.random.default_rng(0)
    images = [random.random(shape, np.float32) for _ in range(2)]
    assert PICTURES, "demos/images has no pictures"
    images += [picture(path, shape) for path in PICTURES[:3]]
    for image in images:
        assert error(answers(module, {x: image}), litert(model_path(name), {x: image})) < 1e-4


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0"])
def test_architectures_of_the_zoo_equal_litert(name: str, litert: Callable) -> None:
    graph = ARCHITECTURES[name].build(width=0.5, size=64)
    inputs = networks.patchwork(graph)
    assert error(answers(from_graph(graph), inputs), litert(tflite.write(graph), inputs)) < 1e-4


@pytest.mark.parametrize("name", ["hand_landmark_full", "selfie_segmentation_landscape", "palm_detection_full"])
def test_batch_equals_single_images(name: str, model_path: Callable) -> None:
    module = from_tflite(model_path(name))
    (x,) = module.graph.inputs
    images = np.random.default_rng(1).random((3, *module.graph.tensors[x].shape[1:]), np.float32)
    together = answers(module, {x: images})
    for index in range(3):
        alone = answers(module, {x: images[index : index + 1]})
        assert error({name: values[index : index + 1] for name, values in together.items()}, alone) < 5e-5


@pytest.mark.parametrize("seed", range(150))
def test_random_models_equal_litert(seed: int, litert: Callable) -> None:
    data, features, _ = random_models.build(seed)
    graph = tflite.read(data)
    inputs = networks.noise(graph, seed)
    if any(graph.tensors[name].is_constant for name in graph.outputs):
        pytest.skip("an output is a constant")
    if unknown := {node.op for node in fold_constants(graph) if OPS[node.op].torch is None}:
        pytest.skip(f"{', '.join(sorted(unknown))} cannot be trained")
    got = answers(from_graph(graph), inputs)
    expected = litert(data, inputs)
    assert error(got, expected) < random_models.TOLERANCE, features


@pytest.mark.parametrize("name", ["hand_landmark_full", "selfie_segmentation_landscape"])
def test_lowered_graph_is_the_same_module(name: str, model_path: Callable) -> None:
    """Fused residuals and activations, explicit paddings and layouts are understood."""
    graph = tflite.read(model_path(name))
    inputs = networks.noise(graph)
    lowered = tulle.passes.lower(graph)
    assert error(answers(from_graph(lowered), inputs), answers(from_graph(graph), inputs)) < 1e-5


# ---- back to a file


@pytest.mark.parametrize("name", ["hand_landmark_tulle", "selfie_segmentation_landscape", "palm_detection_lite"])
def test_exported_file_runs_in_litert_and_tulle(name: str, model_path: Callable, litert: Callable) -> None:
    """After training, which here moves every weight: the module, LiteRT and tulle agree."""
    module = from_tflite(model_path(name))
    inputs = networks.noise(module.graph)
    before = answers(module, inputs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            change = 1 + 0.05 * torch.randn(parameter.shape, generator=generator)
            parameter.mul_(change)
    trained = answers(module, inputs)
    assert error(trained, before) > 1e-3
    data = tflite.write(to_graph(module), sparse=True)
    assert error(litert(data, inputs), trained) < 1e-4
    assert error(tulle.load(tulle.convert(data).data)(inputs), trained) < 1e-4


def test_untrained_export_has_the_same_weights_and_zeros(model_path: Callable) -> None:
    graph = fold_constants(tflite.read(model_path("hand_landmark_tulle")))
    again = to_graph(from_graph(graph))
    for name, tensor in graph.tensors.items():
        if tensor.data is not None:
            assert np.array_equal(again.tensors[name].data, tensor.data), name


def test_parameters_know_their_tensors(model_path: Callable) -> None:
    module = from_tflite(model_path("hand_landmark_full"))
    parameters = dict(module.named_parameters())
    assert set(module.tensor_names) == set(parameters)
    sizes = {name: module.graph.tensors[tensor].size for name, tensor in module.tensor_names.items()}
    assert sizes == {name: parameter.numel() for name, parameter in parameters.items()}
    assert len(parameters) == 102  # every constant of the file


# ---- sharing, copies, bad input


def shared_graph() -> Graph:
    """Two convolutions with the same weights, whose bias is also a factor elsewhere; names with dots."""
    graph = Graph("shared", inputs=["x"], outputs=["z"])
    for name in ("x", "y.1", "pop", "z"):
        graph.add_tensor(Tensor(name, (1, 4, 4, 3)))
    random = np.random.default_rng(0)
    graph.add_constant("w", random.standard_normal((3, 1, 1, 3)).astype(np.float32))
    graph.add_constant("b", random.standard_normal(3).astype(np.float32))
    attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "activation": "none"}
    graph.nodes = [
        Node("conv2d", "y.1", ["x", "w", "b"], ["y.1"], dict(attrs)),
        Node("conv2d", "pop", ["y.1", "w", "b"], ["pop"], dict(attrs)),
        Node("mul", "z", ["pop", "b"], ["z"], {"activation": "none"}),
    ]
    return graph


def test_shared_weights_are_one_parameter_and_factors_are_not_trained(litert: Callable) -> None:
    graph = shared_graph()
    module = from_graph(graph)
    assert len(list(module.parameters())) == 2
    inputs = networks.noise(graph)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5)
    exported = to_graph(module)
    assert np.array_equal(exported.tensors["b"].data, graph.tensors["b"].data)
    assert error(litert(tflite.write(exported), inputs), answers(module, inputs)) < 1e-5


def test_copies_are_independent() -> None:
    module = from_graph(shared_graph())
    inputs = networks.noise(module.graph)
    before = answers(module, inputs)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert error(answers(module, inputs), before) == 0
    assert np.all(answers(other, inputs)["z"] == 0)


def test_activations_can_be_kept_and_gradients_reach_every_parameter() -> None:
    module = from_graph(shared_graph())
    outputs = module(torch.randn(2, 4, 4, 3), keep=["y.1"])
    assert list(outputs) == ["z", "y.1"] and outputs["y.1"].shape == (2, 4, 4, 3)
    outputs["z"].sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_bad_inputs_are_named() -> None:
    module = from_graph(shared_graph())
    with pytest.raises(TulleError, match="shape"):
        module(torch.zeros(1, 3, 4, 4))
    with pytest.raises(TulleError, match="inputs are x"):
        module({"image": torch.zeros(1, 4, 4, 3)})
    with pytest.raises(TulleError, match="computes no nothing"):
        module(torch.zeros(1, 4, 4, 3), keep=["nothing"])


def test_model_that_mixes_the_batch_takes_one_image() -> None:
    graph = Graph("mixed", inputs=["x"], outputs=["y"])
    graph.add_tensor(Tensor("x", (1, 2, 2, 3)))
    graph.add_tensor(Tensor("y", (4, 3)))
    graph.nodes = [Node("reshape", "y", ["x"], ["y"])]
    module = from_graph(graph)
    assert module(torch.zeros(1, 2, 2, 3))["y"].shape == (4, 3)
    with pytest.raises(TulleError, match=r"one image at a time.*reshape"):
        module(torch.zeros(2, 2, 2, 3))


def test_ops_that_cannot_be_trained_are_named() -> None:
    graph = Graph("unknown", inputs=["x", "at"], outputs=["y"])
    graph.add_tensor(Tensor("x", (1, 2, 2, 3)))
    graph.add_tensor(Tensor("at", (1, 5, 5, 2)))
    graph.add_tensor(Tensor("y", (1, 5, 5, 3)))
    graph.nodes = [Node("sample_bilinear", "y", ["x", "at"], ["y"])]
    with pytest.raises(TulleError, match="sample_bilinear 'y': not an op that can be trained"):
        from_graph(graph)


def test_weights_computed_while_running_are_refused() -> None:
    graph = shared_graph()
    graph.tensors["w"].data = None
    graph.inputs.append("w")
    with pytest.raises(TulleError, match="computed while running"):
        from_graph(graph)


def test_a_module_of_ones_own_is_no_graph() -> None:
    with pytest.raises(TulleError, match=r"not Conv2d: export a module of your own with torch\.onnx\.export"):
        to_graph(torch.nn.Conv2d(3, 4, 1))  # type: ignore[arg-type]
