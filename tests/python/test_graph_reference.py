"""The reference executor against LiteRT: op by op over the shapes that differ between frameworks, and whole models."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import Graph, reference
from tulle.zoo.builder import Builder


def single(op: str, shape: tuple[int, ...], constants: tuple[tuple[int, ...], ...] = (), **options: object) -> Graph:
    """A graph of one op over an input of `shape`; `out` names the output's shape where the op leaves it open."""
    build = networks.builder()
    out = options.pop("out", None)
    inputs = [build.input("x", shape)]
    for index, constant in enumerate(constants):
        inputs.append(build.graph.add_constant(f"c{index}", networks.noise_array(constant, index)))
    return build.finish(build.node(op, [*inputs], "y", shape=out, **options))  # type: ignore[arg-type]


def conv(
    size: tuple[int, int], kernel: int, stride: int, dilation: int, padding: str, activation: str = "none"
) -> Graph:
    return single(
        "conv2d", (1, *size, 3), ((4, kernel, kernel, 3), (4,)),
        strides=(stride, stride), dilations=(dilation, dilation), padding=padding, activation=activation,
    )  # fmt: skip


def depthwise(size: tuple[int, int], kernel: int, stride: int, padding: str, multiplier: int = 1) -> Graph:
    return single(
        "depthwise_conv2d", (1, *size, 4), ((1, kernel, kernel, 4 * multiplier), (4 * multiplier,)),
        strides=(stride, stride), dilations=(1, 1), padding=padding, activation="none",
    )  # fmt: skip


def transpose_conv(size: tuple[int, int], kernel: int, stride: int, padding: str) -> Graph:
    grown = [n * stride if padding == "same" else (n - 1) * stride + kernel for n in size]
    return single(
        "transpose_conv2d", (1, *size, 3), ((4, kernel, kernel, 3), (4,)),
        out=(1, *grown, 4), strides=(stride, stride), padding=padding, activation="none",
    )  # fmt: skip


def pool(op: str, size: tuple[int, int], kernel: int, stride: int, padding: str) -> Graph:
    return single(
        op, (1, *size, 3), kernel=(kernel, kernel), strides=(stride, stride), padding=padding, activation="none"
    )


def resize(op: str, size: tuple[int, int], out: tuple[int, int], align_corners: bool, half_pixel: bool) -> Graph:
    return single(
        op, (1, *size, 3), out=(1, *out, 3), align_corners=align_corners, half_pixel_centers=half_pixel
    )  # fmt: skip


def pad(pads: tuple[tuple[int, int], ...], mode: str, value: float = 0.0) -> Graph:
    return single("pad", (1, 5, 6, 3), pads=pads, pad_mode=mode, pad_value=value)


def cases() -> dict[str, Graph]:
    """Small graphs of one op each, by what is special about them."""
    graphs: dict[str, Graph] = {}
    image = (1, 4, 5, 3)
    for padding, size in itertools.product(("same", "valid"), ((8, 8), (7, 10))):
        where = f"{size} {padding}"
        for kernel, stride, dilation in ((1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 2, 1), (5, 3, 1), (3, 1, 2)):
            graphs[f"conv {where} k{kernel} s{stride} d{dilation}"] = conv(size, kernel, stride, dilation, padding)
        for kernel, stride, multiplier in itertools.product((3, 5), (1, 2), (1, 3)):
            graphs[f"depthwise {where} k{kernel} s{stride} m{multiplier}"] = depthwise(
                size, kernel, stride, padding, multiplier
            )
        for kernel, stride in ((2, 2), (3, 2), (3, 1), (4, 2)):
            graphs[f"transpose {where} k{kernel} s{stride}"] = transpose_conv(size, kernel, stride, padding)
        for op, (kernel, stride) in itertools.product(("average_pool2d", "max_pool2d"), ((2, 2), (3, 2), (3, 1))):
            graphs[f"{op} {where} k{kernel} s{stride}"] = pool(op, size, kernel, stride, padding)
    for op in ("resize_bilinear", "resize_nearest"):
        for size, out in (((4, 4), (8, 8)), ((5, 7), (11, 9)), ((9, 9), (4, 5))):
            for align, half in ((False, False), (True, False), (False, True)):
                graphs[f"{op} {size}->{out} align={align} half={half}"] = resize(op, size, out, align, half)
    for op in ("add", "sub", "mul", "div", "maximum", "minimum"):
        for shape in ((3,), image, (1, 1, 1, 3), (1, 4, 5, 1)):
            graphs[f"{op} {shape}"] = single(op, image, (shape,), activation="none")
    for activation in ("relu", "relu6", "relu_n1_to_1"):
        graphs[f"conv fused {activation}"] = conv((6, 6), 3, 1, 1, "same", activation)
    for activation in ("relu", "relu6", "relu_n1_to_1", "hard_swish", "sigmoid", "tanh"):
        graphs[f"activation {activation}"] = single("activation", image, activation=activation)
    for op, axes, keep in itertools.product(("mean", "sum"), ((1, 2), (3,), (1,)), (True, False)):
        graphs[f"{op} {axes} keep={keep}"] = single(op, image, axes=axes, keep_dims=keep)
    dense = {"activation": "relu", "keep_num_dims": False}
    return graphs | {
        "leaky_relu": single("activation", image, activation="leaky_relu", alpha=0.2),
        "elu": single("activation", image, activation="elu", alpha=1.0),
        "prelu": single("activation", image, ((1, 1, 3),), activation="prelu"),
        "pad zeros": pad(((0, 0), (1, 2), (0, 3), (0, 0)), "constant"),
        "pad value": pad(((0, 0), (1, 2), (0, 3), (2, 0)), "constant", 1.5),
        "pad reflect": pad(((0, 0), (1, 2), (0, 3), (0, 0)), "reflect"),
        "pad symmetric": pad(((0, 0), (1, 2), (0, 3), (1, 0)), "symmetric"),
        "fully connected": single("fully_connected", (1, 6), ((4, 6), (4,)), **dense),
        "fully connected rows": single("fully_connected", (1, 5, 6), ((4, 6),), **{**dense, "keep_num_dims": True}),
        "transpose": single("transpose", image, perm=(0, 3, 1, 2)),
        "reshape": single("reshape", image, out=(1, 20, 3)),
        "slice": single("slice", image, out=(1, 2, 3, 3), begin=(0, 1, 2, 0), strides=(1, 1, 1, 1)),
        "strided slice": single("slice", image, out=(1, 2, 2, 2), begin=(0, 1, 0, 1), strides=(1, 2, 3, 1)),
        "softmax": single("softmax", (1, 4, 7), beta=0.5),
        "depth to space": single("depth_to_space", (1, 3, 2, 12), block=2),
        "space to depth": single("space_to_depth", (1, 6, 4, 3), block=2),
    }


GRAPHS = cases()


@pytest.mark.parametrize("name", GRAPHS)
def test_op_equals_litert(name: str, litert: Callable[..., dict[str, np.ndarray]]) -> None:
    graph = GRAPHS[name]
    inputs = networks.noise(graph)
    expected = litert(tflite.write(graph), inputs)
    assert networks.error(reference.run(graph, inputs), expected) < 1e-5


def test_concat_of_two_inputs_equals_litert(litert: Callable[..., dict[str, np.ndarray]]) -> None:
    build = networks.builder()
    a, b = build.input("a", (1, 4, 5, 3)), build.input("b", (1, 4, 5, 2))
    graph = build.finish(build.node("concat", [a, b], "y", axis=3, activation="none"))
    inputs = networks.noise(graph)
    assert networks.error(reference.run(graph, inputs), litert(tflite.write(graph), inputs)) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", networks.MODELS)
def test_model_equals_litert(
    model: str, dtype: type, model_path: Callable, litert: Callable[..., dict[str, np.ndarray]]
) -> None:
    # The logits of selfie_segmentation reach several hundreds, so that float32's rounding shows in the sigmoid.
    tolerance = 1e-3 if model == "selfie_segmentation" else 1e-5
    path = model_path(model)
    graph = tflite.read(path)
    inputs = networks.patchwork(graph)
    assert networks.error(reference.run(graph, inputs, dtype), litert(path, inputs), graph) < tolerance


def test_keep_returns_activations_by_name_or_predicate() -> None:
    graph = networks.every_op()
    inputs = networks.noise(graph)
    outputs = reference.run(graph, inputs)
    named = reference.run(graph, inputs, keep=["entry", "pool"])
    assert list(named) == ["probabilities", "entry", "pool"]
    assert named["entry"].shape == (1, 4, 4, 8) and named["entry"].max() <= 6
    everything = reference.run(graph, inputs, keep=lambda name: True)
    assert set(everything) == {node.output for node in graph}
    np.testing.assert_array_equal(everything["probabilities"], outputs["probabilities"])


def test_prelu_is_fused_as_the_last_input() -> None:
    build: Builder = networks.builder()
    x = build.input("x", (1, 3, 3, 2))
    weight = build.graph.add_constant("w", networks.noise_array((4, 1, 1, 2)))
    alpha = build.graph.add_constant("alpha", np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": "valid"}
    linear = build.node("conv2d", [x, weight, None], "linear", activation="none", **attrs)
    fused = build.node("conv2d", [x, weight, None, None, alpha], "fused", activation="prelu", **attrs)
    graph = build.finish(linear, fused)
    outputs = reference.run(graph, networks.noise(graph))
    negative = outputs["linear"] < 0
    assert negative.any() and not negative.all()
    expected = np.where(negative, outputs["linear"] * graph.tensors["alpha"].data, outputs["linear"])
    np.testing.assert_allclose(outputs["fused"], expected, rtol=1e-12)


def test_wrong_inputs_are_named() -> None:
    graph = networks.every_op()
    with pytest.raises(TulleError, match="no input 'picture'; the inputs are image"):
        reference.run(graph, {"picture": np.zeros((1, 8, 8, 3))})
    with pytest.raises(TulleError, match="'image' is missing"):
        reference.run(graph, {})
    with pytest.raises(TulleError, match=r"'image' has shape \(8, 8, 3\) instead of \(1, 8, 8, 3\)"):
        reference.run(graph, {"image": np.zeros((8, 8, 3))})
