"""Runs models in Python, on the same C library as a page: through wasmtime in CPython, through ctypes in Pyodide.

    model = tulle.load("model.tulle")
    outputs = model(image)

`model` is the public interface. It calls a `host.Library`, which `library` opens: in CPython an `instance` of the wasm
that `builds` finds and compiles, in Pyodide a `side_module`. `browser` uses the browser's engine instead. `tensors`
handles inputs and outputs, `tables` their display in notebooks.
"""

from tulle.runtime.limits import Limits
from tulle.runtime.model import Model, load
from tulle.runtime.tensors import TensorInfo

__all__ = ["Limits", "Model", "TensorInfo", "load"]
