"""`convert`: a TFLite or ONNX model -> a `.tulle` file, and a report of what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tulle.errors import TulleError
from tulle.files import ModelFile, PathLike, file_kind, in_memory, read_bytes, write_bytes
from tulle.graph import Graph
from tulle.graph.stats import layer_stats
from tulle.pack import pack
from tulle.pack.encoding import Weights
from tulle.passes import lower
from tulle.passes.lowering_report import Report
from tulle.passes.trace import PassChange
from tulle.tflite import read


@dataclass(frozen=True)
class LayerReport:
    """One layer of the converted model.

    Attributes:
        zeros: share of its weights that are zero, 0 to 1.
        sparsity: "sparse" or "dense", as it will run; None for ops without a choice.
        macs: multiply-adds as if dense.
        executed_macs: multiply-adds that will be executed: if the layer runs sparse, those with nonzero weights.
        removed_channels: dead output channels that were removed.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    zeros: float
    sparsity: str | None
    macs: int
    executed_macs: int
    removed_channels: int


@dataclass(frozen=True)
class ConversionReport:
    """The report of a conversion.

    Attributes:
        source_bytes: size of the TFLite file; None if a Graph was converted.
        file_bytes: size of the `.tulle` file.
        macs_before, macs_after: multiply-adds as if all layers were dense, without and with dead channels removed.
        executed_macs: multiply-adds that will be executed: layers that run sparse skip zeros.
        parameters_before, parameters_after: elements of all constants, without and with dead channels removed.
        removed_channels: dead output channels of layers that were removed.
        permutes, free_permutes: inserted layout changes that move memory, and those that do not.
        passes: the changes that each pass made, in the order in which they ran.
        layers: a row for each layer with weights.
    """

    source_bytes: int | None
    file_bytes: int
    macs_before: int
    macs_after: int
    executed_macs: int
    parameters_before: int
    parameters_after: int
    removed_channels: int
    permutes: int
    free_permutes: int
    passes: list[PassChange]
    layers: list[LayerReport]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Conversion:
    """A converted model: `data` is the `.tulle` file, `graph` the lowered graph in it."""

    data: bytes
    graph: Graph
    report: ConversionReport

    def save(self, path: PathLike) -> None:
        """Writes the file completely or not at all. Raises TulleError if that fails."""
        write_bytes(path, self.data)


def convert(
    source: ModelFile | Graph,
    *,
    weights: Weights = "auto",
    sparse: str = "auto",
    input_mean: float | None = None,
    input_std: float | None = None,
    name: str | None = None,
    outputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    quantized_io: bool = False,
) -> Conversion:
    """Converts a TFLite or ONNX model.

    Args:
        source: a `.tflite` or `.onnx` file (which needs `tulle[onnx]`) as a path, as bytes or another buffer, or open
            in binary mode; or a Graph.
        weights: "auto" stores a constant as int8, uint8 or float16 if that is lossless, as float32 otherwise; "fp16"
            and "int8" round weights; "fp32" stores everything as float32.
        sparse: "auto" decides layer by layer whether it runs sparse; "always" and "never" decide for all.
        input_mean, input_std: image inputs given as bytes are fed as (pixel - mean) / std.
        name: of the model; by default the source's own.
        outputs: names of tensors to convert up to, instead of the source's own outputs; later ops are dropped.
        input_shapes: by name, shapes of an ONNX file's inputs that have dynamic sizes, in its order.
        quantized_io: int8 and uint8 inputs and outputs of a quantised TFLite file stay integers, with its scales and
            zero points; otherwise they are float32.

    Raises TulleError if the source cannot be read, is not a TFLite or ONNX file, or has ops that tulle cannot run; the
    error lists all of these.
    """
    given: PathLike | bytes | Graph = in_memory(source)
    if isinstance(given, Graph) and (outputs is not None or input_shapes or quantized_io):
        raise TulleError("outputs, input shapes and quantized_io can be chosen of a file, not of a Graph")
    graph = given if isinstance(given, Graph) else read_model(given, outputs, input_shapes, quantized_io)
    steps = Report()
    lowered = lower(graph, sparse=sparse, input_mean=input_mean, input_std=input_std, report=steps)
    if name is not None:
        lowered.name = name
    lowered.notes += _about_normalisation(lowered)
    data = pack(lowered, weights)
    return Conversion(data, lowered, _report(lowered, steps, _size(given), len(data)))


def _about_normalisation(graph: Graph) -> list[str]:
    """A note for each image input that would get pixels as they are, or divided by too little."""
    notes = []
    for tensor in (graph.tensors[name] for name in graph.inputs):
        if len(tensor.shape) != 4 or tensor.shape[3] != 3:
            continue
        if (tensor.mean, tensor.std) == (0, 1):
            notes.append(
                f"no normalisation is stored for input {tensor.name!r}, so pixels go in as 0 to 255; if the model was "
                "trained on other numbers, give --input-mean and --input-std"
            )
        elif 0 < tensor.std < 1:
            low, high = ((pixel - tensor.mean) / tensor.std for pixel in (0, 255))
            notes.append(
                f"input {tensor.name!r} gets numbers from {low:.4g} to {high:.4g}: mean and std are those of pixels "
                "from 0 to 255; of pixels from 0 to 1 they are to be multiplied by 255"
            )
    return notes


def read_model(
    source: ModelFile,
    outputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    quantized_io: bool = False,
) -> Graph:
    """A TFLite or ONNX file as a Graph.

    Raises TulleError if it is neither, or if its reader refuses it.
    """
    given: PathLike | bytes = in_memory(source)
    kind = file_kind(given if isinstance(given, bytes) else read_bytes(given))
    if kind not in ("tflite", "onnx"):
        label = "the model" if isinstance(given, bytes) else given
        raise TulleError(f"{label} is neither a .tflite nor an .onnx file" + " but a .tulle file" * (kind == "tulle"))
    if kind == "tflite":
        if input_shapes:
            raise TulleError("input shapes can be chosen of an ONNX file only: export the TFLite model with this shape")
        return read(given, outputs=outputs, quantized_io=quantized_io)
    if quantized_io:
        raise TulleError("quantized_io is for TFLite files: the inputs and outputs of ONNX models stay float32")
    from tulle import onnx

    return onnx.read(given, outputs=outputs, input_shapes=input_shapes)


def _size(source: PathLike | bytes | Graph) -> int | None:
    if isinstance(source, Graph):
        return None
    return len(source) if isinstance(source, bytes) else source_size(source)


def source_size(path: PathLike) -> int:
    """Bytes of a model file, with the files that an ONNX model keeps its weights in."""
    size = Path(path).stat().st_size
    if file_kind(read_bytes(path)) != "onnx":
        return size
    from tulle.onnx.reader import external_files

    return size + sum(file.stat().st_size for file in external_files(path))


def _report(lowered: Graph, steps: Report, source_bytes: int | None, file_bytes: int) -> ConversionReport:
    choices = {node.name: node.attrs.get("sparsity") for node in lowered}
    layers = [
        LayerReport(
            name=row.name,
            op=row.op,
            output_shape=row.output_shape,
            zeros=row.zeros,
            sparsity=choices[row.name],
            macs=row.macs,
            executed_macs=row.nonzero_macs if choices[row.name] == "sparse" else row.macs,
            removed_channels=steps.removed_channels.get(row.name, 0),
        )
        for row in layer_stats(lowered)
    ]
    return ConversionReport(
        source_bytes=source_bytes,
        file_bytes=file_bytes,
        macs_before=steps.macs_before,
        macs_after=steps.macs_after,
        executed_macs=sum(layer.executed_macs for layer in layers),
        parameters_before=steps.parameters_before,
        parameters_after=steps.parameters_after,
        removed_channels=sum(steps.removed_channels.values()),
        permutes=steps.permutes,
        free_permutes=steps.free_permutes,
        passes=steps.passes,
        layers=layers,
    )
