"""`verify`: compares the outputs of a `.tulle` file with its original's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tulle.conversion import read_model
from tulle.errors import TulleError
from tulle.files import PathLike, file_kind, read_bytes
from tulle.graph import Graph, Node
from tulle.ops import OPS
from tulle.oracle import oracle
from tulle.pack import pack, unpack
from tulle.passes.fold_constants import fold_constants
from tulle.runtime import Model, TensorInfo, load
from tulle.runtime.host import Variant

TOLERANCE = 1e-3
"""Largest error, relative to an output's range, that passes."""

ROUNDED_TOLERANCE = 0.1
"""Where the original rounds activations to 8 bits. LiteRT's own kernels differ as much from each other: by 0.09 on
MobileNetV2, since what lies between two steps may be rounded either way, layer after layer."""


@dataclass(frozen=True)
class OutputError:
    """The error of one output, over all inputs tried.

    Attributes:
        max_error: largest absolute difference; NaN if the two disagree about NaN or infinity.
        range: the oracle's largest value minus its smallest; 1 for a sigmoid; the type's range if it is quantised.
        relative_error: max_error / range.
    """

    name: str
    max_error: float
    range: float
    relative_error: float


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        oracle: the runtime that the model was compared with.
        runs: number of inputs tried.
        as_bytes: those of them that were pictures as bytes.
    """

    oracle: str
    variant: str
    runs: int
    as_bytes: int
    tolerance: float
    outputs: list[OutputError]

    @property
    def passed(self) -> bool:
        return all(output.relative_error <= self.tolerance for output in self.outputs)  # False for NaN

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {**asdict(self), "passed": self.passed}


def verify(
    source: PathLike,
    converted: PathLike,
    *,
    inputs: Sequence[np.ndarray] = (),
    runs: int = 5,
    seed: int = 0,
    tolerance: float | None = None,
    variant: Variant = "auto",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Verification:
    """Compares a `.tulle` file with the `.tflite` or `.onnx` file that it was made from.

    Args:
        inputs: for a model with one input, arrays as `Model` takes them, tried in addition to random ones.
        runs: how many random inputs, uniform from 0 to 1; an image input also gets as many of random bytes if its
            normalisation is in the file.
        seed: of the random inputs.
        tolerance: largest error relative to an output's range; by default TOLERANCE, and ROUNDED_TOLERANCE where
            the original rounds activations to integers. The range of a quantised output is its type's.
        input_shapes: as they were given to `convert`.
        progress: wraps the loop over the inputs to show its progress.

    Integer inputs and outputs are compared as the numbers that they stand for.

    The oracle is LiteRT's interpreter or ONNX Runtime where the package ai-edge-litert or onnxruntime is installed,
    else the NumPy reference in float32 or ONNX's reference evaluator. Raises TulleError if a file cannot be read, or
    if the two do not have the same inputs and outputs.
    """
    with load(_with_floats(read_bytes(converted)), variant=variant) as model:
        graph = fold_constants(_read(source, [info.name for info in model.outputs], input_shapes))
        original = oracle(source, graph, input_shapes)
        _check_ports(graph, model)
        cases = [*_given(inputs, model), *_random(model, runs, seed, original.whole)]
        if not cases:
            raise TulleError("there is nothing to compare: give inputs or runs")
        pairs = []
        for index in progress(range(len(cases))):
            expected = original.run([_floats(info, x) for info, x in zip(model.inputs, cases[index], strict=True)])
            got = model({info.name: x for info, x in zip(model.inputs, cases[index], strict=True)})
            pairs.append((expected, [got[name] for name in graph.outputs]))
    producers = graph.producer()
    rows = [
        _compare(
            name, [(a[i], b[i]) for a, b in pairs], 1.0 if _is_sigmoid(name, producers) else original.extents.get(name)
        )
        for i, name in enumerate(graph.outputs)
    ]
    if tolerance is None:
        tolerance = ROUNDED_TOLERANCE if original.rounds else TOLERANCE
    as_bytes = sum(any(x.dtype == np.uint8 for x in case) for case in cases)
    return Verification(original.name, model.variant, len(cases), as_bytes, tolerance, rows)


def _with_floats(data: bytes) -> bytes:
    """The same file with float32 inputs and outputs."""
    if file_kind(data) != "tulle" or not (graph := unpack(data)).quantization:
        return data
    graph.quantization = {}
    return pack(graph)


def _read(source: PathLike, ends: list[str], shapes: Mapping[str, Sequence[int]] | None) -> Graph:
    """The original up to the converted model's outputs: its own, or those that were chosen."""
    try:
        graph = read_model(source, None, shapes)
        if set(ends) <= set(graph.outputs):
            return graph
    except TulleError:
        return read_model(source, ends, shapes)
    try:
        return read_model(source, ends, shapes)
    except TulleError:
        return graph  # another model: what differs is said later


def _check_ports(graph: Graph, model: Model) -> None:
    for what, names, infos in (("inputs", graph.inputs, model.inputs), ("outputs", graph.outputs, model.outputs)):
        ours = [(info.name, info.shape) for info in infos]
        theirs = [(name, graph.tensors[name].shape) for name in names]
        if ours != theirs:
            raise TulleError(f"the models differ: the original has {what} {theirs}, the .tulle file {ours}")


def _given(inputs: Sequence[np.ndarray], model: Model) -> list[list[np.ndarray]]:
    if inputs and len(model.inputs) != 1:
        raise TulleError(f"the model has {len(model.inputs)} inputs; only random ones can be tried")
    return [[array] for array in inputs]


def _random(model: Model, runs: int, seed: int, whole: Mapping[str, tuple[int, int]]) -> list[list[np.ndarray]]:
    """`whole`: see Oracle."""
    rng = np.random.default_rng(seed)

    def floats(info: TensorInfo) -> np.ndarray:
        if info.name not in whole:
            return rng.random(info.shape, np.float32)
        low, high = whole[info.name]
        return rng.integers(max(low, -(2**15)), min(high, 2**16), info.shape, endpoint=True).astype(np.float32)

    cases = [[floats(info) for info in model.inputs] for _ in range(runs)]
    if any(info.takes_images and (info.mean, info.std) != (0, 1) for info in model.inputs):
        cases += [
            [_random_bytes(info, rng) if info.takes_images else floats(info) for info in model.inputs]
            for _ in range(runs)
        ]
    return cases


def _random_bytes(info: TensorInfo, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, info.shape, np.uint8)


def _floats(info: TensorInfo, array: np.ndarray) -> np.ndarray:
    """The model's outputs for an input."""
    if array.dtype != np.uint8:
        return array
    pixels = array[..., :3].astype(np.float32).reshape(info.shape)
    return (pixels - np.float32(info.mean)) / np.float32(info.std)


def _is_sigmoid(name: str, producers: dict[str, Node]) -> bool:
    """Whether the output is a sigmoid's, possibly reshaped."""
    node = producers.get(name)
    while node is not None and (OPS[node.op].keeps_elements or node.op == "slice"):
        node = producers.get(node.inputs[0] or "")
    return node is not None and node.attrs.get("activation") == "sigmoid"


def _compare(name: str, pairs: list[tuple[np.ndarray, np.ndarray]], extent: float | None) -> OutputError:
    """`extent`: the output's range if known; otherwise that of the expected values is used."""
    expected = np.stack([pair[0] for pair in pairs]).astype(np.float64)
    got = np.stack([pair[1] for pair in pairs]).astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], got[~finite], equal_nan=True):
        return OutputError(name, float("nan"), float("nan"), float("nan"))
    expected, got = expected[finite], got[finite]
    if not expected.size:
        return OutputError(name, 0.0, 1.0, 0.0)
    extent = extent or float(np.ptp(expected)) or float(np.abs(expected).max()) or 1.0
    error = float(np.abs(got - expected).max())
    return OutputError(name, error, extent, error / extent)
