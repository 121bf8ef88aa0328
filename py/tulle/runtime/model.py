"""`load` and `Model`: a network loaded into the C library, called like a function."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike, read_bytes
from tulle.graph import Graph
from tulle.runtime.instance import Instance
from tulle.runtime.module import Variant, choose_variant, compiled, engine

Source = PathLike | bytes | bytearray | memoryview | Graph

_TFLITE = b"TFL3"
_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        shape: in the model's own order; images are (1, H, W, C).
        dtype: float32, always.
        mean, std: of an input: uint8 images are fed as (pixel - mean) / std.
        takes_images: an input of shape (1, H, W, 3), which takes uint8 images too.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype = _FLOAT32
    mean: float = 0.0
    std: float = 1.0
    takes_images: bool = False


def load(source: Source, *, variant: Variant = "auto", threads: int = 1) -> Model:
    """A model ready to run.

    Args:
        source: path or bytes of a `.tulle` file; also of a `.tflite` file, or a Graph, which are converted first.
        variant: the wasm build: "simd", "relaxed" (relaxed SIMD, with fused multiply-adds) or "auto", the fastest.
        threads: 1; CPython runs the builds without threads.

    Raises TulleError if the file is missing, damaged or not a model, or holds what tulle cannot run.
    """
    if threads != 1:
        raise TulleError(f"threads={threads!r}: in CPython a model runs on one thread; the browser has more")
    if isinstance(source, bytearray | memoryview):
        source = bytes(source)
    data = _tulle_bytes(source)
    try:
        return Model(data, variant)
    except TulleError as error:
        raise error if isinstance(source, bytes | Graph) else TulleError(f"{source}: {error}") from None


class Model:
    """A loaded network: `model(array)` or `model({name: array})` gives {name: float32 array}.

    Use it as a context manager, or `close()` it, to give its memory back early. Several Python threads may share a
    model; their calls run one after the other.
    """

    def __init__(self, data: bytes, variant: Variant = "auto") -> None:
        """`data`: a `.tulle` file. `load` is the friendlier way here."""
        self.variant = choose_variant(variant)
        self.threads = 1
        self._lock = threading.Lock()
        self._instance: Instance | None = Instance(engine(), compiled(self.variant))
        try:
            self._engine = self._instance.call("tulle_engine_create", 1)
            self._model = self._load(self._instance, data)
            self.info: dict[str, Any] = json.loads(
                self._instance.read_string(self._instance.call("tulle_model_info", self._model))
            )
            """What tulle_model_info (wasm/include/tulle.h) says: sizes in bytes and one row for each step."""
        except TulleError:
            self.close()
            raise
        self.name: str = self.info["name"]
        self.inputs = [
            TensorInfo(row["name"], tuple(row["shape"]), mean=row["mean"], std=row["std"], takes_images=row["rgba8"])
            for row in self.info["inputs"]
        ]
        self.outputs = [TensorInfo(row["name"], tuple(row["shape"])) for row in self.info["outputs"]]

    def __call__(self, inputs: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the model once.

        Args:
            inputs: for every input, by name, a float32 array of its shape; the array alone where there is one input.
                An input that `takes_images` also takes a uint8 array (H, W, 3), RGB, or (H, W, 4), RGBA with alpha
                ignored, with or without the batch dimension, which is normalised with the input's mean and std.

        Returns a new array for every output. Raises TulleError if an input is missing, unknown or of a wrong shape or
        dtype, or if the model is closed.
        """
        if not isinstance(inputs, Mapping):
            if len(self.inputs) != 1:
                names = ", ".join(repr(info.name) for info in self.inputs)
                raise TulleError(f"the model has {len(self.inputs)} inputs: give a dict with {names}")
            inputs = {self.inputs[0].name: inputs}
        unknown = set(inputs) - {info.name for info in self.inputs}
        if unknown:
            raise TulleError(
                f"there is no input {', '.join(map(repr, sorted(unknown)))}; "
                f"the inputs are {', '.join(repr(info.name) for info in self.inputs)}"
            )
        prepared = []
        for info in self.inputs:
            if info.name not in inputs:
                raise TulleError(f"input {info.name!r} of shape {info.shape} is missing")
            prepared.append(_prepare(info, inputs[info.name]))
        with self._lock:
            return self._run(prepared)

    def profile(self) -> list[dict[str, Any]]:
        """What each step of the last run took: name, op, kernel, macs, weights, nnz (see `info`) and `ms`."""
        with self._lock:
            instance, steps = self._open(), self.info["steps"]
            pointer = instance.call("tulle_model_profile", self._model)
            milliseconds = instance.read(pointer, np.float64, len(steps))
        return [{**step, "ms": float(ms)} for step, ms in zip(steps, milliseconds, strict=True)]

    def close(self) -> None:
        """Gives the model's memory back. Closing twice does nothing."""
        self._instance = None  # the instance's memory goes with it

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        def describe(infos: list[TensorInfo]) -> str:
            return ", ".join(f"{info.name}{list(info.shape)}" for info in infos)

        return f"<tulle.Model {self.name}: {describe(self.inputs)} -> {describe(self.outputs)}, {self.variant}>"

    def _open(self) -> Instance:
        if self._instance is None:
            raise TulleError("the model is closed")
        return self._instance

    def _load(self, instance: Instance, data: bytes) -> int:
        file = instance.call("tulle_alloc", max(len(data), 1)) if self._engine else 0
        if not file:
            raise TulleError(f"out of memory: the wasm module has no {len(data)} bytes for the file")
        instance.write(file, data)
        model = instance.call("tulle_model_load", self._engine, file, len(data))
        instance.call("tulle_free", file)
        if not model:
            raise TulleError(self._error(instance))
        return model

    def _run(self, inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
        instance = self._open()
        for index, array in enumerate(inputs):
            if array.dtype == np.uint8:
                self._set_image(instance, index, array)
            else:
                instance.write(instance.call("tulle_model_input", self._model, index), array)
        self._check(instance, instance.call("tulle_model_run", self._model))
        outputs = {}
        for index, info in enumerate(self.outputs):
            pointer = instance.call("tulle_model_output", self._model, index)
            outputs[info.name] = instance.read(pointer, np.float32, int(np.prod(info.shape))).reshape(info.shape)
        return outputs

    def _set_image(self, instance: Instance, index: int, pixels: np.ndarray) -> None:
        """Feeds (H, W, 4) bytes."""
        height, width, _ = pixels.shape
        buffer = instance.call("tulle_alloc", pixels.size)
        if not buffer:
            raise TulleError(f"out of memory: the wasm module has no {pixels.size} bytes for the image")
        instance.write(buffer, pixels)
        status = instance.call("tulle_model_set_rgba8", self._model, index, buffer, height, width)
        instance.call("tulle_free", buffer)
        self._check(instance, status)

    def _check(self, instance: Instance, status: int) -> None:
        if status:
            raise TulleError(self._error(instance))

    def _error(self, instance: Instance) -> str:
        return instance.read_string(instance.call("tulle_engine_error", self._engine))


def _tulle_bytes(source: PathLike | bytes | Graph) -> bytes:
    """The `.tulle` file that the source is or becomes."""
    if not isinstance(source, Graph):
        data = source if isinstance(source, bytes) else read_bytes(source)
        if data[4:8] != _TFLITE:
            return data
    from tulle.conversion import convert

    return convert(source).data


def _prepare(info: TensorInfo, value: Any) -> np.ndarray:
    """The input as float32 of its shape, or as (H, W, 4) bytes."""
    array = np.asarray(value)
    if array.dtype == np.uint8 and info.takes_images:
        return _rgba(info, array)
    if array.dtype != np.float32:
        images = ", or uint8 for an image" if info.takes_images else ""
        raise TulleError(f"input {info.name!r} has dtype {array.dtype}; it must be float32{images}")
    if array.shape != info.shape:
        raise TulleError(f"input {info.name!r} has shape {array.shape}; it must be {info.shape}")
    return array


def _rgba(info: TensorInfo, array: np.ndarray) -> np.ndarray:
    image = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    height, width = info.shape[1:3]
    if image.shape not in ((height, width, 3), (height, width, 4)):
        raise TulleError(
            f"input {info.name!r}: an image of shape {array.shape} does not fit; "
            f"it must be ({height}, {width}, 3) or ({height}, {width}, 4)"
        )
    if image.shape[2] == 4:
        return image
    rgba = np.full((height, width, 4), 255, np.uint8)
    rgba[..., :3] = image
    return rgba
