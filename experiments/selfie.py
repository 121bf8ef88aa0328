#!/usr/bin/env python3
"""selfie_segmentation_landscape at 30 to 90 % zeros: how well it still finds people, as in the article's ablation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from common import (
    MODELS,
    SHARED,
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
    zeros,
)
from tulle import TulleError, load
from tulle.image import Region, read_image, to_input
from tulle.runtime import TensorInfo

FOLDER = WORK / "selfie"
MODEL = "selfie_segmentation_landscape"
WIDTH, HEIGHT = 256, 144
LEVELS = (30, 50, 70, 80, 90)

METHODS: dict[str, tuple[str, dict[str, Any], int]] = {
    "magnitude": ("magnitude", {}, 0),
    "uniform": ("reconstruct", {"method": "reconstruct"}, 320),
    "sensitivity": ("reconstruct, sensitivity", {"method": "reconstruct", "allocation": "sensitivity"}, 320),
    "webcam": ("reconstruct on webcam frames (comparison only)", {"method": "reconstruct"}, 320),
}

# Files that experiments/distill.py leaves beside ours.
DISTILLED = {
    "distilled": "distilled",
    "webcam-distilled": "distilled on webcam frames too (comparison only)",
}

EPILOG = """\b
Needs ../shared/data/people, hands and webcam and ../shared/video (or TULLE_SHARED), `make models`, and PyAV
(`pip install av`) to read the video. Models are made once, in build/experiments/selfie, where an interrupted one goes
on; other .tflite files that lie there (METHOD-LEVEL.tflite, as distilled-70.tflite) are scored too.
\b
Examples:
  python experiments/selfie.py                               make what is missing, score all, write table and plot
  python experiments/selfie.py --only uniform --level 70     make that one, and score all there are
  python experiments/selfie.py --score                       only score what there is
"""


@click.command(epilog=EPILOG)
@click.option("--only", multiple=True, type=click.Choice(list(METHODS)), help="Make only these.")
@click.option("--level", "levels", multiple=True, type=int, help="Make only these, in % of zeros.")
@click.option("--score", "score_only", is_flag=True, help="Make nothing.")
@click.option("--no-table", is_flag=True, help="Leave docs/ alone.")
def main(only: tuple[str, ...], levels: tuple[int, ...], score_only: bool, no_table: bool) -> None:
    """IoU with the masks of people/, which are only ever measured on, against the share of zeros.

    Calibration sees frames of the carphone clip and pictures of hands, whose licences let the results ship; webcam/ is
    for comparison.
    """
    if not score_only:
        dense = dense_model(MODEL)
        free: list[np.ndarray] = []
        webcam: list[np.ndarray] = []
        for level in levels or LEVELS:
            for method in only or METHODS:
                title, options, count = METHODS[method]
                if method == "webcam":
                    webcam = webcam or webcam_pictures()
                elif count:
                    free = free or free_pictures()
                recipe = Recipe(f"{method}-{level}", title, {"sparsity": level / 100, **options}, count)
                make(recipe, dense, webcam if method == "webcam" else free, FOLDER)
    rows = score()
    for row in rows:
        console.print(f"{row['name']:20} IoU {row['iou']:.4f}   zeros {row['weights']:.3f}, MACs {row['macs']:.3f}")
    if not no_table:
        write(rows)


# ---- pictures


def free_pictures() -> list[np.ndarray]:
    """320 pictures of one clip and of hands, varied: their licences let what is made from them ship.

    uint8 (144, 256, 3). A quarter are frames as they are, half are cut out, turned, mirrored and tinted, and a quarter
    have a hand before a frame. One clip shows one person in one car, so variety has to be made.
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


def carphone_frames() -> list[np.ndarray]:
    """The clip, uint8 (144, 176, 3) each."""
    try:
        import av
    except ImportError:
        raise TulleError("reading the clip needs PyAV: pip install av") from None

    clip = SHARED / "video" / "carphone_pristine.mp4"
    if not clip.is_file():
        raise TulleError(f"there is no {clip}; TULLE_SHARED names the folder that holds video/")
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def cut(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A region of a picture, turned a little, and mirrored half of the time; uint8 (144, 256, 3)."""
    size = random.uniform(0.5, 1.1)
    x, y = 0.5 + (0.5 - size / 2) * random.uniform(-1, 1, 2)
    region = Region(x, y, size, size * random.uniform(0.8, 1.2), random.normal(0, 0.15))
    info = TensorInfo("frame", (1, HEIGHT, WIDTH, 3), takes_images=True)
    mirrored = pixels[:, ::-1] if random.random() < 0.5 else pixels
    return np.rint(to_input(np.ascontiguousarray(mirrored), info, region)[0]).clip(0, 255).astype(np.uint8)


def tinted(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light: exposure, colour, contrast, saturation."""
    values = (pixels / 255.0) ** random.uniform(0.6, 1.6) * random.uniform(0.7, 1.3, 3)
    grey = values.mean(axis=2, keepdims=True)
    return np.rint(255 * np.clip(grey + random.uniform(0.3, 1.3) * (values - grey), 0, 1)).astype(np.uint8)


def pasted(front: np.ndarray, back: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A picture in a random place and size of another, with soft edges."""
    height = int(random.uniform(0.3, 0.9) * back.shape[0])
    small = Image.fromarray(front).resize((height, height), Image.Resampling.BILINEAR)
    across, down = np.meshgrid(*2 * [np.linspace(-1, 1, height)])
    soft = np.clip(4 * (1 - np.hypot(across, down)), 0, 1)
    result = Image.fromarray(back)
    place = int(random.integers(back.shape[1] - height + 1)), int(random.integers(back.shape[0] - height + 1))
    result.paste(small, place, Image.fromarray(np.uint8(255 * soft)))
    return np.asarray(result)


def webcam_pictures() -> list[np.ndarray]:
    files = sorted(data_folder("webcam").glob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(files))
    return [read_image(files[index], HEIGHT, WIDTH) for index in order[:320]]


# ---- measuring


def evaluate_iou(path: Path) -> float:
    """Mean over the 200 pictures of people/ of the intersection over union of the person, a number from 0 to 1.

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
    known = [name for name in METHODS if any(row["method"] == name for row in rows)]
    methods = known + sorted({row["method"] for row in rows} - {*known, "dense"})
    dense = rows[0]["iou"]

    def cell(method: str, level: int, text: Callable[[dict[str, Any]], str]) -> str:
        return next((text(row) for row in rows if (row["method"], row["level"]) == (method, level)), "")

    table = [["0 % (dense)", rows[0]["milliseconds"], *[f"{dense:.3f}" for _ in methods]]]
    for level in LEVELS:
        scores = [cell(method, level, lambda row: f"{row['iou']:.3f}") for method in methods]
        table.append([f"{level} %", cell("uniform", level, lambda row: row["milliseconds"]), *scores])
    titles = [METHODS[method][0] if method in METHODS else DISTILLED.get(method, method) for method in methods]
    insert_table("selfie", ["zeros", ">ms (reconstruct)", *[f">{title}" for title in titles]], table)
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
