"""Quantised tensors as floats: real = scale * (stored - zero point), as the TFLite quantisation spec has it.

Weights stored as int8 or uint8 are dequantised at load. Activations of a fully quantised model become float32 too, with
the integers that they are rounded to as `levels`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.graph import Graph, Quantization, Tensor
from tulle.ops import LAYERS
from tulle.tflite.file import File

QUANTISED = ("int8", "uint8", "int16", "int32", "int64")
# Ops whose result a quantised model clamps to the output type's range.
CLAMPED = (*LAYERS, "add", "sub", "mul")


@dataclass(frozen=True)
class Scaling:
    """How a tensor's integers map to real numbers: one scale and zero point, or one per slice of dimension `axis`."""

    dtype: np.dtype
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int

    def real(self, values: np.ndarray) -> np.ndarray:
        along = [-1 if dim == self.axis else 1 for dim in range(values.ndim)] if self.scales.size > 1 else []
        zero_points, scales = self.zero_points.reshape(along), self.scales.reshape(along)
        return ((values - zero_points) * scales).astype(np.float32)

    @property
    def quantization(self) -> Quantization | None:
        """The same as a Graph has it: None unless it is of 8 bits and has one scale."""
        if self.dtype.itemsize != 1 or self.scales.size != 1:
            return None
        return Quantization(self.dtype.name, float(self.scales[0]), int(self.zero_points[0]))

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and largest real number of the type (for the first slice)."""
        info = np.iinfo(self.dtype)
        low, high = (float((end - self.zero_points[0]) * self.scales[0]) for end in (info.min, info.max))
        return low, high


def scaling(file: File, record: Any, dtype: np.dtype, shape: tuple[int, ...]) -> Scaling | None:
    """The quantisation of a tensor record; None if it has none. Raises TulleError if its numbers do not fit."""
    quantization = record.Quantization()
    if quantization is None or dtype.name not in QUANTISED or not quantization.ScaleLength():
        return None
    scales = quantization.ScaleAsNumpy()
    file.spend(scales.nbytes, "scales")
    zero_points = np.array(file.vector(quantization.ZeroPointAsNumpy(), "zero points") or (0,), np.float64)
    axis = quantization.QuantizedDimension()
    name = file.text(record.Name())
    if scales.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scales.size):
        raise TulleError(f"tensor {name!r} {list(shape)} has {scales.size} scales for dimension {axis}")
    if zero_points.size not in (1, scales.size):
        raise TulleError(f"tensor {name!r} has {scales.size} scales and {zero_points.size} zero points")
    if not (np.isfinite(scales).all() and (scales >= 0).all()):
        raise TulleError(f"tensor {name!r} has scales that are negative or not finite")
    limits = np.iinfo(dtype)
    if not ((zero_points >= limits.min) & (zero_points <= limits.max)).all():
        raise TulleError(f"tensor {name!r} has zero points beyond {dtype.name}")
    return Scaling(dtype, scales.astype(np.float64), np.broadcast_to(zero_points, scales.shape), axis)


def as_float(tensor: Tensor, scaling: Scaling) -> Tensor:
    """The same tensor as float32. For an image of bytes, sets how pixels are normalised: (pixel - mean) / std."""
    tensor = replace(tensor, dtype=np.dtype(np.float32))
    if tensor.data is not None:
        with np.errstate(over="ignore"):
            data = scaling.real(tensor.data)
        if not np.isfinite(data).all():
            raise TulleError(f"tensor {tensor.name!r} has scales with which its values are beyond float32")
        return replace(tensor, data=data)
    levels = scaling.quantization
    tensor.levels = levels if levels is not None and levels.is_valid else None
    if len(tensor.shape) == 4 and tensor.shape[3] == 3 and scaling.dtype.itemsize == 1 and scaling.scales[0] > 0:
        first = float(np.iinfo(scaling.dtype).min)  # int8 counts pixels from -128
        return replace(tensor, mean=float(scaling.zero_points[0]) - first, std=float(1 / scaling.scales[0]))
    return tensor


def of_ports(graph: Graph, scalings: dict[str, Scaling]) -> dict[str, Quantization]:
    """The quantisation of every input and output that is of 8 bits in the file.

    Raises TulleError if there is none, or one whose scale is 0.
    """
    found = {}
    for name in (*graph.inputs, *graph.outputs):
        scaling = scalings.get(name)
        if scaling is not None and (quantization := scaling.quantization) is not None:
            found[name] = quantization
    if not found:
        raise TulleError("it has no inputs and outputs of quantised int8 or uint8, which quantized_io asks for")
    return found


def keep_clamp(graph: Graph, output: str, scalings: dict[str, Scaling]) -> None:
    """Restores, on the last node, an activation that quantised models leave out since the output's range implies it."""
    node = graph.nodes[-1] if graph.nodes else None
    if node is None or output not in scalings or node.output != output or node.op not in CLAMPED:
        return
    if node.attrs.get("activation") == "none" and scalings[output].dtype.itemsize == 1:
        node.attrs["activation"] = implied_activation(*scalings[output].bounds)


def implied_activation(low: float, high: float) -> str:
    """The activation that integers standing for `low` to `high` imply. Of other ranges than these the ends are lost:
    a clamp at whatever the calibration saw would cost a pass over every tensor."""
    if low == 0:
        return "relu6" if abs(high - 6) < 0.03 else "relu"
    return "relu_n1_to_1" if abs(low + 1) < 0.03 and abs(high - 1) < 0.03 else "none"


RUNS = (
    "it computes in its 8-bit integers where the processor is faster at that, else in float32: answers differ from "
    "other runtimes' by rounding, and in float32 where another clips to the range of its integers"
)


def notes(graph: Graph, scalings: dict[str, Scaling]) -> list[str]:
    """Notes for the user of a quantised model that now runs in float."""
    activations = [name for name in scalings if not graph.tensors[name].is_constant]
    weights = [name for name in scalings if graph.tensors[name].is_constant]
    if activations:
        ports = "" if graph.quantization else "; inputs and outputs are float32"
        return [f"the model is quantised ({len(activations)} activations): {RUNS}{ports}"]
    if weights:
        return [
            f"{len(weights)} quantised weights were dequantised; LiteRT may also round activations to 8 bits, tulle "
            "does not, so answers differ by that rounding"
        ]
    return []
