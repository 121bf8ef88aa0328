"""The wasm builds of the C library: finding them, and compiling each once."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import wasmtime

from tulle.errors import TulleError
from tulle.files import write_bytes
from tulle.runtime.host import Build, Variant

MOST_SECONDS = 90 * 86400.0
"""After that, machine code in the cache is removed when new one comes."""

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

    Compiling takes about a second, so the result is kept in the user's cache folder. Raises TulleError if the file is
    missing or does not compile.
    """
    path = _find(f"tulle-{build}.wasm")
    try:
        wasm = path.read_bytes()
        kept = _cache_folder() / f"{build}-{sha256(wasm).hexdigest()[:32]}"
        module = _kept(kept)
        if module is None:
            module = wasmtime.Module(engine(), wasm)
            _keep(kept, bytes(module.serialize()))
        return module
    except (OSError, wasmtime.WasmtimeError) as error:
        raise TulleError(f"{path} cannot be loaded: {error}") from None


def _cache_folder() -> Path:
    home = os.path.expanduser("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or home) / "tulle"


def _kept(path: Path) -> wasmtime.Module | None:
    """Machine code from the cache; None if it is not there, or not what was written: running damaged code crashes."""
    try:
        data = path.read_bytes()
        whole = len(data) > 32 and sha256(data[32:]).digest() == data[:32]
        return wasmtime.Module.deserialize(engine(), data[32:]) if whole else None
    except (OSError, wasmtime.WasmtimeError):  # of another processor or wasmtime, for one
        return None


def _keep(path: Path, code: bytes) -> None:
    with suppress(OSError, TulleError):  # no home folder, or one that cannot be written to
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.iterdir():
            if time.time() - old.stat().st_mtime > MOST_SECONDS:
                old.unlink()
        write_bytes(path, sha256(code).digest() + code)


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
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = True
    config.wasm_relaxed_simd_deterministic = False  # otherwise multiply-adds would not be fused
    return wasmtime.Engine(config)
