"""Inputs and outputs of models: NumPy arrays, or plain buffers without NumPy."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import prod
from struct import unpack
from types import ModuleType
from typing import Any, Literal

from tulle.errors import TulleError

# memoryview.format -> NumPy's name, for error messages.
_DTYPES = {"f": "float32", "d": "float64", "e": "float16", "B": "uint8", "b": "int8", "h": "int16", "H": "uint16"}
_DTYPES |= {"i": "int32", "I": "uint32", "l": "int32", "L": "uint32", "q": "int64", "Q": "uint64", "?": "bool"}


FORMATS: dict[str, Literal["f", "b", "B"]] = {"float32": "f", "int8": "b", "uint8": "B"}
"""What `memoryview` calls the types that inputs and outputs can have."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        shape: in the model's own order; images are (1, H, W, C).
        dtype: "float32"; "int8" or "uint8" in a file converted with `--quantized-io`.
        scale, zero_point: of integers, which stand for (integer - zero_point) * scale; None for floats.
        mean, std: of an input: uint8 images are fed as (pixel - mean) / std.
        takes_images: whether it is an input of shape (1, H, W, 3), which also takes uint8 images.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    mean: float = 0.0
    std: float = 1.0
    takes_images: bool = False
    scale: float | None = None
    zero_point: int | None = None


def inputs_of(info: dict[str, Any]) -> list[TensorInfo]:
    """Those of tulle_model_info."""
    return [_port(row, mean=row["mean"], std=row["std"], takes_images=row["rgba8"]) for row in info["inputs"]]


def outputs_of(info: dict[str, Any]) -> list[TensorInfo]:
    """Those of tulle_model_info."""
    return [_port(row) for row in info["outputs"]]


def _port(row: dict[str, Any], **image: Any) -> TensorInfo:
    integers: dict[str, Any] = {name: row.get(name) for name in ("scale", "zero_point")}
    return TensorInfo(row["name"], tuple(row["shape"]), row["dtype"], **image, **integers)


def find_numpy() -> ModuleType | None:
    """NumPy, where it is installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def prepare(info: TensorInfo, value: Any, numpy: ModuleType | None) -> tuple[bool, memoryview]:
    """Whether it is a picture; and its pixels as H * W * 4 bytes, RGBA, or else the input's elements, of the input's
    dtype and in row-major order.

    Raises TulleError if the value does not fit.
    """
    dtype, shape, data = _elements(info, value, numpy)
    is_flat = not hasattr(value, "dtype") and shape == (prod(info.shape),)  # a plain buffer often has no shape
    fits = shape == info.shape or is_flat
    if dtype == "uint8" and info.takes_images and not (info.dtype == "uint8" and fits):
        return True, _rgba(info, shape, data())
    wanted = ("float32", "float16") if info.dtype == "float32" else (info.dtype,)
    if dtype not in wanted:
        images = ", or uint8 for an image" if info.takes_images else ""
        raise TulleError(f"input {info.name!r} has dtype {dtype}; it must be {' or '.join(wanted)}{images}")
    if not fits:
        raise TulleError(f"input {info.name!r} has shape {shape}; it must be {info.shape}{_order(info, shape)}")
    return False, _widened(data(), numpy) if dtype == "float16" else data()


def _order(info: TensorInfo, shape: tuple[int, ...]) -> str:
    """What to do about a picture in the order of PyTorch and ONNX."""
    in_order = len(shape) == 4 and (shape[0], *shape[2:], shape[1]) == info.shape
    return "; .transpose(0, 2, 3, 1) turns [N, C, H, W] into it" if in_order else ""


def output(info: TensorInfo, data: bytearray, numpy: ModuleType | None) -> Any:
    """An array over the bytes; without NumPy a memoryview of the output's shape, indexed like `values[0, 1]`."""
    if numpy is not None:
        return numpy.frombuffer(data, info.dtype).reshape(info.shape)
    code = FORMATS[info.dtype]
    return memoryview(data).cast(code, list(info.shape)) if info.shape else memoryview(data).cast(code)


def _elements(info: TensorInfo, value: Any, numpy: ModuleType | None) -> tuple[str, tuple[int, ...], Any]:
    """dtype, shape and a function that gives the elements as contiguous bytes."""
    if hasattr(value, "to_memoryview"):  # a JavaScript typed array in Pyodide
        value = value.to_memoryview()
    if isinstance(value, bytes | bytearray):  # NumPy reads these as text
        value = memoryview(value)
    if numpy is not None:
        values = numpy.asarray(value)
        return str(values.dtype), values.shape, lambda: memoryview(numpy.ascontiguousarray(values)).cast("B")
    try:
        view = memoryview(value)
    except TypeError:
        raise TulleError(
            f"input {info.name!r} is of type {type(value).__name__}; without NumPy it must be a buffer of float32, "
            "as array.array('f') is"
        ) from None
    dtype = _DTYPES.get(view.format, view.format)
    return dtype, view.shape or (), lambda: view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def _widened(halves: memoryview, numpy: ModuleType | None) -> memoryview:
    """float16 as float32."""
    if numpy is not None:
        return memoryview(numpy.frombuffer(halves, numpy.float16).astype(numpy.float32)).cast("B")
    return memoryview(array("f", unpack(f"{len(halves) // 2}e", halves))).cast("B")


def _rgba(info: TensorInfo, shape: tuple[int, ...], data: memoryview) -> memoryview:
    height, width = info.shape[1:3]
    image = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    for channels in (3, 4):
        if image in ((height, width, channels), (height * width * channels,)):
            break
    else:
        raise TulleError(
            f"input {info.name!r}: an image of shape {shape} does not fit; it must be ({height}, {width}, 3) or "
            f"({height}, {width}, 4); tulle.image.to_input makes it so of any picture"
        )
    if channels == 4:
        return data
    rgba = bytearray(height * width * 4)
    for channel in range(3):
        rgba[channel::4] = data[channel::3]
    return memoryview(rgba)
