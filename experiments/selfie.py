#!/usr/bin/env python3
"""selfie_segmentation_landscape at 30 to 90 % zeros: the quality of its masks, as in the article's ablation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scenes import HEIGHT, WIDTH, carphone_frames, cut, pasted, scenes, tinted

from common import (
    MODELS,
    WORK,
    Recipe,
    cached,
    console,
    data_folder,
    dense_model,
    insert_table,
    make,
    milliseconds,
    progress,
    save_figure,
    save_results,
    with_earlier,
    zeros,
)
from tulle import TulleError, load
from tulle.image import read_image

FOLDER = WORK / "selfie"
MODEL = "selfie_segmentation_landscape"
LEVELS = (30, 50, 70, 80, 90)

METHODS: dict[str, tuple[str, dict[str, Any], int]] = {
    "magnitude": ("magnitude", {}, 0),
    "uniform": ("reconstruct", {"method": "reconstruct"}, 320),
    "sensitivity": ("reconstruct, sensitivity", {"method": "reconstruct", "allocation": "sensitivity"}, 320),
    "scenes": ("reconstruct on scenes", {"method": "reconstruct"}, 640),
    "scenes-sensitivity": (
        "reconstruct on scenes, sensitivity",
        {"method": "reconstruct", "allocation": "sensitivity"},
        640,
    ),
    "webcam": ("reconstruct on webcam frames (comparison only)", {"method": "reconstruct"}, 320),
}

# Files that experiments/distill.py writes beside ours, and results on earlier scenes without drawn people.
OTHERS = {
    "distilled": "reconstruct on scenes, sensitivity, and distillation, in turns",
    "distilled-longer": "the same, distilled longer",
    "distilled-macs": "in turns, with the level that of multiply-adds",
    "three-people": "reconstruct on scenes of three people",
}

EPILOG = """\b
Needs ../shared/data/people, hands and webcam and ../shared/video (or TULLE_SHARED), `make models`, PyAV to read the
video, scikit-image and GCompris for their pictures and Anny to draw people: `pip install av scikit-image anny`; an
error says how to get GCompris's. Models are made once, in build/experiments/selfie, where interrupted ones continue;
other .tflite files there (METHOD-LEVEL.tflite, such as distilled-70.tflite) are scored too. Scores of files that are
gone stay in the table.
\b
Examples:
  python experiments/selfie.py                               make what is missing, score all, write table and plot
  python experiments/selfie.py --only uniform --level 70     make this one, and score all
  python experiments/selfie.py --score                       only score existing files
"""


@click.command(epilog=EPILOG)
@click.option("--only", multiple=True, type=click.Choice(list(METHODS)), help="Make only these.")
@click.option("--level", "levels", multiple=True, type=int, help="Make only these, in % of zeros.")
@click.option("--score", "score_only", is_flag=True, help="Make nothing.")
@click.option("--no-table", is_flag=True, help="Leave docs/ alone.")
def main(only: tuple[str, ...], levels: tuple[int, ...], score_only: bool, no_table: bool) -> None:
    """IoU with the masks of people/, which are only used for measuring, by share of zeros.

    Calibration sees the carphone clip, pictures of hands and, for "scenes", some from scikit-image: their licences let
    derived models ship. webcam/ is for comparison.
    """
    if not score_only:
        dense = dense_model(MODEL)
        for method in only or METHODS:
            title, options, count = METHODS[method]
            images: list[np.ndarray] = []
            if method == "webcam":
                images = webcam_pictures()
            elif method.startswith("scenes"):
                images = list(scenes(dense, FOLDER / "bodies", range(count)))
            elif count:
                images = free_pictures()
            for level in levels or LEVELS:
                recipe = Recipe(f"{method}-{level}", title, {"sparsity": level / 100, **options}, count)
                make(recipe, dense, images, FOLDER)
    rows = with_earlier("selfie", score())
    for row in rows:
        console.print(f"{row['name']:20} IoU {row['iou']:.4f}   zeros {row['weights']:.3f}, MACs {row['macs']:.3f}")
    if not no_table:
        write(rows)


# ---- pictures


def free_pictures() -> list[np.ndarray]:
    """320 varied pictures of one clip and of hands, whose licences let derived models ship.

    uint8 (144, 256, 3). A quarter are unchanged frames, half are cropped, rotated, mirrored and tinted, and a quarter
    have a hand in front of a frame. One clip shows one person in one car, so variety has to be added.
    """
    frames = carphone_frames()
    hands = sorted(data_folder("hands").glob("*.jpg"))
    random = np.random.default_rng(0)
    pictures = []
    for index in range(320):
        frame = frames[int(random.integers(len(frames)))]
        if index % 4:
            frame = tinted(cut(frame, random), random)
        if index % 4 == 3:
            hand = tinted(read_image(hands[int(random.integers(len(hands)))], 100, 100), random)
            frame = pasted(hand, frame, random)
        pictures.append(np.asarray(Image.fromarray(frame).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)))
    return pictures


def webcam_pictures() -> list[np.ndarray]:
    files = sorted(data_folder("webcam").glob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(files))
    return [read_image(files[index], HEIGHT, WIDTH) for index in order[:320]]


# ---- measuring


def evaluate_iou(path: Path) -> float:
    """Mean intersection over union of the person over the 200 pictures of people/, 0 to 1.

    Pictures are stretched to the input, as MediaPipe does; the probability is stretched back bilinearly to the mask's
    size and cut at one half.
    """
    folder = data_folder("people")
    pictures = sorted((folder / "images").glob("*.jpg"))
    scores = []
    with load(path) as model:
        name = model.outputs[0].name
        height, width = model.inputs[0].shape[1:3]
        for index in progress(range(len(pictures)), f"Scoring {path.stem}"):
            pixels = read_image(pictures[index], height, width)
            probability = model(np.float32(pixels)[None] / 255)[name].reshape(height, width)
            with Image.open(folder / "masks" / f"{pictures[index].stem}.png") as mask:
                truth = np.asarray(mask.convert("L")) > 127
            wide = Image.fromarray(probability).resize(truth.shape[::-1], Image.Resampling.BILINEAR)
            found = np.asarray(wide) > 0.5
            union = np.count_nonzero(found | truth)
            scores.append(np.count_nonzero(found & truth) / union if union else 1.0)
    return float(np.mean(scores))


def score() -> list[dict[str, Any]]:
    """A row for the dense model and for every file METHOD-LEVEL.tflite."""
    rows = [row(MODELS / f"{MODEL}.tflite", "dense", 0)]
    for path in sorted(FOLDER.glob("*-*.tflite")):
        method, _, level = path.stem.rpartition("-")
        if level.isdigit():
            rows.append(row(path, method, int(level)))
    return rows


def row(path: Path, method: str, level: int) -> dict[str, Any]:
    return {"name": path.stem, "method": method, "level": level, "iou": cached("selfie-scores", path, evaluate_iou),
            "milliseconds": milliseconds(path), "bytes": path.stat().st_size, **zeros(path)}  # fmt: skip


def write(rows: list[dict[str, Any]]) -> None:
    save_results("selfie", rows)
    known = [name for name in (*METHODS, *OTHERS) if any(row["method"] == name for row in rows)]
    methods = known + sorted({row["method"] for row in rows} - {*known, "dense"})
    dense = rows[0]["iou"]

    def cell(method: str, level: int, text: Callable[[dict[str, Any]], str]) -> str:
        return next((text(row) for row in rows if (row["method"], row["level"]) == (method, level)), "")

    timed = {"reconstruct": "uniform", "distilled": "distilled", "by multiply-adds": "distilled-macs"}
    table = [["0 % (dense)", *[rows[0]["milliseconds"] for _ in timed], *[f"{dense:.3f}" for _ in methods]]]
    for level in LEVELS:
        scores = [cell(method, level, lambda row: f"{row['iou']:.3f}") for method in methods]
        times = [cell(method, level, lambda row: row["milliseconds"]) for method in timed.values()]
        table.append([f"{level} %", *times, *scores])
    titles = [METHODS[method][0] if method in METHODS else OTHERS.get(method, method) for method in methods]
    insert_table("selfie", ["zeros", *[f">ms ({name})" for name in timed], *[f">{title}" for title in titles]], table)
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(dense, color="#9aa4b1", linestyle="--", linewidth=1, label="dense")
    for method, title in zip(methods, titles, strict=True):
        points = sorted((row["level"], row["iou"]) for row in rows if row["method"] == method)
        if len(points) > 1:
            points.insert(0, (0, dense))
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=title)
    axes.set_xlabel("zeros in 1x1 convolutions, %")
    axes.set_ylabel("IoU on people/")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    save_figure(figure, "sparsify-selfie")


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")
