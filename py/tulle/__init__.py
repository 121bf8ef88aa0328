"""Sparse convolutional networks in WebAssembly: convert TFLite and ONNX models, and run them here as a browser would.

    import tulle

    tulle.convert("model.tflite").save("model.tulle")
    model = tulle.load("model.tulle")
    outputs = model(image)               # {name: float32 array}

Problems with a file, a model or an input raise `tulle.TulleError`.

One module per task, each with a command for it:

- `conversion`: a model file or a Graph becomes a `.tulle` file (`convert`)
- `verification`: whether the converted model computes what the original does (`verify`; `oracle` runs the original)
- `compression`: a `.tulle` file with fewer bytes of weights (`compress`)
- `inspection`: the contents of a model file (`inspect`)
- `hotspots`: where a dense network's time goes (`hotspots`)
- `image`: pictures as model inputs
- `hands`: tracks hands in pictures and videos
- `background`: other backgrounds behind people

One package per building block:

- `graph`: a model in Python, and a NumPy reference that runs it
- `ops`: what tulle knows about each op, one record per op
- `tflite`, `onnx`: readers, and a writer of `.tflite`
- `passes`: Graph -> Graph, from a graph as read to the form that runs
- `pack`: the `.tulle` file
- `runtime`: runs `.tulle` files
- `sparsify`, `train`: sparse models, in one shot or by training; `erk` is a rule that both share
- `zoo`: architectures built as Graphs
- `cli`: the `tulle` command

`bridge` is what the JavaScript package calls in Pyodide. All of them use `errors`, `files` (reading, writing,
recognising file kinds) and `version`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tulle.errors import TulleError
from tulle.version import __version__ as __version__

if TYPE_CHECKING:
    from tulle import background, graph, hands, image, ops, pack, passes, runtime, sparsify, tflite, zoo
    from tulle.conversion import Conversion, convert
    from tulle.graph import Graph
    from tulle.runtime import Model, load
    from tulle.runtime.browser import AsyncModel, load_async
    from tulle.tflite import read as read_tflite
    from tulle.verification import verify

__all__ = [
    "AsyncModel",
    "Conversion",
    "Graph",
    "Model",
    "TulleError",
    "background",
    "convert",
    "graph",
    "hands",
    "image",
    "load",
    "load_async",
    "ops",
    "pack",
    "passes",
    "read_tflite",
    "runtime",
    "sparsify",
    "tflite",
    "verify",
    "zoo",
]

# Imported on first use: NumPy and wasmtime take a while, and `tulle --help` needs neither.
_LAZY = {
    "AsyncModel": ("tulle.runtime.browser", "AsyncModel"),
    "Conversion": ("tulle.conversion", "Conversion"),
    "Graph": ("tulle.graph", "Graph"),
    "Model": ("tulle.runtime", "Model"),
    "convert": ("tulle.conversion", "convert"),
    "load": ("tulle.runtime", "load"),
    "load_async": ("tulle.runtime.browser", "load_async"),
    "read_tflite": ("tulle.tflite", "read"),
    "verify": ("tulle.verification", "verify"),
}
_SUBMODULES = ("background", "graph", "hands", "image", "ops", "pack", "passes", "runtime", "sparsify", "tflite", "zoo")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"tulle.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'tulle' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    try:
        value = globals()[name] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:  # in Pyodide, where a page loads what it needs
        if error.name is None or error.name.split(".")[0] == "tulle":
            raise
        raise TulleError(f"tulle.{name} needs {error.name}: install tulle[convert]") from None
    return value
