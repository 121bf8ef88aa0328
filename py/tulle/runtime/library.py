"""`open_library`: the C library of this host, in CPython through wasmtime, in Pyodide through ctypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from tulle.errors import TulleError
from tulle.runtime.host import IN_PYODIDE, Build, Library, Variant


def open_library(variant: Variant) -> tuple[Library, Build]:
    """The library of this host, and the build of it that `variant` means here.

    Raises TulleError if there is no such build, or if this machine cannot run it.
    """
    if variant not in get_args(Variant):
        raise TulleError(f"variant={variant!r} is not one of {', '.join(get_args(Variant))}")
    opener: Callable[[Variant], tuple[Library, Build]]
    # Neither host has what the other one needs.
    if IN_PYODIDE:
        from tulle.runtime.side_module import open_side_module as opener
    else:
        from tulle.runtime.instance import open_instance as opener
    return opener(variant)
