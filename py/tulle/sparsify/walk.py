"""Walks through a network layer by layer and collects each layer's inputs and targets on the calibration images.

Two copies of the network run side by side: the dense one, and the one being made sparse. Only the stretch from the
last stop to the layer in question is run; what it needs is kept in memory at stops, so that a walk through the whole
network costs about two runs of each copy on each image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tulle.graph import Graph, Node, Tensor
from tulle.graph.geometry import explicit_padding
from tulle.runtime import Model, load
from tulle.sparsify.layers import Layer

# Limit for activations kept at a stop, of both copies and all images together.
STATE_BYTES = 2**31
# Pixels collected for a layer, if there are as many, spread evenly over the images. With fewer, weights begin to
# overfit the images (8,000 for 24 inputs, 12,800 for 80: 1-3 % more error on others); with more, solving takes longer.
PIXELS_PER_INPUT = 160
LEAST_PIXELS, MOST_PIXELS = 8_000, 40_000

# The values below and above which an activation is constant.
CLAMPS = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0), "hard_swish": (-3.0, np.inf)}


@dataclass(frozen=True)
class Sight:
    """Inputs and targets of one layer.

    Attributes:
        x: its inputs in the sparse copy, float32 [pixels, input channels].
        y: its target output before the activation, float32 [pixels, output channels]: its output in the dense copy; if
            that is added to a shortcut, minus the shortcut's own error.
        clamp: outputs below the first or above the second value are as good as that value.
    """

    x: np.ndarray
    y: np.ndarray
    clamp: tuple[float, float]


@dataclass(frozen=True)
class _Place:
    """A layer's tensors: names of its input, of the tensor to match and of a shortcut added to it."""

    node: Node
    x: str
    target: str
    shortcut: str | None
    clamp: tuple[float, float]


def prepare(graph: Graph, layers: Sequence[Layer]) -> Graph:
    """The graph with the layers' activations as separate nodes, so that the values before them are available."""
    graph = graph.copy()
    names = {layer.name for layer in layers}
    nodes = []
    for node in graph.nodes:
        nodes.append(node)
        activation = node.attrs.get("activation", "none")
        if node.name not in names or activation in ("none", "prelu"):
            continue
        result = graph.tensors[node.output]
        linear = graph.add_tensor(Tensor(f"{node.output}/linear", result.shape))
        attrs = {key: node.attrs.pop(key) for key in ("alpha",) if key in node.attrs}
        nodes.append(
            Node("activation", f"{node.name}/activation", [linear], [node.output], {"activation": activation, **attrs})
        )
        node.outputs, node.attrs["activation"] = [linear], "none"
    graph.nodes = nodes
    return graph


def can_walk(graph: Graph, layer: Layer) -> bool:
    """Whether `walk` supports this layer: a single node has its weights, without padding and with a constant bias."""
    nodes = [node for node in graph if len(node.inputs) > 1 and node.inputs[1] == layer.weight]
    if len(nodes) != 1:
        return False
    node = nodes[0]
    x, bias = node.inputs[0], node.inputs[2] if len(node.inputs) > 2 else None
    pads = explicit_padding(node.attrs["padding"], graph.tensors[x or ""].shape[1:3], (1, 1), node.attrs["strides"])
    fused = len(node.inputs) > 3 or node.attrs.get("activation") == "prelu"
    return not any(pads) and not fused and (bias is None or graph.constant(bias) is not None)


def walk(
    dense: Graph, sparse: Graph, layers: Sequence[Layer], images: Sequence[np.ndarray], seed: int = 0
) -> Iterator[tuple[Layer, Sight]]:
    """Yields the inputs and targets of each layer, in execution order.

    Args:
        dense, sparse: two copies from `prepare`, with one input. When a layer has been yielded, its weights and bias in
            `sparse` may be replaced, which changes the inputs of later layers.
        layers: those to stop at, in execution order; `can_walk` holds for each.
        images: uint8 (H, W, 3), or float32 of the input's shape.
        seed: for the choice of pixels.
    """
    copies = _Copy(dense, images), _Copy(sparse, images)
    for index, layer in enumerate(layers):
        place = _place(dense, layer)
        random = np.random.default_rng([seed, index])
        teacher = copies[0].run([place.target])
        wanted = [place.x] if place.shortcut is None else [place.x, place.shortcut]
        student = copies[1].run(wanted)
        budget = min(max(PIXELS_PER_INPUT * layer.inputs, LEAST_PIXELS), MOST_PIXELS)
        x, y = [], []
        for (target,), seen in zip(teacher, student, strict=True):
            pixels = target.shape[1] * target.shape[2]
            some = _choose(random, pixels, -(-budget // len(images)))
            x.append(_pixels(_strided(seen[0], place.node), some))
            y.append(_pixels(target, some))
            if place.shortcut is not None:
                y[-1] = y[-1] - _pixels(seen[1], some)
        yield layer, Sight(np.concatenate(x), np.concatenate(y), place.clamp)
        if index + 1 < len(layers):
            for copy in copies:
                copy.move_to(layers[index + 1])


class _Copy:
    """One copy of the network, with the activations at the last stop for every image."""

    def __init__(self, graph: Graph, images: Sequence[np.ndarray]) -> None:
        self.graph = graph
        self.images = images
        self.names = list(graph.inputs)
        self.state: list[list[np.ndarray]] | None = None  # None at the entry, where images are the state

    def run(self, wanted: Sequence[str]) -> Iterator[list[np.ndarray]]:
        """The values of these tensors for every image."""
        computed = [name for name in dict.fromkeys(wanted) if name not in self.names]
        part = _stretch(self.graph, self.names, computed)
        model: Model | None = load(part) if computed else None
        try:
            for index in range(len(self.images)):
                have = dict(zip(self.names, self._state(index), strict=True))
                if model is not None:
                    have.update(model({name: have[name] for name in part.inputs}))
                yield [have[name] for name in wanted]
        finally:
            if model is not None:
                model.close()

    def move_to(self, layer: Layer) -> None:
        """Makes the point just before a layer the next stop, unless that would keep too much."""
        live = _live_before(self.graph, layer)
        if sum(self.graph.tensors[name].size for name in live) * 8 * len(self.images) <= STATE_BYTES:
            self.state = list(self.run(live))
            self.names = live

    def _state(self, index: int) -> list[np.ndarray]:
        if self.state is not None:
            return self.state[index]
        tensor = self.graph.tensors[self.names[0]]
        image = self.images[index]
        if image.dtype == np.uint8:
            image = (image.astype(np.float32) - np.float32(tensor.mean)) / np.float32(tensor.std)
        return [image.reshape(tensor.shape)]


def _place(graph: Graph, layer: Layer) -> _Place:
    node = next(node for node in graph if node.name == layer.name)
    x = node.inputs[0] or ""
    readers = graph.consumers()[node.output]
    if len(readers) != 1 or node.output in graph.outputs:
        return _Place(node, x, node.output, None, (-np.inf, np.inf))
    reader = readers[0]
    if reader.op == "activation":
        return _Place(node, x, node.output, None, CLAMPS.get(reader.attrs["activation"], (-np.inf, np.inf)))
    if reader.op == "add" and reader.attrs["activation"] == "none":
        shortcut = next((name for name in reader.inputs if name != node.output), None)
        same = shortcut is not None and graph.tensors[shortcut].shape == graph.tensors[node.output].shape
        if same and graph.constant(shortcut) is None:
            return _Place(node, x, reader.output, shortcut, (-np.inf, np.inf))
    return _Place(node, x, node.output, None, (-np.inf, np.inf))


def _stretch(graph: Graph, inputs: Collection[str], outputs: Sequence[str]) -> Graph:
    """The part of a graph that computes `outputs` from `inputs`."""
    needed, nodes = set(outputs), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(name for name in node.inputs if name is not None and name not in inputs)
    nodes.reverse()
    read = {name for node in nodes for name in node.inputs if name is not None}
    used = read.union(outputs, *(node.outputs for node in nodes))
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in used}
    return Graph(graph.name, nodes, tensors, [name for name in inputs if name in read], list(outputs)).copy()


def _live_before(graph: Graph, layer: Layer) -> list[str]:
    """The activations computed before this layer that are read from there on."""
    first = next(i for i, node in enumerate(graph.nodes) if node.name == layer.name)
    known = {name for node in graph.nodes[:first] for name in node.outputs}.union(graph.inputs)
    read = {name for node in graph.nodes[first:] for name in node.inputs if name is not None}
    return sorted(known & read)


def _choose(random: np.random.Generator, pixels: int, most: int) -> np.ndarray | slice:
    return slice(None) if pixels <= most else np.sort(random.choice(pixels, most, replace=False))


def _strided(image: np.ndarray, node: Node) -> np.ndarray:
    down, right = node.attrs["strides"]
    return image[:, ::down, ::right]


def _pixels(image: np.ndarray, some: np.ndarray | slice) -> np.ndarray:
    return image.reshape(-1, image.shape[-1])[some]
