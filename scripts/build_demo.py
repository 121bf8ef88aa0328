#!/usr/bin/env python3
"""Converts the models of the demo pages: `.cache/models/*.tflite` -> `demos/models/*.tulle` and models.json.

models.json lists the models for the pages (see ModelFacts in demos/lib/models.js): sizes, source, licence, zeros.
A model is converted again only when its TFLite file, its source, the converter or this script has changed.
Run with the Python of `.venv`, after scripts/fetch_models.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import demo_share
import tulle
from common import CACHE, ROOT, SetupError, main_guard, say
from demo_share import build_share
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.ops import LAYERS
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify.magnitude import magnitude

MODELS = CACHE / "models"
TARGET = ROOT / "demos" / "models"

# Sparse models made by tulle, which ship with the project, with a SOURCES.json as written by fetch_models.py; its
# "label" says how a model was made.
SHIPPED = ROOT / "demos" / "weights"

# MediaPipe's models take pixels from 0 to 1.
MEAN, STD = 0.0, 255.0


@dataclass(frozen=True)
class DemoModel:
    """A model of the pages.

    Attributes:
        name: of the .tulle file, without ending, and in models.json.
        task, role, title: see ModelFacts in demos/lib/models.js.
        card: the page of docs/model-cards that describes it, without ending.
        tflite: the TFLite file it is made from, without ending; by default `name`.
        sparsity: if given, the share of its 1x1 convolutions' weights to zero first, by magnitude.
        optional: left out if there is no such TFLite file.
    """

    name: str
    task: str
    role: str
    title: str
    card: str
    tflite: str = ""
    sparsity: float | None = None
    optional: bool = False


LANDSCAPE = "selfie_segmentation_landscape"
SQUARE = "selfie_segmentation"
SMALL = "selfie_segmentation_240x128_tulle"

# Percentages of zeros on the ablation page, in addition to the dense model, and on the background page.
ABLATION = (10, 20, 30, 40, 50, 60, 70, 80, 90)
BACKGROUND_ZEROS = 50

CATALOGUE = [
    DemoModel("hand_landmark_full", "hand", "dense", "Dense", "hand_landmark_full"),
    DemoModel("hand_landmark_lite", "hand", "distilled", "Distilled", "hand_landmark_lite"),
    DemoModel("hand_landmark_tulle", "hand", "sparse", "Sparse", "hand_landmark_tulle"),
    DemoModel("hand_landmark_sparse", "hand", "published", "Sparse by Google", "hand_landmark_sparse", optional=True),
    DemoModel("palm_detection_full", "palm", "dense", "Palm detector", "palm_detection"),
    DemoModel("palm_detection_lite", "palm", "distilled", "Palm detector, lite", "palm_detection"),
    DemoModel(LANDSCAPE, "selfie", "dense", "Dense", LANDSCAPE),
    *(
        DemoModel(
            f"{LANDSCAPE}_{percent}",
            "ablation" if percent != BACKGROUND_ZEROS else "selfie",
            "sparse",
            f"{percent} % zeros",
            "selfie_pruned",
            LANDSCAPE,
            percent / 100,
        )
        for percent in ABLATION
    ),
    *(
        DemoModel(
            f"{LANDSCAPE}_tulle_{percent}", "ablation", "own", f"{percent} % zeros", "selfie_sparsified", optional=True
        )
        for percent in ABLATION
    ),
    DemoModel(SMALL, "background", "own", "Sparse by tulle", SMALL),
    DemoModel(SQUARE, "selfie-square", "dense", "Dense", SQUARE),
    DemoModel(f"{SQUARE}_20", "selfie-square", "sparse", "20 % zeros", "selfie_pruned", SQUARE, 0.2),
]


def build(catalogue: Sequence[DemoModel] = CATALOGUE) -> None:
    """Brings demos/models up to date.

    Raises SetupError if a TFLite model is missing, tulle.TulleError if one cannot be converted.
    """
    manifest = TARGET / "models.json"
    before = _read_json(manifest) if manifest.is_file() else {}
    converter = _digest(ROOT / "py" / "tulle", Path(__file__))
    facts = {}
    for model in catalogue:
        found = _find(model.tflite or model.name)
        if found is None:
            if model.optional:
                continue
            raise SetupError(f"{MODELS / (model.tflite or model.name)}.tflite is missing or not recorded in "
                             "SOURCES.json: run `make models`")  # fmt: skip
        file, source = found
        description = json.dumps([asdict(model), source]).encode()
        made_from = hashlib.sha256(converter + file.read_bytes() + description).hexdigest()
        old = before.get(model.name, {})
        fresh = old.get("made_from") == made_from and (TARGET / f"{model.name}.tulle").is_file()
        facts[model.name] = old if fresh else {**_convert(model, file, source), "made_from": made_from}
    for stale in {file.stem for file in TARGET.glob("*.tulle")} - facts.keys():
        (TARGET / f"{stale}.tulle").unlink()
    write_bytes(manifest, (json.dumps(facts, indent=2) + "\n").encode())


def _find(name: str) -> tuple[Path, dict[str, str]] | None:
    """A TFLite file and its record in the SOURCES.json beside it; shipped files take precedence over fetched ones."""
    for folder in (SHIPPED, MODELS):
        sources = folder / "SOURCES.json"
        record = _read_json(sources).get(f"{name}.tflite") if sources.is_file() else None
        if record is not None and (folder / f"{name}.tflite").is_file():
            return folder / f"{name}.tflite", record
    return None


def _convert(model: DemoModel, file: Path, source: dict[str, str]) -> dict[str, Any]:
    """Writes the .tulle file; returns its entry in models.json."""
    graph = tulle.read_tflite(file)
    label = source.get("label")
    tflite_bytes: int | None = file.stat().st_size
    if model.sparsity is not None:
        graph = magnitude(graph, model.sparsity)
        label = (
            f"{file.stem} pruned by magnitude, {model.sparsity:.0%} zeros in its 1x1 convolutions, not trained after"
        )
        tflite_bytes = None
    conversion = tulle.convert(graph, input_mean=MEAN, input_std=STD)
    TARGET.mkdir(parents=True, exist_ok=True)
    target = TARGET / f"{model.name}.tulle"
    conversion.save(target)
    report = conversion.report
    weights = _weights(fold_constants(graph))
    say(f"{target.name}: {report.file_bytes / 1e6:.2f} MB")
    return {
        "name": model.name,
        "file": target.name,
        "task": model.task,
        "role": model.role,
        "title": model.title,
        "source": source["source"],
        "licence": source["licence"],
        "label": label,
        "card": model.card,
        "tflite_bytes": tflite_bytes,
        "tulle_bytes": report.file_bytes,
        "weights": sum(weight.size for weight in weights),
        "nonzero": sum(int(np.count_nonzero(weight)) for weight in weights),
        "folded_weights": sum(weight.size for weight in _weights(conversion.graph)),
        "macs": report.macs_before,
        "executed_macs": report.executed_macs,
    }


def _weights(graph: Graph) -> list[np.ndarray]:
    """The weights of all layers, without biases; a shared constant counts once."""
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
    except ValueError as error:
        raise SetupError(f"{path} is not readable ({error}): remove it and run this again") from error
    if not isinstance(content, dict):
        raise SetupError(f"{path} is not a JSON object: remove it and run this again")
    return content


def build_all() -> None:
    """Updates everything that the pages load: the catalogue, and the networks of the share table."""
    build()
    build_share(TARGET, _digest(ROOT / "py" / "tulle", Path(demo_share.__file__)).hex())


def main() -> None:
    try:
        build_all()
    except tulle.TulleError as error:
        raise SetupError(str(error)) from error


if __name__ == "__main__":
    with main_guard():
        main()
