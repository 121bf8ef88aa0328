"""`Builder`: adds layers to a Graph in order, inferring shapes and taking the next weights."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, Node, Tensor
from tulle.graph.shapes import output_shape

PathLike: TypeAlias = "str | os.PathLike[str]"
CLASSES_WITH_BACKGROUND = 1001  # ImageNet's 1000, after a background class, as TensorFlow's models have them
BATCH_NORM_EPSILON = 1e-3  # of TensorFlow's EfficientNets, whose weights were ported to PyTorch


class Weights:
    """Source of the layers' weights, in the network's order."""

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
    """An .npz file with float arrays of one layer after the other, in execution order, in one of two namings.

    - L001_..._w and L001_..._b: weights [out, in, kh, kw] and bias, batch normalisation folded in.
    - As in a PyTorch state_dict: NAME.weight [out, in, kh, kw] or [out, in], NAME.bias if there is one, then
      weight, bias, running_mean and running_var of the batch normalisation that follows, which is folded in.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        try:
            with np.load(path) as file:
                arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError) as error:
            raise TulleError(f"{self.path}: cannot be read as an .npz file: {error}") from error
        named = sorted(key[:-2] for key in arrays if key.endswith("_w"))
        self.layers = (
            [(name, arrays[f"{name}_w"], arrays.get(f"{name}_b")) for name in named] or self._from_state_dict(arrays)
        )  # fmt: skip
        self.next = 0

    def _from_state_dict(self, arrays: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
        layers: list[tuple[str, np.ndarray, np.ndarray | None]] = []
        for key, value in arrays.items():
            name = key.removesuffix(".weight")
            if key == name:
                continue
            if value.ndim > 1:
                layers.append((name, value, arrays.get(f"{name}.bias")))
                continue
            try:
                gamma, beta, mean, variance = (
                    arrays[f"{name}.{part}"].astype(np.float64)
                    for part in ("weight", "bias", "running_mean", "running_var")
                )
                layer, weight, bias = layers.pop()
                scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
                shift = beta - (mean if bias is None else mean - bias) * scale
                layers.append((layer, weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), shift))
            except (KeyError, IndexError, ValueError) as error:
                raise TulleError(f"{self.path}: {name} is no batch normalisation after a layer: {error}") from error
        return layers

    def take(self, shape: tuple[int, ...], fan_in: int) -> tuple[np.ndarray, np.ndarray]:
        if self.next == len(self.layers):
            raise TulleError(f"{self.path}: it has fewer layers than the architecture")
        layer, weight, bias = self.layers[self.next]
        self.next += 1
        if bias is None or weight.shape != shape or bias.shape != shape[:1]:
            raise TulleError(f"{self.path}: {layer} has weights {weight.shape} instead of {shape}, or no fitting bias")
        return weight.astype(np.float32), bias.astype(np.float32)

    def finish(self) -> None:
        if self.next < len(self.layers):
            raise TulleError(f"{self.path}: {self.layers[self.next][0]} is one layer more than the architecture has")


def weights_from(path: PathLike | None, seed: int) -> Weights:
    """The weights in a file, or random ones if there is no file."""
    return RandomWeights(seed) if path is None else SavedWeights(path)


def scaled(channels: float, width: float) -> int:
    """A number of channels times `width`, to the nearest multiple of 8, at least 8 and not more than 10 % lower."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


class Builder:
    """Each method adds a node that reads the tensor named first, and returns the name of its output."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.graph = Graph(name)
        self.weights = weights

    def input(self, name: str, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0) -> str:
        self.graph.inputs.append(self.graph.add_tensor(Tensor(name, shape, mean=mean, std=std)))
        return self.graph.inputs[-1]

    def image(self, size: int, width: float, mean: float, std: float) -> str:
        """The input of a classifier, "input" [1, size, size, 3]. Raises TulleError for an invalid size or width."""
        if not 0 < width < float("inf") or size < 1:
            raise TulleError(f"width {width} and size {size} must be positive")
        return self.input("input", (1, size, size, 3), mean, std)

    def channels(self, x: str) -> int:
        return self.graph.tensors[x].shape[-1]

    def number(self, name: str, value: float) -> str:
        return self.graph.add_constant(name, np.array([value], np.float32))

    def node(
        self, op: str, inputs: list[str | None], name: str, shape: tuple[int, ...] | None = None, **attrs: Any
    ) -> str:
        """Any op; `shape` if the op does not determine it."""
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

    def inverted_residual(self, x: str, name: str, expansion: int, channels: int, kernel: int, stride: int) -> str:
        """MobileNetV2's block: expand by 1x1, depthwise, project by 1x1, and add the input where shapes allow."""
        inputs, y = self.channels(x), x
        if expansion != 1:
            y = self.conv2d(y, f"{name}/expand", inputs * expansion, activation="relu6")
        y = self.depthwise_conv2d(y, f"{name}/depthwise", kernel, stride, activation="relu6")
        y = self.conv2d(y, f"{name}/project", channels)
        if stride == 1 and inputs == channels:
            y = self.node("add", [x, y], f"{name}/add", activation="none")
        return y

    def fully_connected(self, x: str, name: str, channels: int) -> str:
        """Fully connected layer with bias over the last dimension of [1, in]."""
        weight, bias = self.weights.take((channels, self.channels(x)), self.channels(x))
        constants = (self.graph.add_constant(f"{name}/weight", weight), self.graph.add_constant(f"{name}/bias", bias))
        return self.node("fully_connected", [x, *constants], name, activation="none", keep_num_dims=False)

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
