"""`Builder`: adds layers to a Graph one after the other, taking shapes and weights as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, Node, Tensor
from tulle.graph.shapes import output_shape


class Weights:
    """Where layers get their weights from, in the order of the network."""

    def take(self, shape: tuple[int, ...], fan_in: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 weights [out, in, kh, kw] (depthwise: [channels, 1, kh, kw]) and bias [out] of the next layer."""
        raise NotImplementedError

    def finish(self) -> None:
        """Called after the last layer."""


class RandomWeights(Weights):
    """He initialisation (He et al. 2015), the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def take(self, shape: tuple[int, ...], fan_in: int) -> tuple[np.ndarray, np.ndarray]:
        scale = np.sqrt(2 / fan_in)
        return (self.random.standard_normal(shape) * scale).astype(np.float32), np.zeros(shape[0], np.float32)


class SavedWeights(Weights):
    """An .npz file with arrays L001_..._w and L001_..._b, one pair a layer in execution order, of any float type."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            with np.load(path) as file:
                self.arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError) as error:
            raise TulleError(f"{self.path}: cannot be read as an .npz file: {error}") from error
        self.layers: Iterator[str] = iter(sorted(key[:-2] for key in self.arrays if key.endswith("_w")))

    def take(self, shape: tuple[int, ...], fan_in: int) -> tuple[np.ndarray, np.ndarray]:
        layer = next(self.layers, None)
        if layer is None:
            raise TulleError(f"{self.path}: it has fewer layers than the architecture")
        weight, bias = self.arrays[f"{layer}_w"], self.arrays.get(f"{layer}_b")
        if bias is None or weight.shape != shape or bias.shape != shape[:1]:
            raise TulleError(f"{self.path}: {layer} has weights {weight.shape} instead of {shape}, or no fitting bias")
        return weight.astype(np.float32), bias.astype(np.float32)

    def finish(self) -> None:
        if (layer := next(self.layers, None)) is not None:
            raise TulleError(f"{self.path}: {layer} is one layer more than the architecture has")


class Builder:
    """Each method adds a node that reads the tensor named first, and returns the name of its output."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.graph = Graph(name)
        self.weights = weights

    def input(self, name: str, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0) -> str:
        self.graph.inputs.append(self.graph.add_tensor(Tensor(name, shape, mean=mean, std=std)))
        return self.graph.inputs[-1]

    def node(
        self, op: str, inputs: list[str | None], name: str, shape: tuple[int, ...] | None = None, **attrs: Any
    ) -> str:
        """Any op; `shape` where the op leaves it open."""
        output = self.graph.add_tensor(Tensor(name, shape or ()))
        node = Node(op, output, inputs, [output], attrs)
        self.graph.nodes.append(node)
        self.graph.tensors[output].shape = output_shape(self.graph, node)
        return output

    def conv2d(
        self, x: str, name: str, channels: int, kernel: int = 1, stride: int = 1, activation: str = "none"
    ) -> str:
        """Convolution with "same" padding and bias."""
        inputs = self.graph.tensors[x].shape[3]
        weight, bias = self.weights.take((channels, inputs, kernel, kernel), inputs * kernel * kernel)
        return self._convolution("conv2d", x, name, weight.transpose(0, 2, 3, 1), bias, stride, activation)

    def depthwise_conv2d(self, x: str, name: str, kernel: int = 3, stride: int = 1, activation: str = "none") -> str:
        """Depthwise convolution with "same" padding and bias."""
        channels = self.graph.tensors[x].shape[3]
        weight, bias = self.weights.take((channels, 1, kernel, kernel), kernel * kernel)
        return self._convolution("depthwise_conv2d", x, name, weight.transpose(1, 2, 3, 0), bias, stride, activation)

    def _convolution(
        self, op: str, x: str, name: str, weight: np.ndarray, bias: np.ndarray, stride: int, activation: str
    ) -> str:
        weight_name = self.graph.add_constant(f"{name}/weight", weight)
        bias_name = self.graph.add_constant(f"{name}/bias", bias)
        return self.node(
            op, [x, weight_name, bias_name], name,
            strides=(stride, stride), dilations=(1, 1), padding="same", activation=activation,
        )  # fmt: skip

    def finish(self, *outputs: str) -> Graph:
        self.weights.finish()
        self.graph.outputs = list(outputs)
        return self.graph.check()
