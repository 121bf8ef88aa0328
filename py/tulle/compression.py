"""`compress`: the same model in fewer bytes, and the errors that causes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tulle.conversion import convert
from tulle.errors import TulleError
from tulle.files import ModelFile, PathLike, file_kind, in_memory, read_bytes, write_bytes
from tulle.graph import Graph
from tulle.ops import LAYERS
from tulle.pack import pack, unpack
from tulle.pack.encoding import Weights
from tulle.runtime import load


@dataclass(frozen=True)
class WeightError:
    """The error of one layer's stored weights.

    Attributes:
        zeros: share of the stored weights that are zero, 0 to 1.
        rms_error, max_error: of the differences, relative to the root mean square and to the largest of the weights.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    zeros: float
    rms_error: float
    max_error: float


@dataclass(frozen=True)
class OutputChange:
    """The change of an output over all images: mean and largest absolute difference, and the output's range."""

    name: str
    mean_change: float
    max_change: float
    range: float


@dataclass(frozen=True)
class Compression:
    """A compressed model: `data` is the `.tulle` file.

    Attributes:
        source_bytes: size of the file it was made from.
        layers: a row for each layer with weights; errors are 0 if its storage is lossless.
        outputs: a row for each output, if images were given.
        notes: what reading the source changed, as that a quantised model is float32 now.
    """

    data: bytes
    source_bytes: int
    layers: list[WeightError]
    outputs: list[OutputChange]
    notes: list[str]

    @property
    def lossless(self) -> bool:
        return all(layer.max_error == 0 for layer in self.layers)

    def save(self, path: PathLike) -> None:
        """Writes the file completely or not at all. Raises TulleError if that fails."""
        write_bytes(path, self.data)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the file, as plain values, for JSON."""
        rows = {"layers": [asdict(row) for row in self.layers], "outputs": [asdict(row) for row in self.outputs]}
        return {"source_bytes": self.source_bytes, "file_bytes": len(self.data), "lossless": self.lossless, **rows}


def compress(
    source: ModelFile,
    values: Weights = "auto",
    *,
    images: Sequence[np.ndarray] = (),
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Compression:
    """Stores a model's weights in fewer bytes.

    Args:
        source: path or bytes of a `.tulle` or `.tflite` file.
        values: "auto" uses int8 or float16 where that is lossless; "fp16" and "int8" round the weights of convolutions
            and fully connected layers, int8 with a scale for each output channel; "fp32" widens.
        images: values of the model's only input, on which both models' outputs are compared.
        progress: wraps the loop over the images.

    Raises TulleError if the source cannot be read, or if an image does not fit.
    """
    given: PathLike | bytes = in_memory(source)
    data = given if isinstance(given, bytes) else read_bytes(given)
    before = read_lowered(data)
    compressed = pack(before, values)
    return Compression(
        compressed,
        len(data),
        _weight_errors(before, unpack(compressed)),
        _output_changes(pack(before), compressed, images, progress) if images else [],
        before.notes,
    )


def read_lowered(data: bytes) -> Graph:
    """The lowered graph of a `.tulle` or `.tflite` file."""
    return unpack(data) if file_kind(data) == "tulle" else convert(data).graph


def _weight_errors(before: Graph, after: Graph) -> list[WeightError]:
    rows = []
    for node in before:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if weight is None or node.op not in LAYERS:
            continue
        given, stored = before.tensors[weight].data, after.tensors[weight].data
        if given is None or stored is None:
            continue  # weights that are computed
        difference = np.abs(stored.astype(np.float64) - given)
        largest = float(np.abs(given).max()) or 1.0
        size = float(np.linalg.norm(given.astype(np.float64))) or 1.0
        rows.append(
            WeightError(
                node.name,
                node.op,
                given.shape,
                zeros=float(np.mean(stored == 0)),
                rms_error=float(np.linalg.norm(difference)) / size,
                max_error=float(difference.max()) / largest,
            )
        )
    return rows


def _output_changes(
    before: bytes, after: bytes, images: Sequence[np.ndarray], progress: Callable[[Iterable[int]], Iterable[int]]
) -> list[OutputChange]:
    pairs: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    with load(before) as whole, load(after) as small:
        if len(whole.inputs) != 1:
            raise TulleError(f"the model has {len(whole.inputs)} inputs; images need a model with one")
        for index in progress(range(len(images))):
            pairs.append((whole(images[index]), small(images[index])))
    rows = []
    for name in pairs[0][0]:
        given = np.stack([a[name] for a, _ in pairs]).astype(np.float64)
        change = np.abs(np.stack([b[name] for _, b in pairs]) - given)
        rows.append(OutputChange(name, float(change.mean()), float(change.max()), float(np.ptp(given))))
    return rows
