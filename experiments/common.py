"""Shared by the experiments: data, splits, models that are made once and kept, tables written into documents."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.progress import track

from tulle import TulleError
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.passes.fold_constants import fold_constants
from tulle.passes.lower import set_normalisation
from tulle.sparsify import Options, sparsify
from tulle.sparsify.layers import find_layers, layer_weight
from tulle.tflite import read, write

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / ".cache" / "models"
SHARED = Path(os.environ.get("TULLE_SHARED") or ROOT.parent / "shared")
WORK = ROOT / "build" / "experiments"
RESULTS = ROOT / "experiments" / "results"
GUIDE = ROOT / "docs" / "sparsify.md"

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Recipe:
    """How a model is made: options of `sparsify`, and the number of calibration images (0: none)."""

    name: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    images: int = 0


def data_folder(name: str) -> Path:
    """A folder of the shared data. Raises TulleError if it is absent."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        raise TulleError(f"there is no {folder}; TULLE_SHARED names the folder that holds data/{name}")
    return folder


def is_held_out(path: Path) -> bool:
    """Whether the file is only for measuring: one in five, by a digest of its name."""
    return zlib.crc32(path.name.encode()) % 5 == 0


def dense_model(name: str) -> Graph:
    """A fetched model, with its pictures normalised to 0..1. Raises TulleError if it has not been fetched."""
    path = MODELS / f"{name}.tflite"
    if not path.is_file():
        raise TulleError(f"there is no {path}; run `make models`")
    return set_normalisation(read(path), 0.0, 255.0)


def progress(items: Iterable[int], text: str) -> Iterable[int]:
    """A progress bar, or a line if there is no terminal."""
    items = list(items)
    if console.is_terminal:
        return track(items, text, console=console, transient=True)
    console.print(f"{text}: {len(items)}")
    return items


def make(recipe: Recipe, dense: Graph, images: Sequence[np.ndarray], folder: Path) -> Path:
    """The recipe's .tflite file in the folder, with a .json beside it; made if missing."""
    path = folder / f"{recipe.name}.tflite"
    if path.is_file():
        return path
    console.print(f"making {path.relative_to(ROOT)}")
    folder.mkdir(parents=True, exist_ok=True)
    workfile = folder / f"{recipe.name}.work"
    seen = list(images[: recipe.images])
    result = sparsify(dense, Options(**recipe.options), images=seen, workfile=workfile, progress=progress)
    record = {"options": recipe.options, **result.to_dict()}
    write_bytes(folder / f"{recipe.name}.json", json.dumps(record, indent=1).encode())
    write_bytes(path, write(result.graph, weights="fp16" if result.half else "fp32", sparse=True))
    workfile.unlink(missing_ok=True)
    return path


def kept_pictures(folder: Path, count: int, draw: Callable[[list[int]], Iterable[Image.Image]]) -> list[Path]:
    """Pictures 0 to count - 1 as files in the folder; `draw` makes missing ones, given their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.png" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        for number, picture in zip(missing, draw(missing), strict=True):
            data = io.BytesIO()
            picture.save(data, "PNG")
            write_bytes(paths[number], data.getvalue())
    return paths


def zeros(path: Path) -> dict[str, float]:
    """Shares of zeros, counted in the same way for every file: of the weights of 1x1 convolutions, and of their
    multiply-adds.

    `ms` is the cost model's estimate for these layers.
    """
    graph = fold_constants(read(path))
    layers = find_layers(graph)
    nonzero = {layer.name: int(np.count_nonzero(layer_weight(graph, layer))) for layer in layers}
    return {
        "weights": 1 - sum(nonzero.values()) / sum(layer.size for layer in layers),
        "macs": 1 - sum(nonzero[layer.name] * layer.pixels for layer in layers) / sum(layer.macs for layer in layers),
        "macs_left": float(sum(nonzero[layer.name] * layer.pixels for layer in layers)),
        "ms": sum(layer.milliseconds(nonzero[layer.name]) for layer in layers),
    }


def digest(path: Path) -> str:
    """A digest of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def cached(what: str, path: Path, compute: Callable[[Path], Any]) -> Any:
    """`compute(path)`, as JSON, kept from an earlier run if the file has not changed since."""
    record = WORK / f"{what}.json"
    known: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {}
    key = f"{path.name} {digest(path)}"
    if key not in known:
        value = compute(path)
        known = json.loads(record.read_text()) if record.is_file() else {}  # others may have written
        known[key] = value
        record.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(record, json.dumps(known, indent=1).encode())
    return known[key]


def milliseconds(path: Path) -> str:
    """The times that experiments/times.py measured for exactly this file; empty if there are none."""
    times = RESULTS / "times.json"
    known = json.loads(times.read_text()) if times.is_file() else {}
    return f"{known[digest(path)]['ms']:.1f}" if digest(path) in known else ""


def all_times(path: Path) -> list[float]:
    """What `times.py --rounds` measured for exactly this file: engine and page on one thread, then two; or nothing."""
    times = RESULTS / "times.json"
    known = json.loads(times.read_text()) if times.is_file() else {}
    pairs = known.get(digest(path), {}).get("engine, page by threads", [])
    return [ms for pair in pairs for ms in pair]


def with_earlier(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and those in experiments/results/NAME.json whose files are gone."""
    path = RESULTS / f"{name}.json"
    earlier = json.loads(path.read_text()) if path.is_file() else []
    known = {row["name"] for row in rows}
    return rows + [row for row in earlier if row["name"] not in known]


def save_results(name: str, rows: list[dict[str, Any]]) -> None:
    """Writes experiments/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    write_bytes(RESULTS / f"{name}.json", (json.dumps(rows, indent=1) + "\n").encode())


def insert_table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], guide: Path = GUIDE) -> None:
    """Replaces the text between `<!-- NAME -->` and `<!-- /NAME -->` in a document, docs/sparsify.md, by a table.

    Columns whose header begins with ">" hold numbers.
    """
    lines = ["| " + " | ".join(title.lstrip(">") for title in header) + " |"]
    lines.append("|" + "|".join("---:" if title.startswith(">") else "---" for title in header) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    text = guide.read_text()
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise TulleError(f"{guide} has no place for the table: <!-- {name} --> and <!-- /{name} -->")
    table = "\n".join(lines)
    write_bytes(guide, pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text).encode())


def save_figure(figure: Figure, name: str) -> None:
    """Writes docs/img/NAME.svg, the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    lines = (line.rstrip() for line in buffer.getvalue().decode().splitlines())
    write_bytes(ROOT / "docs" / "img" / f"{name}.svg", ("\n".join(lines) + "\n").encode())
