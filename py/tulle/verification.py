"""`verify`: does a `.tulle` file compute what its TFLite model computes?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike, read_bytes
from tulle.graph import Graph, Node, reference
from tulle.passes.fold_constants import fold_constants
from tulle.runtime import Model, TensorInfo, load
from tulle.runtime.host import Variant
from tulle.tflite import read

TOLERANCE = 1e-3
"""Largest error, relative to an output's range, that passes."""

Oracle = Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class OutputError:
    """How far one output is off, over all inputs tried.

    Attributes:
        max_error: largest absolute difference; NaN if the two disagree about NaN or infinity.
        range: the oracle's largest value minus its smallest; 1 for a sigmoid.
        relative_error: max_error / range.
    """

    name: str
    max_error: float
    range: float
    relative_error: float


@dataclass(frozen=True)
class Verification:
    """The result of `verify`; `oracle` says what the model was compared with."""

    oracle: str
    variant: str
    runs: int
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
    tolerance: float = TOLERANCE,
    variant: Variant = "auto",
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Verification:
    """Compares a `.tulle` file with the `.tflite` file that it was made from.

    Args:
        inputs: for a model with one input, arrays as `Model` takes them. Besides these, random ones are tried.
        runs: how many random inputs, uniform from 0 to 1; an image input also gets as many of random bytes if its
            normalisation is in the file.
        seed: of the random inputs.
        tolerance: largest error relative to an output's range.
        progress: wraps the loop over the inputs, to show how far it is.

    The oracle is LiteRT's interpreter where the package ai-edge-litert is installed, else the NumPy reference in
    float32. Raises TulleError if a file cannot be read, or if the two do not have the same inputs and
    outputs.
    """
    graph = fold_constants(read(source))
    oracle_name, oracle = _oracle(source, graph)
    with load(read_bytes(converted), variant=variant) as model:
        _check_ports(graph, model)
        cases = [*_given(inputs, model), *_random(model, runs, seed)]
        if not cases:
            raise TulleError("there is nothing to compare: give inputs or runs")
        pairs = []
        for index in progress(range(len(cases))):
            expected = oracle([_floats(info, x) for info, x in zip(model.inputs, cases[index], strict=True)])
            got = model({info.name: x for info, x in zip(model.inputs, cases[index], strict=True)})
            pairs.append((expected, [got[name] for name in graph.outputs]))
    producers = graph.producer()
    rows = [
        _compare(name, [(a[i], b[i]) for a, b in pairs], is_sigmoid=_is_sigmoid(name, producers))
        for i, name in enumerate(graph.outputs)
    ]
    return Verification(oracle_name, model.variant, len(cases), tolerance, rows)


def _oracle(source: PathLike, graph: Graph) -> tuple[str, Oracle]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        name = "tulle's NumPy reference (install ai-edge-litert to compare with LiteRT)"
        return name, lambda inputs: _run_reference(graph, inputs)

    try:
        interpreter = Interpreter(model_content=read_bytes(source), num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:  # a custom op that LiteRT lacks
        reason = str(error).strip().splitlines()[0]
        return f"tulle's NumPy reference (LiteRT: {reason})", lambda inputs: _run_reference(graph, inputs)

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]

    return "LiteRT", run


def _run_reference(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    outputs = reference.run(graph, dict(zip(graph.inputs, inputs, strict=True)), np.float32)
    return [outputs[name] for name in graph.outputs]


def _check_ports(graph: Graph, model: Model) -> None:
    for what, names, infos in (("inputs", graph.inputs, model.inputs), ("outputs", graph.outputs, model.outputs)):
        ours = [(info.name, info.shape) for info in infos]
        theirs = [(name, graph.tensors[name].shape) for name in names]
        if ours != theirs:
            raise TulleError(f"the models differ: the .tflite file has {what} {theirs}, the .tulle file {ours}")


def _given(inputs: Sequence[np.ndarray], model: Model) -> list[list[np.ndarray]]:
    if inputs and len(model.inputs) != 1:
        raise TulleError(f"the model has {len(model.inputs)} inputs; only random ones can be tried")
    return [[array] for array in inputs]


def _random(model: Model, runs: int, seed: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    cases = [[rng.random(info.shape, np.float32) for info in model.inputs] for _ in range(runs)]
    if any(info.takes_images and (info.mean, info.std) != (0, 1) for info in model.inputs):
        cases += [[_random_bytes(info, rng) for info in model.inputs] for _ in range(runs)]
    return cases


def _random_bytes(info: TensorInfo, rng: np.random.Generator) -> np.ndarray:
    if not info.takes_images:
        return rng.random(info.shape, np.float32)
    return rng.integers(0, 256, info.shape, np.uint8)


def _floats(info: TensorInfo, array: np.ndarray) -> np.ndarray:
    """What the model makes of an input."""
    if array.dtype != np.uint8:
        return array
    pixels = array[..., :3].astype(np.float32).reshape(info.shape)
    return (pixels - np.float32(info.mean)) / np.float32(info.std)


def _is_sigmoid(name: str, producers: dict[str, Node]) -> bool:
    """Whether the output's values come out of a sigmoid, possibly reshaped."""
    node = producers.get(name)
    while node is not None and node.op in ("reshape", "transpose", "slice"):
        node = producers.get(node.inputs[0] or "")
    return node is not None and node.attrs.get("activation") == "sigmoid"


def _compare(name: str, pairs: list[tuple[np.ndarray, np.ndarray]], *, is_sigmoid: bool) -> OutputError:
    expected = np.stack([pair[0] for pair in pairs]).astype(np.float64)
    got = np.stack([pair[1] for pair in pairs]).astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], got[~finite], equal_nan=True):
        return OutputError(name, float("nan"), float("nan"), float("nan"))
    expected, got = expected[finite], got[finite]
    if not expected.size:
        return OutputError(name, 0.0, 1.0, 0.0)
    spread = float(np.ptp(expected))
    extent = 1.0 if is_sigmoid else spread or float(np.abs(expected).max()) or 1.0
    error = float(np.abs(got - expected).max())
    return OutputError(name, error, extent, error / extent)
