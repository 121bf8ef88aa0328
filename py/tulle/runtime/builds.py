"""The wasm builds of the C library: finding them, and compiling each once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import wasmtime

from tulle.errors import TulleError
from tulle.runtime.host import Build, Variant

_PACKAGE = Path(__file__).resolve().parent.parent
# In an installed package; in a checkout.
_FOLDERS = (_PACKAGE / "_wasm", _PACKAGE.parent.parent / "web" / "dist")


def choose_build(variant: Variant) -> Build:
    """ "auto" is "relaxed": wasmtime runs it on every processor, with fused multiply-adds where the processor has
    them."""
    return "relaxed" if variant == "auto" else variant


@cache
def compiled(build: Build) -> wasmtime.Module:
    """The build as machine code for `engine()`.

    Compiling takes about a second, so wasmtime keeps the result in the user's cache folder, under a key made of its
    version and the module's bytes. Raises TulleError if the file is missing or does not compile.
    """
    path = _find(f"tulle-{build}.wasm")
    try:
        return wasmtime.Module(engine(), path.read_bytes())
    except (OSError, wasmtime.WasmtimeError) as error:
        raise TulleError(f"{path} cannot be loaded: {error}") from None


def _find(name: str) -> Path:
    for folder in _FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise TulleError(
        f"{name} is neither in {_FOLDERS[0]} nor in {_FOLDERS[1]}: run `make build` in a checkout of tulle"
    )


@cache
def engine() -> wasmtime.Engine:
    """The one engine of this process."""
    try:
        return wasmtime.Engine(_config(cached=True))
    except wasmtime.WasmtimeError:  # no home folder, or one that cannot be written to
        return wasmtime.Engine(_config(cached=False))


def _config(*, cached: bool) -> wasmtime.Config:
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = True
    config.wasm_relaxed_simd_deterministic = False  # otherwise multiply-adds would not be fused
    if cached:
        config.cache = True
    return config
