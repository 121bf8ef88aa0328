"""Runs models in CPython: the very wasm that a page runs, through wasmtime.

    model = tulle.load("model.tulle")
    outputs = model(image)

`module` finds and compiles the wasm, `instance` calls into it, `model` is the public face.
"""

from tulle.runtime.model import Model, TensorInfo, load

__all__ = ["Model", "TensorInfo", "load"]
