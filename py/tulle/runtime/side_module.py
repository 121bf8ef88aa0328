"""Pyodide: the C library as a side module of Pyodide's own wasm, called through ctypes on Pyodide's own heap.

The wheel contains two builds. Pyodide compiles every `.so` of a wheel during installation, so only the build that every
engine can run has that suffix; the one with relaxed SIMD is opened here if the engine supports its instructions.
"""

from __future__ import annotations

import ctypes
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tulle.errors import TulleError
from tulle.runtime.host import Build, Variant

_FOLDER = Path(__file__).resolve().parent.parent / "_pyodide"
_FILES: dict[Build, str] = {"simd": "tulle-simd.so", "relaxed": "tulle-relaxed.so.wasm"}

# Wasm checks a function's type at the call, so ctypes must know which functions return nothing; all other types are
# 32-bit integers.
_WITHOUT_RESULT = (
    "tulle_free", "tulle_engine_set_sparse_tile", "tulle_engine_set_integers", "tulle_engine_set_limit",
    "tulle_engine_worker", "tulle_engine_worker_failed", "tulle_engine_never_wait", "tulle_engine_destroy",
    "tulle_model_free", "tulle_compositor_free", "tulle_compositor_reset",
)  # fmt: skip


def open_side_module(variant: Variant) -> tuple[SideModule, Build]:
    """The build for `variant`; "auto" is "relaxed" if the engine can run it.

    Raises TulleError if the engine cannot run the build, or if the wheel is for another Pyodide.
    """
    _check_wheel()
    if not _runs("simd"):
        raise TulleError("this engine has no WebAssembly SIMD, which tulle needs: use a newer browser or Node")
    relaxed = _runs("relaxed") if variant != "simd" else False
    if variant == "relaxed" and not relaxed:
        raise TulleError('this engine has no WebAssembly relaxed SIMD: use variant "auto" or "simd"')
    build: Build = "relaxed" if relaxed else "simd"
    return SideModule(build), build


class SideModule:
    """The C library of this process; models are kept apart by the engines they belong to."""

    def __init__(self, build: Build) -> None:
        self._library = _open(build)

    def call(self, name: str, *arguments: int) -> int:
        function = getattr(self._library, name)
        function.restype = None if name in _WITHOUT_RESULT else ctypes.c_uint32
        return function(*map(ctypes.c_uint32, arguments)) or 0

    def read(self, pointer: int, size: int) -> bytearray:
        return bytearray(self._view(pointer, size))

    def read_string(self, pointer: int) -> str:
        return ctypes.string_at(pointer).decode("utf-8", "replace")

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        flat = memoryview(data).cast("B")
        self._view(pointer, flat.nbytes)[:] = flat

    def _view(self, pointer: int, size: int) -> memoryview:
        if not pointer:
            raise TulleError(f"{size} bytes at address 0, which is a bug in tulle")
        return memoryview((ctypes.c_uint8 * size).from_address(pointer)).cast("B")


@cache
def _open(build: Build) -> Any:
    path = _find(build)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise TulleError(f"{path} cannot be loaded into Pyodide: {error}") from None


@cache
def _runs(build: Build) -> bool:
    """Whether this engine supports a build's instructions."""
    from js import WebAssembly
    from pyodide.ffi import to_js

    return bool(WebAssembly.validate(to_js(_find(build).read_bytes())))


def _find(build: Build) -> Path:
    path = _FOLDER / _FILES[build]
    if not path.is_file():
        raise TulleError(
            f"{path} is missing: this copy of tulle is not made for Pyodide; install its wheel for Pyodide "
            "(named ...pyemscripten_..._wasm32.whl, see docs/pyodide.md)"
        )
    return path


def _check_wheel() -> None:
    """Raises TulleError if the wheel is for another Pyodide: unlike micropip, loadPackage does not check."""
    try:
        lines = (distribution("tulle").read_text("WHEEL") or "").splitlines()
    except PackageNotFoundError:  # run from a folder
        return
    tags = [line.split(":", 1)[1].strip() for line in lines if line.startswith("Tag:")]
    here = f"pyemscripten_{sysconfig.get_config_var('PYODIDE_ABI_VERSION')}_wasm32"
    if tags and not any(tag.endswith(here) for tag in tags):
        raise TulleError(f"this wheel of tulle is for another Pyodide ({', '.join(tags)}): install the one for {here}")
