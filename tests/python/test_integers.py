"""Quantised networks on bytes: whole models against the same arithmetic in NumPy, and which ops run so.

The reference computes every op in float64 and rounds its result to the tensor's levels where the plan has bytes. Sums
of integers are exact in both. Where float32 rounds the other way at a tie, a value differs by one level, and later ones
by what follows from that: few, and by little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tulle
from c_lists import kernels
from python.test_integer_kernels import TOP, wasm
from tulle.graph import Graph, Node, Quantization, Tensor, reference
from tulle.pack import pack

Array = np.ndarray
KERNELS = {kernel.name for kernel in kernels("relaxed") if kernel.function.startswith("u8_")}
ON_BYTES = KERNELS - {"u8_convert"}

CLAMPS = ("none", "relu", "relu6", "relu_n1_to_1")


class Net:
    """A quantised network that grows: maps in CHW, weights of int8, levels for every activation."""

    def __init__(self, seed: int, *size: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("quantised")
        self.graph.add_tensor(Tensor("input", (1, *size)))
        self.graph.inputs.append("input")
        self.graph.tensors["input"].levels = Quantization("uint8", 0.02, 126)
        self.x = self.graph.inputs[0] if size[2] <= 4 else self.add("to_chw", ["input"], (1, *size))

    def add(
        self, op: str, inputs: list[str | None], shape: tuple[int, ...], layout: str = "chw",
        same_levels: bool = False, **attrs: Any,
    ) -> str:  # fmt: skip
        """`same_levels`: those of the first input."""
        clamped = attrs.get("activation") in ("relu", "relu6")
        dtype = str(self.rng.choice(["int8", "uint8"]))
        zero = 0 if clamped else int(self.rng.integers(100, 156))
        scale = float(np.float32(self.rng.uniform(0.015, 0.03)))
        levels = Quantization(dtype, scale, zero - 128 * (dtype == "int8"))
        if same_levels and inputs[0] is not None:
            levels = self.graph.tensors[inputs[0]].levels or levels
        name = self.graph.add_tensor(Tensor(f"{op}{len(self.graph.nodes)}", shape, layout=layout, levels=levels))
        self.graph.nodes.append(Node(op, name, inputs, [name], attrs))
        self.x = name
        return name

    def shape(self) -> tuple[int, ...]:
        return self.graph.tensors[self.x].shape

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def constant(self, shape: tuple[int, ...], channels: int, axis: int) -> str:
        values = self.rng.integers(-127, 128, shape).astype(np.float32)
        if self.rng.random() < 0.3:  # as of unsigned bytes, whose zero points are not in the middle
            values += self.rng.integers(-110, 110)
        scales = self.rng.uniform(0.5, 1.5, channels) / (70 * np.sqrt(np.prod(shape) / channels))
        return self.graph.add_constant(
            "weight", values * np.moveaxis(scales.astype(np.float32)[:, None, None, None], 0, axis)
        )

    def bias(self, channels: int) -> str | None:
        return self.pick(None, self.graph.add_constant("bias", self.rng.normal(0, 0.3, channels).astype(np.float32)))

    def pointwise(self, outputs: int, residual: str | None = None, activation: str | None = None) -> str:
        _, height, width, inputs = self.shape()
        activation = activation or self.pick(*CLAMPS, *CLAMPS, "hard_swish")
        ends: list[str | None] = [self.constant((outputs, 1, 1, inputs), outputs, 0), self.bias(outputs)]
        return self.add("conv2d", [self.x, *ends, *([residual] if residual else [])], (1, height, width, outputs),
                        activation=activation, strides=(1, 1), dilations=(1, 1), padding=(0, 0, 0, 0),
                        sparsity="dense")  # fmt: skip

    def spatial(self, outputs: int, kernel: int = 3, stride: int = 1, pad: int = 1, dilation: int = 1) -> str:
        _, height, width, inputs = self.shape()
        pad = pad * dilation if stride == 1 else pad
        reach = (kernel - 1) * dilation + 1
        shape = (1, (height + 2 * pad - reach) // stride + 1, (width + 2 * pad - reach) // stride + 1, outputs)
        weight = self.constant((outputs, kernel, kernel, inputs), outputs, 0)
        return self.add("conv2d", [self.x, weight, self.bias(outputs)], shape, activation=self.pick("none", "relu6"),
                        strides=(stride, stride), dilations=(dilation, dilation), padding=(pad, pad, pad, pad),
                        sparsity="dense")  # fmt: skip

    def depthwise(self, kernel: int = 3, stride: int = 1, dilation: int = 1) -> str:
        _, height, width, channels = self.shape()
        pad, reach = kernel // 2 * dilation, (kernel - 1) * dilation + 1
        shape = (1, (height + 2 * pad - reach) // stride + 1, (width + 2 * pad - reach) // stride + 1, channels)
        weight = self.constant((1, kernel, kernel, channels), channels, 3)
        return self.add("depthwise_conv2d", [self.x, weight, self.bias(channels)], shape,
                        activation=self.pick("none", "relu", "relu6", "hard_swish", "sigmoid"),
                        strides=(stride, stride),
                        dilations=(dilation, dilation), padding=(pad, pad, pad, pad))  # fmt: skip

    def plus(self, other: str) -> str:
        return self.add("add", [self.x, other], self.shape(), activation=self.pick("none", "relu"))

    # What has no weights, between layers that have some.

    def pool(self) -> str:
        _, height, width, channels = self.shape()
        kernel = int(self.rng.integers(1, min(height, width, 5) + 1)), int(self.rng.integers(1, min(width, 6) + 1))
        stride = self.pick((1, 1), (2, 2), (1, 2), (3, 3))
        pads = tuple(int(self.rng.integers(0, kernel[i // 2])) for i in range(4))
        op = self.pick("max_pool2d", "average_pool2d")
        size = (height + pads[0] + pads[1], width + pads[2] + pads[3])
        # Each window has a part of the map.
        pads = tuple(
            max(0, pads[i] - (size[i // 2] - kernel[i // 2]) % stride[i // 2]) if i % 2 else pads[i] for i in range(4)
        )
        shape = ((height + pads[0] + pads[1] - kernel[0]) // stride[0] + 1,
                 (width + pads[2] + pads[3] - kernel[1]) // stride[1] + 1)  # fmt: skip
        activation = self.pick("none", "relu") if op == "average_pool2d" else "none"
        return self.add(op, [self.x], (1, *shape, channels), same_levels=op == "max_pool2d", kernel=kernel,
                        strides=stride, padding=pads, activation=activation)  # fmt: skip

    def resize(self) -> str:
        _, height, width, channels = self.shape()
        op = self.pick("resize_nearest", "resize_bilinear")
        shape = self.pick((2 * height, 2 * width), (height + 3, width + 5), (max(1, height // 2), width), (1, 1))
        align, half = self.pick((False, False), (True, False), (False, True))
        return self.add(op, [self.x], (1, *shape, channels), same_levels=op == "resize_nearest", align_corners=align,
                        half_pixel_centers=half)  # fmt: skip

    def concat(self) -> str:
        shape, first = self.shape(), self.x
        axis = int(self.rng.integers(1, 4))
        others = [self.slice(axis) for _ in range(int(self.rng.integers(1, 4)))]
        size = sum(self.graph.tensors[name].shape[axis] for name in [first, *others])
        return self.add("concat", [*others, first], (*shape[:axis], size, *shape[axis + 1 :]), axis=axis,
                        activation="none")  # fmt: skip

    def slice(self, axis: int | None = None) -> str:
        shape = list(self.shape())
        begin = [0, 0, 0, 0]
        for dim in range(1, 4) if axis is None else [axis]:
            begin[dim] = int(self.rng.integers(0, shape[dim]))
            shape[dim] = int(self.rng.integers(1, shape[dim] - begin[dim] + 1))
        return self.add("slice", [self.x], tuple(shape), begin=tuple(begin), strides=(1, 1, 1, 1))

    def pad(self) -> str:
        pads = ((0, 0), *(tuple(int(n) for n in self.rng.integers(0, 4, 2)) for _ in range(3)))
        shape = tuple(size + sum(pair) for size, pair in zip(self.shape(), pads, strict=True))
        return self.add("pad", [self.x], shape, pads=pads, pad_value=self.pick(0.0, 0.5, -9.0), pad_mode="constant")

    def gate(self) -> str:
        shape, x = self.shape(), self.x
        gate = self.add("mean", [x], (1, 1, 1, shape[3]), axes=(1, 2), keep_dims=True)
        if self.rng.random() < 0.5:
            gate = self.graph.add_constant("gate", self.rng.normal(0, 1, (1, 1, 1, shape[3])).astype(np.float32))
        return self.add("mul", [x, gate], shape, activation=self.pick("none", "relu6"))

    def finish(self) -> Graph:
        """The map as it is, and the classes of its mean."""
        graph, shape = self.graph, self.shape()
        graph.outputs.append(self.add("to_plain", [self.graph.nodes[-1].output], shape, "plain"))
        self.x = graph.nodes[-2].output
        self.add("mean", [self.x], (1, shape[3]), "plain", axes=(1, 2), keep_dims=False)
        weight = self.constant((100, 1, 1, shape[3]), 100, 0)
        graph.tensors[weight].data = graph.tensors[weight].data[:, 0, 0]
        graph.tensors[weight].shape = (100, shape[3])
        graph.outputs.append(self.add("fully_connected", [self.x, weight, None], (1, 100), "plain", activation="none",
                                      sparsity="dense", keep_num_dims=False))  # fmt: skip
        return graph


def network(seed: int, scale: int = 1) -> Graph:
    """Blocks as in MobileNetV2, of odd sizes and channels that are no multiples of four; `scale`: of the sizes."""
    rng = np.random.default_rng(1000 + seed)
    picture = rng.random() < 0.4
    channels = int(rng.integers(1, 5) if picture else rng.integers(8, 40))
    net = Net(seed, scale * int(rng.integers(8, 30)), scale * int(rng.integers(8, 30)), channels)
    if picture:
        net.spatial(int(rng.integers(9, 30)), int(rng.integers(2, 6)), int(rng.choice([1, 2])))
    for _ in range(int(rng.integers(2, 4))):
        block = net.x
        net.pointwise(int(rng.integers(9, 70)))
        if rng.random() < 0.3:
            net.spatial(int(rng.integers(9, 40)), dilation=int(rng.choice([1, 1, 2])))
        stride = int(rng.choice([1, 1, 2]))
        net.depthwise(int(rng.choice([3, 5])), stride, 1 if stride > 1 else int(rng.choice([1, 1, 3])))
        same = net.shape()[:3] == net.graph.tensors[block].shape[:3]
        channels = net.graph.tensors[block].shape[3] if same else int(rng.integers(8, 50))
        if same and rng.random() < 0.5:
            net.pointwise(channels, residual=block)
        else:
            net.pointwise(channels)
            if same:
                net.plus(block)
        if rng.random() < 0.4:  # what runs in float32, and reads what others read as bytes
            net.add("activation", [net.x], net.shape(), activation="hard_swish")
            if rng.random() < 0.5:
                net.plus(net.graph.nodes[-1].inputs[0])
    return net.finish()


def maps_between(seed: int, scale: int = 1) -> Graph:
    """Ops without weights between 1x1 convolutions, which read and write bytes; `scale`: of the sizes."""
    rng = np.random.default_rng(2000 + seed)
    size = int(rng.integers(5, 24)), int(rng.integers(5, 24))
    net = Net(2000 + seed, scale * size[0], scale * size[1], int(rng.integers(9, 30)))
    for _ in range(3):
        net.pointwise(int(rng.integers(9, 40)))
        for _ in range(int(rng.integers(1, 4))):
            # Each reads what comes before it.
            getattr(net, str(rng.choice(["pool", "resize", "concat", "slice", "pad", "gate"])))()
    net.pointwise(int(rng.integers(9, 40)))
    return net.finish()


@pytest.fixture(scope="module")
def top() -> int:
    return TOP[wasm().call("tulle_u8_probe")]


def expected(
    graph: Graph, steps: list[dict[str, Any]], x: Array, top: int
) -> tuple[dict[str, Array], dict[str, float]]:
    """The outputs of the arithmetic of a plan's steps, and how far apart their levels are."""
    on_bytes = {step["name"]: step["kernel"] for step in steps if step["kernel"] in ON_BYTES}
    read = {name for node in graph.nodes if node.name in on_bytes for name in node.inputs}

    def rounded(name: str, values: Array) -> Array:
        levels = graph.tensors[name].levels
        if levels is None or graph.tensors[name].data is not None:
            return values
        scale = float(np.float32(levels.scale) * np.float32(255 / top))
        zero = np.rint((levels.zero_point + 128 * (levels.dtype == "int8")) * top / 255)
        return (np.clip(np.floor(values / scale + zero + 0.5), 0, top) - zero) * scale

    values = {name: tensor.data.astype(float) for name, tensor in graph.tensors.items() if tensor.data is not None}
    values[graph.inputs[0]] = x.astype(float)
    for node in graph.nodes:
        here = node.name in on_bytes
        # A gate is read as floats.
        inputs = [
            name and (rounded(name, values[name]) if here and (node.op != "mul" or i == 0) else values[name])
            for i, name in enumerate(node.inputs)
        ]
        y = reference.execute(graph, node, inputs)
        stores_bytes = on_bytes.get(node.name) != "u8_mean" and (
            node.op not in ("conv2d", "fully_connected") or node.output in read
        )
        values[node.output] = rounded(node.output, y) if here and stores_bytes else y
    apart = {name: graph.tensors[name].levels.scale * 255 / top for name in graph.outputs}
    return {name: values[name] for name in graph.outputs}, apart


def picture(graph: Graph, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, 1, graph.tensors[graph.inputs[0]].shape).astype(np.float32)


def kernels_of(model: tulle.Model) -> list[str]:
    return [step["kernel"] for step in model.info["steps"]]


@pytest.mark.parametrize("seed", range(40))
def test_networks_compute_what_their_integers_say(seed: int, top: int) -> None:
    check(network(seed), seed, top)


@pytest.mark.parametrize("seed", range(60))
def test_maps_between_layers_stay_bytes(seed: int, top: int) -> None:
    check(maps_between(seed), seed, top, least=1)


def check(graph: Graph, seed: int, top: int, least: int = 4) -> None:
    model = tulle.load(pack(graph), variant="relaxed")
    assert sum(kernel in ON_BYTES for kernel in kernels_of(model)) >= least
    x = picture(graph, seed)
    answers = model(x)
    wanted, steps = expected(graph, model.info["steps"], x, top)
    for name, values in wanted.items():
        off = np.abs(answers[name] - values) / steps[name]
        assert off.mean() < 0.1 and np.mean(off > 0.5) < 0.1 and off.max() < 8, f"{name}: {off.mean()}, {off.max()}"
    again = model(x)
    assert all(np.array_equal(answers[name], again[name]) for name in answers)


def test_every_kernel_on_bytes_runs_somewhere() -> None:
    seen: set[str] = set()
    for seed in range(10):
        for graph in (network(seed), maps_between(seed)):
            seen.update(kernels_of(tulle.load(pack(graph), variant="relaxed")))
    assert seen >= KERNELS


def without_levels(graph: Graph) -> Graph:
    plain = graph.copy()
    for tensor in plain.tensors.values():
        tensor.levels = None
    return plain


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
def test_without_levels_or_integers_models_run_as_ever(variant: str) -> None:
    graph = network(1)
    x = picture(graph, 1)
    plain = tulle.load(pack(without_levels(graph)), variant=variant)
    assert not any(kernel.startswith("u8_") for kernel in kernels_of(plain))
    off = tulle.load(pack(graph), variant=variant, integers=False)
    for key in ("steps", "arena_bytes", "weight_bytes"):
        assert off.info[key] == plain.info[key]
    answers = plain(x)
    assert all(np.array_equal(answers[name], values) for name, values in off(x).items())
    if variant == "simd":  # which has no dot product
        assert tulle.load(pack(graph), variant=variant).info["steps"] == plain.info["steps"]


def block() -> Graph:
    """A 1x1 convolution and a depthwise one, and a third 1x1 whose maps are the output."""
    net = Net(7, 9, 11, 24)
    for outputs in (40, 40):
        net.pointwise(outputs, activation="relu")
        net.depthwise()
    net.pointwise(22)
    graph = net.graph
    graph.outputs.append(net.add("to_plain", [net.x], net.shape(), "plain"))
    return graph


def test_only_what_is_read_as_floats_is_stored_so() -> None:
    model = tulle.load(pack(block()), variant="relaxed")
    steps = [(step["op"], step["path"]) for step in model.info["steps"]]
    assert steps == [
        ("to_chw", "copy"),
        ("to_chw", "convert"),
        ("conv2d", "integer"),
        ("depthwise_conv2d", "integer_depthwise"),
        ("conv2d", "integer"),
        ("depthwise_conv2d", "integer_depthwise"),
        ("conv2d", "integer"),  # stores the floats that are the output
        ("to_plain", "copy"),
    ]
    floats = tulle.load(pack(block()), variant="relaxed", integers=False)
    assert model.info["arena_bytes"] < floats.info["arena_bytes"]
    assert model.info["weight_bytes"] < floats.info["weight_bytes"] / 2


def test_small_layers_are_not_converted_for() -> None:
    net = Net(3, 1, 1, 40)
    net.pointwise(8)
    net.graph.outputs.append(net.add("to_plain", [net.x], net.shape(), "plain"))
    assert not any(kernel.startswith("u8_") for kernel in kernels_of(tulle.load(pack(net.graph), variant="relaxed")))


@pytest.mark.parametrize("activation", ["hard_swish", "sigmoid", "tanh", "swish", "leaky_relu", "elu", "prelu"])
@pytest.mark.parametrize("windows", [False, True])
def test_other_activations_than_clamps_follow_sums_of_bytes(activation: str, windows: bool, top: int) -> None:
    """They are computed in float32, and become bytes at once."""
    net = Net(3, 13, 9, 27)
    net.spatial(39) if windows else net.pointwise(39)
    node = net.graph.nodes[-1]
    node.attrs["activation"] = activation
    if activation in ("leaky_relu", "elu"):
        node.attrs["alpha"] = 0.3
    if activation == "prelu":
        slopes = net.graph.add_constant("slopes", np.linspace(-0.5, 0.5, 39, dtype=np.float32))
        node.inputs += [None] * (4 - len(node.inputs)) + [slopes]
    net.pointwise(30)
    net.graph.outputs.append(net.add("to_plain", [net.x], net.shape(), "plain"))
    kernels = kernels_of(tulle.load(pack(net.graph), variant="relaxed"))
    assert [kernel.split("_")[1] for kernel in kernels if kernel.startswith("u8_")] == (
        ["convert", "conv" if windows else "gemm", "gemm"]
    )
    check(net.graph, 3, top, least=2)


@pytest.mark.parametrize("what", ["scale", "weights", "input", "bias"])
def test_what_does_not_fit_runs_in_float32(what: str) -> None:
    """Weights that are no integers or numbers that would overflow: as without levels, and no error."""
    graph = block()
    first = next(node for node in graph.nodes if node.op == "conv2d")
    if what == "scale":
        graph.tensors[first.output].levels = Quantization("int8", 1e-38, 0)
    elif what == "weights":
        graph.tensors[first.inputs[1]].data = picture(graph, 2)[0, :5, :8].reshape(40, 1, 1, 24)
    elif what == "input":
        graph.tensors[first.inputs[0]].levels = None
    else:
        first.inputs[2] = graph.add_constant("large", np.full(40, 1e20, np.float32))
    model = tulle.load(pack(graph), variant="relaxed")
    kernels = {step["name"]: step["kernel"] for step in model.info["steps"] if step["path"] != "convert"}
    assert kernels[first.name] == "f32_gemm_6x8"
    model(picture(graph, 1))


@pytest.mark.parametrize("size", [(17, 11, 3), (16, 16, 3), (21, 13, 3)])
def test_pictures_are_rounded_as_their_numbers_are(size: tuple[int, int, int]) -> None:
    """Bytes, which go to the entry convolution by themselves, give what the floats that they stand for give."""
    net = Net(5, *size)
    net.spatial(24, 3, 2)
    graph = net.graph
    graph.outputs.append(net.add("to_plain", [net.x], net.shape(), "plain"))
    graph.tensors["input"].mean, graph.tensors["input"].std = 127.0, 64.0
    model = tulle.load(pack(graph), variant="relaxed")
    assert [step["kernel"] for step in model.info["steps"]] == ["u8_convert", "u8_conv_8x4", "f32_copy"]
    pixels = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    [from_bytes], [from_floats] = (
        model(pixels).values(),
        model(((pixels - 127.0) / 64)[None].astype(np.float32)).values(),
    )
    levels = graph.tensors[graph.nodes[0].output].levels
    assert levels is not None
    assert np.abs(from_bytes - from_floats).max() < 0.1 * levels.scale


def test_a_vector_is_an_input_too(top: int) -> None:
    graph = Graph("vector")
    graph.add_tensor(Tensor("x", (1, 150), levels=Quantization("int8", 0.02, -3)))
    graph.inputs.append("x")
    rng = np.random.default_rng(0)
    weight = graph.add_constant("w", rng.integers(-127, 128, (130, 150)).astype(np.float32) * np.float32(0.001))
    graph.add_tensor(Tensor("y", (1, 130), levels=Quantization("int8", 0.02, 9)))
    attrs = {"activation": "none", "sparsity": "dense", "keep_num_dims": False}
    graph.nodes.append(Node("fully_connected", "y", ["x", weight, None], ["y"], attrs))
    graph.outputs.append("y")
    model = tulle.load(pack(graph), variant="relaxed")
    assert kernels_of(model) == ["u8_convert", "u8_gemm_8x4"]
    x = picture(graph, 1)
    [wanted], [y] = expected(graph, model.info["steps"], x, top)[0].values(), model(x).values()
    np.testing.assert_allclose(y, wanted, atol=1e-4)
