#!/usr/bin/env python3
"""MobileNetV2 and EfficientNet-Lite0 at 50 to 80 % zeros, in one shot and distilled: what they still name right."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from photographs import PORTRAITS, THINGS, all_gcompris_photographs, portraits, read_rgb, skimage_folder, things
from PIL import Image

from common import (
    SHARED,
    WORK,
    Recipe,
    cached,
    console,
    data_folder,
    insert_table,
    kept_pictures,
    make,
    milliseconds,
    progress,
    save_results,
    with_earlier,
    zeros,
)
from tulle import TulleError, convert, load, zoo
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.passes.lower import set_normalisation
from tulle.tflite import read, write
from tulle.train.augment import Augmentation
from tulle.train.distill import distill
from tulle.train.settings import Measurement, Settings

FOLDER = WORK / "classification"
SIZE = 224
LEVELS = (50, 70, 80)
IMAGES = 192
PICTURES = 2000  # to distil on
# How the networks were made, by the ends of their names.
ENDS = {
    "": "one shot",
    "-wider": "one shot, wider pictures",
    "-erk": "one shot, levels by ERK",
    "-distilled": "one shot, then distilled",
}
# The crops are varied already.
CHANGES = Augmentation(rotation=5, scale=0.1, shift=0.05, brightness=0.1, tint=0.03, contrast=0.2, mix=0)
# Name of the architecture: title, its file in ../shared/models/weights.
MODELS = {
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2_1.0_224"),
    "efficientnet_lite0": ("EfficientNet-Lite0", "efficientnet-lite0"),
}

EPILOG = """\b
Needs ../shared/data (clean, hands, imagenet_sample) and ../shared/models/weights (or TULLE_SHARED), `pip install
scikit-image`, and GCompris (an error says how to get it). The models are for measuring only: none of them ships.
\b
Examples:
  python experiments/classification.py
  python experiments/classification.py --only mobilenet_v2 --level 80
  python experiments/classification.py --distil 300         then distil each for so many steps
  python experiments/times.py build/experiments/classification/*.tflite
  python experiments/classification.py --score              the table with these times
"""


@click.command(epilog=EPILOG)
@click.option("--only", multiple=True, type=click.Choice(list(MODELS)), help="Make only these.")
@click.option("--level", "levels", multiple=True, type=int, help="Make only these, in % of zeros.")
@click.option("--wider", is_flag=True, help="Calibrate on as many of the pictures that --distil sees.")
@click.option("--erk", is_flag=True, help="More zeros in large layers, instead of uniform levels.")
@click.option("--distil", "steps", default=0, metavar="STEPS", help="Then distil each, in so many steps.")
@click.option("--batch", default=8, help="Of --distil.", show_default=True)
@click.option("--lr", default=3e-4, help="Of --distil: the highest learning rate.", show_default=True)
@click.option("--score", "score_only", is_flag=True, help="Make nothing.")
def main(
    only: tuple[str, ...],
    levels: tuple[int, ...],
    wider: bool,
    erk: bool,
    steps: int,
    batch: int,
    lr: float,
    score_only: bool,
) -> None:
    """Top-1 on the 200 pictures of imagenet_sample, which are only used for measuring, by share of zeros.

    Calibration and distillation see pictures of other things, cropped at random.
    """
    settings = Settings(sparsity=None, augmentation=CHANGES, steps=steps, batch=batch, learning_rate=lr,
                        measure=max(1, steps // 5), save=100)  # fmt: skip
    rows: list[dict[str, Any]] = []
    for name in only or MODELS:
        dense = dense_classifier(name)
        file = FOLDER / f"{name}.tflite"
        FOLDER.mkdir(parents=True, exist_ok=True)
        write_bytes(file, write(dense))
        if not score_only:
            images = [read_rgb(path) for path in training_pictures()[:IMAGES]] if wider else calibration_pictures()
            for level in levels or LEVELS:
                options = {"sparsity": level / 100, "method": "reconstruct", "allocation": "erk" if erk else "uniform"}
                end = "-wider" * wider + "-erk" * erk
                recipe = Recipe(f"{name}-{level}{end}", f"{level} %", options, IMAGES)
                path = make(recipe, dense, images, FOLDER)
                if steps and not end:
                    distilled(path, dense, settings)
        right = cached("classes", file, classes)
        for level in (0, *LEVELS):
            path = file if level == 0 else FOLDER / f"{name}-{level}.tflite"
            for made in (path.with_name(f"{path.stem}{end}.tflite") for end in ENDS):
                if made.is_file():
                    rows.append(row(name, level, made, right))
                    console.print(rows[-1])
    titles = [title for title, _ in MODELS.values()]
    rows = sorted(
        with_earlier("classification", rows),
        key=lambda row: (titles.index(row["network"]), row["level"], list(ENDS).index(ending(row))),
    )
    save_results("classification", rows)
    header = ["network", ">zeros", "method", ">top-1 of 200, % (95 % interval)", ">as dense, %", ">MACs left",
              ">ms in Chromium", ">.tflite", ">.tulle, float16"]  # fmt: skip
    insert_table("classification", header, [cells(row) for row in rows])


def dense_classifier(name: str) -> Graph:
    weights = SHARED / "models" / "weights" / f"{MODELS[name][1]}.npz"
    if not weights.is_file():
        raise TulleError(f"there is no {weights}; TULLE_SHARED names the folder that holds models/")
    return zoo.ARCHITECTURES[name].build(weights)


def distilled(path: Path, dense: Graph, settings: Settings) -> None:
    """Trains the sparse network at `path` to answer as the dense one does, and keeps its zeros."""
    target = path.with_name(f"{path.stem}-distilled.tflite")
    if target.is_file():
        return
    console.print(f"making {target.name}")

    def on_measurement(rows: list[Measurement]) -> None:
        console.print({key: round(value, 4) for key, value in rows[-1].row().items()})

    image = dense.tensors["input"]
    start = set_normalisation(read(path), image.mean, image.std)
    result = distill(dense, training_pictures(), settings, start=start, folder=FOLDER / f"training-{path.stem}",
                     resume=True, on_measurement=on_measurement)  # fmt: skip
    record = {"settings": asdict(settings), "distance": result.measurements[-1].distance}
    write_bytes(target.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())
    write_bytes(target, write(result.graph, sparse=True))


def training_pictures() -> list[Path]:
    """Files of square crops of photographs; only figures may be made with some of them."""

    def draw(numbers: list[int]) -> Iterator[Image.Image]:
        clean = data_folder("clean")
        paths = [path for folder in ("backgrounds", "coco_ccby") for path in sorted((clean / folder).rglob("*.jpg"))]
        paths += sorted((clean / "portraits_cc0/images").glob("*.jpg"))[::4]
        paths += sorted(data_folder("hands").glob("*.jpg"))[::40]
        paths += [skimage_folder() / file for file in (*PORTRAITS, *THINGS)]
        photographs = [*all_gcompris_photographs(), *map(read_rgb, paths)]
        for number in numbers:
            yield cropped(photographs[number % len(photographs)], np.random.default_rng([1, number]), 0.4)

    return kept_pictures(FOLDER / "pictures", PICTURES, draw)


def cropped(picture: np.ndarray, random: np.random.Generator, least: float) -> Image.Image:
    """A square of at least so much of the picture's shorter side, SIZE pixels wide."""
    whole = Image.fromarray(picture)
    side = min(whole.size) * random.uniform(least, 1)
    left, top = (random.uniform(0, length - side) for length in whole.size)
    return whole.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def calibration_pictures() -> list[np.ndarray]:
    """Square crops of photographs of things, people and hands, uint8 (SIZE, SIZE, 3)."""
    clean = data_folder("clean")
    folders = [clean / "backgrounds" / kind for kind in ("by", "cc0", "cc0_soft")]
    backgrounds = sorted(path for folder in folders for path in folder.glob("*.jpg"))
    people = sorted((clean / "coco_ccby" / "by" / "images").glob("*.jpg"))
    faces = sorted((clean / "portraits_cc0" / "images").glob("*.jpg"))[::20]
    hands = sorted(data_folder("hands").glob("*.jpg"))[::200]
    pictures = things() + portraits() + [read_rgb(path) for path in [*backgrounds, *people, *faces, *hands]]
    random = np.random.default_rng(0)
    crops = []
    for number in range(IMAGES):
        crop = np.asarray(cropped(pictures[number % len(pictures)], random, 0.6))
        crops.append(crop[:, ::-1].copy() if random.random() < 0.5 else crop)
    return crops


def classes(path: Path) -> list[int]:
    """The class that the model names for each picture, 0 to 999."""
    found = []
    pictures = sorted(data_folder("imagenet_sample").glob("*.JPEG"))
    image = dense_classifier(path.stem.split("-")[0]).tensors["input"]
    with load(set_normalisation(read(path), image.mean, image.std)) as model:
        (output,) = model.outputs
        background = output.shape[-1] - 1000  # a class before the others, or none
        for number in progress(range(len(pictures)), f"Scoring {path.stem}"):
            (answer,) = model(middle(pictures[number])).values()
            found.append(int(answer.argmax()) - background)
    return found


def middle(path: Path) -> np.ndarray:
    """The picture's middle, seven eighths of its shorter side, uint8 (SIZE, SIZE, 3)."""
    with Image.open(path) as picture:
        side = 0.875 * min(picture.size)
        left, top = ((length - side) / 2 for length in picture.size)
        box = (left, top, left + side, top + side)
        return np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))


def truth() -> list[int]:
    """The class of each picture, 0 to 999: the place of its WordNet number, with which its name begins."""
    found = find_spec("timm")
    if found is None or found.origin is None:
        raise TulleError("the order of ImageNet's classes is timm's: pip install --no-deps timm")
    numbers = (Path(found.origin).parent / "data" / "_info" / "imagenet_synsets.txt").read_text().split()
    return [numbers.index(path.stem.split("_")[0]) for path in sorted(data_folder("imagenet_sample").glob("*.JPEG"))]


def row(name: str, level: int, path: Path, dense: list[int]) -> dict[str, Any]:
    found = np.array(cached("classes", path, classes))
    right, same = found == truth(), found == dense
    return {"name": path.stem, "network": MODELS[name][0], "level": level,
            "top1": float(right.mean()),
            "interval": interval(int(right.sum()), len(found)), "same": float(same.mean()),
            "milliseconds": milliseconds(path), "bytes": path.stat().st_size,
            "tulle_bytes": len(convert(path, weights="fp16").data), **zeros(path)}  # fmt: skip


def interval(successes: int, trials: int) -> list[float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return [middle - half, middle + half]


def ending(row: dict[str, Any]) -> str:
    """The end of the network's name, one of ENDS."""
    return next((end for end in ENDS if end and row["name"].endswith(end)), "")


def cells(row: dict[str, Any]) -> list[str]:
    low, high = (100 * share for share in row["interval"])
    level = f"{row['level']} %" if row["level"] else "0"
    method = ENDS[ending(row)] if row["level"] else "dense"
    top1 = f"{100 * row['top1']:.1f} ({low:.0f} to {high:.0f})"
    sizes = [f"{row[key] / 1e6:.1f} MB" for key in ("bytes", "tulle_bytes")]
    macs = f"{row['macs_left'] / 1e6:.0f} M"
    return [row["network"], level, method, top1, f"{100 * row['same']:.1f}", macs, row["milliseconds"], *sizes]


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")
