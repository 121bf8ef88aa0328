"""One model per layer shape: the layer dense and at several sparsities, with several copies of each.

Everything that is compared is in the same model and runs in turn in every run, so that a change of the processor's
speed affects all of it alike. Copies of a layer have weights of their own, as the layers of a network do.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from harness.shapes import Shape
from tulle.graph import Graph, Node, Tensor
from tulle.pack import pack

ZEROS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
ZEROS_IN_PAIRS = (0.5, 0.7, 0.8, 0.9)
"""Shares of zeros that are also measured in blocks of two outputs."""
INPUT = "input"

# The browser's clock ticks every 5 microseconds: as many copies as take about this long, on a guess of the speed.
GROUP_US = 150
MOST_COPIES = 100
GUESSED_MACS_PER_US = {"pointwise": 25_000, "vector": 4_000}
GUESSED_MACS_PER_US_OTHERWISE = 12_000


@dataclass(frozen=True)
class Case:
    """One way to run a layer: `sparsity` is "dense" or "sparse"; `zeros`, the share of weights that are zero; `block`,
    how many neighbouring outputs have them in the same columns."""

    sparsity: str
    zeros: float
    block: int = 1

    def __str__(self) -> str:
        return f"{self.sparsity} {self.zeros}" + (f" block {self.block}" if self.block > 1 else "")


@dataclass
class KernelModel:
    """A shape's `.tulle` file, and which steps of its profile belong to which case."""

    shape: Shape
    data: bytes
    steps: dict[Case, list[str]]


def cases(shape: Shape) -> list[Case]:
    """Dense, and every sparsity for shapes with a sparse kernel; every third 1x1 convolution also in pairs."""
    result = [Case("dense", 0.0)]
    if shape.kind in ("pointwise", "vector"):
        result += [Case("sparse", z) for z in ZEROS]
    if shape.kind == "pointwise" and shape.outputs % 2 == 0 and zlib.crc32(str(shape).encode()) % 3 == 0:
        result += [Case("sparse", z, 2) for z in ZEROS_IN_PAIRS]
    return result


def random_weights(shape: Shape, case: Case) -> np.ndarray:
    """Seeded weights, exactly round(zeros * size / block) blocks of them zero, anywhere."""
    random = np.random.default_rng(zlib.crc32(f"{shape}, {case.zeros}".encode()))
    weights = (0.1 + random.random(shape.weight_shape, dtype=np.float32)) * np.float32(0.1)
    kept = np.ones((shape.outputs // case.block, *shape.weight_shape[1:]), bool)
    if shape.kind == "depthwise":
        kept = np.ones(shape.weight_shape, bool)
    kept.reshape(-1)[random.permutation(kept.size)[: round(case.zeros * kept.size)]] = False
    return np.where(np.repeat(kept, case.block, axis=0), weights, np.float32(0))


def _copies(shape: Shape, case: Case) -> int:
    guessed = GUESSED_MACS_PER_US.get(shape.kind, GUESSED_MACS_PER_US_OTHERWISE)
    guess = shape.macs * (1 - case.zeros) / guessed
    return int(min(MOST_COPIES, max(1, -(-GROUP_US // max(guess, 1)))))


def build(shape: Shape) -> KernelModel:
    """The model of a shape. No op reads the results of the layers but the last; the planner plans them all the same."""
    graph = Graph(str(shape))
    flat = shape.kind == "vector"
    input_shape = (1, shape.inputs) if flat else (1, shape.height, shape.width, shape.inputs)
    output_shape = (1, shape.outputs) if flat else (1, *shape.out_size, shape.outputs)
    layout = "plain" if flat else "chw"
    x = graph.add_tensor(Tensor(INPUT, input_shape))
    graph.inputs = [x]
    if shape.kind not in ("vector", "entry"):
        x = _add(graph, "to_chw", "chw", [x], input_shape, "chw", {})

    attrs: dict[str, object] = {"activation": "none"}
    if flat:
        op, attrs = "fully_connected", {**attrs, "keep_num_dims": False}
    else:
        op = "depthwise_conv2d" if shape.kind == "depthwise" else "conv2d"
        attrs |= {"strides": shape.stride, "dilations": (1, 1), "padding": shape.padding}
    bias = graph.add_constant("bias", np.zeros(shape.outputs, np.float32))
    steps: dict[Case, list[str]] = {}
    last = x
    for case in cases(shape):
        weights = random_weights(shape, case)
        weight = graph.add_constant(f"weights {case}", weights[:, 0, 0, :] if flat else weights)
        choice = {} if op == "depthwise_conv2d" else {"sparsity": case.sparsity}
        steps[case] = []
        for copy in range(_copies(shape, case)):
            name = f"{case} #{copy}"
            last = _add(graph, op, name, [x, weight, bias], output_shape, layout, {**attrs, **choice})
            steps[case].append(name)
    if not flat:  # a small output: it is copied out in every run
        mean = {"axes": (1, 2), "keep_dims": True}
        small = 1, 1, 1, shape.outputs
        last = _add(graph, "mean", "mean", [last], small, "chw", mean)
        last = _add(graph, "to_plain", "plain", [last], small, "plain", {})
    graph.outputs = [last]
    return KernelModel(shape, pack(graph), steps)


def _add(
    graph: Graph, op: str, name: str, inputs: list[str], shape: tuple[int, ...], layout: str, attrs: dict[str, object]
) -> str:
    output = graph.add_tensor(Tensor(name, shape, layout=layout))
    graph.nodes.append(Node(op, output, list(inputs), [output], attrs))
    return output
