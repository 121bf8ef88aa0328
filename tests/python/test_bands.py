"""Bands: ops that run together a few rows at a time give, bit for bit, what they give one after the other.

An op whose result is also an output of the model cannot be inside a band, so each network is run twice: as it is, and
with all that lies between its ops handed out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tulle import load
from tulle.graph import Graph, Node, Tensor, reference
from tulle.pack import pack

VARIANTS = ("simd", "relaxed")
LARGE = 1_100_000  # bytes of a map that a band is worth making for


class Chain:
    """Convolutions one after the other, over maps whose rows are whole vectors."""

    def __init__(self, seed: int, height: int, width: int, channels: int, image: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("chain")
        name = self.graph.add_tensor(Tensor("input", (1, height, width, channels)))
        self.graph.inputs.append(name)
        self.last = name if image else self.op("to_chw", [name], (1, height, width, channels))

    def op(self, kind: str, inputs: list[str | None], shape: tuple[int, ...], layout: str = "chw", **attrs: Any) -> str:
        output = self.graph.add_tensor(Tensor(kind, shape, layout=layout))
        self.graph.nodes.append(Node(kind, output, inputs, [output], attrs))
        return output

    def weights(self, shape: tuple[int, ...], zeros: float) -> str:
        values = self.rng.standard_normal(shape) / np.sqrt(max(1.0, np.prod(shape[1:]) * (1 - zeros)))
        return self.graph.add_constant("weight", np.where(self.rng.random(shape) < zeros, 0, values).astype(np.float32))

    def conv(self, kind: str, channels: int, kernel: int, stride: int, dilation: int, activation: str) -> None:
        """With paddings that keep the width, or its part by the stride; above and below whatever comes."""
        before = self.graph.tensors[self.last].shape
        reach = (kernel - 1) * dilation + 1
        out_width = before[2] // stride
        sides = max(0, (out_width - 1) * stride + reach - before[2])
        left = int(self.rng.integers(0, sides + 1))
        right = sides - left
        top, bottom = (int(pad) for pad in self.rng.integers(0, reach, 2))
        out_height = (before[1] + top + bottom - reach) // stride + 1
        depthwise = kind == "depthwise_conv2d"
        multiplier = max(1, channels // before[3]) if depthwise else 1
        channels = before[3] * multiplier if depthwise else channels
        zeros = float(self.rng.choice([0.0, 0.6])) if kernel == 1 and not depthwise else 0.0
        shape = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, before[3])
        inputs: list[str | None] = [self.last, self.weights(shape, zeros)]
        inputs.append(self.graph.add_constant("bias", self.rng.standard_normal(channels).astype(np.float32)))
        attrs: dict[str, Any] = {} if depthwise else {"sparsity": "sparse" if zeros else "dense"}
        if activation == "prelu":
            alpha = self.graph.add_constant("alpha", self.rng.random(channels).astype(np.float32))
            inputs.extend([None] * ((3 if depthwise else 4) - len(inputs)))
            inputs.append(alpha)
        self.last = self.op(
            kind, inputs, (1, out_height, out_width, channels), strides=(stride, stride),
            dilations=(dilation, dilation), padding=(top, bottom, left, right), activation=activation, **attrs,
        )  # fmt: skip

    def outputs(self, names: list[str]) -> Graph:
        graph = self.graph.copy()
        graph.outputs = []
        for name in names:
            plain = graph.add_tensor(Tensor("plain", graph.tensors[name].shape))
            graph.nodes.append(Node("to_plain", plain, [name], [plain], {}))
            graph.outputs.append(plain)
        return graph

    def compare(self, variant: str, exact: bool) -> None:
        """Checks that a band was made, and what it computes."""
        made = [node.outputs[0] for node in self.graph.nodes if node.op != "to_chw"]
        alone, together = self.outputs(made), self.outputs(made[-1:])
        data = self.rng.standard_normal(self.graph.tensors["input"].shape).astype(np.float32)
        with load(pack(alone), variant=variant) as model:  # type: ignore[arg-type]
            expected = list(model(data).values())[-1]
        with load(pack(together), variant=variant) as model:  # type: ignore[arg-type]
            first = next(iter(model(data).values()))
            model(np.zeros_like(data))
            again = next(iter(model(data).values()))
            arena = model.info["arena_bytes"]
        sizes = [int(np.prod(self.graph.tensors[name].shape)) * 4 for name in made[:-1]]
        assert max(sizes) > LARGE, "the case is too small for a band"
        outside = 4 * sum(int(np.prod(self.graph.tensors[name].shape)) for name in ("input", made[-1]))
        assert arena < 3 * outside + max(sizes), "no band was made: the largest map has memory of its own"
        np.testing.assert_array_equal(first, expected)
        np.testing.assert_array_equal(again, expected)
        if exact:
            reached = next(iter(reference.run(together, {"input": data}).values()))
            assert np.abs(first - reached).max() <= 1e-4 * np.abs(reached).max()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("image", [False, True])
def test_block_of_a_mobile_network(image: bool, stride: int, variant: str) -> None:
    chain = Chain(stride, 91, 64, 3 if image else 8, image)
    if image:
        chain.conv("conv2d", 8, 3, 1, 1, "relu6")
    chain.conv("conv2d", 56, 1, 1, 1, "relu6")
    chain.conv("depthwise_conv2d", 56, 3, stride, 1, "hard_swish")
    chain.conv("conv2d", 4, 1, 1, 1, "none")
    chain.compare(variant, exact=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(12))
def test_random_chains(seed: int, variant: str) -> None:
    rng = np.random.default_rng([seed, 1])
    height, width = int(rng.integers(70, 120)), int(rng.choice([64, 96]))
    chain = Chain(seed, height, width, int(rng.integers(2, 5)), bool(rng.integers(2)))
    chain.conv("conv2d", 1 + LARGE // (4 * (height - 12) * width), int(rng.choice([1, 3])), 1, 1, "relu6")
    for _ in range(int(rng.integers(1, 5))):
        kind = str(rng.choice(["conv2d", "depthwise_conv2d"]))
        small = kind == "depthwise_conv2d"
        kernel, activation = int(rng.choice([1, 2, 3, 5])), str(rng.choice(["none", "relu6", "sigmoid", "prelu"]))
        stride = int(rng.choice([1, 2])) if chain.graph.tensors[chain.last].shape[2] % 8 == 0 else 1
        channels = chain.graph.tensors[chain.last].shape[3] if small else int(rng.integers(2, 24))
        dilation = int(rng.choice([1, 2])) if kernel > 1 else 1
        chain.conv(kind, channels, kernel, stride if small or kernel > 1 else 1, dilation, activation)
    chain.compare(variant, exact=False)
