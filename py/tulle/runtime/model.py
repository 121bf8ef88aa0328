"""`load` and `Model`: a network loaded into the C library, called like a function."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from math import prod
from struct import calcsize
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tulle.errors import TulleError
from tulle.files import ModelFile, file_kind, in_memory, read_bytes
from tulle.runtime.host import IN_PYODIDE, Library, Variant
from tulle.runtime.library import open_library
from tulle.runtime.limits import Limits
from tulle.runtime.tables import Profile, model_html
from tulle.runtime.tensors import FORMATS, TensorInfo, find_numpy, inputs_of, output, outputs_of, prepare

if TYPE_CHECKING:
    from tulle.graph import Graph

# Vectors of a sparse tile. wasmtime's compiler spills accumulators if there are as many as V8 keeps in registers:
# with 13 of them the sparse hand model's 1x1 convolutions take 9.2 ms, with 8 of them 6.6.
WASMTIME_TILE = 8


def load(
    source: ModelFile | Graph,
    *,
    variant: Variant = "auto",
    threads: int = 1,
    limits: Limits | None = None,
    integers: bool = True,
) -> Model:
    """A model ready to run.

    Args:
        source: path or bytes of a `.tulle` file; also of a `.tflite` or `.onnx` file, or a Graph, which are converted
            first.
        variant: the wasm build: "simd", "relaxed" (relaxed SIMD, with fused multiply-adds) or "auto", the fastest.
        threads: 1; only a web page has more (in Pyodide: `load_async`).
        limits: how large file, tensors and memory may be; None: those of `Limits()`.
        integers: whether a quantised model may compute with 8-bit integers, which "relaxed" does; False: float32 only.

    Raises TulleError if the file is missing, damaged or not a model, holds what tulle cannot run, or is beyond a limit.
    """
    if threads != 1:
        where = "on Pyodide's own heap" if IN_PYODIDE else "in CPython"
        more = "tulle.load_async has more" if IN_PYODIDE else "the browser has more"
        raise TulleError(f"threads={threads!r}: {where} a model runs on one thread; {more}")
    data = tulle_bytes(source)
    try:
        return Model(data, variant, limits, integers)
    except TulleError as error:
        if not isinstance(source, str | os.PathLike):
            raise
        raise TulleError(f"{source}: {error}") from None


class Model:
    """A loaded network: `model(array)` or `model({name: array})` gives {name: array}.

    Use it as a context manager, or call `close()`, to free its memory early. Several Python threads may share a model;
    their calls run one at a time.
    """

    def __init__(
        self, data: bytes, variant: Variant = "auto", limits: Limits | None = None, integers: bool = True
    ) -> None:
        """`data`: a `.tulle` file. Usually called by `load`."""
        limits = limits or Limits()
        limits.check_file(len(data))
        self._library, self.variant = open_library(variant)
        self.threads = 1
        self._lock = threading.Lock()
        self._numpy = find_numpy()
        self._engine = self._library.call("tulle_engine_create", 1)
        if self._engine and not IN_PYODIDE:
            self._library.call("tulle_engine_set_sparse_tile", self._engine, WASMTIME_TILE)
        if self._engine:
            self._library.call("tulle_engine_set_integers", self._engine, int(integers))
        for number, most in enumerate(limits.for_engine() if self._engine else ()):
            self._library.call("tulle_engine_set_limit", self._engine, number, most)
        try:
            self._model = self._load(data)
        except TulleError:
            _release(self._library, self._engine, 0)
            raise
        # Also when the model is garbage-collected: in Pyodide its memory is on Python's own heap.
        self._close = weakref.finalize(self, _release, self._library, self._engine, self._model)
        self._close.atexit = False
        self.info: dict[str, Any] = json.loads(
            self._library.read_string(self._library.call("tulle_model_info", self._model))
        )
        """The description by tulle_model_info (wasm/include/tulle.h): sizes in bytes and one row for each step."""
        self.name: str = self.info["name"]
        self.inputs = inputs_of(self.info)
        self.outputs = outputs_of(self.info)

    def __call__(self, inputs: Any) -> dict[str, Any]:
        """Runs the model once.

        Args:
            inputs: by name, a float32 or float16 array of each input's shape; the array alone if there is one input.
                An input of integers (its `dtype`) takes these instead.
                An input that `takes_images` also takes a uint8 array (H, W, 3), RGB, or (H, W, 4), RGBA with alpha
                ignored, with or without the batch dimension, which is normalised with the input's mean and std.
                Other buffers (array.array, memoryview, bytes as uint8) may be flat, in row-major order.

        Returns a new array for every output, of its dtype; without NumPy, a memoryview of the output's shape.
        Raises TulleError if an input is missing, unknown or of a wrong shape or
        dtype, or if the model is closed.
        """
        prepared = [prepare(info, value, self._numpy) for info, value in name_inputs(self.inputs, inputs)]
        with self._lock:
            return self._run(prepared)

    def profile(self) -> Profile:
        """Runs the model once more, on its last inputs, and returns the time of each step.

        Rows have name, op, kernel, path (how the kernel runs it: "sparse", "pairs", "dense", ...), macs, weights, nnz
        (see `info`) and `ms`. Other runs are not timed step by step: that would cost a tenth of their time here.
        Raises TulleError if the model is closed.
        """
        with self._lock:
            library, steps = self._open(), self.info["steps"]
            times = library.read(library.call("tulle_model_profile", self._model), 8 * len(steps))
        return Profile({**step, "ms": ms} for step, ms in zip(steps, memoryview(times).cast("d"), strict=True))

    def close(self) -> None:
        """Frees the model's memory. Closing twice does nothing."""
        with self._lock:
            self._close()

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

    def _repr_html_(self) -> str:
        return model_html(self.name, self.inputs, self.outputs, self.info, f"{self.variant}, one thread")

    def _open(self) -> Library:
        if not self._close.alive:
            raise TulleError("the model is closed")
        return self._library

    def _load(self, data: bytes) -> int:
        library = self._library
        file = library.call("tulle_alloc", max(len(data), 1)) if self._engine else 0
        if not file:
            raise TulleError(f"out of memory: the wasm module has no {len(data)} bytes for the file")
        library.write(file, data)
        model = library.call("tulle_model_load", self._engine, file, len(data))
        library.call("tulle_free", file)
        if not model:
            raise TulleError(self._error())
        return model

    def _run(self, inputs: list[tuple[bool, memoryview]]) -> dict[str, Any]:
        library = self._open()
        for index, (is_picture, data) in enumerate(inputs):
            if is_picture:
                self._set_image(index, data)
            else:
                library.write(library.call("tulle_model_input", self._model, index), data)
        self._check(library.call("tulle_model_run", self._model))
        outputs = {}
        for index, info in enumerate(self.outputs):
            size = calcsize(FORMATS[info.dtype]) * prod(info.shape)
            values = library.read(library.call("tulle_model_output", self._model, index), size)
            outputs[info.name] = output(info, values, self._numpy)
        return outputs

    def _set_image(self, index: int, pixels: memoryview) -> None:
        """Feeds H * W * 4 bytes."""
        library = self._library
        height, width = self.inputs[index].shape[1:3]
        buffer = library.call("tulle_alloc", pixels.nbytes)
        if not buffer:
            raise TulleError(f"out of memory: the wasm module has no {pixels.nbytes} bytes for the image")
        library.write(buffer, pixels)
        status = library.call("tulle_model_set_rgba8", self._model, index, buffer, height, width)
        library.call("tulle_free", buffer)
        self._check(status)

    def _check(self, status: int) -> None:
        if status:
            raise TulleError(self._error())

    def _error(self) -> str:
        return self._library.read_string(self._library.call("tulle_engine_error", self._engine))


def name_inputs(infos: list[TensorInfo], inputs: Any) -> list[tuple[TensorInfo, Any]]:
    """Every input with its value. Raises TulleError if one is missing or unknown."""
    if not isinstance(inputs, Mapping):
        if len(infos) != 1:
            names = ", ".join(repr(info.name) for info in infos)
            raise TulleError(f"the model has {len(infos)} inputs: give a dict with {names}")
        inputs = {infos[0].name: inputs}
    unknown = set(inputs) - {info.name for info in infos}
    if unknown:
        raise TulleError(
            f"there is no input {', '.join(map(repr, sorted(unknown)))}; "
            f"the inputs are {', '.join(repr(info.name) for info in infos)}"
        )
    for info in infos:
        if info.name not in inputs:
            raise TulleError(f"input {info.name!r} of shape {info.shape} is missing")
    return [(info, inputs[info.name]) for info in infos]


def _release(library: Library, engine: int, model: int) -> None:
    with suppress(TulleError):  # after a trap nothing can be called
        if model:
            library.call("tulle_model_free", model)
        if engine:
            library.call("tulle_engine_destroy", engine)


def tulle_bytes(source: ModelFile | Graph) -> bytes:
    """The source as a `.tulle` file, converted if need be."""
    source = in_memory(source)
    if isinstance(source, bytes | str | os.PathLike):
        data = source if isinstance(source, bytes) else read_bytes(source)
        if file_kind(data) not in ("tflite", "onnx"):
            return data
    try:
        from tulle.conversion import convert
    except ImportError as error:
        raise TulleError(f"converting a model needs {error.name}: install tulle[convert]") from None
    return convert(source).data
