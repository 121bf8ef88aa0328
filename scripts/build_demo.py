#!/usr/bin/env python3
"""Converts the two hand models for the demo page: `.cache/models/*.tflite` -> `demos/models/*.tulle` and models.json.

models.json tells the page what it runs (see ModelFacts in demos/hands/main.js): sizes, source, licence, zeros.
A model is converted again only when its TFLite file, its source, the converter or this script has changed.
Run with the Python of `.venv`, after scripts/fetch_models.py.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import tulle
from common import CACHE, ROOT, SetupError, main_guard, say
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.graph.stats import LAYERS
from tulle.passes.fold_constants import fold_constants

MODELS = CACHE / "models"
TARGET = ROOT / "demos" / "models"

# The page's two sides.
SIDES = {"dense": "hand_landmark_full", "sparse": "hand_landmark_sparse"}

# MediaPipe feeds pixels as 0 to 1.
MEAN, STD = 0.0, 255.0

OWN_SOURCE = "made by tulle"  # how fetch_models.py's record of its own sparse model begins
OWN_LABEL = "tulle's own magnitude-pruned copy"


def build() -> None:
    """Brings demos/models up to date.

    Raises SetupError if a TFLite model is missing, tulle.TulleError if one cannot be converted.
    """
    manifest = TARGET / "models.json"
    before = _read_json(manifest) if manifest.is_file() else {}
    sources = _read_json(MODELS / "SOURCES.json")
    converter = _digest(ROOT / "py" / "tulle", Path(__file__))
    facts = {}
    for side, name in SIDES.items():
        model = MODELS / f"{name}.tflite"
        source = sources.get(model.name)
        if source is None or not model.is_file():
            raise SetupError(f"{model} is missing or not recorded in SOURCES.json: run `make models`")
        made_from = hashlib.sha256(converter + model.read_bytes() + json.dumps(source).encode()).hexdigest()
        fresh = before.get(side, {}).get("made_from") == made_from and (TARGET / f"{name}.tulle").is_file()
        facts[side] = before[side] if fresh else {**_convert(model, source), "made_from": made_from}
    write_bytes(manifest, (json.dumps(facts, indent=2) + "\n").encode())


def _convert(model: Path, source: dict[str, str]) -> dict[str, Any]:
    """Writes the .tulle file; returns what models.json says of it."""
    conversion = tulle.convert(model, input_mean=MEAN, input_std=STD)
    TARGET.mkdir(parents=True, exist_ok=True)
    target = TARGET / f"{model.stem}.tulle"
    conversion.save(target)
    report = conversion.report
    weights = _weights(fold_constants(tulle.read_tflite(model)))
    say(f"{target.name}: {report.file_bytes / 1e6:.2f} MB, from {model.stat().st_size / 1e6:.2f} MB")
    return {
        "file": target.name,
        "name": model.stem,
        "source": source["source"],
        "licence": source["licence"],
        "label": OWN_LABEL if source["source"].startswith(OWN_SOURCE) else None,
        "tflite_bytes": model.stat().st_size,
        "tulle_bytes": report.file_bytes,
        "weights": sum(weight.size for weight in weights),
        "nonzero": sum(int(np.count_nonzero(weight)) for weight in weights),
        "folded_weights": sum(weight.size for weight in _weights(conversion.graph)),
        "macs": report.macs_before,
        "executed_macs": report.executed_macs,
    }


def _weights(graph: Graph) -> list[np.ndarray]:
    """The weights of all layers, without biases; a constant that two layers share counts once."""
    names = {node.inputs[1] for node in graph if node.op in LAYERS}
    arrays = (graph.constant(name) for name in sorted(name for name in names if name is not None))
    return [array for array in arrays if array is not None]


def _digest(*paths: Path) -> bytes:
    """SHA-256 over the given Python files and those in the given folders."""
    files = sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py")))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).digest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise SetupError(f"{path} is missing: run `make models`") from None
    except ValueError as error:
        raise SetupError(f"{path} is not readable ({error}): remove it and run this again") from error
    if not isinstance(content, dict):
        raise SetupError(f"{path} is not a JSON object: remove it and run this again")
    return content


def main() -> None:
    try:
        build()
    except tulle.TulleError as error:
        raise SetupError(str(error)) from error


if __name__ == "__main__":
    with main_guard():
        main()
