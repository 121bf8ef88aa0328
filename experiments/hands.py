#!/usr/bin/env python3
"""hand_landmark_full made 80 % sparse without labels, compared with the published models for the same task."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from common import (
    MODELS,
    WORK,
    Recipe,
    cached,
    console,
    data_folder,
    dense_model,
    insert_table,
    is_held_out,
    make,
    milliseconds,
    progress,
    save_figure,
    save_results,
    with_earlier,
    zeros,
)
from tulle import TulleError, load
from tulle.image import Region, read_image, to_input
from tulle.runtime import TensorInfo

FOLDER = WORK / "hands"
SIZE = 224
LANDMARKS = "Identity"  # [1, 63]: x, y in pixels of the crop, z
HANDEDNESS = "Identity_2"  # [1, 1]: probability of a right hand

RECIPES = [
    Recipe("magnitude", "magnitude", {"sparsity": 0.8}),
    Recipe("uniform", "reconstruct", {"sparsity": 0.8, "method": "reconstruct"}, 384),
    Recipe(
        "sensitivity", "reconstruct, sensitivity",
        {"sparsity": 0.8, "method": "reconstruct", "allocation": "sensitivity"}, 192,
    ),
    Recipe(
        "sensitivity-macs", "reconstruct, sensitivity, 20 % of the MACs",
        {"target_macs": 0.2, "method": "reconstruct", "allocation": "sensitivity"}, 128,
    ),
]  # fmt: skip
PUBLISHED = {
    "hand_landmark_sparse": "published sparse model (trained with labels)",
    "hand_landmark_lite": "published lite model (dense, distilled)",
}

# Files that experiments/distill.py writes beside ours.
DISTILLED = {
    "distilled": "reconstruct, then distillation",
    "distilled-longer": "reconstruct, then distillation in two runs",
    "distilled-third": "reconstruct, then distillation in three runs",
}

EPILOG = """\b
Needs ../shared/data/hands (or TULLE_SHARED) and `make models`. Models are made once, in build/experiments/hands, where
interrupted ones continue; other .tflite files there (distilled ones, say) are scored too. Scores of files that are
gone stay in the table.
\b
Examples:
  python experiments/hands.py                        make what is missing, score all, write table and plot
  python experiments/hands.py --only sensitivity     make this one, and score all
  python experiments/hands.py --score                only score existing files
"""


@click.command(epilog=EPILOG)
@click.option("--only", multiple=True, type=click.Choice([recipe.name for recipe in RECIPES]), help="Make only these.")
@click.option("--score", "score_only", is_flag=True, help="Make nothing.")
@click.option("--no-table", is_flag=True, help="Leave docs/ alone.")
def main(only: tuple[str, ...], score_only: bool, no_table: bool) -> None:
    """Landmark distance to the dense model on held-out pictures, in % of the crop's side.

    Calibration sees four fifths of the pictures, measuring the rest; a digest of the file's name decides which.
    """
    files = sorted(data_folder("hands").glob("*.jpg"))
    dense = dense_model("hand_landmark_full")
    seen = [path for path in files if not is_held_out(path)]
    held_out = [path for path in files if is_held_out(path)]
    if not score_only:
        for recipe in RECIPES:
            if not only or recipe.name in only:
                some = np.random.default_rng(0).permutation(len(seen))[: recipe.images]
                images = varied([read_image(seen[index], SIZE, SIZE) for index in some])
                make(recipe, dense, images, FOLDER)
    rows = in_order(with_earlier("hands", score(held_out)))
    for row in rows:
        console.print(
            f"{row['title']:50} {row['distance']:6.3f} %   zeros {row['weights']:.3f}, MACs {row['macs']:.3f}"
        )
    if not no_table:
        write(rows)


def varied(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The pictures as a tracker crops them: rotated and scaled a little, and half of them mirrored.

    All hands in the data are right hands. A model calibrated on these alone takes every hand for a right one.
    """
    random = np.random.default_rng(0)
    info = TensorInfo("hand", (1, SIZE, SIZE, 3), takes_images=True)
    results = []
    for index, picture in enumerate(pictures):
        size = random.uniform(0.9, 1.1)
        region = Region(0.5, 0.5, size, size, random.normal(0, 0.15))
        cut = to_input(np.ascontiguousarray(picture[:, :: 1 - 2 * (index % 2)]), info, region, border="edge")
        results.append(np.rint(cut[0]).clip(0, 255).astype(np.uint8))
    return results


def score(held_out: list[Path]) -> list[dict[str, Any]]:
    """A row for every model, in the order of the table."""
    titles = {recipe.name: recipe.title for recipe in RECIPES}
    others = sorted(path.stem for path in FOLDER.glob("*.tflite") if path.stem not in titles)
    titles |= {name: DISTILLED.get(name, name) for name in others}
    paths = {FOLDER / f"{name}.tflite": title for name, title in titles.items()}
    paths |= {MODELS / f"{name}.tflite": title for name, title in PUBLISHED.items()}
    pictures = tuple(read_image(file, SIZE, SIZE) for file in held_out)
    mirrored = tuple(np.ascontiguousarray(picture[:, ::-1]) for picture in pictures)
    teacher: list[Answers] = []  # run only if there is something to compare with it

    def compare(path: Path) -> dict[str, float]:
        """With the dense model: `distance` of the landmarks in % of the crop's side, and on the mirrored pictures."""
        dense = MODELS / "hand_landmark_full.tflite"
        teacher[:] = teacher or [answers(dense, pictures), answers(dense, mirrored)]
        here, there = answers(path, pictures), answers(path, mirrored)
        distances = apart(here, teacher[0])
        same = [(ours.right > 0.5) == (theirs.right > 0.5) for ours, theirs in zip((here, there), teacher, strict=True)]
        return {
            "images": len(pictures),
            "distance": float(distances.mean()),
            "standard_error": float(distances.std(ddof=1) / np.sqrt(len(distances))),
            "median": float(np.median(distances)),
            "mirrored": float(apart(there, teacher[1]).mean()),
            "same_side": float(np.mean(same)),
        }

    return [
        {
            "name": path.stem, "title": title, **cached("hands-scores", path, compare),
            "bytes": path.stat().st_size, "milliseconds": milliseconds(path), **zeros(path),
        }
        for path, title in paths.items() if path.is_file()
    ]  # fmt: skip


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of the recipes, then others, then the published models."""
    names = [recipe.name for recipe in RECIPES]
    places = {name: place for place, name in enumerate(names)} | {name: len(names) + 1 for name in PUBLISHED}
    return sorted(rows, key=lambda row: places.get(row["name"], len(names)))


@dataclass(frozen=True)
class Answers:
    """For each picture `landmarks` [21, 2] in pixels of the crop, and the probability that it is a `right` hand."""

    landmarks: np.ndarray
    right: np.ndarray


def answers(path: Path, pictures: tuple[np.ndarray, ...]) -> Answers:
    """A model's results for pictures, each uint8 (224, 224, 3)."""
    with load(path) as model:
        found = [
            model(np.float32(pictures[index])[None] / 255)
            for index in progress(range(len(pictures)), f"Scoring {path.stem}")
        ]
    places = np.stack([outputs[LANDMARKS] for outputs in found]).reshape(-1, 21, 3)
    return Answers(places[..., :2].astype(np.float64), np.array([outputs[HANDEDNESS].item() for outputs in found]))


def apart(ours: Answers, theirs: Answers) -> np.ndarray:
    """Mean distance of the landmarks of each picture, in % of the crop's side."""
    return np.linalg.norm(ours.landmarks - theirs.landmarks, axis=-1).mean(axis=-1) / SIZE * 100


def write(rows: list[dict[str, Any]]) -> None:
    save_results("hands", rows)
    table = [
        [
            row["title"], f"{row['distance']:.2f} ± {row['standard_error']:.2f}", f"{row['median']:.2f}",
            f"{row['mirrored']:.2f}", f"{row['same_side']:.1%}", f"{row['weights']:.1%}",
            f"{row['macs_left'] / 1e6:.0f} M", row["milliseconds"], f"{row['bytes'] / 1e6:.1f} MB",
        ]
        for row in rows
    ]  # fmt: skip
    header = [
        "model", ">mean distance, %", ">median, %", ">mirrored, %", ">same hand", ">zeros", ">MACs left",
        ">ms in Chromium", ">file",
    ]  # fmt: skip
    insert_table("hands", header, table)
    figure = Figure(figsize=(7.5, 0.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))[::-1]
    ours = [row["name"] not in PUBLISHED for row in rows]
    axes.barh(places, [row["distance"] for row in rows], color=["#2f6fd0" if own else "#9aa4b1" for own in ours])
    for place, row in zip(places, rows, strict=True):
        axes.text(row["distance"] * 1.05, place, f"{row['distance']:.2f} %", va="center", fontsize=9)
    axes.set_yticks(places, [row["title"] for row in rows], fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(0.5, 60)
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("mean landmark distance to the dense model, % of the crop (logarithmic)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, "sparsify-hands")


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")
