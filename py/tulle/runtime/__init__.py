"""Runs models in Python: the very C library that a page runs, through wasmtime in CPython, through ctypes in Pyodide.

    model = tulle.load("model.tulle")
    outputs = model(image)

`model` is the public face. It calls a `host.Library`, which `library` opens: in CPython an `instance` of the wasm that
`builds` finds and compiles, in Pyodide a `side_module`. `browser` awaits the browser's own engine instead. `tensors`
are inputs and outputs, `tables` what a notebook shows.
"""

from tulle.runtime.model import Model, load
from tulle.runtime.tensors import TensorInfo

__all__ = ["Model", "TensorInfo", "load"]
