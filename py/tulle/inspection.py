"""`describe`: the contents of a model file. `tulle inspect` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tulle.conversion import read_model, source_size
from tulle.errors import TulleError
from tulle.files import PathLike, file_kind, read_bytes
from tulle.graph import Graph
from tulle.graph.stats import LayerStats, layer_stats, node_macs, total_parameters
from tulle.ops import LAYERS
from tulle.pack import unpack
from tulle.passes.fold_constants import fold_constants


@dataclass(frozen=True)
class Port:
    """An input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float


@dataclass(frozen=True)
class OpShare:
    """All ops of one kind: how many, their multiply-adds, and their share of the model's, 0 to 1."""

    op: str
    count: int
    macs: int
    share: float


@dataclass(frozen=True)
class ModelReport:
    """What is in a model file.

    Attributes:
        format: "tflite" or "tulle".
        macs: multiply-adds of one run as if dense; nonzero_macs: those whose weight is not zero.
        parameters: elements of all constants.
        weights: elements of the layers' weights; zeros: the share of them that is zero, 0 to 1.
        dead_channels: output channels of layers whose weights are all zero.
        ops: from most multiply-adds to least.
        layers: a row for each layer with weights, in execution order.
    """

    name: str
    format: str
    file_bytes: int
    inputs: list[Port]
    outputs: list[Port]
    macs: int
    nonzero_macs: int
    parameters: int
    weights: int
    zeros: float
    dead_channels: int
    ops: list[OpShare]
    layers: list[LayerStats]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def describe(path: PathLike, input_shapes: Mapping[str, Sequence[int]] | None = None) -> ModelReport:
    """Reads a `.tflite`, `.onnx` or `.tulle` file; `input_shapes` as for `convert`.

    Raises TulleError if it cannot be read, is damaged, or is neither.
    """
    data = read_bytes(path)
    try:
        if file_kind(data) == "tulle":
            from tulle.runtime import load

            load(data).close()  # only the C library verifies every byte
            return report(unpack(data), "tulle", len(data))
    except TulleError as error:
        raise TulleError(f"{path}: {error}") from None
    return report(fold_constants(read_model(path, None, input_shapes)), file_kind(data) or "", source_size(path))


def report(graph: Graph, file_format: str, file_bytes: int) -> ModelReport:
    """The same for a graph whose DEQUANTIZE and DENSIFY are folded."""
    layers = layer_stats(graph)
    macs = sum(layer.macs for layer in layers)
    weights = [
        data
        for name in dict.fromkeys(node.inputs[1] for node in graph if node.op in LAYERS)
        if (data := graph.constant(name)) is not None
    ]
    size = sum(data.size for data in weights)
    return ModelReport(
        name=graph.name,
        format=file_format,
        file_bytes=file_bytes,
        inputs=_ports(graph, graph.inputs),
        outputs=_ports(graph, graph.outputs),
        macs=macs,
        nonzero_macs=sum(layer.nonzero_macs for layer in layers),
        parameters=total_parameters(graph),
        weights=size,
        zeros=1 - sum(int(np.count_nonzero(data)) for data in weights) / size if size else 0.0,
        dead_channels=sum(layer.dead_channels for layer in layers),
        ops=_ops(graph, macs),
        layers=layers,
    )


def _ports(graph: Graph, names: list[str]) -> list[Port]:
    ports = []
    for tensor in (graph.tensors[name] for name in names):
        integers = graph.quantization.get(tensor.name)
        dtype = integers.dtype if integers else str(tensor.dtype)
        ports.append(Port(tensor.name, tensor.shape, dtype, tensor.mean, tensor.std))
    return ports


def _ops(graph: Graph, total: int) -> list[OpShare]:
    macs: dict[str, list[int]] = {}
    for node in graph:
        macs.setdefault(node.op, []).append(node_macs(graph, node))
    rows = [OpShare(op, len(counts), sum(counts), sum(counts) / max(1, total)) for op, counts in macs.items()]
    return sorted(rows, key=lambda row: (-row.macs, row.op))
