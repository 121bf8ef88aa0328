"""What the JavaScript package calls in Pyodide (`web/src/convert/python.js`): paths and JSON in, JSON out.

It does what the commands of the same names do, so the files that come out are the same, byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tulle import conversion
from tulle.errors import TulleError
from tulle.files import file_kind, read_bytes, write_bytes
from tulle.inspection import describe
from tulle.passes.lower import set_normalisation
from tulle.sparsify import Options
from tulle.sparsify import sparsify as prune
from tulle.sparsify.encode import encode


def call(task: str, settings: str) -> str:
    """Runs a task; `settings` are its keyword arguments as JSON.

    Returns JSON: `{"result": ...}`, or `{"error": message}` for a TulleError.
    """
    try:
        return json.dumps({"result": TASKS[task](**json.loads(settings))})
    except TulleError as error:
        return json.dumps({"error": str(error)})


def kind(source: str) -> str | None:
    """What kind of file it is, as `file_kind` says."""
    return file_kind(read_bytes(source))


def convert(source: str, target: str, **settings: Any) -> dict[str, Any]:
    """Writes a `.tulle` file; returns the conversion's report, and its notes."""
    result = conversion.convert(source, **settings)
    result.save(target)
    return {**result.report.to_dict(), "notes": result.graph.notes}


def sparsify(
    source: str,
    target: str,
    *,
    sparsity: float | None = None,
    input_mean: float | None = None,
    input_std: float | None = None,
    weights: str = "auto",
    outputs: list[str] | None = None,
    input_shapes: dict[str, list[int]] | None = None,
) -> dict[str, Any]:
    """Prunes by magnitude and writes a `.tulle` or `.tflite` file; returns its notes and the share of zeros."""
    graph = set_normalisation(conversion.read_model(source, outputs, input_shapes), input_mean, input_std)
    result = prune(graph, Options(sparsity=sparsity, method="magnitude"))
    write_bytes(target, encode(result, Path(target).suffix, weights))
    return {"notes": graph.notes, "zeros": result.zeros, "layers": len(result.layers)}


def inspect(source: str) -> dict[str, Any]:
    """The report of `tulle inspect --json`."""
    return describe(source).to_dict()


TASKS: dict[str, Callable[..., Any]] = {"kind": kind, "convert": convert, "sparsify": sparsify, "inspect": inspect}
